"""What the rules chose, listed and exported."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from result_builders import TARGET as T
from result_builders import record, write_domainbed

from dfdgbench.cli.main import main
from dfdgbench.errors import ConfigError
from dfdgbench.results.collect import collect_winners


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two configurations: the second has the best step by training domains, the first the better last one by the oracle."""
    for seed, lr, values in ((0, 1e-3, ((0.1, 0.2), (0.3, 0.4))), (1, 5e-5, ((0.6, 0.9), (0.5, 0.3)))):
        made = [record(100 * k, seed, (test, 0.5 - seed / 5, T), (0.0, out)) for k, (test, out) in enumerate(values)]
        made = [found | {"hparams": {"lr": lr, "batch_size": 32}} for found in made]
        write_domainbed(tmp_path / f"run{seed}", made)
    return tmp_path


def of_rule(rows: list[dict[str, Any]], rule: str) -> dict[str, Any]:
    (found,) = (row for row in rows if row["rule"] == rule)
    return found


def test_json(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", str(runs), "--winners", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert of_rule(rows, "training-domain") == {
        "rule": "training-domain", "dataset": "PACS", "algorithm": "ERM", "network": "", "variant": "", "protocol": "domainbed",
        "sources": "", "options": "", "domain": "A", "trial": 0, "hparams_seed": 1, "step": 0, "run": "run1",
        "validation": 0.9, "test": 0.6, "hparams": {"lr": 5e-05, "batch_size": 32},
    }  # fmt: skip
    oracle = of_rule(rows, "oracle")
    assert (oracle["run"], oracle["step"], oracle["validation"], oracle["test"]) == ("run0", 100, 0.5, 0.3)
    last = of_rule(rows, "last")
    assert (last["hparams_seed"], last["validation"]) == (0, None)


def test_csv(runs: Path) -> None:
    text, remarks = collect_winners(runs, format="csv")
    row = of_rule(list(csv.DictReader(io.StringIO(text))), "training-domain")
    assert (row["run"], row["step"], row["validation"]) == ("run1", "0", "0.9")
    assert json.loads(row["hparams"]) == {"lr": 5e-05, "batch_size": 32}
    assert remarks == []


def test_markdown_shows_the_hparams_that_differ(runs: Path) -> None:
    text, _ = collect_winners(runs)
    table = text.split("## Model selection: training-domain validation set")[1].split("##")[0]
    cells = [cell.strip() for cell in table.strip().splitlines()[2].strip("|").split("|")]
    assert table.strip().splitlines()[1].count("|:--") == 5  # what is text stands to the left
    assert cells == ["PACS", "ERM", "A", "0", "1", "0", "90.0", "60.0", "run1", "lr=5e-05"]


def test_a_run_that_was_started_again_with_other_hparams(tmp_path: Path) -> None:
    """The hyper-parameters are those of the record that was chosen."""
    first = [record(k, 0, (0.1, 0.5, T), (0, 0.1)) | {"hparams": {"lr": 1}} for k in (0, 1)]
    again = [record(k, 0, (0.2, 0.5, T), (0, 0.2)) | {"hparams": {"lr": 2}} for k in (0,)]
    write_domainbed(tmp_path / "a", [*first, *again])
    rows = json.loads(collect_winners(tmp_path, format="json")[0])
    assert of_rule(rows, "training-domain")["hparams"] == {"lr": 2}
    assert of_rule(rows, "last")["hparams"] == {"lr": 1}


def test_numbers_that_json_has_no_word_for(tmp_path: Path) -> None:
    made = record(0, 0, (0.1, 0.5, T), (0, float("nan"))) | {"hparams": {"a": float("inf"), "b": [float("nan")]}}
    write_domainbed(tmp_path / "a", [made])
    row = of_rule(json.loads(collect_winners(tmp_path, format="json")[0]), "training-domain")
    assert (row["validation"], row["hparams"]) == (None, {"a": "inf", "b": ["nan"]})


def test_winners_are_no_latex(runs: Path) -> None:
    with pytest.raises(ConfigError, match="--format markdown, csv or json"):
        collect_winners(runs, format="latex")
