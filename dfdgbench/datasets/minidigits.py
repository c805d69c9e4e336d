"""MiniDigits: four domains of digits rendered from what installed packages carry, so that nothing is downloaded.

============ ===================================================== ==========================================
domain       digits                                                ground
============ ===================================================== ==========================================
handwritten  scikit-learn's ``load_digits``, first half            plain grey, either one lighter
blended      scikit-learn's ``load_digits``, second half           photographs, by the MNIST-M recipe
printed      matplotlib's serif and typewriter fonts               plain colour, mostly the lighter one
numbers      matplotlib's sans-serif fonts, with cut-off neighbours faded photographs, as on house numbers
============ ===================================================== ==========================================

Every domain draws from a generator of its own and all arithmetic on pixels is on integers, so that a domain depends on
the recipe's version and on the packages' files alone. Rendering takes a few seconds; the images are then kept in the
user's cache folder, which may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from dfdgbench.cache import cache_folder
from dfdgbench.datasets.base import DATASETS, Dataset, Domain, Labels, Metadata
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.seeds import seed_hash

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]

VERSION = 1  # raised whenever a rendered pixel changes, so that no cache of an older recipe is read
SIDE = 32
CLASSES = 10
PER_CLASS = 180
COUNT = CLASSES * PER_CLASS
PACKAGES = ("numpy", "pillow", "scikit-learn", "matplotlib")

SERIF = (
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmti10", "cmtt10", "DejaVuSansMono", "DejaVuSansMono-Oblique",
)  # fmt: skip
SANS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono-Bold", "DejaVuSansMono-BoldOblique", "cmss10",
)  # fmt: skip
GLYPH = 64  # font size at which glyphs are drawn: large, so that hinting leaves no trace once they are scaled down
OUTLINE = 11  # side of the square, in pixels at font size GLYPH, that a hollow digit's outline is dilated by; odd
CANVAS = 56  # side on which glyphs are laid out before the middle is cut: no corner of a rotated image stays empty


def labels() -> Labels:
    """int64 [COUNT], the class of every image, the same in every domain: 0, 1, ..., 9, 0, 1, ..."""
    return np.arange(COUNT, dtype=np.int64) % CLASSES


def sources(half: int) -> Ints:
    """int64 [COUNT], the ``load_digits`` rows behind the images of one half of that corpus (0 or 1).

    A half is one end of every class in the corpus' order, which roughly follows the writers. The rows of a class are
    gone through in turn, about twice each: a random split of a handwritten domain has most digits in both parts.
    """
    from sklearn.datasets import load_digits

    target = load_digits().target
    rows = np.empty((PER_CLASS, CLASSES), dtype=np.int64)
    for digit in range(CLASSES):
        found = np.flatnonzero(target == digit)
        middle = len(found) // 2
        rows[:, digit] = np.resize(found[middle:] if half else found[:middle], PER_CLASS)
    return rows.reshape(-1)


def _pen_strokes(rng: np.random.Generator, half: int, softest: int, steepest: int) -> Pixels:
    """uint8 [COUNT, SIDE, SIDE], coverage of the handwritten digits of one half, scaled up by 2.75 to 3.5 and shifted.

    Args:
        softest, steepest: smallest and largest gain about half coverage, in quarters; 4 leaves the soft edges of the
            up-scaling as they are, 8 makes them twice as steep.
    """
    from sklearn.datasets import load_digits

    small = (load_digits().images.astype(np.int64) * 255 // 16).astype(np.uint8)
    sides = rng.integers(22, 29, COUNT)
    shifts = rng.integers(-2, 3, (COUNT, 2))
    strokes = np.zeros((COUNT, SIDE, SIDE), dtype=np.uint8)
    for i, row in enumerate(sources(half)):
        side = int(sides[i])
        left, top = ((SIDE - side) // 2 + shifts[i]).tolist()
        large = Image.fromarray(small[row]).resize((side, side), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (SIDE, SIDE))
        canvas.paste(large, (left, top))
        strokes[i] = np.asarray(canvas)
    gains = rng.integers(softest, steepest + 1, (COUNT, 1, 1))
    steep: Ints = (strokes.astype(np.int64) - 128) * gains // 4 + 128
    return np.clip(steep, 0, 255).astype(np.uint8)


@cache
def _photographs() -> tuple[Image.Image, ...]:
    """scikit-learn's two sample photographs, 427 by 640 pixels each."""
    from sklearn.datasets import load_sample_images

    return tuple(Image.fromarray(image) for image in load_sample_images().images)


