"""Tables from sweeps: cells, averages, what is missing, and where published numbers go."""

from __future__ import annotations

import argparse
import math
import shlex
from pathlib import Path
from typing import Any

import pytest
from result_builders import finish, plan, small, write_ours, write_sweep

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.table import Cell, Table, build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.spec import Row


def cell(table: Table, row: int, column: int, block: int = 0) -> Cell:
    return table.blocks[block].rows[row].cells[column]


def entry(entries: list[dict[str, Any]], row: int, env: int, trial: int) -> dict[str, Any]:
    return next(
        e for e in entries if (e["row"], e["config"]["test_envs"], e["config"]["trial_seed"]) == (row, [env], trial)
    )


def test_no_trials(tmp_path: Path) -> None:
    plan(small(), tmp_path, trials=3)
    table = build(small(), tmp_path)
    assert cell(table, 0, 0) == Cell(expected=3)
    assert cell(table, 0, 2) == Cell(expected=3)
    assert len(table.missing) == 12
    assert {run.state for run in table.missing} == {"planned"}


@pytest.mark.parametrize(
    ("values", "mean", "se"),
    [
        ([0.5], 50.0, None),
        ([0.5, 0.6], 55.0, 5.0),
        ([0.1, 0.2, 0.3], 20.0, 10 / math.sqrt(3)),
    ],
)
def test_trials(tmp_path: Path, values: list[float], mean: float, se: float | None) -> None:
    entries = plan(small(), tmp_path, trials=3)
    for trial, value in enumerate(values):
        finish(tmp_path, entry(entries, 0, 1, trial), value)
    found = cell(build(small(), tmp_path), 0, 1)
    assert (found.n, found.expected) == (len(values), 3)
    assert found.mean == pytest.approx(mean)
    assert found.se == (None if se is None else pytest.approx(se))


def test_average_takes_trials_that_have_every_column(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path, trials=3)
    for env, trial, value in [(0, 0, 0.1), (1, 0, 0.3), (0, 1, 0.9), (0, 2, 0.3), (1, 2, 0.5)]:
        finish(tmp_path, entry(entries, 0, env, trial), value)
    found = cell(build(small(), tmp_path), 0, 2)
    assert (found.n, found.mean) == (2, pytest.approx(30.0))
    assert found.se == pytest.approx(10.0)


def test_a_row_whose_runs_adapted_to_the_test_images_says_so(tmp_path: Path) -> None:
    rows = [Row(label="Lent", algorithm="DEKAN", options={"transductive": True}), Row(label="Apart", algorithm="DEKAN")]
    spec = small(rows=rows)
    for planned in plan(spec, tmp_path):
        finish(tmp_path, planned, 0.5)
    assert [row.label for row in build(spec, tmp_path).blocks[0].rows] == ["Lent (transductive)", "Apart"]


def test_no_average_where_the_part_has_none(tmp_path: Path) -> None:
    spec = small(parts=[small().parts[0].model_copy(update={"average": None})])
    plan(spec, tmp_path)
    assert build(spec, tmp_path).blocks[0].header == ("H", "B")


def test_unevaluated_runs_are_missing_and_say_how_to_evaluate_them(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path, trials=1, data_dir="/some data")
    finish(tmp_path, entry(entries, 0, 0, 0), math.nan)
    table = build(small(), tmp_path)
    assert cell(table, 0, 0).mean is None
    run = next(run for run in table.missing if run.state == "not evaluated")
    assert shlex.split(run.command) == [
        "dfdgbench",
        "evaluate",
        str(tmp_path / "runs" / run.run),
        "--pending",
        "--data-dir",
        "/some data",
    ]


def test_done_runs_without_records_are_missing(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)
    finish(tmp_path, entries[0], 0.5)
    (tmp_path / "runs" / entries[0]["id"] / "results.jsonl").unlink()
    assert "without records" in {run.state for run in build(small(), tmp_path).missing}


def test_unfinished_runs_do_not_count(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)
    config = RunConfig.make(**entries[0]["config"])
    write_ours(tmp_path / "runs" / entries[0]["id"], config, {"env0_in_acc": 0.5}, state="failed")
    table = build(small(), tmp_path)
    assert cell(table, 0, 0).n == 0
    assert "failed" in {run.state for run in table.missing}


