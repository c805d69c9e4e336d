"""What inversion optimises: the pixels themselves, or a pyramid of resolutions with little colour."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.networks.base import Network

# Sizes (as parts of the image) and learning rates (as parts of the base rate) of the pyramid's levels, coarse to fine.
LEVELS = ((4, 1.0), (2, 0.3), (1, 0.1))


class Canvas(nn.Module):
    """Parameters that are images [N, 3, H, W] in [0, 1] once rendered."""

    @abstractmethod
    def forward(self) -> Tensor:
        """The images."""

    @abstractmethod
    def parameter_groups(self) -> list[dict[str, Any]]:
        """For the optimiser."""

    def clamp(self) -> None:
        """Called after each step of the optimiser."""


class Pixels(Canvas):
    """Free pixels, clamped to [0, 1] after each step; Adam's moments are not (as in the references)."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.images = nn.Parameter(images)

    def forward(self) -> Tensor:
        return self.images

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.images]}]

    @torch.no_grad()
    def clamp(self) -> None:
        self.images.clamp_(0, 1)


class Pyramid(Canvas):
    """A sum of enlarged levels with the colour damped: an image prior of this project's, not the paper's.

    Coarse levels learn faster, so that shapes come before texture; a teacher's adversarial high frequencies and
    colours have little room.
    """

    def __init__(self, base: Tensor, levels: list[Tensor], size: int, chroma: float, lr: float) -> None:
        super().__init__()
        self.base: Tensor
        self.register_buffer("base", base)
        self.levels = nn.ParameterList(levels)
        self.size, self.chroma, self.lr = size, chroma, lr

    def forward(self) -> Tensor:
        enlarged = [
            functional.interpolate(level, size=(self.size, self.size), mode="bilinear", align_corners=False)
            for level in self.levels
        ]
        total = torch.stack(enlarged).sum(0)
        grey = total.mean(1, keepdim=True)
        images = self.base + grey + self.chroma * (total - grey)
        # Clamped for the teacher, but with the gradient of the unclamped sum: a saturated pixel could not come back.
        return images + (images.clamp(0, 1) - images).detach()

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": [level], "lr": self.lr * share} for level, (_, share) in zip(self.levels, LEVELS, strict=True)
        ]


def make_canvas(
    kind: str, teacher: Network, group: int, size: int, chroma: float, lr: float, generators: Sequence[torch.Generator]
) -> Canvas:
    """A canvas of ``group`` images of ``size`` pixels from each generator, started from noise of the teacher's mean and
    deviation."""
    mean, std = teacher.mean.cpu()[:, None, None], teacher.std.cpu()[:, None, None]

    def noise(side: int) -> Tensor:
        return torch.cat([torch.randn(group, 3, side, side, generator=generator) for generator in generators])

    if kind == "pixels":
        return Pixels((noise(size) * std + mean).clamp(0, 1))
    levels = [std * share * noise(max(1, size // part)) for part, share in LEVELS]
    return Pyramid(mean.clone(), levels, size, chroma, lr)
