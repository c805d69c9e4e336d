"""MetaReg: the episode's gradient by finite differences, and both phases."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dfdgbench.algorithms.metareg import MetaReg, regulariser, risk
from dfdgbench.errors import ConfigError, HparamError
from dfdgbench.networks.base import NetworkSpec

SPEC = NetworkSpec("smallcnn", 2, image_size=28)


def made(domains: int = 2, **hparams: Any) -> MetaReg:
    given = {"lr": 1e-3, "weight_decay": 0.0, "batch_size": 4, **hparams}
    return MetaReg((3, 28, 28), 2, domains, given, network=SPEC, seed=0)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [(torch.rand(4, 3, 28, 28, generator=random), torch.tensor([0, 1, 0, 1])) for _ in range(2)]


def test_the_regulariser_is_a_weighted_l1_norm() -> None:
    weights, classifier = torch.tensor([[1.0, 2.0], [0.5, -1.0]]), torch.tensor([[3.0, -1.0], [2.0, 4.0]])
    assert float(regulariser(weights, classifier)) == pytest.approx(3 + 2 + 1 - 4)


def test_the_weights_follow_the_gradient_through_the_inner_steps() -> None:
    algorithm = made(inner_steps=3, inner_lr=0.2, meta_lr=1.0).double()
    random = torch.Generator().manual_seed(1)
    features = [torch.randn(5, 64, dtype=torch.float64, generator=random) for _ in range(2)]
    labels = [torch.tensor([0, 1, 1, 0, 1]), torch.tensor([1, 1, 0, 0, 0])]
    start = algorithm.weights.clone()

    def after(weights: torch.Tensor) -> float:
        """The second domain's loss after three steps on the first one's, by a plain loop."""
        weight, bias = algorithm.head_weights[0].detach().clone(), algorithm.head_biases[0].detach().clone()
        for _ in range(3):
            error = (features[0] @ weight.t() + bias).softmax(1) - torch.nn.functional.one_hot(labels[0], 2)
            weight = weight - 0.2 * (error.t() @ features[0] / 5 + weights * weight.sign())
            bias = bias - 0.2 * error.mean(0)
        return float(risk(features[1], labels[1], (weight, bias)))

    loss = algorithm._episode(features, labels, 0, 1)
    assert float(loss) == pytest.approx(after(start), rel=1e-9)
    moved = start - algorithm.weights  # the gradient, as meta_lr is 1
    for place in ((0, 0), (1, 7), (0, 63)):
        nudge = torch.zeros_like(start)
        nudge[place] = 1e-6
        expected = (after(start + nudge) - after(start - nudge)) / 2e-6
        assert float(moved[place]) == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_training_starts_again_with_the_regulariser_fixed() -> None:
    algorithm, fresh = made(meta_steps=2), made(meta_steps=2)
    assert [sorted(algorithm.update(batches())) for _ in range(2)] == [["loss", "meta_loss"]] * 2
    learnt = algorithm.weights.clone()
    assert learnt.abs().sum() > 0
    fresh.count, fresh.weights = 2, learnt.clone()
    for each in (algorithm, fresh):
        assert sorted(each.update(batches())) == ["loss", "penalty"]
    for name, value in fresh.network.state_dict().items():
        assert torch.equal(algorithm.network.state_dict()[name], value), name
    assert torch.equal(algorithm.weights, learnt)


def test_what_it_cannot_do_is_told() -> None:
    with pytest.raises(ConfigError, match="needs two source domains or more and has one"):
        made(1)
    with pytest.raises(HparamError, match="leave nonlinear_classifier out"):
        MetaReg((3, 28, 28), 2, 2, {"nonlinear_classifier": True})
