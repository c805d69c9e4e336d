"""Grids: DomainBed's order, seeds and configurations; which runs a rule needs; sweeps that grow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dfdgbench.algorithms.erm import ERM
from dfdgbench.engine.config import Execution
from dfdgbench.errors import ConfigError, DfdgbenchError
from dfdgbench.planning import Planner
from dfdgbench.results.selection import needs
from dfdgbench.settings import DATA_FREE, SETTINGS
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.grid import runs_of
from dfdgbench.sweeps.grids import spec_of
from dfdgbench.sweeps.places import Choice, additions, remarks
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.tables.grid import Grid, source
from dfdgbench.tables.rules import RuleNeeds
from dfdgbench.tables.spec import Part, Row, Search, TableSpec

RULES = needs()
SINGLE = {"test_env_grid": "single"}


class DataFreeSearch(ERM):
    """A data-free method with hyper-parameters to search; never run."""

    name = "DataFreeSearch"
    setting = DATA_FREE


FREE = f"{__name__}:DataFreeSearch"


def spec(**changes: Any) -> TableSpec:
    """The table of a grid: ERM on VLCS, two trials, two hparams seeds, unless told otherwise."""
    content = {"algorithms": ["ERM"], "datasets": ["VLCS"], "n_hparams": 2, "n_trials": 2}
    return spec_of(Grid.make(**(content | changes)), RULES)


def runs(**changes: Any) -> list[SweepRun]:
    """The runs of such a grid that its rules need."""
    return runs_of(spec(**changes), rules=RULES)


def seeds(found: list[SweepRun], algorithm: str = "ERM") -> set[int]:
    """The hparams seeds of an algorithm's runs."""
    return {run.config.hparams_seed for run in found if run.config.algorithm == algorithm}


# DomainBed's sweep ----------------------------------------------------------------------------------------------------


def test_the_default_grid_is_that_of_domainbeds_shipped_sweep() -> None:
    found = runs()
    assert len(found) == 40
    expected = {
        (0, 0, (0,)): 1721972278,
        (0, 0, (0, 1)): 560039459,
        (0, 0, (0, 2)): 1652397067,
        (0, 0, (3,)): 969090155,
        (0, 1, (0,)): 1155380425,
        (1, 0, (0,)): 745093665,
        (1, 1, (0, 1)): 673138363,
        (1, 1, (3,)): 1726329315,
    }
    by_place = {
        (run.config.trial_seed, run.config.hparams_seed, tuple(run.config.test_envs)): run.config.seed for run in found
    }
    assert {place: by_place[place] for place in expected} == expected


def test_held_out_domains_come_in_domainbeds_order() -> None:
    found = [run.config.test_envs for run in runs(n_hparams=1, n_trials=1)]
    assert found == [[0], [0, 1], [0, 2], [0, 3], [1], [1, 2], [1, 3], [2], [2, 3], [3]]


@pytest.mark.parametrize(("dataset", "combinations"), [("Debug28", 6), ("VLCS", 10), ("DomainNet", 21)])
def test_as_many_combinations_as_domainbed_has(dataset: str, combinations: int) -> None:
    assert len(runs(datasets=[dataset], n_hparams=1, n_trials=1)) == combinations


def test_runs_are_nested_as_in_domainbed() -> None:
    found = runs(algorithms=["ERM", FREE], datasets=["VLCS", "PACS"], rules=["oracle"], **SINGLE)
    places = [
        (
            c.trial_seed,
            ["VLCS", "PACS"].index(c.dataset),
            ["ERM", FREE].index(c.algorithm),
            c.test_envs,
            c.hparams_seed,
        )
        for c in (run.config for run in found)
    ]
    assert places == sorted(places)
    assert len(places) == 2 * 2 * 2 * 4 * 2


def test_the_number_of_hparams_is_the_end_of_a_range() -> None:
    assert seeds(runs(n_hparams=5, n_hparams_from=3)) == {3, 4}
    with pytest.raises(ConfigError, match="end of the range, not a count"):
        runs(n_hparams=3, n_hparams_from=3)


def test_pairs_alone_and_of_single_targets() -> None:
    found = [run.config.test_envs for run in runs(n_hparams=1, n_trials=1, test_env_grid="pairs")]
    assert found == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    found = [run.config.test_envs for run in runs(n_hparams=1, n_trials=1, test_envs=["C", 2])]
    assert sorted(found) == [[0], [0, 1], [0, 2], [0, 3], [1, 2], [2], [2, 3]]


# Seed protocols -------------------------------------------------------------------------------------------------------

