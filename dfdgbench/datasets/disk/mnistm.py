"""MNIST-M made by its authors' recipe, for those who cannot get the archive.

Ganin and Lempitsky 2015 (arXiv:1409.7495) blend MNIST's digits over patches drawn at random from the colour photos of
BSDS500: the result is |patch - digit| in every channel. Their draws were not published, so what is made here is another
sample of the same distribution, of all 60,000 + 10,000 digits where the archive has 59,001 + 9,001, at MNIST's 28 x 28 pixels.
It depends on the digits, the photos and ``VERSION`` alone (and on how a JPEG decoder rounds), never on a run's seed.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdgbench.datasets.disk.corpora import MNIST_SIDE, read_mnist
from dfdgbench.datasets.disk.decode import read_rgb
from dfdgbench.datasets.disk.parts import Part, Pixels
from dfdgbench.datasets.disk.scan import images_below
from dfdgbench.errors import DataError, MissingDataError
from dfdgbench.files import write_bytes
from dfdgbench.seeds import seed_hash

VERSION = 1  # raised whenever a pixel changes, so that nothing built by an older recipe is read
BUILT = f"Digits/MNIST-M/mnist_m_built_{VERSION}.npz"
COUNTS = {"train": 60000, "test": 10000}
PHOTOS = 200
"""Photos in BSDS500's train part, the one that patches are taken from."""
PHOTO_FOLDERS = tuple(
    f"{folder}/data/images/train"
    for folder in ("Digits/BSDS500", "Digits/BSDS500/BSR/BSDS500", "BSDS500", "BSDS500/BSDS500", "BSR/BSDS500")
)
"""Of which the deeper ones are as the archive unpacks, and as its mirror on GitHub is cloned."""
COMMAND = "dfdgbench data download DigitsBuilt"


def build_mnistm(data_dir: Path) -> Path:
    """Make MNIST-M of the MNIST and the photos below ``data_dir``, and keep it there, in one file.

    The file appears whole or not at all.

    Returns:
        The file, ``data_dir/BUILT``.

    Raises:
        MissingDataError: MNIST or the photos are not there.
        DataError: one of them is incomplete or damaged.
        ArtifactError: the file cannot be written.
    """
    photos = read_photos(data_dir)
    arrays: dict[str, NDArray[Any]] = {}
    for (part, count), (digits, labels) in zip(COUNTS.items(), read_mnist(data_dir), strict=True):
        if len(digits) != count:
            raise DataError(
                f"MNIST's {part} part below {data_dir} has {len(digits)} images, {count} are expected, so MNIST-M was not made "
                f"of it. Download MNIST again, then type: {COMMAND}"
            )
        draw = np.random.RandomState(seed_hash("MNIST-M", VERSION, part))
        arrays |= {f"{part}_images": blended(digits, photos, draw), f"{part}_labels": labels}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_bytes(data_dir / BUILT, content.getvalue(), "MNIST-M")
    return data_dir / BUILT


def blended(digits: Pixels, photos: list[Pixels], draw: np.random.RandomState) -> Pixels:
    """|patch - digit| in every channel, each digit over a patch of its own.

    Args:
        digits: uint8 [N, S, S].
        photos: uint8 [H, W, 3] each, of any size from S x S.

    Returns:
        uint8 [N, S, S, 3].
    """
    count, side = len(digits), digits.shape[1]
    which = draw.randint(0, len(photos), count)
    places = draw.random_sample((count, 2))
    made = np.empty((count, side, side, 3), dtype=np.uint8)
    for row in range(count):
        photo = photos[which[row]]
        top, left = (int(places[row, axis] * (photo.shape[axis] - side + 1)) for axis in (0, 1))
        patch = photo[top : top + side, left : left + side].astype(np.int16)
        made[row] = np.abs(patch - digits[row, :, :, None])
    return made


def photo_folder(data_dir: Path) -> Path | None:
    """Where BSDS500's train photos lie below ``data_dir``; None where they do not."""
    return next((data_dir / folder for folder in PHOTO_FOLDERS if (data_dir / folder).is_dir()), None)


def read_photos(data_dir: Path) -> list[Pixels]:
    """BSDS500's train photos, uint8 [H, W, 3] each, in the order of their names."""
    folder = photo_folder(data_dir)
    if folder is None:
        raise MissingDataError(
            f"BSDS500's photos were not found below {data_dir}. Looked for: {', '.join(PHOTO_FOLDERS)}. Type: {COMMAND}"
        )
    files = images_below(folder)
    if len(files) != PHOTOS:
        raise DataError(
            f"The folder {folder} holds {len(files)} photos, {PHOTOS} are expected. Download BSDS500 again."
        )
    photos = [np.asarray(read_rgb(folder / file)) for file in files]
    small = next((file for file, photo in zip(files, photos, strict=True) if min(photo.shape[:2]) < MNIST_SIDE), None)
    if small is not None:
        raise DataError(f"The photo {folder / small} is smaller than a digit. Download BSDS500 again.")
    return photos


def read_built_mnistm(data_dir: Path) -> tuple[Part, Part]:
    """Train and test part of what :func:`build_mnistm` made, images [N, 28, 28, 3]."""
    with _reading(data_dir) as path, np.load(path, allow_pickle=False) as stored:
        train, test = ((stored[f"{part}_images"], stored[f"{part}_labels"]) for part in COUNTS)
        for images, labels in (train, test):
            _check(images.shape, images.dtype, labels.shape)
    return train, test


def count_built_mnistm(data_dir: Path) -> int:
    """Images of both parts of what :func:`build_mnistm` made, by the headers of its arrays."""
    count = 0
    with _reading(data_dir) as path, zipfile.ZipFile(path) as stored:
        for part in COUNTS:
            (images, dtype), (labels, _) = (_header(stored, f"{part}_{kind}") for kind in ("images", "labels"))
            _check(images, dtype, labels)
            count += images[0]
    return count


@contextmanager
def _reading(data_dir: Path) -> Iterator[Path]:
    """The file that :func:`build_mnistm` made; whatever a parser raises within becomes a ``DataError`` that names it."""
    path = data_dir / BUILT
    if not path.is_file():
        raise MissingDataError(
            f"MNIST-M made of MNIST and photos was not found below {data_dir}. Looked for: {BUILT}. Type: {COMMAND}"
        )
    try:
        yield path
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"The file {path} is damaged ({error}). Remove it, then type: {COMMAND}") from error


def _header(stored: zipfile.ZipFile, name: str) -> tuple[Sequence[int], np.dtype[Any]]:
    """Shape and type of an array in a file of NumPy's, of which no value is read."""
    with stored.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"its array {name} is of the format's version {version}, which is not what was written")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, dtype


def _check(images: Sequence[int], dtype: np.dtype[Any], labels: Sequence[int]) -> None:
    """Check the shapes and the type of a part's arrays."""
    if len(images) != 4 or dtype != np.uint8 or tuple(labels) != (images[0],):
        raise ValueError("it does not hold images uint8 [N, 28, 28, 3] and labels [N]")
