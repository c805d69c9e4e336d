"""MiniDigits: what is rendered, that it is the same every time, and that a bad cache is never believed."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from dfdgbench.datasets import minidigits
from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.minidigits import COUNT, RECIPES, SIDE, MiniDigits, Pixels

NAMES = tuple(RECIPES)

# What rendered the fingerprints below; elsewhere, fonts and photographs may differ by a grey level here and there.
RECORDED_WITH = {
    "numpy": "2.4.6",
    "pillow": "13.0.0",
    "scikit-learn": "1.9.1",
    "matplotlib": "3.11.2",
    "freetype2": "2.14.3",
    "jpg": "6.2",
}
FINGERPRINTS = {
    "handwritten": "3ca3552d6e1ff78ce8b8ba15d616647c04a057e7615c1d41cc612e9e7c176f96",
    "blended": "77d99cb0882afc0f093b97e0e0df8563e8d42c013703855732dddda73753caac",
    "printed": "c1a1925370dc38c8cc56530ecdbccc617a4ae810e35012ecb5a96a5b00bc5dec",
    "numbers": "c7c5ce44561bb6d5cd7aad164d4fed0ea395fcbbfa10b821792fb596675c312a",
}
# Mean and standard deviation of a domain's pixels, in grey levels.
MOMENTS = {
    "handwritten": (127.12, 89.37),
    "blended": (108.90, 84.08),
    "printed": (158.99, 84.30),
    "numbers": (103.54, 68.57),
}


def installed() -> dict[str, str]:
    """Versions of everything that decides a pixel."""
    found = {name: version(name) for name in minidigits.PACKAGES}
    return found | {name: str(features.version(name)) for name in ("freetype2", "jpg")}


@pytest.fixture(scope="module")
def rendered() -> dict[str, Pixels]:
    return {name: minidigits.render(name) for name in NAMES}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("DFDGBENCH_CACHE", str(tmp_path / "cache"))
    return minidigits.cache_file()


@pytest.fixture
def no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where anything is rendered."""

    def refuse(name: str) -> Pixels:
        raise AssertionError(f"{name} was rendered")

    monkeypatch.setattr(minidigits, "render", refuse)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, rendered: dict[str, Pixels]) -> list[str]:
    """Rendering hands out what was rendered before; the list says for which domains it was asked."""
    asked: list[str] = []

    def render(name: str) -> Pixels:
        asked.append(name)
        return rendered[name]

    monkeypatch.setattr(minidigits, "render", render)
    return asked


def test_metadata() -> None:
    metadata = DATASETS.get("MiniDigits").metadata
    assert metadata.domains == ("handwritten", "blended", "printed", "numbers")
    assert metadata.classes == tuple("0123456789")
    assert metadata.small
    assert not metadata.needs_data_dir
    assert not metadata.hflip
    assert not metadata.augment


@pytest.mark.parametrize("name", NAMES)
def test_images_are_bytes_in_rgb(rendered: dict[str, Pixels], name: str) -> None:
    images = rendered[name]
    assert images.shape == (COUNT, SIDE, SIDE, 3)
    assert images.dtype == np.uint8
    assert images.std(axis=(1, 2, 3)).min() > 5, "an image without a digit"
    assert len(np.unique(images.reshape(COUNT, -1), axis=0)) == COUNT, "two equal images"


def test_classes_are_balanced() -> None:
    assert np.bincount(minidigits.labels()).tolist() == [minidigits.PER_CLASS] * 10


@pytest.mark.parametrize("half", [0, 1])
def test_handwritten_sources_have_the_labels_class(half: int) -> None:
    from sklearn.datasets import load_digits

    assert (load_digits().target[minidigits.sources(half)] == minidigits.labels()).all()


def test_handwritten_and_blended_share_no_source() -> None:
    first, second = set(minidigits.sources(0).tolist()), set(minidigits.sources(1).tolist())
    assert not first & second
    assert len(first | second) == 1797