# specs: draws of ERM with hparams seed 1, of trial 0 on PACS and of trial 1 on VLCS.
TRIAL_0 = {
    "lr": 2.7028930742148706e-05,
    "weight_decay": 0.00044832883881609976,
    "batch_size": 39,
    "resnet_dropout": 0.5,
}
TRIAL_1 = {"lr": 2.2352558725944602e-05, "weight_decay": 1.9967320578799288e-06, "batch_size": 8, "resnet_dropout": 0.5}


@pytest.mark.parametrize(("protocol", "second"), [("domainbed", TRIAL_1), ("tune-then-repeat", TRIAL_0)])
def test_a_random_configuration_differs_between_trials_or_does_not(protocol: str, second: dict[str, float]) -> None:
    found = runs(seed_protocol=protocol, options={"network": "smallcnn"}, **SINGLE)
    planner = Planner(Execution())  # one for all, as a sweep has: what it keeps must not mix trials
    for run in found:
        if run.config.hparams_seed:
            drawn = planner.plan(run.config).hparams.flat()
            assert {name: drawn[name] for name in TRIAL_0} == (second if run.config.trial_seed else TRIAL_0)
    assert {run.config.trial_seed for run in found if run.config.hparams_seed} == {0, 1}


def test_both_protocols_share_the_runs_in_which_they_agree_and_all_run_seeds() -> None:
    one, other = runs(**SINGLE), runs(seed_protocol="tune-then-repeat", **SINGLE)
    assert [run.config.seed for run in one] == [run.config.seed for run in other]
    differing = [
        (run.config.trial_seed, run.config.hparams_seed) for run, its in zip(one, other, strict=True) if run != its
    ]
    assert set(differing) == {(1, 1)}


# Rules ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "erm", "free", "pairs"),
    [
        (["last"], {0}, {0}, set()),
        (["training-domain"], {0, 1, 2}, {0}, set()),
        (["leave-one-domain-out"], {0, 1, 2}, {0}, {"ERM"}),
        (["oracle"], {0, 1, 2}, {0, 1, 2}, set()),
        (["training-domain", "oracle"], {0, 1, 2}, {0, 1, 2}, set()),
        (None, {0, 1, 2}, {0}, {"ERM"}),
    ],
)
def test_only_the_runs_that_the_rules_need(
    rules: list[str] | None, erm: set[int], free: set[int], pairs: set[str]
) -> None:
    found = runs(algorithms=["ERM", FREE], rules=rules, n_hparams=3)
    assert seeds(found) == erm
    assert seeds(found, FREE) == free
    assert {run.config.algorithm for run in found if len(run.config.test_envs) == 2} == pairs


def test_domainbeds_two_rules_of_one_grid_are_one_grid() -> None:
    assert runs(rules=["training-domain"]) == runs(rules=["oracle"]) == runs(**SINGLE)


@pytest.mark.parametrize("setting", ["post-hoc", "source-free", "unsupervised-adaptation"])
def test_where_nothing_may_be_used_only_an_oracle_searches(setting: str) -> None:
    able = {name for name, rule in RULES.items() if rule.searches(SETTINGS[setting].selection)}
    assert able == {"oracle", "oracle-best-step"}


def test_a_rule_of_synthetic_images_searches_data_free_methods() -> None:
    rule = RuleNeeds(frozenset({"synthetic hold-out"}))
    assert rule.searches(SETTINGS["data-free"].selection)
    assert not rule.searches(SETTINGS["domain-generalisation"].selection)


def test_a_method_without_anything_to_search_runs_its_defaults() -> None:
    table = spec(algorithms=["AvgPred"], rules=["oracle"], n_hparams=3)
    assert seeds(runs_of(table, rules=RULES), "AvgPred") == {0}
    assert remarks(Choice(table, RULES)) == [
        "AvgPred: hparams seed 0 alone, since it has no hyper-parameter to search."
    ]


def test_what_other_rules_would_add() -> None:
    table = spec(algorithms=["ERM", FREE], rules=["training-domain"], n_hparams=3)
    added = additions(Choice(table, RULES), 2)
    searched = dict.fromkeys(("oracle", "oracle-best-step", "synthetic-holdout"), 2 * 4 * 2)  # of the data-free method
    assert added == {"leave-one-domain-out": 2 * 6 * 3, **searched}
    for rule, count in added.items():
        larger = spec(algorithms=["ERM", FREE], rules=["training-domain", rule], n_hparams=3)
        here, there = ({run.run_id for run in runs_of(one, rules=RULES)} for one in (table, larger))
        assert here < there
        assert len(there - here) == count


