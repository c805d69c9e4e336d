"""What adaptation is played with: SFDA's generator and conditional patch discriminator, AdaptSegNet's discriminator."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

Range = Literal["tanh_norm", "tanh_bn"]
Norm = Literal["batch", "instance", "none"]
Condition = Literal["embedding", "projection"]
_NORMS: dict[str, Callable[[int], list[nn.Module]]] = {
    "batch": lambda width: [nn.BatchNorm2d(width)],
    "instance": lambda width: [nn.InstanceNorm2d(width)],
    "none": lambda width: [],
}
SMALLEST_PATCH = 16
"""Pixels that a side of a patch needs for the discriminator's four halvings."""
SMALLEST_MAP = 32
"""The same for AdaptSegNet's five."""


class Generator(nn.Module):
    """Noise [B, latent] to images [B, 3, H, W], by four transposed convolutions (DCGAN-like; its layout is not in the paper).

    Args:
        size: height and width, divisible by 16.
        width: channels before the last convolution.
        out: "tanh_norm" maps tanh's range to [0, 1], so that images can be shown. "tanh_bn" normalises each channel of the
            batch instead, as the network's own normalisation leaves real ones; images may then lie outside [0, 1].
        mean, std: of the network's normalisation, for "tanh_bn".
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: tuple[int, int] = (128, 256),
        latent: int = 256,
        width: int = 64,
        out: Range = "tanh_norm",
        mean: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.latent, self.width = latent, width
        self.start = (size[0] // 16, size[1] // 16)
        self.project = nn.Linear(latent, 8 * width * self.start[0] * self.start[1])
        layers: list[nn.Module] = [nn.BatchNorm2d(8 * width)]
        channels = 8 * width
        for narrower in (4 * width, 2 * width, width, width):
            layers.append(nn.ConvTranspose2d(channels, narrower, 4, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(narrower), nn.LeakyReLU(0.2, inplace=True)]
            channels = narrower
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))
        self.spread = nn.BatchNorm2d(3, affine=False) if out == "tanh_bn" else None
        self.register_buffer("mean", torch.zeros(3) if mean is None else mean.detach().clone(), persistent=False)
        self.register_buffer("std", torch.ones(3) if std is None else std.detach().clone(), persistent=False)
        self.apply(_initialise)

    def forward(self, noise: Tensor) -> Tensor:
        """Images."""
        return self.shown(self.raw(noise))

    def raw(self, noise: Tensor) -> Tensor:
        """Images in tanh's range, [-1, 1]."""
        maps = self.project(noise).unflatten(1, (8 * self.width, *self.start))
        images: Tensor = self.body(maps).tanh()
        return images

    def shown(self, raw: Tensor) -> Tensor:
        """Images as a network takes them, from :meth:`raw`'s."""
        if self.spread is None:
            return (raw + 1) / 2
        images: Tensor = self.spread(raw) * self.std[:, None, None] + self.mean[:, None, None]
        return images


class PatchDiscriminator(nn.Module):
    """Score maps of patches [N, K, h, w] and their positions [N] to logits [N]: hard (1) or easy (0).

    Since its input has as many channels as there are classes, the position joins behind the convolutions: its embedding is
    set beside the features, or (``condition`` "projection") multiplied with a projection of them and added to the logit.

    Args:
        positions: how many there are, K².
        norm: of the convolutions but the first.
        width: channels behind the first convolution.
    """

    def __init__(
        self,
        num_classes: int,
        positions: int,
        embedding: int = 256,
        norm: Norm = "batch",
        condition: Condition = "embedding",
        width: int = 64,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(num_classes, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for wider in (2 * width, 4 * width, 8 * width):
            layers.append(nn.Conv2d(wider // 2, wider, 4, stride=2, padding=1, bias=norm == "none"))
            layers += [*_NORMS[norm](wider), nn.LeakyReLU(0.2, inplace=True)]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.embed = nn.Embedding(positions, embedding)
        if condition == "embedding":
            self.head: nn.Module = nn.Sequential(
                nn.Linear(8 * width + embedding, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 1)
            )
            self.projection = None
        else:
            self.head, self.projection = nn.Linear(8 * width, 1), nn.Linear(8 * width, embedding, bias=False)

    def forward(self, maps: Tensor, positions: Tensor) -> Tensor:
        """Logits."""
        features, embedded = self.body(maps), self.embed(positions)
        if self.projection is None:
            logits: Tensor = self.head(torch.cat([features, embedded], 1))[:, 0]
            return logits
        projected: Tensor = self.head(features)[:, 0] + (self.projection(features) * embedded).sum(1)
        return projected


class OutputDiscriminator(nn.Sequential):
    """Probability maps [B, K, H, W] to a map of logits [B, 1, H / 32, W / 32]: target (1) or source (0) (AdaptSegNet)."""

    def __init__(self, num_classes: int) -> None:
        widths = (num_classes, 64, 128, 256, 512)
        layers: list[nn.Module] = []
        for channels, width in pairwise(widths):
            layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, nn.Conv2d(512, 1, 4, stride=2, padding=1))


def _initialise(layer: nn.Module) -> None:
    """Weights N(0, 0.02²), scales of batch normalisation N(1, 0.02²), biases 0."""
    if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
        nn.init.normal_(layer.weight, 1.0, 0.02)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
