"""Classification: cross-entropy, and accuracy as DomainBed measures it."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from dfdgbench.tasks.base import Accumulator, Task


class Accuracy(Accumulator):
    """The share of images whose highest score is their label's, micro-averaged, from 0 to 1.

    Scores of one column are a binary logit: positive above 0.
    """

    def __init__(self) -> None:
        self.correct, self.seen = 0, 0

    def update(self, scores: Tensor, targets: Tensor) -> None:
        chosen = (scores[:, 0] > 0).long() if scores.shape[1] == 1 else scores.argmax(1)
        self.correct += int((chosen == targets).sum())
        self.seen += len(targets)

    def compute(self) -> dict[str, float]:
        return {"acc": self.correct / self.seen if self.seen else float("nan")}


class Classification(Task):
    """Images [B, C, H, W] to scores [B, K]; labels [B]."""

    name = "classification"
    suffixes = ("acc",)

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(scores, targets)

    def accumulator(self) -> Accumulator:
        return Accuracy()
