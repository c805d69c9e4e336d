"""Small trees on disk in the datasets' own layouts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import ArrayDomain, folder_domain
from dfdgbench.datasets.pacs import PACS

CLASSES = ("cat", "dog", "emu")


def picture(number: int, width: int = 20, height: int = 16) -> Image.Image:
    """Noise that differs from number to number."""
    return Image.fromarray(np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8))


def write_tree(root: Path, classes: tuple[str, ...], each: int, suffix: str = "png") -> None:
    """``each`` pictures in every class folder of ``root``."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(each):
            picture(100 * label + number).save(root / name / f"pic_{number:03d}.{suffix}")


@pytest.fixture
def folder(tmp_path: Path) -> Domain:
    """A folder domain of nine pictures of 20x16 pixels in three classes."""
    write_tree(tmp_path / "art", CLASSES, 3)
    return folder_domain("art", tmp_path / "art", CLASSES)


@pytest.fixture
def array() -> ArrayDomain:
    """Ten noisy 8x8 images in memory."""
    random = np.random.RandomState(0)
    return ArrayDomain("noise", random.randint(0, 256, (10, 8, 8, 3)).astype(np.uint8), random.randint(0, 3, 10))


@pytest.fixture
def small_pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., PACS]:
    """Writes a PACS of two pictures a class and domain, and returns the dataset that expects as many."""

    def make(suffix: str = "jpg") -> PACS:
        for name in PACS.metadata.domains:
            write_tree(tmp_path / "PACS" / name, PACS.metadata.classes, 2, suffix)
        monkeypatch.setattr(PACS, "metadata", PACS.metadata.model_copy(update={"counts": (14,) * 4}))
        return PACS(tmp_path)

    return make
