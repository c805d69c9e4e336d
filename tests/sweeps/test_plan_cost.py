"""What a stage and a sweep cost, by estimate, and what sharing saves."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from dfdgbench.cli.sweep_launch import _plan_as_json, _say_plan
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.flops import forward_flops
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.networks import base
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.planning import plan
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.plan import SweepPlan, Work, plan_sweep
from dfdgbench.sweeps.run import SweepRun

SMALL = NetworkSpec("smallcnn", 2, image_size=28)
# Two shards of four images a set, nine steps each.
SET = {"steps": 9, "images": 8, "group": 4}
HPARAMS: dict[str, Any] = {
    "teacher": {"steps": 5, "batch_size": 8},
    "inversion": SET,
    "fusion": SET,
    "distillation": {"batch_size": 16, "epochs": 2.0},
}


def forward() -> float:
    return forward_flops(SMALL)


def config(algorithm: str = "DEKAN", target: int = 0, **options: Any) -> RunConfig:
    given: dict[str, Any] = {"hparams": HPARAMS, **options}
    return RunConfig.make(algorithm=algorithm, dataset="Debug28", network="smallcnn", test_envs=[target], **given)


def costs(artifacts: Path, chosen: RunConfig) -> dict[str, float]:
    """What one stage of each kind costs, in forward passes of one image."""
    last = plan(chosen, Execution(device="cpu", artifacts=artifacts)).last
    return {stage.kind: stage.cost() / forward() for stage in walk(last)}


# One network, one stage ------------------------------------------------------------------------------------------------


def test_a_linear_layer_is_a_multiplication_and_an_addition_a_weight() -> None:
    wider = NetworkSpec("smallcnn", 12, image_size=28)
    assert forward_flops(wider) - forward() == 2 * 10 * base.build(SMALL, 0).n_features


def test_a_resnet50_has_the_published_number_of_multiplications() -> None:
    # 4.1 GMACs (torchvision, 1,000 classes).
    assert forward_flops(NetworkSpec("resnet50", 1000)) / 2e9 == pytest.approx(4.09, abs=0.02)


def test_initial_weights_and_dropout_do_not_matter(tmp_path: Path) -> None:
    given = NetworkSpec("smallcnn", 2, weights=str(tmp_path / "no.pth"), image_size=28, dropout=0.5)
    assert forward_flops(given) == forward()


def test_a_network_that_cannot_be_run_here_counts_as_nothing_and_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Elsewhere(base.Architecture):
        description = "needs what is not here"

        def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
            raise RuntimeError("no such device")

    base.NETWORKS.names()
    monkeypatch.setitem(base.NETWORKS._found, "elsewhere", Elsewhere)
    with caplog.at_level(logging.WARNING, "dfdgbench"):
        assert forward_flops(NetworkSpec("elsewhere", 2)) == 0.0
    assert "'elsewhere' cannot be counted here and are taken as 0: no such device" in caplog.text


def test_every_kind_of_stage_counts_the_images_that_it_passes_through_networks(artifacts: Path) -> None:
    assert costs(artifacts, config()) == {
        "teacher": 5 * 8 * 3,
        "inverted": 9 * 4 * 2,
        "fused": 9 * 4 * 2 * 2,
        # Two inverted and two fused sets of eight images, twice through; an image has one or two teachers.
        "student": pytest.approx((32 * 2 / 16) * 16 * (3 + 1.5)),
    }
    assert costs(artifacts, config("ERM", steps=7, hparams={"batch_size": 4}))["train"] == 7 * 4 * 2 * 3


def test_a_second_teacher_that_is_not_asked_costs_nothing(artifacts: Path) -> None:
    alone = config(hparams={**HPARAMS, "fusion": {**SET, "cross_ce": "a_only"}})
    assert costs(artifacts, alone)["fused"] == 9 * 4 * 2


def test_what_has_no_steps_costs_nothing(artifacts: Path) -> None:
    teachers = {"hparams": {"teacher": HPARAMS["teacher"]}}
    assert costs(artifacts, config("AvgPred", **teachers))["ensemble"] == 0
    found = costs(artifacts, config("KD-on-noise", **teachers))
    assert (found["noise"], found["student"] > 0) == (0, True)


def test_a_stage_that_says_nothing_counts_one_image_a_step(artifacts: Path) -> None:
    (teacher, *_) = walk(plan(config(), Execution(device="cpu", artifacts=artifacts)).last)
    assert Stage.cost(teacher) == 5 * 3 * forward()


# A sweep ---------------------------------------------------------------------------------------------------------------

RUNS = [
    config(method, target, trial_seed=trial, **({"hparams": HPARAMS} if method == "DEKAN" else {"hparams": TEACHER}))
    for TEACHER in [{"teacher": HPARAMS["teacher"]}]
    for trial in (0, 1)
    for method in ("DEKAN", "AvgPred")
    for target in (0, 1)
]


@pytest.fixture
def sweep(artifacts: Path, tmp_path: Path) -> tuple[SweepFolder, SweepPlan]:
    folder = SweepFolder(tmp_path / "sweep")
    runs = [SweepRun(0, 0, str(run.test_envs[0]), run) for run in RUNS]
    return folder, plan_sweep(runs, folder, Execution(device="cpu", artifacts=artifacts))


def test_work_is_what_separate_plans_add_up_to(artifacts: Path, sweep: tuple[SweepFolder, SweepPlan]) -> None:
    execution = Execution(device="cpu", artifacts=artifacts)
    everything = [list(walk(plan(run, execution).last)) for run in RUNS]
    united = {stage.key: stage for stages in everything for stage in stages}
    _, found = sweep
    assert found.unshared.stages == sum(map(len, everything))
    assert found.planned.stages == len(united)
    assert found.unshared.flops == pytest.approx(sum(stage.cost() for stages in everything for stage in stages))
    assert found.planned.flops == pytest.approx(sum(stage.cost() for stage in united.values()))
    saved = found.saved()
    assert saved["stages"] == found.unshared.stages / found.planned.stages > 1
    assert saved["flops"] == found.unshared.flops / found.planned.flops > 1


def test_one_run_saves_nothing(artifacts: Path, tmp_path: Path) -> None:
    run = SweepRun(0, 0, "0", RUNS[0])
    found = plan_sweep([run], SweepFolder(tmp_path), Execution(device="cpu", artifacts=artifacts))
    assert found.saved() == {"stages": 1.0, "flops": 1.0}
    assert SweepPlan([]).saved() == {"stages": 1.0, "flops": 1.0}


def test_the_plan_says_both_ratios(sweep: tuple[SweepFolder, SweepPlan], capsys: pytest.CaptureFixture[str]) -> None:
    folder, found = sweep
    found.planned, found.unshared = Work(10, 2e9), Work(30, 5e9)
    _say_plan(folder, found)
    shown = capsys.readouterr().out
    assert "3.0 times fewer stages (10 for 30), 2.5 times fewer FLOPs (about 2e+09 for 5e+09;" in shown
    assert "Estimated time, one task after the other: ?." in shown


def test_the_plan_for_programs_holds_runs_work_and_what_is_there(
    artifacts: Path, sweep: tuple[SweepFolder, SweepPlan]
) -> None:
    folder, first = sweep
    (teacher, *_) = (stage for stage in first.stages.values() if stage.kind == "teacher")
    (artifacts / teacher.address.name).mkdir(parents=True)
    folder.folder(first.runs[2]).path.mkdir(parents=True)
    folder.folder(first.runs[2]).finish(1.0)
    folder.folder(first.runs[1]).path.mkdir(parents=True)  # started, not done
    found = plan_sweep(first.runs, folder, Execution(device="cpu", artifacts=artifacts))
    told = json.loads(json.dumps(_plan_as_json(folder, found)))
    assert (told["runs"], told["there"], told["seconds"]) == (8, {"runs": 1, "stages": 1}, None)
    assert told["work"]["planned"] == {"stages": first.planned.stages, "flops": first.planned.flops}
    assert told["work"]["saved"] == first.saved()
    assert len(told["tasks"]) == len(first.tasks) - 2


def test_the_estimate_is_that_of_what_is_to_do(sweep: tuple[SweepFolder, SweepPlan]) -> None:
    _, found = sweep
    assert found.estimate() is None
    found.seconds = {"teacher": 2.0, "inverted": 0.5, "fused": 0.5, "run DEKAN": 10.0, "run AvgPred": 1.0}
    kinds = {row["stage"]: row["stages"] for row in found.kinds()}
    shards = kinds["inverted"] + kinds["fused"]
    assert found.estimate() == pytest.approx(kinds["teacher"] * 5 * 2.0 + shards * 9 * 0.5 + 4 * 10.0 + 4 * 1.0)
    found.there = {*found.stages, *(run.run_id for run in found.runs)}
    assert found.estimate() == 0.0
