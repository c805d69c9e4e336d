"""IRM's, VREx's and Fishr's penalties: values by hand, and by other ways of computing them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dfdgbench.losses.risks import gradient_variance, irm_penalty, risk_variance, spread

DOUBLE = torch.float64


def logits(count: int, classes: int, seed: int) -> torch.Tensor:
    return torch.randn(count, classes, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def test_irms_penalty_is_the_product_of_both_halves_slopes() -> None:
    z, y = logits(6, 3, 0), torch.tensor([0, 1, 2, 2, 1, 0])

    def slope(rows: slice, step: float = 1e-5) -> float:
        risks = [float(functional.cross_entropy(z[rows] * (1 + sign * step), y[rows])) for sign in (1, -1)]
        return (risks[0] - risks[1]) / (2 * step)

    assert float(irm_penalty(z, y)) == pytest.approx(slope(slice(0, None, 2)) * slope(slice(1, None, 2)), rel=1e-6)


def test_irms_penalty_by_hand_and_its_gradient() -> None:
    z = torch.zeros(2, 2, dtype=DOUBLE, requires_grad=True)  # at zero logits no scale changes the risk
    assert float(irm_penalty(z, torch.tensor([0, 1]))) == 0
    # two examples (1, 0), one of each class: d risk / d scale = sigmoid(1) - 1 and sigmoid(1)
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=DOUBLE)
    s = float(torch.sigmoid(torch.tensor(1.0, dtype=DOUBLE)))
    assert float(irm_penalty(z, torch.tensor([0, 1]))) == pytest.approx((s - 1) * s)
    assert torch.autograd.gradcheck(
        lambda z: irm_penalty(z, torch.tensor([0, 1, 1, 0])), logits(4, 3, 1).requires_grad_()
    )


def test_the_variance_of_risks_is_the_populations() -> None:
    risks = torch.tensor([1.0, 2.0, 6.0], dtype=DOUBLE, requires_grad=True)
    found = risk_variance(risks)
    assert float(found) == pytest.approx(14 / 3)
    found.backward()
    assert risks.grad is not None
    assert risks.grad.tolist() == pytest.approx([2 / 3 * (risk - 3) for risk in (1, 2, 6)])


def test_fishrs_variance_is_that_of_gradients_taken_one_by_one() -> None:
    layer = torch.nn.Linear(4, 3).double()
    x, y = logits(5, 4, 2), torch.tensor([0, 2, 1, 1, 0])
    each = []
    for i in range(5):
        weight, bias = torch.autograd.grad(
            functional.cross_entropy(layer(x[i : i + 1]), y[i : i + 1]), list(layer.parameters())
        )
        each.append(torch.cat([weight.flatten(), bias]))
    expected = torch.stack(each).var(0, correction=0)
    torch.testing.assert_close(gradient_variance(x, layer(x), y), expected)


def test_fishrs_variance_has_the_gradient_of_finite_differences() -> None:
    x, y = logits(4, 2, 3).requires_grad_(), torch.tensor([0, 1, 1, 0])
    weight = logits(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, weight: gradient_variance(x, x @ weight.t(), y), (x, weight))


def test_spread_by_hand() -> None:
    found = spread([torch.tensor([0.0, 1.0]), torch.tensor([2.0, 1.0])])  # from the mean (1, 1): 1, 0 and 1, 0
    assert float(found) == pytest.approx(0.5)
