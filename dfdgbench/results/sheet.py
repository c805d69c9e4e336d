"""Contact sheets: synthetic images by set and class."""

from __future__ import annotations

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dfdgbench.files import write_bytes

Pixels = NDArray[np.uint8]

KINDS = ("inverted", "fused")
PER_CLASS = 2
CLASSES = 12
_GAP, _LABEL, _HEAD = 2, 230, 26


def sweep_sheet(sweep: Path, artifacts: Path) -> Path | None:
    """The sheet of every synthetic set that the sweep's runs used."""
    return write_sheet(sorted(sweep.glob("runs/*/config.json")), artifacts, sweep.name)


def write_sheet(configs: Sequence[Path], artifacts: Path, name: str) -> Path | None:
    """Write the sheet of every synthetic set that the runs with these configs used, beside the artifacts; None where
    there is none.

    One row a set, one block of columns a class, ``PER_CLASS`` images each.
    """
    used = {key for config in configs for key in json.loads(config.read_text(encoding="utf-8"))["stages"].values()}
    sets: dict[tuple[int, str, str], list[tuple[int, Path]]] = defaultdict(list)
    for kind in KINDS:
        for manifest in sorted(artifacts.glob(f"{kind}/*/artifact.json")):
            content = json.loads(manifest.read_text(encoding="utf-8"))
            if content["key"] in used:
                title, _, index = content["title"].partition(" #")
                sets[KINDS.index(kind), title, _variant(content)].append((int(index or 0), manifest.parent))
    if not sets:
        return None
    buffer = io.BytesIO()
    draw_sheet([(title, _first_shard(parts)) for (_, title, _), parts in sorted(sets.items())]).save(buffer, "PNG")
    path = artifacts / f"contact-sheet-{name}.png"
    write_bytes(path, buffer.getvalue(), "The contact sheet")
    return path


def _variant(manifest: dict[str, Any]) -> str:
    """What tells apart sets of one title: hyper-parameters, and the teacher (another trial's, say)."""
    identity = manifest.get("identity", {})
    return json.dumps([identity.get("hparams"), identity.get("inputs", [""])[:1]], sort_keys=True)


def _first_shard(parts: list[tuple[int, Path]]) -> tuple[Pixels, NDArray[Any]]:
    folder = min(parts)[1]
    return np.load(folder / "images.npy", allow_pickle=False), np.load(folder / "labels.npy", allow_pickle=False)


def draw_sheet(rows: list[tuple[str, tuple[Pixels, NDArray[Any]]]]) -> Image.Image:
    """The sheet of titled sets, each images uint8 [N, 3, H, W] and labels [N]; small images are enlarged to 48 pixels."""
    classes = sorted({int(label) for _, (_, labels) in rows for label in labels})[:CLASSES]
    tile = max(48, min(96, rows[0][1][0].shape[-1]))
    width = _LABEL + len(classes) * (PER_CLASS * (tile + _GAP) + 2 * _GAP)
    sheet = Image.new("RGB", (width, _HEAD + len(rows) * (tile + _GAP)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, label in enumerate(classes):
        left = _LABEL + column * (PER_CLASS * (tile + _GAP) + 2 * _GAP)
        pen.text((left + tile // 2, 5), f"class {label}", fill="black", font=font)
        for number, (_, (images, labels)) in enumerate(rows):
            chosen = images[labels == label][:PER_CLASS]
            for position, image in enumerate(chosen):
                picture = Image.fromarray(image.transpose(1, 2, 0)).resize((tile, tile), Image.Resampling.NEAREST)
                sheet.paste(picture, (left + position * (tile + _GAP), _HEAD + number * (tile + _GAP)))
    for number, (title, _) in enumerate(rows):
        pen.text((6, _HEAD + number * (tile + _GAP) + tile // 2 - 8), title, fill="black", font=font)
    return sheet
