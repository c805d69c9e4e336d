"""Small trees of the classification data sets that lie in folders of images, laid out as their archives unpack."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wilds_stand_in
from PIL import Image

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.spawrious import CLASSES
from dfdgbench.datasets.wilds_ import LAND_USES

Fields = dict[str, Any]
Write = Callable[[Path], Fields]

LANDSCAPES = ("beach", "desert", "dirt", "jungle", "mountain", "snow")


SIZE = 8
"""Side of every picture."""


def encoded(form: str) -> bytes:
    """A picture of noise in a file format of PIL."""
    noise = np.random.RandomState(0).randint(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, form)
    return content.getvalue()


JPEG, PNG = encoded("JPEG"), encoded("PNG")


def write(path: Path, content: bytes = JPEG) -> None:
    """A file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def class_folders(name: str, file: Callable[[int, str, int], str], each: int = 2) -> Write:
    """Writes ``each`` images a class and domain of the data set ``name``; a domain more by one for each before it.

    Args:
        file: from domain index, class and number to the name of a file.
    """

    def plant(root: Path) -> Fields:
        metadata = DATASETS.get(name).metadata
        counts = []
        for index, domain in enumerate(metadata.domains):
            files = [(label, number) for label in metadata.classes for number in range(each)]
            files += [(metadata.classes[0], each + number) for number in range(index)]
            for label, number in files:
                path = root / metadata.folder / domain / label / file(index, label, number)
                write(path, PNG if path.suffix == ".png" else JPEG)
            counts.append(len(files))
        return {"counts": tuple(counts), "native_size": metadata.native_size and SIZE}

    return plant


def domainnet_file(index: int, label: str, number: int) -> str:
    domain = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")[index]
    return f"{4500000000000000 + number}.png" if domain == "quickdraw" else f"{domain}_{number:03d}_000001.jpg"


def spawrious(groups: int) -> Write:
    """Two images in each of the archive's 48 folders, of which a training group reads ``groups``, testing 8."""

    def plant(root: Path) -> Fields:
        for half in ("0", "1"):
            for landscape in LANDSCAPES:
                for breed in CLASSES:
                    for number in range(2):
                        name = f"{half}/{landscape}/{breed}/{landscape}_{breed}_{number}.png"
                        write(root / "spawrious224" / name, PNG)
        return {"counts": (16, 2 * groups, 2 * groups), "native_size": SIZE}

    return plant


def camelyon(root: Path) -> Fields:
    """Two patches a hospital, one of each class."""
    wilds_stand_in.install()
    folder = root / "camelyon17_v1.0"
    rows = [",patient,node,x_coord,y_coord,tumor,slide,center,split"]
    for number in range(10):
        patient, x, y = f"{number:03d}", number * 32, number * 16
        rows.append(f"{number},{patient},4,{x},{y},{number // 5},{number},{number % 5},0")
        name = f"patient_{patient}_node_4"
        write(folder / f"patches/{name}/patch_{name}_x_{x}_y_{y}.png", PNG)
    write(folder / "metadata.csv", "\n".join(rows).encode())
    write(folder / "RELEASE_v1.0.txt", b"v1.0")
    return {"counts": (2,) * 5, "native_size": SIZE}


FMOW_REGIONS = {"JPN": "Asia", "FRA": "Europe", "KEN": "Africa", "BRA": "Americas", "AUS": "Oceania"}


def fmow(root: Path) -> Fields:
    """Two images each of five regions and of a country without one, and a sequestered one, which is left out."""
    wilds_stand_in.install()
    folder = root / "fmow_v1.1"
    rows = ["country_code,split,timestamp,category"]
    for number, code in enumerate((*FMOW_REGIONS, "XYZ") * 2):
        if number == 3:
            rows.append("JPN,seq,2015-01-01T00:00:00Z,zoo")
        split = ("train", "val", "test")[number % 3]
        rows.append(f"{code},{split},20{3 + number:02d}-06-01T10:11:12Z,{LAND_USES[number * 5]}")
    for number in range(len(rows) - 1):
        write(folder / f"images/rgb_img_{number}.png", PNG)
    codes = ["alpha-3,region", *(f"{code},{region}" for code, region in FMOW_REGIONS.items())]
    write(folder / "rgb_metadata.csv", "\n".join(rows).encode())
    write(folder / "country_code_mapping.csv", "\n".join(codes).encode())
    write(folder / "RELEASE_v1.1.txt", b"v1.1")
    return {"counts": (2,) * 6, "native_size": SIZE}


TREES: dict[str, Write] = {
    "PACS": class_folders("PACS", lambda domain, _, n: f"pic_{n:03d}.png" if domain == 3 else f"pic_{n:03d}.jpg"),
    "VLCS": class_folders("VLCS", lambda domain, _, n: f"7671b2e85353451393d2b81fc8ee{domain:02d}{n:02d}.jpg"),
    "OfficeHome": class_folders("OfficeHome", lambda _, __, n: f"{n + 1:05d}.jpg", each=1),
    "TerraIncognita": class_folders(
        "TerraIncognita", lambda domain, _, n: f"58f4{domain}24{n}-23d2-11e8-a6a3-ec086b02610b.jpg"
    ),
    "DomainNet": class_folders("DomainNet", domainnet_file, each=1),
    "SVIRO": class_folders(
        "SVIRO", lambda _, label, n: f"x5_train_imageID_{n:03d}_seatPosition_0_GT_{label}.png"
    ),
    **{f"SpawriousO2O_{level}": spawrious(8) for level in ("easy", "medium", "hard")},
    **{f"SpawriousM2M_{level}": spawrious(4) for level in ("easy", "medium", "hard")},
    "WILDSCamelyon": camelyon,
    "WILDSFMoW": fmow,
}  # fmt: skip


def planted(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The data set ``name`` over its small tree, written below ``root``."""
    found = DATASETS.get(name)
    monkeypatch.setattr(found, "metadata", found.metadata.model_copy(update=TREES[name](root)))
    return found(root)