def train_config(command: str) -> tuple[RunConfig, Path]:
    """What ``dfdgbench train`` makes of a command."""
    from dfdgbench.cli import train
    from dfdgbench.cli.options import method_options, overrides

    parser = argparse.ArgumentParser()
    train.add(parser.add_subparsers())
    options = parser.parse_args(shlex.split(command)[1:])
    given = {name: getattr(options, name) for name in train.PROBLEM}
    return RunConfig.make(**given, **method_options(options), hparams=overrides(options)), options.output_dir


def test_the_command_of_a_missing_run_makes_that_run(tmp_path: Path) -> None:
    sweep = tmp_path / "a sweep"
    rows = [Row(label="Ours", algorithm="DEKAN", hparams={"inversion.epsilon": 30, "name": "it's"})]
    given: dict[str, Any] = {
        "preset": "paper",
        "image_size": 64,
        "compile": True,
        "checkpoint_freq": 0,
        "train_envs": [2, 3],
    }
    entries = plan(small(rows=rows), sweep, trials=2, data_dir="/some data", protocol="official", **given)
    table = build(small(rows=rows), sweep)
    assert len(table.missing) == len(entries)
    for run in table.missing:
        config, folder = train_config(run.command)
        assert config.run_id == run.run
        assert config.data_dir == "/some data"
        assert folder == sweep / "runs" / run.run


def test_the_command_of_the_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "a sweep"
    plan(small(), sweep, trials=3, data_dir="/some data")
    words = shlex.split(build(small(), sweep).launch)
    assert words == [
        "dfdgbench",
        "sweep",
        "launch",
        "small.yaml",
        "--data-dir",
        "/some data",
        "--output-dir",
        str(sweep),
    ]
    recorded = "dfdgbench sweep launch mine.yaml --trials 3 --test_envs 0 1 --jobs 2 --n-trials=3"
    plan(small(), sweep, trials=3, command=recorded)
    assert build(small(), sweep).launch == recorded
    plan(small(), sweep, trials=1, command=recorded)
    assert build(small(), sweep).launch == "dfdgbench sweep launch mine.yaml --jobs 2"


@pytest.mark.parametrize("given", [" --output-dir runs/it --jobs 2", " --output_dir=runs/it --jobs 2"])
def test_a_copied_sweep_is_filled_where_it_lies_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/it", "copy"):
        plan(small(), Path(folder), trials=3, command=f"dfdgbench sweep launch mine.yaml{given}")
    assert build(small(), "runs/it").launch == f"dfdgbench sweep launch mine.yaml{given}"
    assert build(small(), "copy").launch == "dfdgbench sweep launch mine.yaml --jobs 2 --output-dir copy"


def test_built_in_tables_are_launched_by_name(tmp_path: Path) -> None:
    spec = specs.load("quickstart")
    plan(spec, tmp_path)
    assert build(spec, tmp_path).launch == f"dfdgbench sweep launch quickstart --output-dir {tmp_path}"


def test_a_finished_sweep_lacks_nothing(tmp_path: Path) -> None:
    for made in plan(small(trials=1), tmp_path):
        finish(tmp_path, made, 0.5)
    table = build(small(trials=1), tmp_path)
    assert (table.missing, table.unplanned, table.launch) == ((), 0, "")


def test_runs_that_are_not_planned_are_counted(tmp_path: Path) -> None:
    entries = [made for made in plan(small(), tmp_path) if made["config"]["test_envs"] == [1]]
    write_sweep(small(), tmp_path, entries)
    finish(tmp_path, entries[0], 0.4)
    table = build(small(), tmp_path)
    assert table.unplanned == 2 * 3 + 2 * 2
    assert (cell(table, 0, 0).n, cell(table, 0, 1).mean) == (0, pytest.approx(40.0))


def test_columns_in_another_order_than_the_domains(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)
    for made in entries:
        made["config"]["test_envs"] = [{0: 3, 1: 1}[made["config"]["test_envs"][0]]]
        made["id"] = RunConfig.make(**made["config"]).run_id
    write_sweep(small(), tmp_path, entries)
    finish(tmp_path, entry(entries, 0, 3, 0), 0.3)
    finish(tmp_path, entry(entries, 0, 1, 0), 0.1)
    table = build(small(), tmp_path)
    assert [found.mean for found in table.blocks[0].rows[0].cells[:2]] == [pytest.approx(30.0), pytest.approx(10.0)]


