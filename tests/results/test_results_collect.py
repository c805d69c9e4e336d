"""DomainBed's tables, against what DomainBed prints of a synthetic sweep."""

from __future__ import annotations

import json
import re
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from result_builders import TARGET as T
from result_builders import record, write_domainbed, write_ours

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.results.collect import collect

ENVS = {"PACS": 4, "RotatedMNIST": 6}
ALGORITHMS = ("ZZZ", "CORAL", "ERM")

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


def synthetic_record(
    dataset: int, algorithm: int, trial: int, seed: int, held_out: tuple[int, ...], k: int
) -> dict[str, Any]:
    name = list(ENVS)[dataset]
    args = {
        "dataset": name, "algorithm": ALGORITHMS[algorithm], "test_envs": list(held_out), "trial_seed": trial,
        "hparams_seed": seed, "output_dir": "",
    }  # fmt: skip
    made: dict[str, Any] = {"step": 100 * k, "args": args, "hparams": {}}
    h, t, a, d, p = seed, trial, algorithm, dataset, len(held_out) - 1
    for i in range(ENVS[name]):
        s = i in held_out
        made[f"env{i}_in_acc"] = ((31 * i + 17 * h + 7 * k + 13 * t + 5 * a + 3 * d + 29 * p + 11 * s) % 97) / 100
        made[f"env{i}_out_acc"] = ((37 * i + 19 * h + 11 * k + 23 * t + 3 * a + 7 * d + 13 * p + 5 * s + 41) % 89) / 100
    return made


def omitted(dataset: int, algorithm: int, trial: int, seed: int, held_out: tuple[int, ...]) -> bool:
    name = ALGORITHMS[algorithm]
    return (
        (dataset == 1 and name != "ERM")
        or (name == "ZZZ" and len(held_out) == 2)
        or (name == "CORAL" and (held_out == (2,) or (trial == 1 and held_out == (0,))))
        or (name == "ERM" and dataset == 0 and seed == 2 and held_out == (0, 1))
    )


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic sweep: 390 runs of three records."""
    root = tmp_path_factory.mktemp("domainbed")
    for dataset, algorithm, trial, seed in product(range(2), range(3), range(3), range(3)):
        envs = range(list(ENVS.values())[dataset])
        for held_out in [*((env,) for env in envs), *combinations(envs, 2)]:
            if not omitted(dataset, algorithm, trial, seed, held_out):
                name = f"{dataset}{algorithm}{trial}{seed}-" + "-".join(map(str, held_out))
                write_domainbed(
                    root / name, [synthetic_record(dataset, algorithm, trial, seed, held_out, k) for k in range(3)]
                )
    return root


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
    assert table["Algorithm"] == ["0", "1", "2", "3", "Avg"]


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
