"""Adaptation end to end on small scenes: one source model for all, no source image for SFDA, and what is wrong with options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dfdgbench.api import load
from dfdgbench.cli.main import main
from dfdgbench.datasets.debug_scenes import DebugScenes
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.stage import every_stage
from dfdgbench.errors import ConfigError, DataError, NoBatchNormError
from dfdgbench.networks.base import NETWORKS
from dfdgbench.networks.segmentation_nets import SegNetSmall
from dfdgbench.planning import Plan, plan
from dfdgbench.posing import open_dataset

METHODS = ("SourceOnly", "MinEnt", "MaxSquare", "AdaptSegNet", "CBST", "SFDA", "TransferOnly")
TINY = {"source.steps": 3, "source.batch_size": 2}
FAST = {"batch_size": 2, "g.width": 4, "g.latent": 8, "ipsm.k": 2, "d.width": 4}


def planned(tmp_path: Path, algorithm: str = "SFDA", hparams: dict[str, Any] | None = None, **options: Any) -> Plan:
    given = {"dataset": "DebugScenes", "train_envs": [0], "test_envs": [1], "steps": 3, "checkpoint_freq": 2, **options}
    fast = FAST if algorithm == "SFDA" else {}
    config = RunConfig.make(algorithm=algorithm, hparams={**TINY, **fast, **(hparams or {})}, **given)
    return plan(config, Execution(device="cpu", artifacts=tmp_path / "artifacts"))


def test_all_methods_start_from_one_released_model(tmp_path: Path) -> None:
    stages = [every_stage(planned(tmp_path, name).last) for name in METHODS]
    models = [[stage for stage in each if stage.kind == "source-model"] for each in stages]
    assert all(len(each) == 1 for each in models) and len({each[0].key for each in models}) == 1
    assert models[0][0].releases is not None and models[0][0].side.value == "owner"


def test_records_hold_every_metric_of_every_split(tmp_path: Path) -> None:
    run = planned(tmp_path).execute(tmp_path / "run")
    found = records.read(run.results)
    assert [each["step"] for each in found] == [0, 2]
    for prefix in ("env0_val", "env1_test", "env2_val"):
        for metric in ("miou", "acc", "macc", "classes", "miou_two", "iou_0", "iou_1", "iou_2"):
            assert f"{prefix}_{metric}" in found[-1]
        assert 0 <= found[-1][f"{prefix}_miou"] <= 1 <= found[-1][f"{prefix}_classes"]
    assert found[0]["g_mae_gradient"] >= 0 and found[-1]["args"]["image_size"] == [32, 64]
    assert found[-1]["args"]["setting"] == "source-free"


def test_a_run_is_loaded_and_evaluated_to_the_same_numbers(tmp_path: Path) -> None:
    folder = planned(tmp_path).execute(tmp_path / "run")
    run = load(tmp_path / "run", device="cpu")
    assert run.predict(torch.rand(2, 3, 32, 64)).shape == (2, 3, 32, 64)
    last = records.read(folder.results)[-1]
    assert run.evaluate()["env1_test_miou"] == last["env1_test_miou"]


class Guarded(DebugScenes):
    """DebugScenes whose source domain may be guarded."""

    guarded = False
    absent = False

    def open(self, index: int) -> Any:
        if index == 0 and self.absent:
            from dfdgbench.errors import MissingDataError

            raise MissingDataError("the source is not here")
        domain = super().open(index)
        return Raising(domain) if index == 0 and self.guarded else domain


class Raising(MaskedDomain):
    """A domain whose images and masks may not be looked at."""

    in_memory = True

    def __init__(self, domain: MaskedDomain) -> None:
        self.__dict__.update(domain.__dict__)
        self._fingerprint = domain.fingerprint()

    def fingerprint(self) -> str:
        return self._fingerprint

    def image(self, index: int) -> Any:
        raise AssertionError("a source image was read")

    def mask(self, index: int) -> Any:
        raise AssertionError("a source mask was read")


NAME = "guarded_scenes"


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> type[Guarded]:
    from dfdgbench.datasets.base import DATASETS

    monkeypatch.setitem(DATASETS._found, NAME, Guarded)
    monkeypatch.setattr(Guarded, "metadata", DebugScenes.metadata.model_copy(update={"name": NAME}))
    open_dataset.cache_clear()
    return Guarded


@pytest.mark.parametrize("way", ["guarded", "absent"])
@pytest.mark.parametrize("name", ["SFDA", "TransferOnly"])
def test_no_source_image_is_read_once_the_model_is_there(
    tmp_path: Path, guarded: type[Guarded], monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    planned(tmp_path, "SourceOnly", dataset=NAME).execute(tmp_path / "source")
    open_dataset.cache_clear()
    # Of source domains the engine scores the validation split, which is no part of training.
    monkeypatch.setattr("dfdgbench.engine.evaluation.Problem.split_names", _targets_alone)
    monkeypatch.setattr(Guarded, way, True)
    with_source = planned(tmp_path, name, dataset=NAME)
    run = with_source.execute(tmp_path / name)
    assert records.read(run.results)[-1]["env1_test_miou"] >= 0
    open_dataset.cache_clear()
    with pytest.raises((AssertionError, DataError)):
        planned(tmp_path, "MinEnt", dataset=NAME).execute(tmp_path / "rival")


def _targets_alone(problem: Any, domain: int) -> tuple[str, ...]:
    return (problem.protocol.test,) if domain in problem.targets else ()


def test_sfda_declares_no_source_image(tmp_path: Path) -> None:
    last = planned(tmp_path).last
    assert [(read.domain, read.split, read.labelled) for read in last.reads] == [(1, "uda", False)]
    assert planned(tmp_path, "TransferOnly").last.reads == ()
    assert {read.labelled for read in planned(tmp_path, "MinEnt").last.reads} == {True, False}


def test_several_sources_and_targets(tmp_path: Path) -> None:
    run = planned(tmp_path, "MinEnt", {"batch_size": 4}, train_envs=[0, 2]).execute(tmp_path / "run")
    assert records.read(run.results)[-1]["loss"] > 0
    assert len(planned(tmp_path, train_envs=[0], test_envs=[1, 2]).last.reads) == 2


def test_steps_are_passes_over_the_target(tmp_path: Path) -> None:
    assert planned(tmp_path, hparams={"epochs": 5}, steps=None).last.steps == 5 * (6 // 2)
    cbst = planned(tmp_path, "CBST", {"batch_size": 4}, steps=None).last
    assert cbst.steps == 3 * 2 * 2  # rounds, passes, batches of 4 for 6 images and some
    assert planned(tmp_path, "CBST", {"batch_size": 4, "budget": "common"}, steps=None).last.steps == 120


def test_images_of_another_size(tmp_path: Path) -> None:
    run = planned(tmp_path, image_size=[48, 96]).execute(tmp_path / "run")
    assert records.read(run.results)[-1]["args"]["image_size"] == [48, 96]


# What is wrong ------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"hparams": {"batch_size": 3}}, r"batch_size 3 cannot be halved.*batch_size=4"),
    ({"hparams": {"ipsm.k": 5}}, r"patches of 6x12 pixels; the discriminator needs 16 a side.*ipsm.k=2 or less"),
    ({"hparams": {"d.norm": "instance"}}, r"needs 32 a side"),
    ({"image_size": 32}, r"--image-size 32: .*Type --image-size 32 64"),
    ({"network": "smallcnn"}, r"'smallcnn' is for classification.*segnet_small"),
    ({"algorithm": "ERM"}, r"ERM is for classification, and DebugScenes is a dataset for segmentation"),
    ({"algorithm": "AdaptSegNet", "image_size": [16, 32]}, r"halves maps five times, and images are 16x32"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_options_that_do_not_go_together_are_told_before_anything_runs(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(tmp_path, **options)


def test_segmentation_s_networks_and_methods_are_not_for_classification(tmp_path: Path) -> None:
    for options, message in (
        ({"algorithm": "SFDA"}, "SFDA is for segmentation, and Debug28 is a dataset for classification"),
        ({"network": "segnet_small"}, "'segnet_small' is for segmentation.*resnet18"),
        ({"image_size": [28, 32]}, "images of Debug28 are square"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan(RunConfig.make(dataset="Debug28", **options), Execution(artifacts=tmp_path))  # type: ignore[arg-type]


def test_without_ipsm_an_odd_batch_is_right(tmp_path: Path) -> None:
    assert planned(tmp_path, hparams={"batch_size": 3, "gamma": 0}).last.steps == 3


class WithoutStatistics(SegNetSmall):
    """SegNet without batch normalisation."""

    def build(self, spec: Any) -> Any:
        body, channels = super().build(spec)
        for block in body.blocks:
            for position, layer in enumerate(block):
                if isinstance(layer, torch.nn.BatchNorm2d):
                    block[position] = torch.nn.GroupNorm(2, layer.num_features)
        return body, channels

    def classifier(self, spec: Any, n_features: int) -> Any:
        return torch.nn.Sequential(_First(), torch.nn.Conv2d(n_features, spec.num_classes, 1))


class _First(torch.nn.Module):
    def forward(self, encoded: Any) -> Any:
        return encoded[0]


def test_a_network_without_batch_normalisation_has_nothing_to_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS._found, "groups", WithoutStatistics)
    with pytest.raises(NoBatchNormError, match=r"'groups' has no batch normalisation.*GroupNorm"):
        planned(tmp_path, network="groups")
    assert planned(tmp_path, "MinEnt", network="groups").last.steps == 3


def test_train_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["train", "--algorithm", "SFDA", "--dataset", "DebugScenes", "--train-envs", "0", "--test-envs", "1"]
    typed += ["--steps", "2", "--image-size", "32", "64", "--device", "cpu", "--artifacts", str(tmp_path / "artifacts")]
    typed += [part for name, value in {**TINY, **FAST}.items() for part in ("--hparam", f"{name}={value}")]
    assert main([*typed, "--output-dir", str(tmp_path / "run")]) == 0
    assert main([*typed, "--image-size", "32", "--output-dir", str(tmp_path / "other")]) != 0
    assert "Type --image-size 32 64" in capsys.readouterr().err