def _patches(rng: np.random.Generator, smallest: int, largest: int) -> Pixels:
    """uint8 [COUNT, SIDE, SIDE, 3], random squares of the photographs, ``smallest`` to ``largest`` pixels a side."""
    photos = _photographs()
    which = rng.integers(0, len(photos), COUNT)
    sides = rng.integers(smallest, largest + 1, COUNT)
    corners = rng.random((COUNT, 2))
    patches = np.empty((COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    for i in range(COUNT):
        photo, side = photos[which[i]], int(sides[i])
        left, top = int(corners[i, 0] * (photo.width - side)), int(corners[i, 1] * (photo.height - side))
        box = (left, top, left + side, top + side)
        patches[i] = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
    return patches


@cache
def _glyph(font: str, digit: int, hollow: bool) -> Image.Image:
    """Coverage ("L") of one digit, or of its outline alone, at font size GLYPH, cut to its bounding box."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    canvas = Image.new("L", (2 * GLYPH, 2 * GLYPH))
    face = ImageFont.truetype(str(path), GLYPH, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(canvas).text((GLYPH // 2, GLYPH // 2), str(digit), fill=255, font=face)
    if hollow:
        canvas = ImageChops.difference(canvas.filter(ImageFilter.MaxFilter(OUTLINE)), canvas)
    return canvas.crop(canvas.getbbox())


def _scaled(font: str, digit: int, height: int, hollow: bool) -> Image.Image:
    """Coverage of one digit, ``height`` pixels high."""
    glyph = _glyph(font, digit, hollow)
    width = max(1, (glyph.width * height + glyph.height // 2) // glyph.height)
    return glyph.resize((width, height), Image.Resampling.BOX)


def _type(
    rng: np.random.Generator,
    fonts: tuple[str, ...],
    heights: tuple[int, int],
    tilt: int,
    shift: int,
    hollow: float = 0.0,
    neighbours: float = 0.0,
) -> Pixels:
    """uint8 [COUNT, SIDE, SIDE], coverage of printed digits.

    Args:
        heights: smallest and largest height of a digit, in pixels.
        tilt: largest rotation to either side, in degrees.
        shift: largest displacement from the middle, in pixels.
        hollow: probability that only the outline is drawn.
        neighbours: probability of another digit on each side, cut off by the image's edge.
    """
    classes = labels()
    font = rng.integers(0, len(fonts), COUNT)
    tall = rng.integers(heights[0], heights[1] + 1, COUNT)
    angles = rng.integers(-tilt, tilt + 1, COUNT)
    shifts = rng.integers(-shift, shift + 1, (COUNT, 2))
    outlined = rng.random(COUNT) < hollow
    beside = rng.random((COUNT, 2)) < neighbours
    digits = rng.integers(0, CLASSES, (COUNT, 2))
    gaps = rng.integers(2, 6, (COUNT, 2))
    strokes = np.empty((COUNT, SIDE, SIDE), dtype=np.uint8)
    edge = (CANVAS - SIDE) // 2
    for i in range(COUNT):
        name, height = fonts[font[i]], int(tall[i])
        middle = _scaled(name, int(classes[i]), height, bool(outlined[i]))
        left, top = (CANVAS - middle.width) // 2 + int(shifts[i, 0]), (CANVAS - height) // 2 + int(shifts[i, 1])
        canvas = Image.new("L", (CANVAS, CANVAS))
        canvas.paste(middle, (left, top))
        for side in (0, 1):
            if beside[i, side]:
                other = _scaled(name, int(digits[i, side]), height, bool(outlined[i]))
                gap = int(gaps[i, side])
                canvas.paste(other, (left - gap - other.width if side == 0 else left + middle.width + gap, top))
        turned = canvas.rotate(int(angles[i]), Image.Resampling.BILINEAR)
        strokes[i] = np.asarray(turned.crop((edge, edge, edge + SIDE, edge + SIDE)))
    return strokes


def _colour_pairs(rng: np.random.Generator, contrast: int, tint: int, light: float) -> tuple[Ints, Ints]:
    """Ground and ink of every image, int64 [COUNT, 1, 1, 3] each.

    Args:
        contrast: smallest distance of the two grey levels.
        tint: largest change of a channel from its grey level; 0 keeps both grey.
        light: probability that the ink is the lighter one.
    """
    distance = rng.integers(contrast, 256, COUNT)
    dark = rng.integers(0, 256 - distance)
    levels = np.stack([dark, dark + distance])
    levels = np.where(rng.random(COUNT) < light, levels, levels[::-1])[..., None]
    colours = np.clip(levels + rng.integers(-tint, tint + 1, (2, COUNT, 3)), 0, 255)
    return colours[0][:, None, None], colours[1][:, None, None]


def _mix(ground: Ints | Pixels, ink: Ints | Pixels, coverage: Ints | Pixels) -> Pixels:
    """``ground`` where ``coverage`` (0 to 255) is 0, ``ink`` where it is 255; shapes are broadcast."""
    below, above, weight = ground.astype(np.int64), ink.astype(np.int64), coverage.astype(np.int64)
    mixed: Ints = (below * (255 - weight) + above * weight + 127) // 255
    return mixed.astype(np.uint8)


def _handwritten(rng: np.random.Generator) -> Pixels:
    """Grey ink on grey paper, soft edges as the corpus' eight pixels a side leave them."""
    strokes = _pen_strokes(rng, half=0, softest=4, steepest=7)
    ground, ink = _colour_pairs(rng, contrast=110, tint=0, light=0.5)
    return _mix(ground, ink, strokes[..., None])


def _blended(rng: np.random.Generator) -> Pixels:
    """|patch - digit| a channel: MNIST-M (Ganin et al. 2016) on other digits and other photographs."""
    strokes = _pen_strokes(rng, half=1, softest=8, steepest=8)
    patches = _patches(rng, 10, 40)
    difference: Ints = np.abs(patches.astype(np.int64) - strokes[..., None])
    return difference.astype(np.uint8)


def _printed(rng: np.random.Generator) -> Pixels:
    """Mostly dark ink on light paper, some digits hollow; large and tilted."""
    strokes = _type(rng, SERIF, heights=(18, 26), tilt=15, shift=3, hollow=0.3)
    ground, ink = _colour_pairs(rng, contrast=110, tint=50, light=0.25)
    return _mix(ground, ink, strokes[..., None])


def _numbers(rng: np.random.Generator) -> Pixels:
    """Mostly light ink on a wall: a photograph under a coat of the ground colour; small, with neighbours."""
    strokes = _type(rng, SANS, heights=(15, 20), tilt=10, shift=2, neighbours=0.4)
    ground, ink = _colour_pairs(rng, contrast=130, tint=50, light=0.75)
    fade = rng.integers(125, 205, (COUNT, 1, 1, 1))
    wall = _mix(_patches(rng, 32, 160), ground, fade)
    return _mix(wall, ink, strokes[..., None])


RECIPES: dict[str, Callable[[np.random.Generator], Pixels]] = {
    "handwritten": _handwritten,
    "blended": _blended,
    "printed": _printed,
    "numbers": _numbers,
}


def render(name: str) -> Pixels:
    """uint8 [COUNT, SIDE, SIDE, 3], the images of one domain, whatever has been rendered before."""
    return RECIPES[name](np.random.default_rng(seed_hash("MiniDigits", name, VERSION)))


def cache_file() -> Path:
    """Where rendered images are kept: one file for a recipe and the versions of the packages that rendered it."""
    versions = hashlib.sha256(" ".join(f"{name}={version(name)}" for name in PACKAGES).encode()).hexdigest()[:8]
    return cache_folder() / f"minidigits-{VERSION}-{versions}.npz"


def read_cache(path: Path, name: str) -> Pixels | None:
    """One domain's images from the cache, None where they are absent, damaged or not of the expected shape and type."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            images = stored[name]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    fits = images.shape == (COUNT, SIDE, SIDE, 3) and images.dtype == np.uint8
    return images if fits else None


def write_cache(path: Path, images: dict[str, Pixels]) -> None:
    """Keep every domain's images. A folder that cannot be written to is no error: they are rendered again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, allow_pickle=False, **images)
            os.replace(beside, path)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError:
        return


@DATASETS.register("MiniDigits")
class MiniDigits(Dataset):
    """1,800 images a domain, 180 a class, rendered on first use. ``data_dir`` is not looked at."""

    metadata = Metadata(
        name="MiniDigits",
        description="digits rendered from installed packages in four styles; no download, for quick starts and tests",
        domains=tuple(RECIPES),
        labels=("H", "B", "P", "N"),
        classes=tuple(str(digit) for digit in range(CLASSES)),
        counts=(COUNT,) * len(RECIPES),
        image_size=SIDE,
        hflip=False,
        augment=False,
        small=True,
        network="smallcnn",
        steps=1001,
        checkpoint_freq=200,
        needs_data_dir=False,
    )

    def __init__(self, data_dir: str | Path | None = None) -> None:
        super().__init__(data_dir)
        self._rendered: dict[str, Pixels] = {}

    def open(self, index: int) -> Domain:
        """One domain from the cache; where it is not there, all four are rendered and kept."""
        name = self.metadata.domains[index]
        images = self._rendered.get(name)
        if images is None:
            images = read_cache(cache_file(), name)
        if images is None:
            self._rendered = {domain: render(domain) for domain in RECIPES}
            write_cache(cache_file(), self._rendered)
            images = self._rendered[name]
        return ArrayDomain(name, images, labels())
