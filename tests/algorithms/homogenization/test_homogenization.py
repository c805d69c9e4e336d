"""Post-hoc data homogenisation: what it changes and what it leaves, its methods against each other, shifts and presets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from homogenization_rooms import HPARAMS, same

from dfdgbench.engine import diagnostics, records
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.settings import Read

# What is trained, and what is not ------------------------------------------------------------------------------------


def test_only_the_reconstruction_changes(run, shared, planned):
    record = run("Room", {"maps": "nn-all"})
    classifier = planned("Room").last.inputs[0]
    released = read_tensors(planned("Room").engine().ensure(classifier) / "model.safetensors")
    for name, value in released.items():
        assert torch.equal(record["model"][name.replace("default/", "default/network.")], value)
    one, two = (planned("Room").last for _ in range(2))
    assert one.key == two.key
    again = run("Room", {"maps": "nn-all"})
    assert same(record, again)


def test_five_hundred_and_twelve_images_are_four_steps_an_epoch(planned):
    last = planned("Room", {"target_images": 12, "batch_size": 3, "epochs": 100}).last
    assert last.steps == 400
    work = planned("Room").engine().work(last)
    epoch = torch.cat([last._batch(number, 12, work) for number in range(4)])
    assert sorted(epoch.tolist()) == list(range(12))


def test_without_statistics_every_method_is_the_criterion(run):
    criterion = run("Room", {"maps": "criterion"})
    for given in ({"maps": "nn"}, {"maps": "rp"}, {"maps": "random-nn"}, {"maps": "nn-all", "class_conditional": True}):
        assert same(criterion, run("Room", {**given, "statistics_weight": 0}))
    assert not same(criterion, run("Room", {"maps": "nn"}))


def test_without_a_criterion_labels_do_not_matter(run):
    for maps in ("nn", "nn-all", "random-nn", "rp"):
        with_labels = run("Room", {"maps": maps, "criterion_weight": 0})
        without = run("Room", {"maps": maps, "supervised": False})
        assert same(with_labels, without), maps
    assert not same(with_labels, run("Room", {"maps": "rp", "criterion_weight": 0, "class_conditional": True}))


def test_looking_at_the_measures_in_between_changes_nothing(run):
    often = run("Room", {"maps": "nn-all"}, checkpoint_freq=1)
    once = run("Room", {"maps": "nn-all"})
    assert same(often, once)
    assert often["l2_error"] == once["l2_error"]
    assert len(records.read(often["folder"].results)) == 6


def test_several_initialisations_share_batches_and_leave_mean_and_spread(run):
    one, two = run("Room", {"maps": "nn"}), run("Room", {"maps": "nn", "initialisations": 2})
    assert same(one, two), "the first is the same"
    assert two["accuracy_sd"] >= 0
    assert two["l2_error_sd"] > 0
    assert "accuracy_sd" not in one
    other = [value for name, value in two["model"].items() if name.startswith("init1/before.1.entry.bias")]
    assert not torch.equal(other[0], two["model"]["default/before.1.entry.bias"])


def test_trials_share_the_released_models_and_not_the_perturbation(planned):
    first, second = (planned("Room", trial_seed=trial).last for trial in (0, 1))
    assert [stage.key for stage in first.inputs] == [stage.key for stage in second.inputs]
    pair = [
        last._perturbed(
            planned("Room").engine().work(last).input(last.inputs[0]).network, planned("Room").engine().work(last)
        )[0]
        for last in (first, second)
    ]
    assert not torch.equal(pair[0].kernels, pair[1].kernels)


# A real shift, presets, strips ---------------------------------------------------------------------------------------


def test_a_real_shift_is_adapted_to_without_perturbation_and_with_a_corruption(run):
    record = run("Rooms", test_envs=[1])
    assert record["l2_error@distorted"] == 0
    assert record["accuracy@distorted"] == record["accuracy@undistorted"]
    assert {"env0_out_acc", "env1_test_acc", "env2_out_acc", "env1_test_acc@distorted"} <= set(record)
    corrupted = run("Rooms", {"perturbation.kind": "gamma"}, test_envs=[1])
    assert corrupted["l2_error@distorted"] > 0


@pytest.mark.parametrize("preset", ["code", "code-text", "code-defaults", "paper", "paper-text"])
def test_presets_run(run, preset):
    small = {name: value for name, value in HPARAMS.items() if name not in ("width", "depth")}
    record = run("Room", {**small, "epochs": 1, "class_conditional": True}, preset=preset)
    assert math.isfinite(record["l2_error"])


def test_strips_are_kept_beside_the_record(run):
    record = run("Room", {"maps": "nn"})
    kept = diagnostics.read(record["folder"].path, record["step"])
    assert {name: images.shape for name, images in kept.items()} == dict.fromkeys(
        ("clean", "distorted", "homogenised"), (10, 3, 16, 16)
    )
    assert not np.array_equal(kept["clean"], kept["distorted"])


def test_without_a_perturbation_the_clean_accuracy_is_that_of_the_model(run):
    record = run("Room", {"perturbation.kappa": 0})
    for name in ("accuracy", "validation_accuracy", "verification_accuracy"):
        assert record[f"{name}@distorted"] == record[f"{name}@undistorted"]
    assert record["psnr@distorted"] == math.inf
    assert record["ssim@distorted"] == pytest.approx(1)


def test_leaky_models_are_trained_on_the_target_too(planned):
    leaky = planned("Room", {"classifier.leaky": True}).last.inputs[0]
    assert leaky.reads == (Read(0, "whole"),)
    assert leaky.key != planned("Room").last.inputs[0].key
