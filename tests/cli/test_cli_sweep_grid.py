"""``dfdgbench sweep`` from DomainBed's flags and from a grid's file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

GRID = """
algorithms: [ERM, AvgPred]
datasets: [Debug28]
n_hparams: 2
n_trials: 1
network: smallcnn
steps: 1
checkpoint_freq: 0
hparams: {batch_size: 4, teacher.steps: 1, teacher.batch_size: 4}
"""
FLAGS = ("--datasets", "Debug28", "--network", "smallcnn", "--checkpoint_freq", 0, "--hparams", '{"batch_size": 4}')
SMALL = ("--device", "cpu", "--skip_model_save")


@pytest.fixture
def plan(cli: Callable) -> Callable:
    """Calls ``dfdgbench sweep plan`` and returns the plan as a program gets it."""

    def call(*arguments: object) -> dict:
        planned = cli("sweep", "plan", *arguments, *SMALL, "--json")
        assert (planned.code, planned.err) == (0, "")
        return json.loads(planned.out)

    return call


@pytest.fixture
def launch(cli: Callable, tmp_path: Path) -> Callable:
    """Calls ``dfdgbench sweep launch``, with a grid at hand in mine.yaml."""
    (tmp_path / "mine.yaml").write_text(GRID)

    def call(*arguments: object) -> object:
        return cli("sweep", "launch", *arguments, *SMALL, "--launcher", "debug")

    return call


def count(plan: dict) -> int:
    """How many runs a plan has."""
    return plan["stages"][-1]["stages"]


def configs(folder: Path) -> list[dict]:
    """The runs' options in a sweep's folder."""
    return [entry["config"] for entry in json.loads((folder / "sweep.json").read_text())["runs"]]


@pytest.mark.parametrize(
    "flags",
    [
        "--n_hparams 3 --n_hparams_from 1 --n_trials 2 --single_test_envs --seed 0 --holdout_fraction 0.2 --steps 5 "
        "--task domain_generalization",
        "--n-hparams 3 --n-hparams-from 1 --trials 2 --test-env-grid single",
        "--n-hparams=3 --n-hparams-from=1 --n-trials=2 --rules training-domain",
    ],
)
def test_domainbeds_flags_in_both_spellings(plan: Callable, flags: str) -> None:
    planned = plan("--algorithms", "ERM", *FLAGS, *flags.split())
    assert (count(planned), planned["output_dir"]) == (2 * 3 * 2, "runs/sweep")


def test_without_more_flags_the_grid_is_domainbeds(plan: Callable) -> None:
    assert count(plan("--algorithms", "ERM", *FLAGS)) == 3 * 6 * 20


def test_a_plan_says_what_other_rules_would_add_and_typing_it_adds_that(cli: Callable, plan: Callable) -> None:
    flags = ("--algorithms", "ERM", *FLAGS, "--n-hparams", 2, "--n-trials", 1)
    shown = cli("sweep", "plan", *flags, *SMALL, "--single-test-envs").out
    line = "leave-one-domain-out would add 6 runs: --rules training-domain leave-one-domain-out --test-env-grid both"
    assert line in shown.splitlines()
    assert plan(*flags, "--single-test-envs")["would_add"] == {"leave-one-domain-out": 6}
    typed = plan(*flags, *line.split(": ")[1].split())
    assert (count(typed), typed["would_add"]) == (6 + 6, {})


def test_a_table_is_planned_as_it_stands_and_says_no_more(cli: Callable, plan: Callable) -> None:
    assert count(plan("quickstart")) == 28
    assert "would add" not in cli("sweep", "plan", "quickstart").out
    searched = plan("quickstart", "--n-hparams", 3)
    assert count(searched) == 28 + 2 * 4  # of ERM, whose rule compares configurations
    assert searched["would_add"]["leave-one-domain-out"] == 6 * 3


def test_the_table_may_come_after_flags(plan: Callable) -> None:
    assert count(plan("--trials", "2", "--algorithms", "ERM", "--test-envs", "0", "--device", "cpu", "quickstart")) == 2


def test_a_grids_file_is_launched_tabulated_and_collected(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    launched = launch("mine.yaml")
    assert launched.code == 0
    assert "AvgPred: hparams seed 0 and one held-out domain at a time" in launched.out
    assert "15 of 15 runs are done. Their table: dfdgbench table runs/mine" in launched.out
    table = cli("table", "runs/mine")
    assert (table.code, table.err) == (0, "")
    rows = [line for line in table.out.splitlines() if line.startswith(("| ERM", "| AvgPred"))]
    assert len(rows) == 2
    assert not any("X" in row or "†" in row for row in rows)
    assert "missing" not in table.out
    collected = cli("collect", "runs/mine")
    assert "leave-one-domain-out cross-validation" in collected.out
    refused = cli("table", "mine.yaml", "runs/mine")
    assert refused.code == 1
    assert "dfdgbench table runs/mine" in refused.err


def test_pairs_fill_the_columns_of_both_domains(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    launch("mine.yaml", "--algorithms", "ERM", "--rules", "leave-one-domain-out")
    whole = cli("table", "runs/mine").out
    folders = sorted((tmp_path / "runs" / "mine" / "runs").glob("ERM-Debug28-env0+1-t0-h?-*"))
    assert len(folders) == 2
    for folder in folders:
        folder.rename(tmp_path / folder.name)
    lacking = cli("table", "runs/mine").out
    row, without = (
        next(line for line in text.splitlines() if line.startswith("| ERM")).split("|")[2:5]
        for text in (whole, lacking)
    )
    assert row[2] == without[2]  # the third domain's column needs neither
    assert not any(character.isdigit() for column in without[:2] for character in column)
    assert all(lacking.count(folder.name) == 1 for folder in folders)  # named once, though two columns miss them


def test_a_sweep_grows_without_doing_anything_twice(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    flags = (*FLAGS, "--single-test-envs", "--n-trials", 1, "--steps", 1)
    launch("--algorithms", "ERM", *flags, "--n-hparams", 1)
    folder, seen = tmp_path / "runs" / "sweep", 3
    for more in (
        ("--algorithms", "ERM", *flags, "--n-hparams", 2),
        ("--algorithms", "AvgPred", *flags, "--hparams", '{"teacher.steps": 1}', "--n-hparams", 1),
        ("--algorithms", "ERM", *flags, "--steps", 2, "--n-hparams", 1),
        ("--algorithms", "ERM", *flags, "--trials", 2, "--n-hparams", 1),
    ):
        before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/results.jsonl")}
        assert len(before) == seen
        grown = launch(*more)
        seen += 3
        assert grown.code == 0
        assert f"{seen} of {seen} runs are done" in grown.out
        assert {path: path.stat().st_mtime_ns for path in before} == before
    table = cli("table", "runs/sweep").out
    assert "| ERM" in table
    assert "| AvgPred" in table


def test_the_command_of_a_missing_run_makes_that_run(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    launch(
        "mine.yaml", "--algorithms", "ERM", "--n-trials", 2, "--single-test-envs", "--seed-protocol", "tune-then-repeat"
    )
    (folder,) = (tmp_path / "runs" / "mine" / "runs").glob("ERM-Debug28-env0-t1-h1-*")
    config = json.loads((folder / "config.json").read_text())
    assert config["config"]["hparams_trial"] == 0
    (other,) = folder.parent.glob("ERM-Debug28-env0-t0-h1-*")
    assert json.loads((other / "config.json").read_text())["hparams"] == config["hparams"]
    folder.rename(tmp_path / "gone")
    lines = [line for line in cli("table", "runs/mine", "--missing").out.splitlines() if "--hparams-trial 0" in line]
    command = lines[0][lines[0].index("dfdgbench train") :].rstrip("`")
    assert cli(*shlex.split(command)[1:]).code == 0
    assert json.loads((folder / "config.json").read_text())["run"] == config["run"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--algorithms is missing"),
        (("--algorithms", "ERM"), "--datasets is missing"),
        (("--algorithms", "ERMM", "--datasets", "Debug28"), "no algorithm 'ERMM'. Did you mean ERM?"),
        (("--algorithms", "ERM", *FLAGS, "--n-hparams", 2, "--n-hparams-from", 2), "end of the range, not a count"),
        (
            ("--algorithms", "ERM", *FLAGS, "--n-hparams-from", -1),
            "n_hparams_from: input should be greater than or equal",
        ),
        (("quickstart", "--n-hparams-from", -1), "n_hparams_from: input should be greater than or equal"),
        (("--algorithms", "ERM", *FLAGS, "--rules", "orakle"), "no selection rule 'orakle'. Did you mean oracle"),
        (("--algorithms", "ERM", *FLAGS, "--hparam", "lrr=1"), "Did you mean lr?"),
        (("mine.yaml", "--algorithms", "DEKAN"), "no row of the table 'mine' 'DEKAN'"),
        (("empty.yaml",), "it is empty"),
        (("nowhere.yaml",), "no table 'nowhere.yaml'"),
    ],
)
def test_what_cannot_be_launched_is_told_and_nothing_is_made(
    launch: Callable, tmp_path: Path, arguments: tuple, message: str
) -> None:
    (tmp_path / "empty.yaml").touch()
    refused = launch(*arguments)
    assert refused.code == 1
    assert message in refused.err
    assert "Traceback" not in refused.err
    assert not (tmp_path / "runs").exists()


def test_another_sweeps_folder_is_refused_by_plan_and_launch(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    launch("mine.yaml", "--algorithms", "ERM", "--test-envs", 0, "--rules", "last")
    before = configs(tmp_path / "runs" / "mine")
    for refused in (
        launch("--algorithms", "ERM", *FLAGS, "--output-dir", "runs/mine"),
        cli("sweep", "plan", "--algorithms", "ERM", *FLAGS, "--output-dir", "runs/mine"),
    ):
        assert refused.code == 1
        assert "holds the sweep 'mine', not 'sweep'" in refused.err
    assert configs(tmp_path / "runs" / "mine") == before
