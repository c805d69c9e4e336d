"""Post-hoc data homogenisation: which images are whose, and who reads them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from homogenization_rooms import EACH, Room, Rooms

from dfdgbench.datasets.base import Dataset
from dfdgbench.datasets.protocols import PROTOCOLS, SplitOptions
from dfdgbench.engine.stage import every_stage, walk
from dfdgbench.errors import AccessError
from dfdgbench.posing import open_dataset
from dfdgbench.settings import Read, check_access

# Protocol ------------------------------------------------------------------------------------------------------------


def split(dataset: Dataset, held_out: bool, trial: int = 0) -> dict[str, np.ndarray]:
    return dict(PROTOCOLS["post-hoc"].split(dataset.domain(0), 0, held_out, SplitOptions(trial)))


@pytest.mark.parametrize("dataset", [Room, Rooms])
def test_what_a_model_is_trained_on_is_no_part_of_the_target(dataset):
    found = split(dataset(), held_out=True)
    sets = [set(found[name].tolist()) for name in ("in", "uda", "test")]
    assert sum(map(len, sets)) == len(set.union(*sets)) == EACH
    assert set(found["whole"].tolist()) == sets[0] | sets[1], "the leak"


def test_the_owners_images_are_every_trials_and_the_targets_order_is_its_own():
    first, second = (split(Room(), True, trial) for trial in (0, 1))
    assert first["in"].tolist() == second["in"].tolist()
    assert first["uda"].tolist() != second["uda"].tolist()
    assert sorted(first["uda"]) == sorted(second["uda"])
    assert len(first["in"]) == 80
    assert set(first["test"]) == set(range(100, EACH))


def test_a_source_is_cut_as_domainbed_cuts_and_has_no_target_set():
    found = split(Rooms(), held_out=False)
    assert (len(found["in"]), len(found["out"])) == (96, 24)
    assert not {"uda", "test"} & set(found)


# Access --------------------------------------------------------------------------------------------------------------


def test_owner_stages_read_the_source_and_the_user_the_target(planned):
    made = planned("Rooms", test_envs=[1])
    reads = {stage.kind: (stage.side.value, stage.reads) for stage in walk(made.last)}
    source = (Read(0, "in"), Read(2, "in"))
    assert reads["classifier"] == reads["verifier"] == reads["source-statistics"] == ("owner", source)
    assert reads["homogenize"] == ("user", (Read(1, "uda"),))
    unlabelled = planned("Rooms", {"supervised": False, "maps": "nn"}, test_envs=[1])
    assert unlabelled.last.reads == (Read(1, "uda", labelled=False),)


def test_a_domain_that_is_its_own_target_is_kept_apart_by_split(planned):
    made = planned("Room")
    assert made.problem.role(0, "in") == "source"
    assert made.problem.role(0, "uda") == made.problem.role(0, "test") == "target"
    made.last.inputs[0].reads = (Read(0, "uda"),)

    with pytest.raises(AccessError, match="Owner stages may read source domains only"):
        check_access(every_stage(made.last), made.algorithm.setting, made.problem)


def test_the_source_may_be_gone_once_the_models_are_released(run, planned, monkeypatch, tmp_path):
    artifacts = tmp_path / "artifacts"
    made = planned("Rooms", artifacts=artifacts, test_envs=[1])
    engine = made.engine()
    for stage in made.last.inputs:
        engine.ensure(stage)
    monkeypatch.setattr(Rooms, "gone", (0, 2))
    open_dataset.cache_clear()
    record = run("Rooms", artifacts=artifacts, test_envs=[1])
    assert 0 <= record["env1_test_acc"] <= 1
    assert record["accuracy@source"] == read_accuracy(artifacts)
    assert math.isnan(record["env0_out_acc"]), "what is not there is not known"


def read_accuracy(artifacts: Path) -> float:
    return json.loads(next((artifacts / "classifier").glob("*/trained.json")).read_text())["accuracy"]


def test_without_labels_no_label_is_seen(planned, monkeypatch, tmp_path):
    made = planned("Room", {"supervised": False, "maps": "nn"}, artifacts=tmp_path)
    engine = made.engine()
    work = engine.work(made.last)
    assert set(work.split(made.last.reads[0]).labels.tolist()) == {-1}
