"""CORAL and MMD: values by hand, slow formulas, gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dfdgbench.losses.alignment import coral, mean_over_pairs, mmd

DOUBLE = torch.float64


def features(count: int, seed: int, size: int = 4) -> torch.Tensor:
    return torch.randn(count, size, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def test_coral_by_hand() -> None:
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=DOUBLE)  # mean (1, 0), covariance ((2, 0), (0, 0))
    y = torch.tensor([[0.0, 1.0], [0.0, 3.0]], dtype=DOUBLE)  # mean (0, 2), covariance ((0, 0), (0, 2))
    assert float(coral(x, y)) == pytest.approx((1 + 4) / 2 + (4 + 4) / 4)


def test_coral_is_the_difference_of_numpys_moments() -> None:
    x, y = features(7, 0), features(5, 1)
    means = np.square(x.numpy().mean(0) - y.numpy().mean(0)).mean()
    covariances = np.square(np.cov(x.numpy(), rowvar=False) - np.cov(y.numpy(), rowvar=False)).mean()
    assert float(coral(x, y)) == pytest.approx(means + covariances)
    assert float(coral(x, x)) == 0


def test_mmd_by_hand() -> None:
    x, y = torch.tensor([[0.0]], dtype=DOUBLE), torch.tensor([[2.0]], dtype=DOUBLE)
    assert float(mmd(x, y, [0.5])) == pytest.approx(2 - 2 * math.exp(-0.5 * 4))
    assert float(mmd(x, y, [0.5, 1.0])) == pytest.approx(4 - 2 * math.exp(-2) - 2 * math.exp(-4))


def test_mmd_is_a_double_loop_over_examples() -> None:
    x, y = features(4, 2), features(3, 3)

    def mean(first: torch.Tensor, second: torch.Tensor) -> float:
        kernels = [sum(math.exp(-g * float((a - b).square().sum())) for g in (0.1, 1.0)) for a in first for b in second]
        return sum(kernels) / len(kernels)

    assert float(mmd(x, y, [0.1, 1.0])) == pytest.approx(mean(x, x) + mean(y, y) - 2 * mean(x, y))


@pytest.mark.parametrize("distance", [coral, mmd])
def test_gradients_are_those_of_finite_differences(distance) -> None:  # type: ignore[no-untyped-def]
    x, y = features(4, 4).requires_grad_(), features(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(distance, (x, y))


def test_the_mean_over_pairs_counts_each_once() -> None:
    sets = [torch.full((2, 1), float(value)) for value in (0, 1, 3)]
    distances = [1, 9, 4]
    found = mean_over_pairs(lambda x, y: (x.mean() - y.mean()).square(), sets)
    assert float(found) == pytest.approx(sum(distances) / 3)
    assert float(mean_over_pairs(coral, sets[:1])) == 0
