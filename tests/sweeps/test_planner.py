"""Planning many runs: as if each were planned alone, and nothing made twice."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfdgbench import planning
from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.debug import Debug28
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.protocols import get_protocol
from dfdgbench.engine import stage as stages
from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.stage import walk
from dfdgbench.errors import DfdgbenchError, HparamError, MissingDataError
from dfdgbench.hparams import Hparams, hparam
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.planning import Plan, Planner, plan
from dfdgbench.posing import open_dataset
from dfdgbench.sweeps import plan as united
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.plan import plan_sweep
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.spec import load


def config(algorithm: str = "DEKAN", target: int = 0, **options: Any) -> RunConfig:
    given = {"network": "smallcnn", **options}
    return RunConfig.make(algorithm=algorithm, dataset="Debug28", test_envs=[target], **given)


def keys(planned: Plan) -> list[str]:
    return [stage.key for stage in walk(planned.last)]


@pytest.fixture
def execution(artifacts: Path) -> Execution:
    return Execution(device="cpu", artifacts=artifacts)


METHODS = ("DEKAN", "Multi-DI", "Multi-DI-matched", "Soup", "AvgPred", "BestTeacher", "KD-on-noise", "ERM")
CHANGES: list[dict[str, Any]] = [
    {},
    {"seed": 5},
    {"steps": 7, "checkpoint_freq": 3},
    {"hparams_seed": 2},
    {"trial_seed": 1},
    {"train_envs": [1]},
    {"dtype": "bfloat16"},
    {"channels_last": True},
    {"image_size": 32},
    {"network": "resnet18", "weights": "none"},
    {"holdout_fraction": 0.3},
    {"hparams": {"teacher.lr": 0.5}},
    {"hparams": {"inversion.epsilon": 5}},
    {"hparams": {"fusion.epsilon": 5}},
    {"hparams": {"distillation.lr": 0.5}},
    {"preset": "authors"},
]


def test_every_run_has_the_keys_that_it_has_alone(execution: Execution) -> None:
    runs = [config(method, target, **change) for change in CHANGES for method in METHODS for target in (0, 2)]
    together, compared = Planner(execution), 0
    for run in [*runs, *reversed(runs)]:
        try:
            alone = plan(run, execution)
        except DfdgbenchError:
            continue  # the method has no such preset or hyper-parameter
        assert keys(together.plan(run)) == keys(alone), run
        compared += 1
    assert compared > 300


def test_runs_of_one_problem_share_their_stages_and_not_what_is_their_own(execution: Execution) -> None:
    planner = Planner(execution)
    one, other = (
        planner.plan(config(seed=seed, steps=steps, checkpoint_freq=steps)) for seed, steps in ((1, 8), (2, 9))
    )
    assert one.last.inputs == other.last.inputs
    assert [(each.problem.seed, each.last.steps, each.problem.record_every) for each in (one, other)] == [
        (1, 8, 8),
        (2, 9, 9),
    ]
    assert not set(one.last.inputs) & set(planner.plan(config(trial_seed=1)).last.inputs)


def test_no_key_and_no_fingerprint_is_made_twice_for_a_problem(
    execution: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Counter[str] = Counter()
    digest = stages.digest

    def counted(content: Any) -> str:
        made[content["stage"]] += 1
        return digest(content)

    opened: Counter[int] = Counter()
    cut = get_protocol("domainbed").split
    monkeypatch.setattr(stages, "digest", counted)
    monkeypatch.setattr(
        type(get_protocol("domainbed")),
        "split",
        lambda self, domain, index, *rest: opened.update([index]) or cut(domain, index, *rest),
    )
    runs = [config(method, hparams_seed=seed).swept() for seed in range(30) for method in ("DEKAN", "Multi-DI")]
    found = plan_sweep([SweepRun(0, 0, "0", run) for run in runs], SweepFolder(tmp_path), execution)
    assert (len(found.runs), found.planned.stages) == (60, len(found.stages) + 60)
    assert made == Counter(stage.kind for stage in found.stages.values())
    assert opened == {1: 1, 2: 1}


def test_a_mistake_is_told_for_every_run_that_makes_it(execution: Execution) -> None:
    planner = Planner(execution)
    for _ in range(2):
        with pytest.raises(HparamError, match=r"teacher\.lrr"):
            planner.plan(config(hparams={"teacher.lrr": 1}))


def test_values_that_are_equal_and_have_other_keys_are_not_taken_for_each_other(execution: Execution) -> None:
    class Loose(Hparams):
        value: int | float | None = hparam(1, doc="either")

    problem = Planner(execution).plan(config()).problem
    made = [problem.once(("x",), lambda given=given: given, Loose(value=given)) for given in (1, 1.0, None, 1)]
    assert [repr(value) for value in made] == ["1", "1.0", "None", "1"]
    assert problem.once(("y",), lambda: "another", Loose(value=1)) == "another"


# A look at the data, and another ---------------------------------------------------------------------------------------


class Moving(Dataset):
    """Debug28, whose second domain can change, or go away."""

    metadata = Debug28.metadata.model_copy(update={"name": "Moving"})
    state = "first"

    def open(self, index: int) -> ArrayDomain:
        if self.state == "away":
            raise MissingDataError("The images are away.")
        images = np.full((16, 28, 28, 3), index + 10 * (self.state == "changed" and index == 1), dtype=np.uint8)
        return ArrayDomain(self.metadata.domains[index], images, np.arange(16) % 2)


@pytest.fixture
def moving(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    DATASETS.names()
    monkeypatch.setitem(DATASETS._found, "Moving", Moving)
    open_dataset.cache_clear()
    yield monkeypatch
    open_dataset.cache_clear()


def look(execution: Execution, folder: Path, state: str, patch: pytest.MonkeyPatch) -> Any:
    """A plan after the data was opened again in ``state``."""
    patch.setattr(Moving, "state", state)
    open_dataset.cache_clear()
    runs = [RunConfig.make(algorithm="AvgPred", dataset="Moving", network="smallcnn", seed=seed) for seed in (1, 2)]
    return plan_sweep([SweepRun(0, 0, "0", run) for run in runs], SweepFolder(folder), execution)


def test_changed_data_is_noticed_by_the_next_plan(
    execution: Execution, tmp_path: Path, moving: pytest.MonkeyPatch
) -> None:
    first, changed, again = (look(execution, tmp_path, state, moving) for state in ("first", "changed", "first"))
    assert first.stages.keys() == again.stages.keys()
    assert len(first.stages) == len(changed.stages) == 2
    assert len(first.stages.keys() & changed.stages.keys()) == 1


def test_data_that_came_is_noticed_by_the_next_plan(
    execution: Execution, tmp_path: Path, moving: pytest.MonkeyPatch
) -> None:
    away = look(execution, tmp_path, "away", moving)
    assert away.problems == {"The images are away.": 2}
    came = look(execution, tmp_path, "first", moving)
    assert not came.problems
    assert not came.stages.keys() & away.stages.keys()
    gone = look(execution, tmp_path, "away", moving)
    assert gone.stages.keys() == came.stages.keys(), "fingerprints are remembered"


# Weights and the store -------------------------------------------------------------------------------------------------


def test_weights_are_looked_for_once_a_network(execution: Execution, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[NetworkSpec] = []
    monkeypatch.setattr(planning, "check_weights", asked.append)
    planner = Planner(execution)
    for run in (config(), config(seed=3), config(target=1), config(trial_seed=1), config("ERM")):
        assert planner.problems(planner.plan(run)) == []
    assert len(asked) == 1
    planner.problems(planner.plan(config(image_size=32)))
    assert len(asked) == 2


def test_a_listing_names_what_is_published_and_nothing_under_way(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert store.listing() == frozenset()
    for folder in ("teacher/a-1", "teacher/b-2", "fused/c-3", ".work/teacher/d-4", ".damaged/teacher/e-5"):
        (store.root / folder).mkdir(parents=True)
    (store.root / "note.txt").touch()
    assert store.listing() == {"teacher/a-1", "teacher/b-2", "fused/c-3"}


def test_stages_and_runs_are_looked_for_by_listings(
    execution: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[Path] = []
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path=".": listed.append(Path(path)) or list_folder(path))
    (Path(execution.artifacts) / "teacher").mkdir(parents=True)
    (tmp_path / "runs").mkdir()
    runs = [SweepRun(0, 0, "0", config(seed=seed)) for seed in range(5)]
    plan_sweep(runs, SweepFolder(tmp_path), execution)
    ours = [path for path in listed if tmp_path in path.parents]
    assert ours == [tmp_path / "runs", Path(execution.artifacts) / "teacher"]


def test_rates_are_of_a_bounded_sample_through_all_names_and_of_numbers_that_a_clock_can_give(
    execution: Execution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(united, "SAMPLE", 4)
    for number in range(17):
        folder = Path(execution.artifacts) / "teacher" / f"{number:02d}"
        folder.mkdir(parents=True)
        (folder / "artifact.json").write_text(json.dumps({"stage": "teacher", "seconds": 10.0 * number, "steps": 10}))
    sweep, runs = SweepFolder(tmp_path / "sweep"), [SweepRun(0, 0, "0", config(seed=seed)) for seed in range(4)]
    sweep.write(load("quickstart"), runs, {})
    for run, seconds in zip(runs, (3.0, -5.0, float("nan"), 5.0), strict=True):
        folder = sweep.folder(run)
        folder.path.mkdir(parents=True)
        folder.say("done", seconds=seconds)
        (folder.path / "done").write_text("done")
    read: list[Path] = []
    look = united.read_object
    monkeypatch.setattr(united, "read_object", lambda path: read.append(path) or look(path))
    rates = plan_sweep(runs, sweep, execution).seconds
    assert rates == {"teacher": 7.5, "run DEKAN": 4.0}
    assert [path.parent.name for path in read if path.name == "artifact.json"] == ["00", "05", "10", "15"]
    assert len(read) == 8
