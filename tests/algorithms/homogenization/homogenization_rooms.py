"""One and three domains of noise for data homogenisation, and what its tests compare."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dfdgbench.datasets.base import Dataset, Metadata
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.engine.stage import walk
from dfdgbench.errors import MissingDataError
from dfdgbench.planning import Plan
from dfdgbench.stages.source_statistics import SourceStatistics

EACH = 120
HPARAMS: dict[str, Any] = {
    "target_images": 16,
    "batch_size": 8,
    "epochs": 3,
    "width": 2,
    "depth": 2,
    "classifier.steps": 6,
    "classifier.batch_size": 16,
    "gathering.batch_size": 8,
    "gathering.projections": 8,
}


def _metadata(name: str, domains: tuple[str, ...]) -> Metadata:
    return Metadata(
        name=name, description="noise", domains=domains, classes=("a", "b", "c", "d"), image_size=16, augment=False,
        small=True, network="smallcnn", needs_data_dir=False,
    )  # fmt: skip


class Rooms(Dataset):
    """Three domains of 120 images of noise, brighter by class.

    Attributes:
        gone: domains whose images are not there any more.
        relabelled: the class that all images are of, None for their own.
    """

    metadata = _metadata("Rooms", ("attic", "cellar", "hall"))
    gone: tuple[int, ...] = ()
    relabelled: int | None = None

    def open(self, index: int) -> ArrayDomain:
        if index in self.gone:
            raise MissingDataError(f"The images of {self.metadata.domains[index]} are away.")
        labels = np.arange(EACH) % 4
        noise = np.random.RandomState(index).randint(0, 60, (EACH, 16, 16, 3))
        images = (noise + 40 * labels[:, None, None, None]).astype(np.uint8)
        if self.relabelled is not None:
            labels = np.full(EACH, self.relabelled)
        return ArrayDomain(self.metadata.domains[index], images, labels)


class Room(Rooms):
    """One domain alone, published in two parts."""

    metadata = _metadata("Room", ("den",))

    def open(self, index: int) -> ArrayDomain:
        whole = super().open(index)
        parts = {"train": np.arange(100), "test": np.arange(100, EACH)}
        return ArrayDomain("den", whole.images, whole.labels, parts)


def reconstruction(record: dict[str, Any]) -> list[torch.Tensor]:
    place = (
        "default/before.1."
        if any(name.startswith("default/before.1.") for name in record["model"])
        else "default/before.0."
    )
    return [value for name, value in record["model"].items() if name.startswith(place)]


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(reconstruction(one), reconstruction(two), strict=True))


def gathered(planned: Callable[..., Plan], **hparams: Any) -> tuple[Plan, Path]:
    made = planned("Room", hparams)
    stage = next(stage for stage in walk(made.last) if isinstance(stage, SourceStatistics))
    return made, made.engine().ensure(stage)
