"""Trees ``DOMAIN/CLASS/IMAGE`` of pictures that all differ, and the odd files that people have in them."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "emu")
DOMAINS = ("clip", "photo", "sketch")
ORIENTATION = 0x0112


def picture(number: int, width: int = 20, height: int = 16) -> Image.Image:
    """Noise that differs from number to number."""
    return Image.fromarray(np.random.RandomState(number).randint(0, 256, (height, width, 3)).astype(np.uint8))


def own_tree(root: Path, domains: tuple[str, ...] = DOMAINS, classes: tuple[str, ...] = CLASSES, each: int = 2) -> Path:
    """Write ``each`` pictures a class and domain below ``root``, all different; returns ``root``."""
    for number, domain in enumerate(domains):
        for label, name in enumerate(classes):
            (root / domain / name).mkdir(parents=True)
            for index in range(each):
                picture(1000 * number + 100 * label + index).save(root / domain / name / f"pic_{index:03d}.png")
    return root


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    """``image`` as a file."""
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def deep(largest: int = 65535) -> Image.Image:
    """Grey values from 0 to ``largest`` in 16 bits, 16x16."""
    return Image.fromarray(np.linspace(0, largest, 256).reshape(16, 16).astype(np.uint16))


def rotated(form: str = "JPEG") -> bytes:
    """A picture to be turned by 90 degrees, says its EXIF."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded(picture(1), form, exif=exif)


def animated(form: str) -> bytes:
    """A red frame, then a blue one."""
    red, blue = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    return encoded(red, form, save_all=True, append_images=[blue])


def palette(transparent: bool = False) -> bytes:
    """A PNG with a palette, a part of its colours transparent or not."""
    options = {"transparency": bytes(range(0, 250, 10))} if transparent else {}
    return encoded(picture(2).convert("P"), "PNG", **options)


ODD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "rotated": ("odd.jpg", rotated),
    "animated": ("odd.webp", lambda: animated("WEBP")),
    "16-bit": ("odd.png", lambda: encoded(deep(), "PNG")),
    "CMYK": ("odd.jpeg", lambda: encoded(picture(3).convert("CMYK"), "JPEG")),
    "palette": ("odd.png", palette),
    "transparent": ("odd.png", lambda: encoded(picture(4).convert("RGBA"), "PNG")),
    "grey": ("odd.png", lambda: encoded(picture(5).convert("L"), "PNG")),
    "float": ("odd.tif", lambda: encoded(picture(6).convert("F"), "TIFF")),
}
"""Remarks of `data verify` to a file that gets it."""