@pytest.mark.parametrize("chosen", [[], [2], [1, 3]])
@pytest.mark.parametrize("name", ["dekan-table1", "quickstart"])
def test_places_are_those_that_a_real_sweep_plans(tmp_path: Path, name: str, chosen: list[int]) -> None:
    from dfdgbench.datasets.base import DATASETS
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.grid import runs_of

    spec = specs.load(name)
    planned = runs_of(spec, trials=2, test_envs=chosen)
    SweepFolder(tmp_path).write(spec, planned, {})
    places = {run.run: (run.place, run.trial) for run in build(spec, tmp_path).missing}
    for run in planned:
        part, config = spec.parts[run.part], run.config
        domain = DATASETS.get(part.dataset).metadata.domains[int(config.test_envs[0])]
        label = f"{spec.rows[run.row].label}, {part.title}, {part.columns[domain]}"
        assert places[run.run_id] == (label, config.trial_seed)


def test_a_named_column_holds(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)[:1]
    write_sweep(small(), tmp_path, [entries[0] | {"column": "blended"}])
    finish(tmp_path, entries[0], 0.3)
    assert cell(build(small(), tmp_path), 0, 1).mean == pytest.approx(30.0)


def test_a_domain_that_is_no_column_is_left_out(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)[:1]
    write_sweep(small(), tmp_path, [entries[0] | {"column": "printed"}])
    table = build(small(), tmp_path)
    assert (table.missing, table.unplanned) == ((), 12)


def test_official_protocol_reports_the_test_split(tmp_path: Path) -> None:
    spec = small(options={"protocol": "official"})
    entries = plan(spec, tmp_path)
    finish(tmp_path, entries[0], 0.6, env0_train_acc=0.9, env0_val_acc=0.8)
    assert cell(build(spec, tmp_path), 0, 0).mean == pytest.approx(60.0)


def test_a_row_with_its_own_rule_and_several_configurations(tmp_path: Path) -> None:
    rows = [Row(label="ERM", algorithm="ERM", selection="training-domain")]
    spec = small(rows=rows, trials=1)
    entries = []
    for seed, (test, validation) in enumerate([(0.5, 0.6), (0.4, 0.9)]):
        made = plan(spec, tmp_path, hparams_seed=seed)[0]
        entries.append(made)
        others = {f"env{env}_out_acc": validation for env in range(4)} | {f"env{env}_in_acc": 0.0 for env in (1, 2, 3)}
        finish(tmp_path, made, test, setting="domain-generalisation", **others)
    write_sweep(spec, tmp_path, entries)
    found = cell(build(spec, tmp_path), 0, 0)
    assert (found.mean, found.n, found.marked) == (pytest.approx(40.0), 1, False)


def test_marks(tmp_path: Path) -> None:
    rows = [
        Row(label="plain", algorithm="A"),
        Row(label="oracle", algorithm="B", oracle=True),
        Row(label="selected", algorithm="C", selection="training-domain"),
        Row(label="not there", algorithm="D", selection="oracle"),
    ]
    spec = small(rows=rows)
    for made in plan(spec, tmp_path):
        if made["row"] < 3:
            finish(tmp_path, made, 0.5, setting="data-free")
    assert [row.marked for row in build(spec, tmp_path).blocks[0].rows] == [False, True, True, True]


def test_the_configuration_planned_last_is_shown(tmp_path: Path) -> None:
    spec = small(trials=1)
    old, new = plan(spec, tmp_path), plan(spec, tmp_path, network="resnet18")
    write_sweep(spec, tmp_path, [*old, *new])
    finish(tmp_path, old[0], 0.1)
    finish(tmp_path, new[0], 0.2)
    table = build(spec, tmp_path)
    assert cell(table, 0, 0).mean == pytest.approx(20.0)
    assert "several configurations were planned for 4 cells" in table.notes[-1]


def test_a_spec_edited_since_the_launch_keeps_its_runs(tmp_path: Path) -> None:
    entries = plan(small(), tmp_path)
    finish(tmp_path, entry(entries, 0, 0, 0), 0.3)
    edited = small(rows=[Row(label="New", algorithm="ERM"), small().rows[0]])
    table = build(edited, tmp_path)
    assert cell(table, 1, 0).mean == pytest.approx(30.0)
    assert cell(table, 0, 0).n == 0
    assert len(table.missing) == 1


def test_folders_that_are_not_this_sweep(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sweep's folder"):
        build(small(), tmp_path)
    plan(small(), tmp_path)
    with pytest.raises(ConfigError, match="dfdgbench table small"):
        build(small(name="other"), tmp_path)
