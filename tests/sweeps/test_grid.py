"""Grids: which runs a table has, what overrides reach, and mistakes in a table's YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dfdgbench.errors import ConfigError, DfdgbenchError, HparamError
from dfdgbench.seeds import seed_hash
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.grid import runs_of
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.spec import Part, Row, TableSpec, load

ROWS = [
    Row(label="ERM", algorithm="ERM", options={"steps": 7}, hparams={"batch_size": 8}),
    Row(label="DEKAN (ours)", algorithm="DEKAN"),
]
DEBUG = Part(title="Debug", dataset="Debug28", columns={"0": "first", "2": "third"})
PACS = Part(title="PACS", dataset="PACS", columns={"sketch": "S"}, options={"steps": 5})
QUOTED = Part(title="Quoted", dataset="Digits", columns={"MNIST": "M"}, quoted=True)


def table(**changes: Any) -> TableSpec:
    """Two rows, two parts to run and one that is quoted, three columns in all, two trials."""
    content = {"name": "t", "title": "T", "trials": 2, "parts": [DEBUG, PACS, QUOTED], "rows": ROWS}
    return TableSpec.model_validate({**content, **changes})


def places(runs: list[SweepRun]) -> list[tuple[int, int, int, int]]:
    """Trial, part, row and held-out domain of each run."""
    return [(run.config.trial_seed, run.part, run.row, int(run.config.test_envs[0])) for run in runs]


def test_every_trial_part_row_and_held_out_domain_is_a_run() -> None:
    runs = runs_of(table())
    assert places(runs[:6]) == [(0, 0, 0, 0), (0, 0, 0, 2), (0, 0, 1, 0), (0, 0, 1, 2), (0, 1, 0, 3), (0, 1, 1, 3)]
    assert len(runs) == 12
    assert len({run.run_id for run in runs}) == 12


def test_every_run_has_the_seed_of_domainbeds_sweep() -> None:
    for run in runs_of(table()):
        config = run.config
        assert config.seed == seed_hash(config.dataset, config.algorithm, config.test_envs, 0, config.trial_seed)


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ({"datasets": ["PACS"]}, {(1, 0, 3), (1, 1, 3)}),
        ({"algorithms": ["ERM"]}, {(0, 0, 0), (0, 0, 2), (1, 0, 3)}),
        ({"algorithms": ["DEKAN (ours)"]}, {(0, 1, 0), (0, 1, 2), (1, 1, 3)}),
        ({"algorithms": ["DEKAN"]}, {(0, 1, 0), (0, 1, 2), (1, 1, 3)}),
        ({"test_envs": [2]}, {(0, 0, 2), (0, 1, 2)}),
        ({"datasets": ["Debug28"], "test_envs": [0], "algorithms": ["ERM"]}, {(0, 0, 0)}),
    ],
)
def test_choices_keep_some_runs_alone(choice: dict[str, Any], left: set[tuple[int, int, int]]) -> None:
    found = places(runs_of(table(), **choice))
    assert {place[1:] for place in found} == left
    assert len(found) == 2 * len(left)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"datasets": ["Pacs"]}, "no dataset of the table 't' 'Pacs'. Did you mean PACS?"),
        ({"datasets": ["Digits"]}, "no dataset of the table 't' 'Digits'"),
        ({"algorithms": ["DEKAM"]}, "no row of the table 't' 'DEKAM'. Did you mean DEKAN"),
        ({"hparams": {"lrr": 1}}, "hyper-parameter of any row of the table 'lrr'. Did you mean lr?"),
        ({"hparams": {"inversion.epsilon": 1}, "algorithms": ["ERM"]}, "any row of the table 'inversion.epsilon'"),
        ({"options": {"preset": "papr"}}, "preset of any row of the table 'papr'. Did you mean paper?"),
        ({"options": {"preset": "paper"}, "algorithms": ["ERM"]}, "preset of any row of the table 'paper'"),
        ({"test_envs": [9], "datasets": ["Debug28"]}, "Debug28 has no domain"),
    ],
)
def test_unknown_choices_are_told_with_near_names(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(DfdgbenchError) as caught:
        runs_of(table(), **choice)
    assert message in str(caught.value)


def test_a_domain_that_only_one_part_has_is_an_error_of_the_other() -> None:
    with pytest.raises(ConfigError, match="Debug28 has no domain"):
        runs_of(table(), test_envs=[3])


def test_more_or_fewer_trials_than_the_tables() -> None:
    assert {place[0] for place in places(runs_of(table(), trials=1))} == {0}
    assert {place[0] for place in places(runs_of(table(), trials=3))} == {0, 1, 2}


# Overrides ------------------------------------------------------------------------------------------------------------


def test_overrides_reach_the_rows_that_know_them() -> None:
    runs = runs_of(table(), hparams={"lr": 0.5, "inversion": {"epsilon": 3}})
    found = {(run.config.algorithm, tuple(sorted(run.config.hparams.items()))) for run in runs}
    assert found == {("ERM", (("batch_size", 8), ("lr", 0.5))), ("DEKAN", (("inversion.epsilon", 3),))}


def test_a_row_comes_on_top_of_its_part_and_that_of_the_table() -> None:
    part = PACS.model_copy(update={"hparams": {"batch_size": 2, "lr": 2}})
    spec = table(
        parts=[part], hparams={"batch_size": 1, "lr": 1, "weight_decay": 1}, options={"steps": 3, "image_size": 9}
    )
    config = runs_of(spec, algorithms=["ERM"])[0].config
    assert config.hparams == {"batch_size": 8, "lr": 2, "weight_decay": 1}
    assert (config.steps, config.image_size) == (7, 9)
    config = runs_of(spec, algorithms=["ERM"], hparams={"batch_size": 9}, options={"steps": 1})[0].config
    assert (config.hparams["batch_size"], config.steps) == (9, 1)


def test_a_preset_is_for_the_rows_that_have_it() -> None:
    runs = runs_of(table(), options={"preset": "authors"})
    assert {(run.config.algorithm, run.config.preset) for run in runs} == {("ERM", None), ("DEKAN", "authors")}


@pytest.mark.parametrize("place", ["table", "part"])
def test_an_hparam_of_the_table_that_no_row_knows_is_a_mistake(place: str) -> None:
    wrong = {"inversion.epsilom": 3}
    spec = table(hparams=wrong) if place == "table" else table(parts=[DEBUG.model_copy(update={"hparams": wrong})])
    with pytest.raises(HparamError, match=r"Did you mean inversion\.epsilon"):
        runs_of(spec)


def test_an_hparam_of_a_row_that_it_does_not_know_is_not_dropped() -> None:
    row = Row(label="ERM", algorithm="ERM", hparams={"lrr": 1})
    assert runs_of(table(rows=[row]))[0].config.hparams == {"lrr": 1}  # refused when the run is planned


def test_a_row_of_an_unknown_algorithm() -> None:
    with pytest.raises(ConfigError, match="did you mean DEKAN"):
        runs_of(table(rows=[Row(label="x", algorithm="DEKANN")]))


def test_an_unknown_option_of_a_row() -> None:
    with pytest.raises(ConfigError, match="--stepps"):
        runs_of(table(rows=[Row(label="x", algorithm="ERM", options={"stepps": 3})]))


# Files ----------------------------------------------------------------------------------------------------------------

GOOD = """
name: mine
title: Mine
parts: [{title: A, dataset: Debug28, columns: {"0": first}}]
rows: [{label: ERM, algorithm: ERM}]
"""


@pytest.mark.parametrize(
    ("wrong", "messages"),
    [
        (GOOD + "trails: 3\n", ["trails: Extra inputs are not permitted"]),
        (GOOD + "trials: three\n", ["trials: Input should be a valid integer"]),
        (GOOD + "trials: 0\n", ["trials: Input should be greater than 0"]),
        (GOOD.replace("algorithm: ERM", "algoritm: ERM"), ["rows.0.algoritm"]),
        (GOOD.replace("title: Mine\n", ""), ["title: Field required"]),
        (GOOD + "layout: sideways\n", ["layout"]),
        ("- a list\n", ["has mistakes"]),
        ("", ["has mistakes"]),
        ("rows: [", ["is no YAML", "line 1"]),
        ("\tname: x", ["is no YAML"]),
    ],
)
def test_mistakes_in_a_table_are_one_message_that_names_the_file(
    tmp_path: Path, wrong: str, messages: list[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(wrong)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert [message for message in (str(path), *messages) if message not in str(caught.value)] == []


def test_a_table_of_ones_own_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(GOOD)
    assert [run.config.algorithm for run in runs_of(load(str(tmp_path / "mine.yml")))] == ["ERM"] * 3


def test_a_sweeps_folder_gives_back_what_was_written(tmp_path: Path) -> None:
    folder, runs = SweepFolder(tmp_path), runs_of(table(), data_dir="data")
    folder.write(table(), runs[:3], {"artifacts": "a"})
    folder.write(table(), runs[2:], {"artifacts": "b"})
    assert folder.runs() == runs
    assert folder.spec() == table()
    assert folder.execution() == {"artifacts": "b"}
    assert folder.states() == {"absent": 12}
