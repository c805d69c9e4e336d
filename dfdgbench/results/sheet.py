"""Contact sheets: synthetic images by set and class."""

from __future__ import annotations

import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dfdgbench.files import write_bytes
from dfdgbench.results.reading import read_object

Pixels = NDArray[np.uint8]

KINDS = ("inverted", "fused", "sre2l", "g-vbsm", "rded", "random-real", "dtl", "transfer")
PER_CLASS = 2
CLASSES = 12
_GAP, _LABEL, _HEAD = 2, 230, 26


class ImageSet(NamedTuple):
    """A set of images among the artifacts: the stage's kind, the set's title, and the folder of its first shard."""

    kind: str
    title: str
    folder: Path

    def load(self) -> tuple[Pixels, NDArray[Any]]:
        """Images uint8 [N, 3, H, W] and labels [N] of the first shard."""
        return (
            np.load(self.folder / "images.npy", allow_pickle=False, mmap_mode="r"),
            np.load(self.folder / "labels.npy", allow_pickle=False),
        )


def image_sets(used: Container[str], artifacts: Path) -> list[ImageSet]:
    """Every set of images whose key is ``used``: the ``KINDS`` first, then other stages' that left images, by title; of one
    title, such as those of several trials, the further ones with a number."""
    shards: dict[tuple[int, str, str, str], list[tuple[int, Path]]] = defaultdict(list)
    for manifest in sorted(artifacts.glob("*/*/artifact.json")):
        content, kind = read_object(manifest), manifest.parent.parent.name
        if content.get("key") not in used:
            continue
        title, _, index = str(content.get("title", manifest.parent.name)).partition(" #")
        order = KINDS.index(kind) if kind in KINDS else len(KINDS)
        number = int(index) if index.isdecimal() else 0
        for images in [*manifest.parent.glob("images.npy"), *sorted(manifest.parent.glob("*/images.npy"))]:
            # A folder of its own says what was done to the images.
            done = f" {images.parent.name}" if images.parent != manifest.parent else ""
            shards[order, kind, title + done, _variant(content)].append((number, images.parent))
    found, alike = [], Counter[str]()
    for (_, kind, title, _), parts in sorted(shards.items()):
        alike[title] += 1
        found.append(ImageSet(kind, title + (f" ({alike[title]})" if alike[title] > 1 else ""), min(parts)[1]))
    return found


def sweep_sheet(sweep: Path, artifacts: Path) -> Path | None:
    """The sheet of every synthetic set that the sweep's runs used."""
    return write_sheet(sorted(sweep.glob("runs/*/config.json")), artifacts, sweep.name)


def write_sheet(configs: Sequence[Path], artifacts: Path, name: str) -> Path | None:
    """Write the sheet of every synthetic set that the runs with these configs used, beside the artifacts; None where
    there is none.

    One row a set, one block of columns a class, ``PER_CLASS`` images each.
    """
    used = {key for config in configs for key in json.loads(config.read_text(encoding="utf-8"))["stages"].values()}
    sets = [found for found in image_sets(used, artifacts) if found.kind in KINDS]
    if not sets:
        return None
    buffer = io.BytesIO()
    draw_sheet([(found.title, found.load()) for found in sets]).save(buffer, "PNG")
    path = artifacts / f"contact-sheet-{name}.png"
    write_bytes(path, buffer.getvalue(), "The contact sheet")
    return path


def _variant(manifest: Mapping[str, Any]) -> str:
    """What tells apart sets of one title: hyper-parameters, the teacher and what was read (another trial's, say)."""
    identity = manifest.get("identity")
    identity = identity if isinstance(identity, Mapping) else {}
    inputs = identity.get("inputs")
    first = inputs[:1] if isinstance(inputs, list) else [""]
    return json.dumps([identity.get("hparams"), first, identity.get("reads")], sort_keys=True)


def draw_sheet(rows: list[tuple[str, tuple[Pixels, NDArray[Any]]]]) -> Image.Image:
    """The sheet of titled sets, each images uint8 [N, 3, H, W] and labels [N]; small images are enlarged to 48 pixels."""
    classes = sorted({int(label) for _, (_, labels) in rows for label in labels})[:CLASSES]
    tile = max(48, min(96, rows[0][1][0].shape[-1]))
    font = ImageFont.load_default(size=14)
    beside = max(_LABEL, *(math.ceil(font.getlength(title)) + 14 for title, _ in rows))
    width = beside + len(classes) * (PER_CLASS * (tile + _GAP) + 2 * _GAP)
    sheet = Image.new("RGB", (width, _HEAD + len(rows) * (tile + _GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(classes):
        left = beside + column * (PER_CLASS * (tile + _GAP) + 2 * _GAP)
        pen.text((left + tile // 2, 5), f"class {label}", fill="black", font=font)
        for number, (_, (images, labels)) in enumerate(rows):
            chosen = images[labels == label][:PER_CLASS]
            for position, image in enumerate(chosen):
                picture = Image.fromarray(image.transpose(1, 2, 0)).resize((tile, tile), Image.Resampling.NEAREST)
                sheet.paste(picture, (left + position * (tile + _GAP), _HEAD + number * (tile + _GAP)))
    for number, (title, _) in enumerate(rows):
        pen.text((6, _HEAD + number * (tile + _GAP) + tile // 2 - 8), title, fill="black", font=font)
    return sheet
