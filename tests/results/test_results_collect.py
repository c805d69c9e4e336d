"""DomainBed's tables, against what DomainBed prints of a synthetic sweep."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from golden_sweep import write_golden_sweep
from result_builders import TARGET as T
from result_builders import our_record, record, write_domainbed, write_ours

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.collect import collect, read_sweep
from dfdgbench.results.selection import Choice, Rule, get_rule
from dfdgbench.results.winners import chosen

# Printed by DomainBed's collect_results of the sweep below; its standard errors are of the population deviation.
DOMAINBED = {
    "training-domain validation set": {
        "Dataset: RotatedMNIST": {
            "ERM": "78.0±5.3 51.7±11.0 64.0±11.8 53.7±16.5 29.0±11.8 25.3±9.4 50.3",
            "CORAL": "X X X X X X X",
            "ZZZ": "X X X X X X X",
        },
        "Dataset: PACS": {
            "ERM": "60.3±16.1 56.7±11.3 57.7±10.4 53.0±9.0 56.9",
            "CORAL": "49.5±23.7 54.0±12.8 X 54.7±9.9 X",
            "ZZZ": "65.0±5.3 43.3±9.9 51.0±9.1 35.0±1.2 48.6",
        },
        "Averages": {"ERM": "50.3±3.3 56.9±1.1 53.6", "CORAL": "X 53.8±5.7 X", "ZZZ": "X 48.6±3.3 X"},
    },
    "leave-one-domain-out cross-validation": {
        "Dataset: RotatedMNIST": {
            "ERM": "34.3±16.6 63.0±25.3 50.3±17.5 67.3±16.7 91.3±1.4 46.3±17.5 58.8",
            "CORAL": "X X X X X X X",
            "ZZZ": "X X X X X X X",
        },
        "Dataset: PACS": {
            "ERM": "46.7±9.9 91.3±3.4 41.7±23.2 40.3±8.0 55.0",
            "CORAL": "49.5±11.7 63.0±25.7 X 41.0±8.6 X",
            "ZZZ": "X X X X X",
        },
        "Averages": {"ERM": "58.8±7.2 55.0±7.2 56.9", "CORAL": "X 52.7±4.8 X", "ZZZ": "X X X"},
    },
    "test-domain validation set (oracle)": {
        "Dataset: RotatedMNIST": {
            "ERM": "41.3±19.8 34.3±24.8 44.3±10.4 75.3±3.1 62.7±14.2 67.0±12.2 54.2",
            "CORAL": "X X X X X X X",
            "ZZZ": "X X X X X X X",
        },
        "Dataset: PACS": {
            "ERM": "70.7±14.9 10.3±3.1 30.0±12.3 72.3±3.1 45.8",
            "CORAL": "60.0±21.2 37.7±23.4 X 73.0±6.1 X",
            "ZZZ": "66.3±10.4 32.7±23.4 20.0±12.3 68.0±6.1 46.8",
        },
        "Averages": {"ERM": "54.2±1.3 45.8±7.2 50.0", "CORAL": "X 54.9±5.3 X", "ZZZ": "X 46.8±4.1 X"},
    },
}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic sweep: 390 runs of three records."""
    return write_golden_sweep(tmp_path_factory.mktemp("domainbed"))