def test_a_search_that_is_cut_or_marked_is_told() -> None:
    cut = remarks(Choice(spec(algorithms=["ERM", FREE], rules=["training-domain"]), RULES))
    assert [line.split(",")[0] for line in cut] == [f"{FREE}: hparams seed 0 and one held-out domain at a time"]
    (marked,) = remarks(Choice(spec(algorithms=[FREE], rules=["oracle"]), RULES))
    assert "more than the setting 'data-free' grants" in marked
    assert remarks(Choice(spec(), RULES)) == []


def test_a_row_shows_what_a_rule_may_choose_and_else_the_last_step() -> None:
    assert [row.selection for row in spec(algorithms=["ERM", FREE]).rows] == ["training-domain", "last"]
    assert [row.selection for row in spec(algorithms=["ERM", FREE], rules=["oracle"]).rows] == ["oracle", "oracle"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": ["leave-one-domain-out"], **SINGLE}, "leave-one-domain-out needs runs that hold out two domains"),
        ({"rules": ["oracle"], "test_env_grid": "pairs"}, "which none of the rules needs: oracle"),
        ({"rules": ["orakle"]}, "no selection rule 'orakle'. Did you mean oracle"),
        ({"rules": ["last"], "n_hparams": 4, "n_hparams_from": 2}, "No run is left: from hparams seed 2"),
        ({"datasets": ["Camvid"]}, "no dataset 'Camvid'. Did you mean CamVid"),
        ({"algorithms": ["ERM", "DEKAM"]}, "no algorithm 'DEKAM'. Did you mean DEKAN"),
        ({"hparams": {"lrr": 1}}, "Did you mean lr?"),
        ({"algorithms": []}, "algorithms: must name at least one"),
        ({"test_envs": [7]}, "VLCS has no domain '7'"),
    ],
)
def test_what_cannot_be_planned(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DfdgbenchError) as caught:
        runs(**changes)
    assert message in str(caught.value)


def test_two_domains_cannot_both_be_held_out_twice(tmp_path: Path) -> None:
    for domain in "ab":
        for label in "xy":
            (tmp_path / domain / label).mkdir(parents=True)
            (tmp_path / domain / label / "0.png").touch()
    with pytest.raises(ConfigError, match="at least three domains"):
        runs(datasets=[f"folder:{tmp_path}"])


def test_a_table_is_searched_by_the_rule_of_each_row() -> None:
    rows = [Row(label="ERM", algorithm="ERM", selection="training-domain"), Row(label="free", algorithm=FREE)]
    part = Part(title="VLCS", dataset="VLCS", columns={"C": "Caltech"})
    table = TableSpec(name="t", title="T", trials=1, rows=rows, parts=[part], search=Search(n_hparams=3))
    found = runs_of(table, rules=RULES)
    assert (seeds(found), seeds(found, FREE)) == ({0, 1, 2}, {0})


def test_a_rows_own_hparams_seed_stays() -> None:
    row = Row(label="ERM", algorithm="ERM", options={"hparams_seed": 7})
    part = Part(title="VLCS", dataset="VLCS", columns={"C": "Caltech"})
    table = TableSpec(name="t", title="T", rows=[row], parts=[part])
    assert seeds(runs_of(table)) == {7}


# Sweeps that grow -----------------------------------------------------------------------------------------------------


