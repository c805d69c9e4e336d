"""How much computing a network is, for estimates made before anything runs."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import lru_cache

import torch

from dfdgbench.networks.base import NetworkSpec, build

log = logging.getLogger("dfdgbench")

# In forward passes of one image: the backward pass to the image is about one more, that to the weights another.
OPTIMISED, TRAINED = 2.0, 3.0


def forward_flops(network: NetworkSpec) -> float:
    """Floating-point operations of one image's forward pass, a multiplication and an addition counted as two.

    Counted by PyTorch: convolutions, matrix products and attention; normalisation and activations are not. 0, with a
    warning, for a network that cannot be run here.
    """
    return _counted(replace(network, weights="none", dropout=0.0))


@lru_cache(maxsize=64)
def _counted(network: NetworkSpec) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # its first use imports for a second

    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            build(network, seed=0).eval()(torch.zeros(1, network.channels, *network.shape))
    except Exception as error:  # a network may need a GPU, or a batch; an estimate is no reason to plan nothing
        log.warning("The FLOPs of network '%s' cannot be counted here and are taken as 0: %s", network.name, error)
        return 0.0
    return float(counter.get_total_flops())
