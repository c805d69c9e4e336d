"""Ensembles, candidates and soups."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.stages.combine import RULES, Ensemble, _average, _recompute_statistics


class Says(nn.Module):
    def __init__(self, *probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def forward(self, images):
        return self.logits.expand(len(images), -1)


@pytest.mark.parametrize(
    ("teachers", "average", "confident"),
    [
        ([(0.49, 0.51, 1e-30), (0.56, 0.22, 0.22)], 0, 1),
        ([(0.51, 0.49), (0.51, 0.49), (0.01, 0.99)], 1, 1),
        ([(0.0001, 0.9999), (0.8, 0.2), (0.8, 0.2)], 0, 1),
        ([(0.6, 0.4, 1e-30), (0.3, 0.3, 0.4), (0.1, 0.8, 0.1)], 1, 1),
    ],
)
def test_ensembles_decide_as_computed_by_hand(teachers, average, confident):
    members = [Says(*probabilities) for probabilities in teachers]
    images = torch.zeros(2, 3, 4, 4)
    assert Ensemble(members, RULES["average"])(images).argmax(1).tolist() == [average] * 2
    assert Ensemble(members, RULES["lowest entropy"])(images).argmax(1).tolist() == [confident] * 2


def test_best_teacher_is_the_best_on_the_targets_validation_split(make_plan):
    """Oracle: validation 0.5, 0.7, 0.6 and test 0.9, 0.4, 0.8: the one that scores 0.4 is reported."""
    stage = make_plan("BestTeacher").last
    scores = {
        name: {"env0_out_acc": validation, "env0_in_acc": test}
        for name, validation, test in (("1", 0.5, 0.9), ("2", 0.7, 0.4), ("3", 0.6, 0.8))
    }
    assert stage.default(scores) == "2"
    assert scores[stage.default(scores)]["env0_in_acc"] == 0.4


def test_best_teacher_without_the_targets_data_is_the_first(make_plan):
    nan = float("nan")
    assert make_plan("BestTeacher").last.default({"1": {"env0_out_acc": nan}, "2": {"env0_out_acc": nan}}) == "1"


def test_an_ensemble_leaves_one_record_with_every_teacher_scored(make_plan, tmp_path):
    from dfdgbench.engine import records

    found = records.read(make_plan("BestTeacher").execute(tmp_path / "run").results)
    assert len(found) == 1
    named = {name: found[0][f"env0_in_acc@{name}"] for name in ("1", "2")}
    best = max(named, key=lambda name: found[0][f"env0_out_acc@{name}"])
    assert found[0]["env0_in_acc"] == named[best]


def test_a_soup_of_one_weight_is_that_weight():
    one = torch.tensor([1.0, 2.0])
    assert torch.equal(_average([one, one, one]), one)
    assert _average([torch.tensor([0.0]), torch.tensor([1.0])]).item() == 0.5
    assert _average([torch.tensor(3), torch.tensor(5)]).dtype == torch.int64


def test_a_soups_statistics_are_those_of_its_images_layer_after_layer():
    network = build(NetworkSpec("smallcnn", 10, image_size=32), 0).eval()
    images = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    _recompute_statistics(network, lambda: iter(images.split(5)))
    reference = build(NetworkSpec("smallcnn", 10, image_size=32), 0).train()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    reference(images)
    for ours, theirs in zip(network.modules(), reference.modules(), strict=True):
        if isinstance(ours, nn.BatchNorm2d):
            assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-4)
            assert torch.allclose(
                ours.running_var, theirs.running_var, rtol=2e-2
            )  # PyTorch keeps the unbiased variance
