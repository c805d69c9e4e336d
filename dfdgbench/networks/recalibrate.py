"""A second set of batch-normalisation statistics for one network, for inputs of another distribution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfdgbench.networks.norm import batch_norms

_NAMES = ("running_mean", "running_var", "num_batches_tracked")


class Statistics(nn.Module):
    """Running means and variances of every batch normalisation of a network, beside the network's own.

    They start as the network's, and are what a forward reads and, in train mode, updates within :meth:`in_use`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        for index, (_, layer) in enumerate(batch_norms(network)):
            for name in _NAMES:
                own: Tensor | None = getattr(layer, name)
                if own is not None:
                    self.register_buffer(f"{name}{index}", own.detach().clone())

    @contextmanager
    def in_use(self, network: nn.Module) -> Iterator[None]:
        """Exchange these statistics for the network's own in the body."""
        self._exchange(network)
        try:
            yield
        finally:
            self._exchange(network)

    @torch.no_grad()
    def _exchange(self, network: nn.Module) -> None:
        for index, (_, layer) in enumerate(batch_norms(network)):
            for name in _NAMES:
                own, other = getattr(layer, name), getattr(self, f"{name}{index}", None)
                if other is not None:
                    setattr(layer, name, other)
                    setattr(self, f"{name}{index}", own)
