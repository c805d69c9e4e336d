"""What is measured of an adaptation: accuracies, and how far the images are from what they were (section 6)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import evaluation_batches
from dfdgbench.engine.problem import Problem
from dfdgbench.engine.work import Work
from dfdgbench.losses.image_quality import l2_error, psnr, ssim
from dfdgbench.networks.base import Network
from dfdgbench.networks.frozen import frozen
from dfdgbench.networks.homogenization import normalised, scores
from dfdgbench.settings import Read
from dfdgbench.stages.classifier import Trained

BATCH, SHOWN = 128, 10
Measured = dict[str, float]


def load_images(
    split: Split, count: int | None, network: Network, problem: Problem, work: Work
) -> tuple[Tensor, Tensor]:
    """The first ``count`` images of a split, normalised as ``network`` wants them, [N, C, H, W], and labels [N]."""
    reader = problem.reader(_position(split, problem), work.device)
    first = Split(split.domain, split.keys[:count])
    batches = list(evaluation_batches(first, reader, BATCH))
    images = torch.cat([work.runtime.images(images) for images, _ in batches])
    return normalised(network, images), torch.cat([labels for _, labels in batches]).to(work.device)


def _position(split: Split, problem: Problem) -> int:
    return problem.metadata.domains.index(split.domain.name)


class TargetSet:
    """The target set B and the unseen images C of its domain, and what a map of images does to them.

    It is the evaluation's: it sees labels, whatever the adaptation does.

    Args:
        read: which split B is the first ``count`` images of.
    """

    def __init__(
        self, problem: Problem, read: Read, count: int, trained: Trained, verifier: Trained, work: Work
    ) -> None:
        self.trained, self.verifier = trained, verifier
        self.judges = frozen(trained.network), frozen(verifier.network)
        self.shape = (problem.network.channels, *problem.network.shape)
        self.device = work.device

        def load(split: str, most: int | None) -> tuple[Tensor, Tensor]:
            return load_images(problem.split(read.domain, split), most, trained.network, problem, work)

        self.images, self.labels = load(read.split, count)
        self.unseen, self.unseen_labels = load(problem.protocol.test, None)

    @torch.no_grad()
    def measure(self, transform: nn.Module) -> Measured:
        """Accuracy on B, validation and verification accuracy on C (0 to 1), l2-error, PSNR (dB) and SSIM (0 to 1) on B.

        ``transform`` maps normalised images; it is run in eval mode and left in the mode it was in.
        """
        mode = transform.training
        transform.eval()
        try:
            judge, second = self.judges
            moved, unseen = _mapped(transform, self.images), _mapped(transform, self.unseen)
            return {
                "accuracy": _accuracy(judge, moved, self.labels),
                "validation_accuracy": _accuracy(judge, unseen, self.unseen_labels),
                "verification_accuracy": _accuracy(second, self._as_verified(unseen), self.unseen_labels),
                "l2_error": l2_error(lambda images: transform(images.to(self.device)), self.shape),
                "psnr": _over_batches(psnr, self.images, moved),
                "ssim": _over_batches(ssim, self.images, moved) / 100,
            }
        finally:
            transform.train(mode)

    def source(self) -> Measured:
        """The same of the source images themselves, as far as it was released with the classifiers."""
        return {
            "accuracy": self.trained.accuracy,
            "verification_accuracy": self.verifier.accuracy,
            "l2_error": 0.0,
            "psnr": math.inf,
            "ssim": 1.0,
        }

    def _as_verified(self, images: Tensor) -> Tensor:
        """Images normalised for the verifier."""
        first = self.trained.network
        return normalised(self.verifier.network, images * first.std[:, None, None] + first.mean[:, None, None])


def _mapped(transform: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([transform(batch) for batch in images.split(BATCH)])


def _accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    right = [scores(network, batch).argmax(1) for batch in images.split(BATCH)]
    return float((torch.cat(right) == labels).double().mean())


def _over_batches(measure: Callable[[Tensor, Tensor], Tensor], clean: Tensor, other: Tensor) -> float:
    """The unweighted mean over batches."""
    pairs = zip(clean.cpu().split(BATCH), other.cpu().split(BATCH), strict=True)
    return float(torch.stack([measure(one, two) for one, two in pairs]).mean())


def mean_and_spread(found: Sequence[Measured]) -> Measured:
    """Means over initialisations, and under ``NAME_sd`` their standard deviation (n - 1) where there are several."""
    means = {name: statistics.fmean(one[name] for one in found) for name in found[0]}
    if len(found) > 1:
        means |= {f"{name}_sd": statistics.stdev(one[name] for one in found) for name in found[0]}
    return means


@torch.no_grad()
def strips(target: TargetSet, perturbed: nn.Module, reconstruction: nn.Module) -> Mapping[str, NDArray[Any]]:
    """The first images of B, [N, C, H, W], in the classifier's normalisation."""
    mode = reconstruction.training
    clean = target.images[:SHOWN]
    distorted = perturbed(clean)
    homogenised = reconstruction.eval()(distorted)
    reconstruction.train(mode)
    shown = {"clean": clean, "distorted": distorted, "homogenised": homogenised}
    return {name: images.cpu().numpy().astype(np.float32) for name, images in shown.items()}
