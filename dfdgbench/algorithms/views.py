"""Several ways to predict with one set of weights, which are kept once and computed together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Family(nn.Module, ABC):
    """Weights that several views predict with."""

    @abstractmethod
    def together(self, views: Sequence[Any], images: Tensor) -> list[Tensor]:
        """The scores [B, K] of each of ``views`` on images [B, C, H, W]; what they share is computed once."""


class View(nn.Module):
    """One way to predict with a family's weights.

    Args:
        family: whose weights.
        keeps: whether this view's state dict holds them; one view of a family does, so that a run keeps them once.
    """

    family: Family

    def __init__(self, family: Family, *, keeps: bool = False) -> None:
        super().__init__()
        self.__dict__["family"] = family  # no submodule: it would be kept with every view
        if keeps:
            self.kept = family
        self.training = family.training

    def forward(self, images: Tensor) -> Tensor:
        return self.family.together([self], images)[0]

    def train(self, mode: bool = True) -> View:
        super().train(mode)
        self.family.train(mode)
        return self
