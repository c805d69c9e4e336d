"""What data sets of masks share: finding folders, a mask for every image, and the parts of a domain.

A domain's parts are ``train`` (labelled training images), ``val`` (labelled, what a source is watched on), ``uda``
(images that unlabelled adaptation reads) and ``test`` (what a target is reported on); the protocol "adaptation" hands
them out as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from dfdgbench.datasets.base import Dataset, Keys
from dfdgbench.datasets.disk.scan import images_below
from dfdgbench.errors import DataError, MissingDataError, listing, near


class SegmentationDataset(Dataset):
    """A data set whose labels are masks.

    Attributes:
        subsets: names to subsets of the classes whose mean IoU is reported beside that of all classes; fixed here, so
            that none is chosen after the fact.
    """

    subsets: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def below(self, *names: str) -> Path:
        """The folder ``root/NAME/...`` that a domain is read from. ``MissingDataError`` where it is not there."""
        folder = self.root().joinpath(*names)
        if not folder.is_dir():
            raise MissingDataError(self._absent(folder))
        return folder

    def inside(self, folder: Path, *names: str) -> Path:
        """``folder/NAME/...`` of a domain's folder that is there. ``DataError`` where it is not: half a download."""
        wanted = folder.joinpath(*names)
        if not wanted.is_dir():
            raise DataError(self._absent(wanted))
        return wanted

    def _absent(self, folder: Path) -> str:
        beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
        renamed = near(folder.name, sorted(beside))[:1]
        hint = "".join(f"If '{other}' beside it is meant, rename it to '{folder.name}'. " for other in renamed)
        return (
            f"{self.metadata.name}: the folder {folder} does not exist. {hint}Expected layout: {self.metadata.layout}. "
            f"To get it, type dfdgbench data download {self.metadata.name}."
        )


def masks_of(root: Path, images: Sequence[str], folders: Iterable[str], mask_of: Callable[[str], str]) -> list[str]:
    """The masks of ``images``, in their order; all paths are below ``root``.

    Args:
        folders: where masks lie.
        mask_of: from an image's path to its mask's.

    Raises:
        DataError: an image has no mask; the message names the first ones and the masks that they lack.
    """
    present = {f"{folder}/{file}" for folder in folders for file in images_below(root / folder)}
    masks = [mask_of(image) for image in images]
    missing = [
        f"{image} (its mask would be {mask})" for image, mask in zip(images, masks, strict=True) if mask not in present
    ]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(images)} images in {root} have no mask: {listing(missing, 3)}. Unpack the archives "
            "of labels again, or move these images away."
        )
    return masks


def in_both_roles(learn: Keys, measure: Keys) -> dict[str, Keys]:
    """The parts of a labelled domain, which may be either side of a pair.

    As a source it is trained on ``train`` and watched on ``val``. As a target it is adapted to on ``uda``, which are
    the images of ``train`` without their masks, and tested on ``test``, the images of ``val``. A part without images is
    left out.

    Args:
        learn: images that something may be learnt from.
        measure: images that are only measured on; disjoint from ``learn``.
    """
    parts = {"train": learn, "val": measure, "uda": learn, "test": measure}
    return {name: keys for name, keys in parts.items() if len(keys)}
