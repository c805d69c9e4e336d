"""A task: how a batch is scored while training and when it is evaluated, and under which names in a record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor


class Accumulator(ABC):
    """Sums what a metric needs over batches."""

    @abstractmethod
    def update(self, scores: Tensor, targets: Tensor) -> None:
        """Add a batch."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metrics so far, by the suffix of their record key."""


class Task(ABC):
    """Attributes:
    name: "classification" or "segmentation".
    suffixes: the record-key suffixes of its metrics, the primary one first.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """The supervised loss, a scalar."""

    @abstractmethod
    def accumulator(self) -> Accumulator:
        """A fresh accumulator of the metrics."""
