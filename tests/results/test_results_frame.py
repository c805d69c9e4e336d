"""Reading runs: our folders, DomainBed's, and what crashes leave of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from result_builders import TARGET as T
from result_builders import our_record, record, write_domainbed, write_ours

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.frame import COLUMNS, records, runs
from dfdgbench.results.reading import read_run
from dfdgbench.results.record import variant

CONFIG = RunConfig.make(
    algorithm="DEKAN", test_envs=[1], preset="paper", hparams={"inversion": {"epsilon": 30}}, trial_seed=2
)


def test_our_folder(tmp_path: Path) -> None:
    write_ours(tmp_path / "runs" / "one", CONFIG, {"env1_in_acc": 0.25, "env1_in_acc@first": 0.5, "loss": 3.0})
    frame = records(tmp_path)
    assert list(frame.columns) == COLUMNS
    assert frame.to_dict("records") == [
        {
            "run": "runs/one", "dataset": "MiniDigits", "algorithm": "DEKAN", "network": "smallcnn",
            "variant": "paper, inversion.epsilon=30", "test_envs": (1,), "train_envs": (0, 2, 3), "trial_seed": 2,
            "hparams_seed": 0, "step": 100, "env": 1, "split": "in", "metric": "acc", "predictor": predictor,
            "value": value, "setting": "data-free", "protocol": "domainbed", "done": True,
        }
        for predictor, value in (("", 0.25), ("first", 0.5))
    ]  # fmt: skip


def test_domainbed_folder(tmp_path: Path) -> None:
    write_domainbed(
        tmp_path / "0ec2", [record(0, 3, (0.1, 0.2), (0.3, 0.4, T)), record(300, 3, (0.5, 0.6), (0.7, 0.8, T))]
    )
    frame = records(tmp_path)
    assert len(frame) == 8
    assert set(frame["setting"]) == {"domain-generalisation"}
    assert set(frame["protocol"]) == {"domainbed"}
    assert set(frame["train_envs"].tolist()) == {None}
    chosen = frame[(frame.step == 300) & (frame.env == 1) & (frame.split == "in")]
    assert chosen["value"].tolist() == [0.7]
    assert chosen["hparams_seed"].tolist() == [3]


def test_a_single_run_and_runs_many_levels_below(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a" / "b" / "c", [record(0, 0, (0.1, 0.2, T))])
    assert set(records(tmp_path)["run"]) == {"a/b/c"}
    assert set(records(tmp_path / "a" / "b" / "c")["run"]) == {"c"}


def test_missing_optional_keys(tmp_path: Path) -> None:
    found = record(0, 0, (0.1, 0.2, T))
    found["args"] = {"dataset": "VLCS", "algorithm": "ERM", "test_envs": [0]}
    del found["hparams"]
    write_domainbed(tmp_path / "old", [found])
    row = records(tmp_path).iloc[0]
    assert (row.trial_seed, row.hparams_seed, row.network, row.variant) == (0, 0, "", "")


def test_torn_lines_are_left_out_and_said(tmp_path: Path) -> None:
    folder = write_domainbed(tmp_path / "torn", [record(0, 0, (0.1, 0.2, T)), record(1, 0, (0.3, 0.4, T))])
    path = folder / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    frame = records(tmp_path)
    assert set(frame["step"]) == {0}
    assert frame.attrs["notes"] == ["torn: 1 torn or foreign line left out"]


def test_records_appended_after_a_torn_line_count(tmp_path: Path) -> None:
    folder = write_domainbed(tmp_path / "again", [record(0, 0, (0.1, 0.2, T))])
    with open(folder / "results.jsonl", "a") as file:
        file.write('{"step": 1, "ar\n\n' + json.dumps(record(1, 0, (0.7, 0.8, T))) + "\n")
    assert records(tmp_path)["step"].tolist() == [0, 0, 1, 1]


def test_foreign_lines_are_left_out(tmp_path: Path) -> None:
    write_domainbed(
        tmp_path / "foreign",
        [{"loss": 1}, {"step": 1}, {"step": 2, "args": {"dataset": "PACS"}}, record(3, 0, (0, 0, T))],
    )
    frame = records(tmp_path)
    assert set(frame["step"]) == {3}
    assert frame.attrs["notes"] == ["foreign: 3 torn or foreign lines left out"]


def test_the_later_record_of_a_step_holds(tmp_path: Path) -> None:
    first = [record(step, 0, (0.1, 0.2, T)) for step in (0, 300, 600)]
    again = [record(step, 0, (0.3, 0.4, T)) for step in (0, 300)]
    write_domainbed(tmp_path / "rerun", [*first, *again])
    frame = records(tmp_path)
    inside = frame[frame.split == "in"]
    assert dict(zip(inside["step"], inside["value"], strict=True)) == {0: 0.3, 300: 0.3, 600: 0.1}
    assert frame.attrs["notes"] == ["rerun: 2 records replaced by a later one of the same step"]


def test_unfinished_runs_are_left_out_and_listed(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (0.1, 0.2, T))])
    write_domainbed(tmp_path / "b", [record(0, 0, (0.1, 0.2, T))], done=False)
    write_ours(tmp_path / "c", CONFIG, {"env1_in_acc": 0.1}, state="running")
    assert set(records(tmp_path)["run"]) == {"a"}
    assert records(tmp_path).attrs["unfinished"] == ["b", "c"]
    every = records(tmp_path, include_unfinished=True)
    assert every.groupby("run")["done"].all().to_dict() == {"a": True, "b": False, "c": False}


def test_runs_and_their_states(tmp_path: Path) -> None:
    write_ours(tmp_path / "runs" / "a", CONFIG, {"env1_in_acc": 0.1}, state="failed")
    write_domainbed(tmp_path / "runs" / "b", [])
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [{"id": "a"}, {"id": "z"}]}))
    frame = runs(tmp_path).set_index("run")
    assert frame["state"].to_dict() == {"runs/a": "failed", "runs/b": "done", "runs/z": "planned"}
    assert frame["config"].to_dict()["runs/a"]["config"]["preset"] == "paper"
    assert frame["records"].to_dict() == {"runs/a": 1, "runs/b": 0, "runs/z": 0}


def test_only_unfinished_runs_make_an_empty_frame(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "b", [record(0, 0, (0.1, 0.2, T))], done=False)
    assert records(tmp_path).empty
    assert list(records(tmp_path).columns) == COLUMNS


def test_damaged_files_of_our_run(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "a", CONFIG, {"env1_in_acc": math.nan}, state="running")
    (folder / "config.json").write_text("{")
    (folder / "status.json").write_text("[]")
    found = read_run(folder)
    assert (found.state, found.config, len(found.records)) == ("unfinished", {}, 1)


def test_args_come_from_the_config_where_a_record_has_none(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "a", CONFIG, {})
    bare = our_record(CONFIG, {"env1_in_acc": 0.5})
    del bare["args"]
    (folder / "results.jsonl").write_text(json.dumps(bare))
    assert records(tmp_path)["algorithm"].tolist() == ["DEKAN"]


def test_uda_splits_are_numbered_by_domain(tmp_path: Path) -> None:
    found = {**record(0, 0, (0.1, 0.2), (0.3, 0.4), (0.5, 0.6, T)), "env0_uda_acc": 0.9}
    write_domainbed(tmp_path / "uda", [found])
    frame = records(tmp_path)
    assert frame[frame.split == "uda"]["env"].tolist() == [2]


def test_metrics_of_segmentation(tmp_path: Path) -> None:
    found = {**record(0, 0, (0.1, 0.2, T)), "env0_in_miou": 0.4, "env0_in_iou_road": 0.7}
    write_domainbed(tmp_path / "seg", [found])
    frame = records(tmp_path)
    assert dict(zip(frame["metric"], frame["value"], strict=True)) == {"acc": 0.2, "miou": 0.4, "iou_road": 0.7}


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No run was found"):
        records(tmp_path)
    with pytest.raises(ConfigError, match="There is no folder"):
        runs(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ({}, ""),
        ({"preset": None, "hparams": None}, ""),
        ({"hparams": '{"lr": 5e-05, "b": {"c": true}}'}, "b.c=true, lr=5e-05"),
        ({"preset": "paper", "hparams": {"name": "x"}}, "paper, name=x"),
        ({"hparams": "{lr: 1}"}, "{lr: 1}"),
    ],
)
def test_variant(args: dict[str, object], text: str) -> None:
    assert variant(args) == text
