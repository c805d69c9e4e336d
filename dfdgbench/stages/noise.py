"""Images that carry nothing of any domain: the control of every data-free distillation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from dfdgbench.engine.problem import Problem
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.work import Work
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.stages.pool import Pool, Shard, describe, labels_of, quantise, save_pool


class NoiseImages(Hparams):
    """Hyper-parameters of the noise."""

    images: int = hparam(256, gt=0, doc="images for each set that DEKAN would have")
    kind: Literal["gaussian", "textures"] = hparam("gaussian", doc="independent pixels, or noise of random coarseness")


class Noise(Shard):
    """``images`` images of noise, in [0, 1], of mean 1/2."""

    kind = "noise"
    hparams: NoiseImages

    def __init__(self, problem: Problem, hparams: NoiseImages, index: int) -> None:
        super().__init__(problem, hparams, index=index)

    def facts(self) -> Mapping[str, Any]:
        return {"image_size": self.problem.image_size}

    def start(self, work: Work) -> State:
        return State()

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        count, generator = self.hparams.images, work.generator("noise")
        draw = _textures if self.hparams.kind == "textures" else _gaussian
        pool = Pool(
            quantise(draw(count, self.problem.image_size, generator)),
            labels_of(0, count, self.problem.network.num_classes),
        )
        save_pool(folder, pool)
        return describe(pool)


def _gaussian(count: int, size: int, generator: torch.Generator) -> Tensor:
    return 0.5 + 0.25 * torch.randn(count, 3, size, size, generator=generator)


def _textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """A random mixture, for each image, of noise at resolutions from 2 pixels to the full size."""
    levels = [side for side in (2, 4, 8, 16, 32, 64, 128) if side < size] + [size]
    shares = torch.rand(len(levels), count, 1, 1, 1, generator=generator).softmax(0) * 2
    total = torch.zeros(count, 3, size, size)
    for share, side in zip(shares, levels, strict=True):
        noise = torch.randn(count, 3, side, side, generator=generator)
        total += share * functional.interpolate(noise, size=(size, size), mode="bilinear", align_corners=False)
    return 0.5 + 0.25 * total
