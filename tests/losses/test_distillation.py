"""Distillation from several teachers: hand-computed targets and divergences, silent teachers, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfdgbench.errors import UnknownNameError
from dfdgbench.losses.distillation import DIRECTIONS, distillation_loss, teacher_targets

LOGITS = torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]]], dtype=torch.float64)
BOTH = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
FIRST = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
STUDENT = torch.zeros(1, 2, dtype=torch.float64)


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("temperature", "first", "average"),
    [(1.0, (0.952574, 0.047426), (0.726287, 0.273713)), (3.0, (0.731059, 0.268941), (0.615529, 0.384471))],
)
def test_targets_average_probabilities_after_temperature(
    temperature: float, first: tuple[float, float], average: tuple[float, float]
) -> None:
    assert teacher_targets(LOGITS, FIRST, temperature)[0].tolist() == pytest.approx(first, abs=1e-6)
    assert teacher_targets(LOGITS, BOTH, temperature)[0].tolist() == pytest.approx(average, abs=1e-6)


@pytest.mark.parametrize(
    ("temperature", "direction", "loss"),
    [
        (1.0, "forward", 0.106230),
        (1.0, "reverse", 0.114595),
        (3.0, "forward", 0.242431),
        (3.0, "reverse", 0.246897),
    ],
)
def test_divergence_by_hand(temperature: float, direction: str, loss: float) -> None:
    p = teacher_targets(LOGITS, BOTH, temperature)
    assert distillation_loss(STUDENT, p, temperature, direction).item() == pytest.approx(loss, abs=1e-6)


def test_forward_is_the_default_and_the_batch_is_averaged() -> None:
    p = teacher_targets(LOGITS, BOTH, 1.0)
    same = torch.log(p)
    batch = distillation_loss(torch.cat([STUDENT, same]), p.expand(2, 2), 1.0)
    assert batch.shape == ()
    assert batch.item() == pytest.approx(0.106230 / 2, abs=1e-6)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf])
def test_a_teacher_of_weight_zero_contributes_exactly_nothing(garbage: float) -> None:
    logits = LOGITS.clone()
    logits[1] = garbage
    logits.requires_grad_()
    p = teacher_targets(logits, FIRST, 2.0)
    assert torch.equal(p, torch.softmax(logits[0] / 2, -1))
    (gradient,) = torch.autograd.grad(p[:, 0].sum(), logits)
    assert gradient[0].isfinite().all()
    assert torch.equal(gradient[1], torch.zeros(1, 2, dtype=torch.float64))


def test_every_image_has_its_own_teachers() -> None:
    logits = random_tensor(3, 4, 5)
    weights = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [0.25, 0.25, 0.5], [0, 0, 1]])
    p = teacher_targets(logits, weights, 3.0)
    each = torch.softmax(logits / 3, -1)
    for image in range(4):
        expected = torch.stack([weights[image, i].item() * each[i, image] for i in range(3)]).sum(0)
        assert torch.allclose(p[image], expected, rtol=1e-12)
    assert torch.allclose(p.sum(-1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_loss_is_zero_iff_the_student_agrees(direction: str, temperature: float) -> None:
    p = torch.softmax(random_tensor(6, 4), -1)
    agreeing = temperature * p.log() + 7
    assert distillation_loss(agreeing, p, temperature, direction).item() == pytest.approx(0, abs=1e-12)
    leaf = agreeing.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distillation_loss(leaf, p, temperature, direction), leaf)
    assert gradient.abs().max() < 1e-12
    assert distillation_loss(agreeing + 0.1 * random_tensor(6, 4, seed=1), p, temperature, direction) > 1e-5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradcheck(direction: str) -> None:
    p = torch.softmax(random_tensor(3, 4), -1)
    student = random_tensor(3, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: distillation_loss(logits, p, 2.0, direction), student)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_target_that_underflowed_stays_finite(direction: str) -> None:
    p = teacher_targets(torch.tensor([[[300.0, 0.0]]]), torch.ones(1, 1), 1.0)
    assert p[0, 1] == 0
    student = torch.zeros(1, 2, requires_grad=True)
    loss = distillation_loss(student, p, 1.0, direction)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.isfinite()
    assert loss > 0
    assert gradient.isfinite().all()


def test_temperature_keeps_the_scale_of_the_gradient() -> None:
    """For logits of mean zero, τ²·KL tends to half the mean squared difference of the logits as τ grows."""
    teacher, student = torch.tensor([[1.0, -1.0]]).double(), torch.tensor([[0.0, 0.0]]).double()
    p = teacher_targets(teacher[None], torch.ones(1, 1), 1000.0)
    assert distillation_loss(student, p, 1000.0).item() == pytest.approx(0.5 * 1.0, rel=1e-3)


def test_unknown_direction_is_named() -> None:
    with pytest.raises(UnknownNameError, match="forward"):
        distillation_loss(STUDENT, BOTH, 1.0, "foward")
