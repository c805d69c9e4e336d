"""``dfdgbench sweep``: plans, launches and status of a tiny table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.engine import records
from dfdgbench.networks import weights

TABLE = """
name: tiny
title: Three rows on noise
trials: 1
options: {network: smallcnn, checkpoint_freq: 0}
hparams: {teacher.steps: 2, teacher.batch_size: 4}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": first, "1": second}}]
rows:
  - {label: ERM, algorithm: ERM, options: {steps: 2}, hparams: {batch_size: 4}}
  - {label: Mean, algorithm: AvgPred}
  - {label: Surest, algorithm: HighestConf}
"""


@pytest.fixture
def sweep(cli: Callable, tmp_path: Path) -> Callable:
    """Calls ``dfdgbench sweep ACTION`` on the tiny table, with more arguments."""
    (tmp_path / "tiny.yaml").write_text(TABLE)

    def call(action: str, *arguments: object) -> object:
        launcher = ("--launcher", "debug") if action == "launch" and "--launcher" not in arguments else ()
        return cli("sweep", action, "tiny.yaml", "--device", "cpu", *launcher, *arguments)

    return call


def test_plan_counts_what_is_shared(sweep: Callable, tmp_path: Path) -> None:
    shown = sweep("plan")
    assert (shown.code, shown.err) == (0, "")
    assert "6 runs share 3 stages; one job a run, from scratch, would execute 8." in shown.out
    assert "To do: 9 tasks in 2 levels, into runs/tiny." in shown.out
    assert "'?': nothing of the kind has been measured here yet." in shown.out
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "artifacts" / "teacher").exists()


def test_plan_for_programs(sweep: Callable) -> None:
    plan = json.loads(sweep("plan", "--json").out)
    assert (plan["output_dir"], plan["levels"], plan["problems"]) == ("runs/tiny", 2, {})
    levels = {
        kind: {task["level"] for task in plan["tasks"] if task["kind"] == kind}
        for kind in ("teacher", "run", "combine")
    }
    assert levels == {"teacher": {0}, "run": {0}, "combine": {1}}
    known = {task["id"] for task in plan["tasks"]}
    assert all(set(task["needs"]) <= known for task in plan["tasks"])
    assert {row["stage"]: row["stages"] for row in plan["stages"]} == {"teacher": 3, "run": 6}


@pytest.mark.parametrize("launcher", ["debug", "local"])
def test_what_was_launched_is_done_and_not_launched_again(sweep: Callable, tmp_path: Path, launcher: str) -> None:
    launched = sweep("launch", "--launcher", launcher, "--jobs", 1)
    assert (launched.code, launched.err) == (0, "")
    assert "6 of 6 runs are done. Their table: dfdgbench table tiny.yaml runs/tiny" in launched.out
    assert len(list((tmp_path / "runs" / "tiny" / "runs").glob("*/done"))) == 6
    assert "To do: 0 tasks in 0 levels" in sweep("plan").out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("results.jsonl")}
    again = sweep("launch")
    assert again.code == 0
    assert "6 of 6 runs are done" in again.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("results.jsonl")} == before


def test_all_launchers_leave_the_same_records(sweep: Callable, tmp_path: Path) -> None:
    found = {}
    for launcher in ("debug", "local"):
        sweep(
            "launch", "--launcher", launcher, "--jobs", 1, "--output-dir", launcher, "--artifacts", f"store-{launcher}"
        )
        for path in sorted((tmp_path / launcher / "runs").glob("*/results.jsonl")):
            (record,) = records.read(path)
            values = {name: value for name, value in record.items() if name.startswith("env")}
            found.setdefault(path.parent.name, []).append(values)
    assert len(found) == 6
    assert all(one == other for one, other in found.values())


def test_estimates_once_something_was_measured(sweep: Callable) -> None:
    sweep("launch", "--test-envs", 0)
    shown = sweep("plan")
    assert "?" not in shown.out
    assert "To do: 4 tasks in 2 levels" in shown.out  # one teacher, three runs


def test_a_cap_on_hours_stops_what_is_too_much_or_not_known(sweep: Callable, tmp_path: Path) -> None:
    unknown = sweep("launch", "--max-gpu-hours", 1)
    assert unknown.code == 1
    assert "nothing like some of these tasks has been measured yet. Launch a few first" in unknown.err
    assert not (tmp_path / "runs").exists()
    sweep("launch", "--test-envs", 0)
    beyond = sweep("launch", "--max-gpu-hours", 1e-9)
    assert beyond.code == 1
    assert "hours of one device, and --max-gpu-hours is 1e-09. Choose fewer runs" in beyond.err
    assert sweep("launch", "--max-gpu-hours", 5).code == 0
    assert sweep("launch", "--max-gpu-hours", 1e-9).code == 0, "nothing is left to do"
    refused = sweep("launch", "--max-gpu-hours", "-1")
    assert (refused.code, "'-1' is no number of hours above 0" in refused.err) == (2, True)


def test_finished_runs_without_their_stages_stay_done(sweep: Callable, tmp_path: Path) -> None:
    sweep("launch")
    (tmp_path / "artifacts").rename(tmp_path / "gone")
    assert "To do: 0 tasks" in sweep("plan").out


def test_a_sweep_grows_with_more_trials(sweep: Callable, cli: Callable) -> None:
    sweep("launch", "--algorithms", "ERM")
    grown = sweep("launch", "--algorithms", "ERM", "--trials", 2)
    assert "To do: 2 tasks in 1 levels" in grown.out
    assert "4 of 4 runs are done" in grown.out
    assert len(json.loads(cli("sweep", "status", "runs/tiny", "--json").out)["runs"]) == 4


def test_another_table_in_the_same_folder_is_refused(sweep: Callable, cli: Callable, tmp_path: Path) -> None:
    sweep("launch", "--algorithms", "ERM")
    (tmp_path / "other.yaml").write_text(TABLE.replace("name: tiny", "name: other"))
    refused = cli("sweep", "launch", "other.yaml", "--launcher", "debug", "--output-dir", "runs/tiny")
    assert refused.code == 1
    assert "holds the sweep 'tiny', not 'other'. Choose another --output-dir" in refused.err


def test_status_before_within_and_after(sweep: Callable, cli: Callable, tmp_path: Path) -> None:
    sweep("launch")
    assert cli("sweep", "status", "runs/tiny").out == "No run is left to do.\n\n6 runs: 6 done\n"
    first, second, third = sorted((tmp_path / "runs" / "tiny" / "runs").iterdir())[:3]
    for folder in (first, second, third):
        (folder / "done").unlink()
    (first / "status.json").write_text('{"state": "running", "stage": "train 1 -> 2", "step": 1, "steps": 2}')
    (first / "lease").write_text("elsewhere 1 1 abcd\n0\n")
    (second / "status.json").write_text('{"state": "failed", "error": "DataError: no"}')
    third.rename(tmp_path / "elsewhere")
    shown = cli("sweep", "status", "runs/tiny").out
    assert "1/2, train 1 -> 2" in shown
    assert "DataError: no" in shown
    assert {"3 done", "1 running", "1 failed", "1 planned"} <= set(
        shown.splitlines()[-1].removeprefix("6 runs: ").split(", ")
    )
    rows = json.loads(cli("sweep", "status", "runs/tiny", "--json").out)["runs"]
    assert sorted(row["state"] for row in rows) == ["done", "done", "done", "failed", "planned", "running"]


def test_a_damaged_sweep_file_is_told(sweep: Callable, cli: Callable, tmp_path: Path) -> None:
    sweep("launch", "--algorithms", "ERM")
    (tmp_path / "runs" / "tiny" / "sweep.json").write_text("{")
    refused = cli("sweep", "status", "runs/tiny")
    assert refused.code == 1
    assert "sweep.json is damaged" in refused.err


# Problems -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> None:
    """A table on data that is not here."""
    columns = TABLE.replace('dataset: Debug28, columns: {"0": first', "dataset: PACS, columns: {photo: first")
    (tmp_path / "pacs.yaml").write_text(columns.replace('"1": second', "sketch: second"))


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("action", ["plan", "launch"])
def test_missing_data_is_a_problem_told_before_anything_runs(cli: Callable, tmp_path: Path, action: str) -> None:
    shown = cli("sweep", action, "pacs.yaml", "--data-dir", "nowhere", "--device", "cpu")
    assert shown.code == 1
    assert "Problem 1 (keeps 6 runs from being executed here): The data folder nowhere does not exist" in shown.out
    assert "6 runs share 4 stages" in shown.out
    assert ("nothing was launched" in shown.err) == (action == "launch")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("elsewhere")
def test_problems_for_programs(cli: Callable) -> None:
    shown = cli("sweep", "plan", "pacs.yaml", "--json")
    assert shown.code == 1
    assert any("no data folder was given" in problem for problem in json.loads(shown.out)["problems"])


def test_weights_out_of_reach_are_a_problem(sweep: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "reachable", lambda host: False)
    shown = sweep("plan", "--network", "resnet18", "--algorithms", "ERM")
    assert shown.code == 1
    assert "Problem 1 (keeps 2 runs from being executed here): The weights" in shown.out
    assert "type: dfdgbench networks download resnet18" in shown.out
    assert "--weights none" in shown.out
    assert sweep("plan", "--network", "resnet18", "--weights", "none", "--algorithms", "ERM").code == 0
