"""SWAD: what is averaged, by a slow reading of the paper's Algorithm 1."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dfdgbench.algorithms.swad import SWAD, Risk, fill, flat
from dfdgbench.networks.base import NetworkSpec

SPEC = NetworkSpec("smallcnn", 2, image_size=28)


def made(**hparams: Any) -> SWAD:
    given = {"lr": 1e-3, "weight_decay": 0.0, "batch_size": 4, **hparams}
    return SWAD((3, 28, 28), 2, 1, given, network=SPEC, seed=0)


def batches(step: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(step)
    return [(torch.rand(4, 3, 28, 28, generator=random), torch.tensor([0, 1, 0, 1]))]


def averaged_segments(losses: list[float], converge: int, tolerate: int, ratio: float) -> list[int]:
    """The segments that Algorithm 1 averages; none where the valley is never entered."""
    start = threshold = None
    for i in range(len(losses)):
        if start is None:
            window = losses[i - converge + 1 : i + 1]
            if i >= converge - 1 and window[0] == min(window):
                start, threshold = i - converge + 1, ratio * sum(window) / converge
        elif i - tolerate >= start + converge - 1 and min(losses[i - tolerate + 1 : i + 1]) > threshold:
            return list(range(start, i - tolerate + 1))
    return [] if start is None else list(range(start, len(losses)))


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([5, 4, 3, 2], []),  # still falling
        ([5, 4, 2, 3, 3], [2, 3, 4]),
        ([5, 2, 3, 3, 9, 9, 9], [1, 2, 3, 4, 5, 6]),  # it takes four bad ones to leave
        ([5, 2, 3, 3, 9, 9, 9, 9], [1, 2, 3]),
        ([5, 2, 3, 3, 3, 9, 9, 9, 9, 1, 1], [1, 2, 3, 4]),  # what has ended does not begin again
        ([5, 2, 3, 3, 9, 9, 9, 3, 9, 9, 9], list(range(1, 11))),
        ([1, 2, 2, 2, 2, 2, 2, 2, 2], [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("steps", [1, 2])
def test_which_steps_are_averaged(losses: list[float], expected: list[int], steps: int) -> None:
    assert averaged_segments(losses, 3, 4, 1.1 if losses[0] == 1 else 1.3) == expected
    algorithm = made(swad_converge=3, swad_tolerate=4, swad_ratio=1.1 if losses[0] == 1 else 1.3)
    segments = []
    for number, loss in enumerate(losses):
        seen = []
        for step in range(steps):
            algorithm.update(batches(number * steps + step))
            seen.append(flat(algorithm.network))
        segments.append(torch.stack(seen).mean(0))
        algorithm.validated(float(loss))
    found = flat(algorithm.predictors()["default"])
    wanted = torch.stack([segments[i] for i in expected]).mean(0) if expected else flat(algorithm.network)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_a_vector_and_back() -> None:
    one, other = made().network, made(lr=1e-2).network
    vector = torch.randn_like(flat(one))
    fill(other, vector)
    assert torch.equal(flat(other), vector)


def test_it_watches_the_mean_cross_entropy() -> None:
    total = Risk().accumulator()
    for scores, labels in ((torch.randn(3, 4), torch.tensor([0, 3, 1])), (torch.randn(2, 4), torch.tensor([2, 2]))):
        total.update(scores, labels)
        if len(labels) == 3:
            first = -scores.log_softmax(1)[range(3), labels].sum()
        else:
            expected = (first - scores.log_softmax(1)[range(2), labels].sum()) / 5
    assert total.compute()["loss"] == pytest.approx(float(expected), rel=1e-6)