def written(folder: SweepFolder, **changes: Any) -> None:
    """Note the runs of a grid in the folder."""
    folder.write(spec(**changes), runs(**changes), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"n_trials": 3}, {"n_trials": 1}, {"n_hparams": 4}, {"n_hparams": 4, "n_hparams_from": 2}, {"algorithms": [FREE]},
        {"datasets": ["PACS"]}, {"options": {"steps": 9}}, {"rules": ["oracle"]}, {"test_envs": ["S"]}, SINGLE,
        {"algorithms": [FREE, "ERM"], "datasets": ["PACS", "VLCS"]},
    ],
)  # fmt: skip
def test_a_later_launch_adds_its_runs_and_keeps_the_earlier_ones(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = SweepFolder(tmp_path)
    written(folder)
    written(folder, **changes)
    kept, table = folder.runs(), folder.spec()
    assert {run.run_id for run in kept} == {run.run_id for run in runs()} | {run.run_id for run in runs(**changes)}
    for run in kept:
        assert table.rows[run.row].algorithm == run.config.algorithm
        assert table.parts[run.part].dataset == run.config.dataset
        assert {run.column, *run.also} <= set(table.parts[run.part].columns)
    assert {row.label for row in table.rows} == {"ERM", *changes.get("algorithms", [])}
    assert table.trials == max(2, changes.get("n_trials", 0))


def test_columns_that_come_later_take_their_place(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    written(folder, test_envs=["S"], **SINGLE)
    written(folder, test_envs=["C"], **SINGLE)
    assert list(folder.spec().parts[0].columns) == ["Caltech101", "SUN09"]


def test_what_another_sweeps_folder_says(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    written(folder)
    before = folder.file.read_bytes()
    for changes, message in (
        ({"name": "other"}, "holds the sweep 'sweep', not 'other'"),
        ({"seed_protocol": "tune-then-repeat"}, "Type --seed-protocol domainbed"),
    ):
        with pytest.raises(ConfigError, match=message):
            written(folder, **changes)
        assert folder.file.read_bytes() == before


# Files ----------------------------------------------------------------------------------------------------------------

GOOD = "algorithms: [ERM]\ndatasets: [VLCS]\n"


def read(tmp_path: Path, text: str) -> Grid:
    """The grid in a file with this text."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    found = source(str(path))
    assert isinstance(found, Grid)
    return found


def test_a_file_has_the_flags_as_keys(tmp_path: Path) -> None:
    text = "n-hparams: 3\nn_trials: 1\nsingle_test_envs: true\nsteps: 7\nhparams: {lr: 1}\nrules: [oracle]\ndata_dir: here\n"
    grid = read(tmp_path, GOOD + text)
    assert grid.name == "mine"
    assert (grid.n_hparams, grid.n_trials, grid.test_env_grid, grid.rules) == (3, 1, "single", ["oracle"])
    config = runs_of(spec_of(grid, RULES), rules=RULES)[-1].config
    assert (config.steps, config.hparams, config.data_dir, config.hparams_seed) == (7, {"lr": 1}, "here", 2)
    assert read(tmp_path, GOOD + "single_test_envs: false\n").test_env_grid is None


def test_without_more_a_file_is_domainbeds_grid(tmp_path: Path) -> None:
    assert len(runs_of(spec_of(read(tmp_path, GOOD), RULES), rules=RULES)) == 3 * 10 * 20


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", ["it is empty", "has 'parts' and 'rows', a grid has 'algorithms' and 'datasets'"]),
        ("- a\n", ["it is a list"]),
        ("name: x\n", ["neither a table spec nor a grid", "its keys are name"]),
        (GOOD + "parts: []\n", ["neither", "both parts and algorithms"]),
        ("algorithms: [", ["is no YAML"]),
        ("algorithms: ERM\n", ["algorithms: must be a list, such as [A, B] (given: 'ERM')", "datasets: is missing"]),
        (GOOD + "n_hparms: 3\n", ["no key 'n_hparms' in a grid. Did you mean n_hparams"]),
        (GOOD + "zzz: 3\n", ["no key 'zzz' in a grid. Keys: name, title, algorithms"]),
        (GOOD + "n_trials: three\nsteps: x\n", ["n_trials: must be a whole number (given: 'three')", "  steps: Input"]),
        (GOOD + "n_trials: true\n", ["n_trials: must be a whole number (given: True)"]),
        (GOOD + "n_trials: 0\n", ["n_trials: input should be greater than 0"]),
        (GOOD + "hparams: lr\n", ["hparams: must be a mapping"]),
        (GOOD + "rules: oracle\n", ["rules: must be a list"]),
        (GOOD + "seed_protocol: theirs\n", ["seed_protocol: input should be 'domainbed' or 'tune-then-repeat'"]),
        (GOOD + "single_test_envs: yes please\n", ["single_test_envs must be true or false"]),
        (GOOD + "single_test_envs: true\ntest_env_grid: both\n", ["single_test_envs or test_env_grid, not both"]),
        (GOOD + "options: {steps: 3}\n", ["write its entries beside the other keys"]),
        (GOOD + "hparams_seed: 3\n", ["'hparams_seed' is no key of a grid", "Type n_hparams."]),
    ],
)  # fmt: skip
def test_mistakes_in_a_grid_are_one_message_that_names_the_file(tmp_path: Path, text: str, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert [message for message in ("mine.yaml", *messages) if message not in str(caught.value)] == []


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, message in (("folder", "cannot be read: Is a directory"), ("binary", "no text in UTF-8")):
        with pytest.raises(ConfigError, match=message):
            source(str(tmp_path / f"{name}.yaml"))
