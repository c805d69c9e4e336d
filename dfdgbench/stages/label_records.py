"""Label records: what a teacher says of every view of a distilled set, epoch by epoch, as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dfdgbench.engine.keys import digest
from dfdgbench.errors import ArtifactError
from dfdgbench.stages.label_views import EpochViews

FILE = "labels.safetensors"


@dataclass(frozen=True, eq=False)
class LabelRecord:
    """Some consecutive epochs of views and logits.

    Attributes:
        set_id: of the images that are labelled; see :func:`set_id`.
        images: of the set.
        batch: images a batch.
        epochs: their views.
        logits: float16 [epochs, n, K], in the order in which images are shown.
        bytes: on disk.
    """

    set_id: str
    images: int
    batch: int
    epochs: tuple[EpochViews, ...]
    logits: Tensor
    bytes: int = 0

    def require(self, identity: Sequence[str], images: int) -> None:
        """``ArtifactError`` where the record labels another set than that of ``identity`` and size."""
        if self.set_id != set_id(identity) or self.images != images:
            raise ArtifactError(
                f"The label records are of another set: of {self.images} images with the identity {self.set_id[:12]}, and this "
                f"set has {images} and {set_id(identity)[:12]}. Take the records that were made with it, or relabel: type "
                "`dfdgbench train` with the artifacts folder of the set."
            )


def set_id(identity: Sequence[str]) -> str:
    """A short name for a set's content."""
    return digest(list(identity))


def save_record(folder: Path, record: LabelRecord) -> None:
    """Write a record as one file of integers, float16 logits and float32 shares."""
    parts = [views.tensors() for views in record.epochs]
    stacked = {name: torch.stack([part[name] for part in parts]).contiguous() for name in parts[0]}
    about = {"set": record.set_id, "images": record.images, "batch": record.batch}
    save_file(
        {**stacked, "logits": record.logits.contiguous()}, folder / FILE, {"record": json.dumps(about, sort_keys=True)}
    )


def load_record(folder: Path) -> LabelRecord:
    """What :func:`save_record` wrote. A damaged one is an ``ArtifactError``."""
    path = folder / FILE
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["record"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        logits = tensors.pop("logits")
        names = [field.name for field in fields(EpochViews)]
        epochs = tuple(EpochViews(**{name: tensors[name][i] for name in names}) for i in range(len(logits)))
        record = LabelRecord(about["set"], about["images"], about["batch"], epochs, logits, path.stat().st_size)
        _check(record)
    except Exception as error:  # the reader and a wrong content raise their own
        raise ArtifactError(
            f"The label record {path} is damaged: {error}. Remove its folder; the same command makes it anew."
        ) from error
    return record


def _check(record: LabelRecord) -> None:
    for views in record.epochs:
        shown = len(views.order)
        batches = -(-shown // record.batch)
        sizes = {"partners": shown, "crops": shown, "shares": batches, "boxes": batches}
        wrong = [name for name, length in sizes.items() if len(getattr(views, name)) != length]
        if wrong or record.logits.shape[1] != shown:
            raise ValueError(f"{', '.join(wrong) or 'logits'} of another length than {shown} images")
        if int(views.order.min()) < 0 or int(views.order.max()) >= record.images:
            raise ValueError(f"it names images beyond the {record.images} of its set")
        if int(views.partners.min()) < 0 or int(views.partners.max()) >= record.batch:
            raise ValueError("it mixes in images beyond a batch")