def tables(text: str) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Rule to table to row label to cells."""
    found: dict[str, dict[str, dict[str, list[str]]]] = {}
    for line in text.splitlines():
        if line.startswith("## "):
            rule = found.setdefault(line.removeprefix("## Model selection: "), {})
        elif line.startswith("### "):
            table = rule.setdefault(line.removeprefix("### "), {})
        elif line.startswith("|") and not line.startswith("|:"):
            label, *cells = [cell.strip() for cell in line.strip("|").split("|")]
            table[label] = cells
    return found


def test_domainbeds_numbers(sweep: Path) -> None:
    text = collect(sweep)
    assert text.startswith("Total records: 1170\n")
    found = tables(text)
    for rule, expected in DOMAINBED.items():
        assert list(found[rule]) == list(expected)
        for title, rows in expected.items():
            got = {
                label.removesuffix(" †"): cells for label, cells in found[rule][title].items() if label != "Algorithm"
            }
            assert {label: [re.sub(" ±.*", "", cell) for cell in cells] for label, cells in got.items()} == {
                label: re.sub("±[0-9.]+", "", cells).split() for label, cells in rows.items()
            }
            for label, cells in rows.items():
                for ours, theirs in zip(got[label], cells.split(), strict=True):
                    check_error(ours, theirs)


def check_error(ours: str, theirs: str) -> None:
    """Sample against population deviation: larger by the root of n / (n - 1); n is 3, or 2 where a trial lacks."""
    if "±" in theirs:
        sample, population = float(ours.split("±")[1]), float(theirs.split("±")[1])
        assert any(abs(sample - population * (n / (n - 1)) ** 0.5) < 0.13 for n in (2, 3))


def test_columns_and_marks(sweep: Path) -> None:
    found = tables(collect(sweep))
    assert found["training-domain validation set"]["Dataset: PACS"]["Algorithm"] == ["A", "C", "P", "S", "Avg"]
    assert "ERM †" in found["test-domain validation set (oracle)"]["Dataset: PACS"]
    assert "ERM" in found["training-domain validation set"]["Dataset: PACS"]
    assert list(found)[:3] == list(DOMAINBED)


def test_latex(sweep: Path) -> None:
    text = collect(sweep, format="latex")
    assert text.startswith(r"\documentclass")
    assert text.endswith("\\end{document}\n")
    assert r"ERM $^\dagger$ & 70.7 $\pm$ 18.2 &" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert "% Total records: 1170" in text


def test_unfinished_runs_are_named(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (0.5, 0.2, T), (0, 0))])
    write_domainbed(tmp_path / "b", [record(0, 1, (0.9, 0.2, T), (0.9, 0.9))], done=False)
    text = collect(tmp_path)
    assert "- 1 of 2 runs are unfinished: b." in text
    assert tables(text)["training-domain validation set"]["Dataset: PACS"]["ERM"][0] == "50.0"
    every = collect(tmp_path, include_unfinished=True)
    assert tables(every)["training-domain validation set"]["Dataset: PACS"]["ERM"][0] == "90.0"
    assert "No runs that this rule can choose from." in text


def test_nothing_to_collect(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "b", [record(0, 1, (0.9, 0.2, T))], done=False)
    with pytest.raises(ConfigError, match="--include-unfinished"):
        collect(tmp_path)


def test_variants_networks_protocols_and_sources_have_rows_of_their_own(tmp_path: Path) -> None:
    base: dict[str, Any] = {"algorithm": "DEKAN", "test_envs": [0]}
    accuracies = {f"env{env}_in_acc": 0.5 for env in range(4)}
    official = {f"env{env}_test_acc": 0.6 for env in range(4)}
    cases: list[tuple[str, dict[str, Any], dict[str, float]]] = [
        ("a", {}, accuracies),
        ("b", {"preset": "paper"}, accuracies),
        ("c", {"network": "resnet18"}, accuracies),
        ("d", {"protocol": "official"}, official),
        ("e", {"train_envs": [1, 2]}, accuracies),
    ]
    for name, options, values in cases:
        write_ours(tmp_path / name, RunConfig.make(**base, **options), values)
    table = tables(collect(tmp_path))["last step"]["Dataset: MiniDigits"]
    assert set(table) == {
        "Algorithm",
        "DEKAN [smallcnn, domainbed]",
        "DEKAN [smallcnn, paper, domainbed]",
        "DEKAN [resnet18, domainbed]",
        "DEKAN [smallcnn, official]",
        "DEKAN [smallcnn, domainbed, from 1+2]",
    }
    assert table["DEKAN [smallcnn, official]"] == ["60.0", "X", "X", "X", "X"]
    assert table["Algorithm"] == ["handwritten", "blended", "printed", "numbers", "Avg"]


def test_domains_are_named_where_a_run_names_them(tmp_path: Path) -> None:
    folder = write_ours(tmp_path / "a", RunConfig.make(test_envs=[0]), {f"env{env}_in_acc": 0.5 for env in range(4)})
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"domains": ["h", "b", "p", "n"]}))
    assert tables(collect(tmp_path))["last step"]["Dataset: MiniDigits"]["Algorithm"] == ["h", "b", "p", "n", "Avg"]


def test_the_same_run_twice_counts_once(tmp_path: Path) -> None:
    write_domainbed(tmp_path / "a", [record(0, 0, (0.5, 0.2, T), (0.5, 0.5))])
    write_domainbed(tmp_path / "b", [record(0, 0, (0.7, 0.2, T), (0.9, 0.9))])
    text = collect(tmp_path)
    assert tables(text)["training-domain validation set"]["Dataset: PACS"]["ERM"][0] == "50.0"
    assert "- b is left out: a is the same method, problem and seeds." in text


def test_notes_of_odd_files(tmp_path: Path) -> None:
    folder = write_domainbed(tmp_path / "a", [record(0, 0, (0.5, 0.2, T), (0.5, 0.5))])
    with open(folder / "results.jsonl", "a") as file:
        file.write("{")
    assert "- a: 1 torn or foreign line left out." in collect(tmp_path)


def test_what_a_reader_must_know_of_the_data_is_in_the_label(tmp_path: Path) -> None:
    options = {"dataset": "MiniDigits", "test_envs": [0], "algorithm": "ERM"}
    for number, changes in enumerate(({}, {"transductive": True}, {"val_augment": True}, {"data_path": "exact"})):
        write_ours(
            tmp_path / "runs" / str(number), RunConfig(**options, **changes), {"env0_in_acc": 0.1, "env1_out_acc": 0.2}
        )
    printed = collect(tmp_path)
    for label in ("ERM [transductive]", "ERM [val_augment]", "ERM [exact data path]"):
        assert label in printed


def test_a_method_alone_is_still_marked_transductive(tmp_path: Path) -> None:
    config = RunConfig(dataset="MiniDigits", test_envs=[0], algorithm="ERM", transductive=True)
    write_ours(tmp_path / "run", config, {"env0_in_acc": 0.1, "env1_out_acc": 0.2})
    assert "ERM [transductive]" in collect(tmp_path)


def test_runs_of_other_steps_have_a_row_of_their_own(tmp_path: Path) -> None:
    for name, steps, accuracy in (("a", None, 0.5), ("b", 10, 0.7)):
        write_ours(tmp_path / name, RunConfig.make(test_envs=[0], steps=steps), {"env0_in_acc": accuracy})
    table = tables(collect(tmp_path))["last step"]["Dataset: MiniDigits"]
    assert {label: cells[0] for label, cells in table.items()} == {
        "Algorithm": "handwritten",
        "ERM": "50.0",
        "ERM [steps=10]": "70.0",
    }


def test_images_per_class_never_meet_in_a_cell(tmp_path: Path) -> None:
    for name, images, accuracy in (("a", 10, 0.5), ("b", 50, 0.7)):
        config = RunConfig.make(algorithm="DEKAN", test_envs=[0], hparams={"inversion.images": images})
        write_ours(tmp_path / name, config, {"env0_in_acc": accuracy})
    table = tables(collect(tmp_path))["last step"]["Dataset: MiniDigits"]
    assert table["DEKAN [inversion.images=10]"][0] == "50.0"
    assert table["DEKAN [inversion.images=50]"][0] == "70.0"


def test_a_rule_of_an_outside_package_that_looks_at_records(tmp_path: Path) -> None:
    """A rule that knows nothing of ledgers: the record of the worst validation."""

    class Worst(Rule):
        """The worst."""

        title = "worst"
        uses = frozenset({"source validation"})

        def choose(self, records: Sequence[Any], predictor: str = "") -> Choice | None:
            return min(
                (Choice(found["env1_out_acc"], found) for found in records), key=lambda choice: choice.validation
            )

    write_domainbed(
        tmp_path / "a",
        [record(k, 0, (test, 0, T), (0, out)) for k, test, out in ((0, 0.1, 0.9), (1, 0.2, 0.3), (2, 0.3, 0.5))],
    )
    write_domainbed(tmp_path / "b", [record(0, 1, (0.8, 0, T), (0, 0.4))])
    sweep = read_sweep(tmp_path)
    ((_, (seed, pick)),) = chosen(sweep.ledger, sweep.groups, Worst()).items()
    assert (seed, pick.validation) == (1, 0.4)
    ledger_choice = Worst().picker(sweep.ledger)(sweep.groups[0].members[0], 0)
    assert ledger_choice is not None
    assert sweep.ledger.record(ledger_choice.row)["env0_in_acc"] == 0.2


def test_synthetic_hold_out(tmp_path: Path) -> None:
    """The step of the best agreement; not marked for a data-free method, for which all else that looks is."""
    folder = tmp_path / "a"
    config = RunConfig.make(algorithm="Multi-DI", test_envs=[0])
    write_ours(folder, config, {})
    made = [
        our_record(config, {"env0_in_acc": test, "syn_out_acc": agreement}, step)
        for step, test, agreement in ((0, 0.2, 0.5), (100, 0.4, 0.9), (200, 0.6, 0.7))
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(found) + "\n" for found in made))
    found = tables(collect(tmp_path))
    assert found["synthetic hold-out"]["Dataset: MiniDigits"]["Multi-DI"][0] == "40.0"
    assert found["last step"]["Dataset: MiniDigits"]["Multi-DI"][0] == "60.0"
    assert "Multi-DI †" in found["training-domain validation set"]["Dataset: MiniDigits"]


def test_without_held_out_synthetic_images_nothing_is_chosen_by_them(sweep: Path) -> None:
    text = collect(sweep)
    assert "## Model selection: synthetic hold-out\n\nNo runs that this rule can choose from." in text
    assert get_rule("synthetic-holdout").choose([record(0, 0, (0.5, 0.2, T), (0, 0))]) is None


def test_csv_and_json_have_the_cells_of_the_tables(sweep: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(collect(sweep, format="csv"))))
    content = json.loads(collect(sweep, format="json"))
    assert content["records"] == 1170
    assert len(rows) == len(content["cells"])
    wanted = {"rule": "oracle", "table": "PACS", "algorithm": "ERM", "column": "A"}
    (row,) = (row for row in rows if wanted.items() <= row.items())
    assert (row["mean"], row["se"], row["n"], row["marked"]) == ("70.6667", "18.2239", "3", "true")
    (cell,) = (cell for cell in content["cells"] if wanted.items() <= cell.items())
    assert (cell["mean"], cell["se"], cell["n"], cell["marked"]) == (70.6667, 18.2239, 3, True)
    (empty,) = (
        c
        for c in content["cells"]
        if c["rule"] == "oracle" and c["table"] == "PACS" and c["column"] == "P" and c["algorithm"] == "CORAL"
    )
    assert (empty["mean"], empty["n"]) == (None, 0)
    (average,) = (row for row in rows if {**wanted, "table": "Averages", "column": "PACS"}.items() <= row.items())
    assert average["mean"] == "45.8333"


def test_averages_of_trials_that_lack_domains_are_named(tmp_path: Path) -> None:
    """As in DomainBed they are over what is there, which `table` does not do; where nothing lacks, nothing is said."""
    scores = {f"env{env}_{split}_acc": 0.5 for env in range(4) for split in ("in", "out")}
    for env in range(4):
        config = RunConfig.make(dataset="PACS", test_envs=[env])
        for folder in ("all", "half") if env < 2 else ("all",):
            write_ours(tmp_path / folder / str(env), config, scores)
    assert "- Averages of ERM on PACS: of trials that lack domains" in collect(tmp_path / "half")
    assert "lack domains" not in collect(tmp_path / "all")
