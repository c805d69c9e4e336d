"""Sets made of real images without any optimisation: RDED's stitched crops, and a random choice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, pad

from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.datasets.feed.pixels import exact, plain
from dfdgbench.engine.flops import forward_flops
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import DataError
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.networks.base import Network
from dfdgbench.stages.distilled import DistilledShard
from dfdgbench.stages.pool import Pool, describe, save_pool
from dfdgbench.stages.squeeze import Squeezed

Keys = NDArray[np.int64]
_FORWARD = 128


class Choosing(Hparams):
    """Hyper-parameters of RDED's images (spec, section 4.3; the reference's scripts)."""

    factor: int = hparam(2, gt=0, doc="crops along a side of an image")
    crops: int = hparam(5, gt=0, doc="random crops of each real image (m); more where a class has too few images")
    fallback: Literal["more-crops", "repeat", "refuse"] = hparam(
        "more-crops",
        doc="where a class has fewer images than crops are wanted: more crops of each, second-best ones after the best; the best "
        "crop of each image again and again; or an error",
    )
    candidates: int = hparam(300, gt=0, doc="real images of a class that are looked at, at most (mipc)")
    crop: float = hparam(0.08, gt=0, le=1, doc="smallest area of a crop")


class ChooseReal(DistilledShard):
    """Base: a step chooses the images of one class among the real ones of the set's domains."""

    def __init__(self, made_from: Squeezed, hparams: Hparams, ipc: int, inputs: Sequence[Stage]) -> None:
        super().__init__(made_from.problem, hparams, made_from.domains, inputs)
        self.ipc = ipc

    def facts(self) -> Mapping[str, Any]:
        return {"ipc": self.ipc, "image_size": self.problem.image_size}

    @property
    def steps(self) -> int:
        return self.classes

    def start(self, work: Work) -> State:
        self.require_classes(work)
        size = self.problem.image_size
        images = torch.zeros(self.classes, self.ipc, 3, size, size, dtype=torch.uint8)
        return State(images=images, _models=[work.input(model) for model in self.inputs])

    def step(self, state: State, work: Work, number: int) -> Metrics:
        state.images[number] = self.choose(state, work, number)
        return {}

    @abstractmethod
    def choose(self, state: State, work: Work, label: int) -> Tensor:
        """The images of a class, uint8 [ipc, 3, S, S]."""

    def finish(self, state: State, work: Work, folder: Path) -> Mapping[str, Any]:
        pool = Pool(state.images.flatten(0, 1), torch.arange(self.classes).repeat_interleave(self.ipc))
        save_pool(folder, pool)
        return describe(pool)

    def of_class(self, work: Work, label: int, most: int | None = None) -> list[tuple[int, int]]:
        """The (read, key) of every real image of a class, shuffled; ``most`` of them."""
        found: list[tuple[int, int]] = []
        for position, read in enumerate(self.reads):
            split = work.split(read)
            found += [(position, int(key)) for key in split.keys[split.labels == label]]
        order = torch.randperm(len(found), generator=work.generator("shuffled", label)).tolist()
        return [found[i] for i in order[:most]]


class StitchCrops(ChooseReal):
    """Crops of real images that the model recognises best, four to an image (RDED).

    Of each real image the crop of the lowest cross-entropy comes first; images go by that cross-entropy. Where a class has fewer
    than ``factor² · ipc`` images, ``fallback`` says what else is taken.
    """

    kind = "rded"
    hparams: Choosing

    def cost(self) -> float:
        images = self.hparams.candidates * self.hparams.crops * self.classes
        return images * forward_flops(self.problem.network)

    def choose(self, state: State, work: Work, label: int) -> Tensor:
        (model,) = state._models
        wanted = self.hparams.factor**2 * self.ipc
        found = self.of_class(work, label, self.hparams.candidates)
        more = self.hparams.fallback == "more-crops"
        count = crops_of_each(wanted, len(found), self.hparams.crops) if more else self.hparams.crops
        if len(found) < wanted:
            self._tell(work, label, len(found), wanted, count)
        crops = self._crops(work, found, count, label)
        scores = crop_scores(model, crops.flatten(0, 1), label, self.problem.image_size, work).view(len(found), count)
        images, kinds = ranked(scores, wanted) if more else repeated(scores, wanted)
        return stitch(crops[images, kinds], self.ipc, self.hparams.factor, self.problem.image_size)

    def _tell(self, work: Work, label: int, images: int, wanted: int, count: int) -> None:
        """Say what is done about a class with too few images; ``DataError`` where that is nothing."""
        name, fallback = self.problem.metadata.classes[label], self.hparams.fallback
        short = f"'{name}' has {images} images for the {wanted} crops that ipc={self.ipc} needs"
        if fallback == "refuse":
            most = images // self.hparams.factor**2
            fewer = f"--hparam ipc={most} or less, or " if most else ""
            raise DataError(
                f"'{self.title}': {short}, of at most {self.hparams.candidates} that are looked at (candidates). Type {fewer}"
                "another fallback than 'refuse', more-crops or repeat: --hparam recover.fallback=more-crops (DTL-DSM: "
                "rded.fallback)."
            )
        done = f"{count} crops of each are drawn, and second-best crops are taken after the best of every image"
        work.log(f"{short}: {done if fallback == 'more-crops' else 'the best crop of each is taken more than once'}.")

    def _crops(self, work: Work, found: Sequence[tuple[int, int]], count: int, label: int) -> Tensor:
        """Square crops at the files' own resolution, uint8 [n, count, 3, s, s]."""
        side = self.problem.image_size // self.hparams.factor
        augment = BatchAugment((self.hparams.crop, 1.0), (1.0, 1.0), jitter=0.0, grayscale=0.0)
        drawn = augment.draw(len(found) * count, work.generator("crops", label))
        splits = [work.split(read) for read in self.reads]
        crops = np.empty((len(found), count, side, side, 3), dtype=np.uint8)
        for row, (position, key) in enumerate(found):
            image = splits[position].domain.image(key)
            for number in range(count):
                crops[row, number] = exact(image, drawn, row * count + number, side)
        return torch.from_numpy(crops).permute(0, 1, 4, 2, 3).contiguous()


