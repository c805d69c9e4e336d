"""Image prior: hand-computed values, scaling with the batch, gradients and independence of groups."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfdgbench.losses.prior import image_norm, total_variation

SQUARE = torch.tensor([[0.0, 1.0], [2.0, 4.0]], dtype=torch.float64).view(1, 1, 1, 2, 2)


def random_images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_one_image_by_hand() -> None:
    l2, l1 = total_variation(SQUARE)
    assert l2.tolist() == pytest.approx([10.841619], abs=1e-6)
    assert l1.tolist() == pytest.approx([9])
    assert image_norm(SQUARE).tolist() == pytest.approx([4.582576], abs=1e-6)


def test_the_same_image_twice_scales_only_the_l2_form() -> None:
    l2, l1 = total_variation(SQUARE.expand(1, 2, 1, 2, 2))
    assert l2.tolist() == pytest.approx([15.332365], abs=1e-6)
    assert l1.tolist() == pytest.approx([9])
    assert image_norm(SQUARE.expand(1, 2, 1, 2, 2)).tolist() == pytest.approx([4.582576], abs=1e-6)


def test_every_direction_counts_once() -> None:
    """On x = 2·row + column the steps are 1 (along), 2 (down), 1 and 3 (diagonals)."""
    ramp = (2 * torch.arange(3.0)[:, None] + torch.arange(4.0)).view(1, 1, 1, 3, 4)
    l2, l1 = total_variation(ramp)
    assert l1.tolist() == pytest.approx([1 + 2 + 1 + 3])
    assert l2.tolist() == pytest.approx([3 + 2 * math.sqrt(8) + math.sqrt(6) + 3 * math.sqrt(6)])


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_constant_images_have_neither_variation_nor_gradient(value: float) -> None:
    images = torch.full((2, 3, 3, 4, 4), value, requires_grad=True)
    l2, l1 = total_variation(images)
    assert l2.tolist() == [0, 0]
    assert l1.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad((l2 + l1).sum(), images)
    assert torch.equal(gradient, torch.zeros_like(images))


def test_norm_of_a_black_image_has_a_finite_gradient() -> None:
    images = torch.zeros(1, 2, 1, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(image_norm(images).sum(), images)
    assert torch.equal(gradient, torch.zeros_like(images))


def test_gradcheck() -> None:
    images = random_images(2, 2, 2, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(total_variation, images)
    assert torch.autograd.gradcheck(image_norm, images)


def test_two_groups_are_two_runs() -> None:
    images = random_images(2, 3, 3, 5, 5)

    def run(part: Tensor) -> tuple[Tensor, Tensor]:
        leaf = part.clone().requires_grad_()
        values = torch.stack([*total_variation(leaf), image_norm(leaf)])
        return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    joint_values, joint_gradient = run(images)
    alone = [run(images[g : g + 1]) for g in range(2)]
    assert torch.allclose(joint_values, torch.cat([values for values, _ in alone], 1), rtol=1e-14)
    assert torch.allclose(joint_gradient, torch.cat([gradient for _, gradient in alone]), rtol=1e-13)
