"""Augmentation of single images: torchvision's to the bit on the exact path, and nearly so on the fast one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dfdgbench.datasets.feed import pixels
from dfdgbench.datasets.feed.augment import BatchAugment, apply
from dfdgbench.datasets.feed.pixels import Drawing
from dfdgbench.datasets.feed.training import domainbed_augmentation

SIZE = 48
COLOURS = (
    functional.adjust_brightness,
    functional.adjust_contrast,
    functional.adjust_saturation,
    functional.adjust_hue,
)


def scene(seed: int, height: int, width: int) -> Image.Image:
    """A smooth, colourful picture."""
    coarse = np.random.RandomState(seed).randint(0, 256, (6, 7, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def drawing(count: int, seed: int = 0, augment: BatchAugment | None = None) -> Drawing:
    return (augment or domainbed_augmentation(hflip=True)).draw(count, torch.Generator().manual_seed(seed))


def torchvisions(image: Image.Image, drawn: Drawing, index: int) -> NDArray[np.uint8]:
    """The same parameters through torchvision's functions on PIL images."""
    one = drawn.rows(index, index + 1)
    top, left, height, width = one.boxes(image.height, image.width)[0].tolist()
    image = functional.resized_crop(image, top, left, height, width, [SIZE, SIZE], antialias=True)
    if one.flip[0]:
        image = functional.horizontal_flip(image)
    for step in one.order[0].tolist():
        amount = one.turn[0] if step == 3 else one.factors[step, 0]
        image = COLOURS[step](image, float(amount))
    return np.asarray(functional.rgb_to_grayscale(image, 3) if one.grey[0] else image)


def test_the_exact_path_is_torchvisions_to_the_bit() -> None:
    drawn = drawing(40)
    assert 0 < drawn.grey.sum() < 40
    assert 0 < drawn.flip.sum() < 40
    for index in range(40):
        image = scene(index, 50 + index, 90 - index)
        assert np.array_equal(pixels.exact(image, drawn, index, SIZE), torchvisions(image, drawn, index))


def test_the_fast_path_is_the_exact_one_but_for_rounding() -> None:
    drawn = drawing(40)
    images = np.stack([np.asarray(scene(index, 52, 52)) for index in range(40)])
    boxes = drawn.boxes(52, 52)
    differences = []
    for index, image in enumerate(images):
        wanted = pixels.exact(Image.fromarray(image), drawn, index, SIZE).astype(int)
        got = pixels.fast(image, boxes[index], drawn, index, SIZE).astype(int)
        differences.append(np.abs(got - wanted))
    assert np.mean(differences) < 1.5
    assert np.percentile(differences, 99) <= 8


def test_batches_of_tensors_are_the_fast_path_but_for_rounding() -> None:
    drawn = drawing(24)
    images = np.stack([np.asarray(scene(index, 52, 52)) for index in range(24)])
    boxes = drawn.boxes(52, 52)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    got = (apply(batch, drawn, boxes.astype(np.float64), (SIZE, SIZE)) * 255).permute(0, 2, 3, 1).numpy()
    wanted = np.stack([pixels.fast(image, boxes[i], drawn, i, SIZE) for i, image in enumerate(images)])
    assert np.abs(got - wanted).mean() < 2
    assert np.percentile(np.abs(got - wanted), 99) <= 10


def test_nothing_drawn_changes_nothing() -> None:
    nothing = BatchAugment(crop_scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grayscale=0.0)
    drawn = drawing(3, augment=nothing)
    image = scene(0, SIZE, SIZE)
    box = drawn.boxes(SIZE, SIZE)[0]
    assert np.array_equal(pixels.exact(image, drawn, 0, SIZE), np.asarray(image))
    assert np.array_equal(pixels.fast(np.asarray(image), box, drawn, 0, SIZE), np.asarray(image))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (3, 200)])
def test_images_of_any_size(height: int, width: int) -> None:
    drawn = drawing(10)
    for index in range(10):
        assert pixels.exact(scene(index, height, width), drawn, index, 8).shape == (8, 8, 3)
        top, left, tall, wide = drawn.boxes(height, width)[index]
        assert 0 <= top <= height - tall
        assert 0 <= left <= width - wide
        assert tall >= 1
        assert wide >= 1


def statistics(images: NDArray[np.uint8]) -> dict[str, float]:
    """What a batch looks like: levels, contrast, colour, fine detail, greys."""
    values = images.astype(np.float64)
    levels = values.mean((1, 2, 3))
    spread = values.max(-1) - values.min(-1)
    return {
        "level": levels.mean(),
        "spread of levels": levels.std(),
        "contrast": values.std((1, 2, 3)).mean(),
        "colour": spread.mean(),
        "detail": np.abs(np.diff(values, axis=1)).mean() + np.abs(np.diff(values, axis=2)).mean(),
        "grey": 100 * (spread.max((1, 2)) == 0).mean(),
        "left against right": np.abs(values[:, :, :8].mean((1, 2, 3)) - values[:, :, -8:].mean((1, 2, 3))).mean(),
    }


def test_both_paths_draw_what_torchvision_draws() -> None:
    """Every statistic of many augmented images lies within four standard errors of torchvision's own transforms'."""
    steps = [
        v2.RandomResizedCrop(SIZE, scale=(0.7, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
        v2.RandomGrayscale(0.1),
    ]
    image, count = scene(7, 60, 70), 1500
    stored = pixels.plain(image, 60, 60)
    torch.manual_seed(0)
    wanted = np.stack([np.asarray(v2.Compose(steps)(image)) for _ in range(count)])
    drawn = drawing(count)
    boxes = np.rint(drawn.boxes(60, 70) * np.array([1, 60 / 70, 1, 60 / 70])).astype(np.int64)
    exactly = np.stack([pixels.exact(image, drawn, i, SIZE) for i in range(count)])
    quickly = np.stack([pixels.fast(stored, boxes[i], drawn, i, SIZE) for i in range(count)])
    parts = [[statistics(part) for part in np.split(images, 10)] for images in (wanted, exactly, quickly)]
    for name in parts[0][0]:
        torchvision, exact, fast = (np.array([part[name] for part in every]) for every in parts)
        error = np.sqrt((torchvision.var(ddof=1) + exact.var(ddof=1)) / 10)
        slack = 0.06 * torchvision.mean() if name == "detail" else 0.01 * abs(torchvision.mean())
        assert abs(exact.mean() - torchvision.mean()) < 4 * error, name
        assert abs(fast.mean() - exact.mean()) < 4 * error + slack, name