@pytest.mark.parametrize("name", NAMES[::-1])
def test_a_domain_does_not_depend_on_what_was_rendered_before(rendered: dict[str, Pixels], name: str) -> None:
    np.random.seed(1)
    assert np.array_equal(minidigits.render(name), rendered[name])


@pytest.mark.parametrize("name", NAMES)
def test_content_is_the_recorded_one(rendered: dict[str, Pixels], name: str) -> None:
    images = rendered[name]
    if installed() == RECORDED_WITH:
        assert ArrayDomain(name, images, minidigits.labels()).fingerprint() == FINGERPRINTS[name]
    assert (images.mean(), images.std()) == pytest.approx(MOMENTS[name], abs=3)


def test_what_was_rendered_once_is_read_back(
    cache: Path, quick: list[str], rendered: dict[str, Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = MiniDigits()
    for index in range(4):
        first.domain(index)
    assert quick == list(NAMES)
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]
    again = MiniDigits()
    for index, name in enumerate(NAMES):
        domain = again.domain(index)
        assert isinstance(domain, ArrayDomain)
        assert domain.name == name
        assert np.array_equal(domain.images, rendered[name])
        assert domain.labels.tolist() == minidigits.labels().tolist()
    assert quick == list(NAMES), "rendered in spite of the cache"


@pytest.mark.usefixtures("no_rendering")
def test_the_cache_is_believed_for_its_shape_and_type(cache: Path) -> None:
    grey = {name: np.full((COUNT, SIDE, SIDE, 3), 7, dtype=np.uint8) for name in NAMES}
    minidigits.write_cache(cache, grey)
    assert MiniDigits().domain(2).image(0).getpixel((0, 0)) == (7, 7, 7)


def damage(cache: Path, kind: str) -> None:
    """Put something at the cache's place that must not be believed."""
    good = {name: np.zeros((COUNT, SIDE, SIDE, 3), dtype=np.uint8) for name in NAMES}
    if kind == "shape":
        good = {name: images[:-1] for name, images in good.items()}
    if kind == "type":
        good = {name: images.astype(np.int16) for name, images in good.items()}
    if kind == "names":
        good = {f"{name}2": images for name, images in good.items()}
    minidigits.write_cache(cache, good)
    content = cache.read_bytes()
    if kind == "cut":
        cache.write_bytes(content[: len(content) // 2])
    if kind == "bit":
        cache.write_bytes(content[:5000] + b"\x01" + content[5001:])
    if kind == "text":
        cache.write_text("not an archive")
    if kind == "empty":
        cache.write_bytes(b"")
    if kind == "array":
        with cache.open("wb") as file:
            np.save(file, np.zeros(3))


@pytest.mark.parametrize("kind", ["shape", "type", "names", "cut", "bit", "text", "empty", "array"])
def test_a_damaged_cache_is_rendered_anew(
    cache: Path, quick: list[str], rendered: dict[str, Pixels], kind: str
) -> None:
    damage(cache, kind)
    domain = MiniDigits().domain(0)
    assert isinstance(domain, ArrayDomain)
    assert np.array_equal(domain.images, rendered["handwritten"])
    assert quick == list(NAMES)
    stored = minidigits.read_cache(cache, "handwritten")
    assert stored is not None
    assert np.array_equal(stored, rendered["handwritten"])


def test_a_folder_that_cannot_be_written_to_is_no_error(cache: Path, quick: list[str]) -> None:
    cache.parent.write_text("a file where the folder should be")
    dataset = MiniDigits()
    assert [len(dataset.domain(index)) for index in range(4)] == [COUNT] * 4
    assert quick == list(NAMES), "rendered more than once in one process"


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DFDGBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert minidigits.cache_file().parent == tmp_path / "xdg" / "dfdgbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert minidigits.cache_file().parent == tmp_path / "home" / ".cache" / "dfdgbench"
