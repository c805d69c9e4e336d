"""How far a map of images is from the identity: l2-error, PSNR and SSIM as data homogenisation defines them.

The definitions are those of the code behind the paper's tables (Willis and Oala 2021; facts H21 and section 6): images are
scaled to [0, 1] one by one before they are compared, SSIM's window is not padded, and its range is that of the batch.
torchmetrics computes the same PSNR of images scaled so, and the same SSIM at each place but not its mean, which takes in a border
of reflected pixels. It stays a reference that the tests compare with: see docs/homogenization.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE = (0.2126, 0.7152, 0.0722)
WINDOW, SIGMA = 11, 1.5
K1, K2 = 0.01, 0.03


@torch.no_grad()
def l2_error(transform: Callable[[Tensor], Tensor], shape: tuple[int, int, int], batch: int = 256) -> float:
    """``||T(I) - I||_F / ||I||_F`` with I the d one-hot images: ``sqrt(mean_i ||T(e_i) - e_i||^2)``; no percentage.

    Args:
        transform: images [B, C, H, W] to images of that shape.
        shape: (C, H, W), so that d = C * H * W.
    """
    size, total = math.prod(shape), 0.0
    for start in range(0, size, batch):
        places = torch.arange(start, min(start + batch, size))
        images = functional.one_hot(places, size).to(torch.float32).view(-1, *shape)
        total += float((transform(images).cpu() - images).double().square().sum())
    return math.sqrt(total / size)


def scaled(images: Tensor) -> Tensor:
    """Each image [B, C, H, W] stretched to [0, 1] over all its pixels and channels; a constant one becomes 0."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (images - low) / spread.clamp(min=torch.finfo(images.dtype).tiny), images * 0)


def luminance(images: Tensor) -> Tensor:
    """Colour images [B, 3, H, W] as [B, 1, H, W]; those of other numbers of channels unchanged."""
    if images.shape[1] != len(LUMINANCE):
        return images
    return (images * images.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)


def comparable(images: Tensor) -> Tensor:
    """What PSNR and SSIM compare: luminance of the stretched images, in float64."""
    return luminance(scaled(images.double()))


def psnr(clean: Tensor, other: Tensor) -> Tensor:
    """Mean over images [B, C, H, W] of ``-10 log10`` of the mean squared difference, in dB, both stretched; inf where equal."""
    errors = (comparable(clean) - comparable(other)).square().mean((1, 2, 3))
    return (-10 * errors.log10()).mean()


def ssim(clean: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of the stretched images [B, C, H, W] in percent: 100 (1 + s) / 2."""
    one, two = comparable(clean), comparable(other)
    span = max(float(one.max() - one.min()), float(two.max() - two.min()))
    return 50 * (1 + structural_similarity(one, two, span))


def window() -> Tensor:
    """The Gaussian window [11, 11] of sum 1."""
    places = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    line = torch.exp(-places.square() / (2 * SIGMA**2))
    line = line / line.sum()
    return torch.outer(line, line)


def similarity_map(one: Tensor, two: Tensor, span: float) -> Tensor:
    """SSIM at every place where the window fits: [B, C, H, W] -> [B, C, H - 10, W - 10].

    Args:
        span: the range of values, from which the two constants follow; 0 is taken as 1.
    """
    channels, span = one.shape[1], span or 1.0
    kernel = window().to(one.dtype).expand(channels, 1, -1, -1)

    def mean(images: Tensor) -> Tensor:
        return functional.conv2d(images, kernel, groups=channels)

    c1, c2 = (K1 * span) ** 2, (K2 * span) ** 2
    m1, m2 = mean(one), mean(two)
    v1, v2 = mean(one.square()) - m1.square(), mean(two.square()) - m2.square()
    covariance = mean(one * two) - m1 * m2
    return ((2 * m1 * m2 + c1) * (2 * covariance + c2)) / ((m1.square() + m2.square() + c1) * (v1 + v2 + c2))


def structural_similarity(one: Tensor, two: Tensor, span: float) -> Tensor:
    """Mean of :func:`similarity_map`. Images smaller than the window are extended by their borders to its size."""
    missing = max(0, WINDOW - min(one.shape[-2:]))
    if missing:
        pad = (missing // 2, missing - missing // 2) * 2
        one, two = (functional.pad(images, pad, mode="replicate") for images in (one, two))
    return similarity_map(one, two, span).mean()