class ChooseRandom(ChooseReal):
    """Random whole images of each class: the floor that every distilled set has to beat."""

    kind = "random-real"

    def choose(self, state: State, work: Work, label: int) -> Tensor:
        found, size = self.of_class(work, label), self.problem.image_size
        if len(found) < self.ipc:
            raise DataError(
                f"'{self.title}': the class '{self.problem.metadata.classes[label]}' has {len(found)} images in "
                f"{' and '.join(self.domains)}, ipc={self.ipc} asks for more. Type --hparam ipc={len(found)} or less."
            )
        splits = [work.split(read) for read in self.reads]
        chosen = [plain(splits[position].domain.image(key), size, size) for position, key in found[: self.ipc]]
        return torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2)


def crops_of_each(wanted: int, images: int, least: int) -> int:
    """How many crops are drawn of each image: ``least``, or as many as make ``wanted`` of ``images`` images."""
    return max(least, -(-wanted // images))


@torch.no_grad()
def crop_scores(model: Network, crops: Tensor, label: int, size: int, work: Work) -> Tensor:
    """Cross-entropy [N] of crops uint8 [N, 3, s, s] against their class, each in the middle of an image of the mean colour."""
    scores = []
    for start in range(0, len(crops), _FORWARD):
        images = crops[start : start + _FORWARD].to(work.device).float() / 255
        centred = padded(images, size, model.mean)
        labels = torch.full((len(images),), label, device=work.device)
        scores.append(cross_entropy(model(work.runtime.images(centred)), labels, reduction="none"))
    return torch.cat(scores).cpu()


def padded(images: Tensor, size: int, colour: Tensor) -> Tensor:
    """Images [B, 3, s, s] in the middle of ``size`` x ``size`` pixels of ``colour`` [3]; an odd pixel goes behind."""
    before = (size - images.shape[-1]) // 2
    after = size - images.shape[-1] - before
    shade = colour[:, None, None]
    return pad(images - shade, (before, after, before, after)) + shade


def ranked(scores: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """The ``wanted`` best crops, best first: image and crop indices, each [wanted].

    Args:
        scores: cross-entropies [images, crops]. Crops go by their rank within their own image first, then by score.
    """
    order = scores.argsort(dim=1, stable=True)
    by_rank = scores.gather(1, order)
    images, kinds = [], []
    for rank in range(scores.shape[1]):
        chosen = by_rank[:, rank].argsort(dim=0, stable=True)
        images.append(chosen)
        kinds.append(order[chosen, rank])
    return torch.cat(images)[:wanted], torch.cat(kinds)[:wanted]


def repeated(scores: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """As :func:`ranked` of every image's best crop alone, which are taken again, in their order, where they are too few."""
    images, kinds = ranked(scores, len(scores))
    places = torch.arange(wanted) % len(scores)
    return images[places], kinds[places]


def stitch(crops: Tensor, count: int, factor: int, size: int) -> Tensor:
    """Crops [factor² * count, 3, s, s], in the order of their rank, as ``count`` images [count, 3, size, size].

    Cell k of image j, cells row by row, is crop k * count + j, so that the first cells hold the best. Where a cell has another
    size than the crops, they are resized to it (nearest).
    """
    bounds = [-(-size * i // factor) for i in range(factor + 1)]
    images = crops.new_zeros(count, crops.shape[1], size, size)
    for cell in range(factor**2):
        row, column = divmod(cell, factor)
        rows, columns = slice(bounds[row], bounds[row + 1]), slice(bounds[column], bounds[column + 1])
        part = crops[cell * count : (cell + 1) * count]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        if tuple(part.shape[-2:]) != shape:
            part = interpolate(part.float(), size=shape, mode="nearest").to(crops.dtype)
        images[:, :, rows, columns] = part
    return images
