"""Strips of images that the runs' stages left: synthetic and adapted ones, small enough to travel inside a page."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dfdgbench.errors import ConfigError
from dfdgbench.results.reading import Run
from dfdgbench.results.sheet import CLASSES, PER_CLASS, ImageSet, image_sets

MOST = 24
_TILE = 64


@dataclass(frozen=True)
class Strip:
    """One set's images: a column a class, ``PER_CLASS`` images each.

    Attributes:
        kind: the stage's, "inverted" or the like.
        uri: the picture as a ``data:`` address.
        width, height: of the picture, in pixels.
        small: whether its pixels are to be enlarged as they are.
    """

    kind: str
    title: str
    uri: str
    width: int
    height: int
    small: bool
    classes: tuple[int, ...]


def places(folder: Path, noted: Any, given: Path | None) -> list[Path]:
    """Where the artifacts of the sweep in ``folder`` may be: folders that are there.

    Args:
        noted: what sweep.json says, which holds where the sweep was launched.
        given: what a person says; then nowhere else is looked.

    Raises:
        ConfigError: ``given`` is no folder.
    """
    if given is not None:
        if not given.is_dir():
            raise ConfigError(f"There is no folder of artifacts {given}. Leave --artifacts out to do without images.")
        return [given]
    default = os.environ.get("DFDGBENCH_ARTIFACTS", "artifacts")
    return [
        place for place in (Path(noted if isinstance(noted, str) else default), folder / "artifacts") if place.is_dir()
    ]


def strips(runs: Iterable[Run], artifacts: Sequence[Path]) -> tuple[tuple[Strip, ...], list[str]]:
    """The first shard of every image set that a stage of ``runs`` made or read, and what is to be said of the others.

    Args:
        artifacts: folders to look in; the first that holds any of the sets is taken.
    """
    used = {key for run in runs for key in _keys(run)}
    if used and not artifacts:
        return (), [
            "The artifacts are not where the sweep notes them, so there are no images. --artifacts DIR names the folder."
        ]
    sets = next((found for place in artifacts if (found := image_sets(used, place))), [])
    shown, odd = [], []
    for one in sets[:MOST]:
        try:
            shown.append(_strip(one))
        except (OSError, EOFError, ValueError, IndexError, TypeError) as error:
            odd.append(f"The images in {one.folder} cannot be shown: {error}.")
    more = len(sets) - MOST
    return tuple(shown), odd + ([f"{more} more sets of images are not shown."] if more > 0 else [])


def _keys(run: Run) -> list[str]:
    stages = run.config.get("stages")
    return [key for key in stages.values() if isinstance(key, str)] if isinstance(stages, dict) else []


def _strip(found: ImageSet) -> Strip:
    images, labels = found.load()
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8 or len(labels) != len(images):
        raise ValueError(f"images of shape {images.shape} and type {images.dtype} with {labels.shape} labels")
    classes = sorted({int(label) for label in labels.ravel()})[:CLASSES]
    tile = min(_TILE, images.shape[-1])
    sheet = Image.new("RGBA", (len(classes) * (tile + 1) - 1, PER_CLASS * (tile + 1) - 1))
    for column, label in enumerate(classes):
        for row, number in enumerate(np.flatnonzero(labels == label)[:PER_CLASS]):
            picture = Image.fromarray(np.ascontiguousarray(images[number].transpose(1, 2, 0)))
            scaled = picture.resize((tile, tile), Image.Resampling.LANCZOS) if picture.width != tile else picture
            sheet.paste(scaled, (column * (tile + 1), row * (tile + 1)))
    small = images.shape[-1] < 48
    return Strip(found.kind, found.title, _uri(sheet), sheet.width, sheet.height, small, tuple(classes))


def _uri(sheet: Image.Image) -> str:
    """WebP, which keeps noise and photographs in a fifth of the bytes of a PNG; nobody measures on these pictures."""
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def class_words(classes: Sequence[int]) -> str:
    """``classes 0 to 6`` for a row without holes, else the list."""
    if not classes:
        return "no class"
    if list(classes) == list(range(classes[0], classes[-1] + 1)) and len(classes) > 1:
        return f"classes {classes[0]} to {classes[-1]}"
    return ("class " if len(classes) == 1 else "classes ") + ", ".join(map(str, classes))
