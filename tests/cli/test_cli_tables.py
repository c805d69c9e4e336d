"""``dfdgbench table``: docs/tables.md, differences, formats, mistakes; and tables whose algorithms are not there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.files import write_json
from dfdgbench.tables import spec as specs

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
SPEC = """\
name: mine
title: Mine
trials: 1
options: {steps: 1}
rows:
  - {label: ERM, algorithm: ERM}
  - {label: Coming, algorithm: NotThereYet}
parts:
  - {title: D, dataset: Debug28, columns: {"0": first}, average: null, published: {file: mine.csv}}
"""
NUMBERS = "method,column,value,std\nERM,first,30.0,\nComing,first,31.0,\n"


@pytest.fixture
def mine(cli: Callable) -> str:
    """A table of one's own, in the folder where commands are typed."""
    Path("mine.yaml").write_text(SPEC)
    Path("mine.csv").write_text(NUMBERS)
    return "mine.yaml"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_s_example_is_a_table(cli: Callable) -> None:
    (example,), (numbers,) = blocks("yaml"), blocks("csv")
    Path("mine.yaml").write_text(example)
    Path("mine.csv").write_text(numbers)
    shown = cli("table", "mine.yaml")
    assert shown.code == 0, shown.err
    assert "(71.0)§" in shown.out
    assert "| ERM                  | (96.1 ± 0.2) |" in shown.out
    assert "Quoted as published, and run by nobody here: Theirs." in shown.out
    planned = cli("sweep", "plan", "mine.yaml", "--algorithms", "ERM")
    assert "9 runs share" in planned.out


def test_the_page_names_every_key(cli: Callable) -> None:
    text = PAGE.read_text(encoding="utf-8")
    for model in (specs.Row, specs.Column):
        missing = [name for name in model.model_fields if f"`{name}`" not in text and f"{name}:" not in text]
        assert missing == []


def test_a_table_of_absent_algorithms_is_shown_and_its_plan_says_so(cli: Callable, mine: str) -> None:
    assert "| Coming   |  (31.0) |" in cli("table", mine).out
    refused = cli("sweep", "plan", mine)
    assert refused.code == 1
    assert "'NotThereYet' (row Coming)" in refused.err
    assert refused.err.rstrip().endswith("--algorithms ERM")
    assert cli("sweep", "plan", mine, "--algorithms", "ERM").code == 0


def test_differences_of_a_sweep(cli: Callable, mine: str) -> None:
    launched = cli("sweep", "launch", mine, "--algorithms", "ERM", "--output-dir", "sweep", "--launcher", "debug")
    assert launched.code == 0, launched.err
    shown = cli("table", mine, "sweep", "--diff")
    assert re.search(r"\| ERM +\| +[+-]\d+\.\d \|", shown.out)
    assert "1 run that the table asks for, not planned in this sweep." in shown.out
    assert "All at once: dfdgbench sweep launch mine.yaml" in shown.out
    first = json.loads(cli("table", mine, "sweep", "--format", "json").out)["cells"][0]
    assert first["difference"] == pytest.approx(first["mean"] - 30.0)


@pytest.mark.parametrize("form", ["markdown", "latex", "html", "csv", "json"])
def test_formats_without_a_sweep(cli: Callable, mine: str, form: str) -> None:
    assert "31.0" in cli("table", mine, "--format", form).out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("label: Coming,", "label: Coming, part: [D],", "rows.1.part: Extra inputs"),
        ("algorithm: NotThereYet", "of: Erm", "Did you mean ERM"),
        ('columns: {"0": first}', 'columns: {"0": {label: first}}', "parts.0.columns.0.targets: Field required"),
        (
            "published: {file: mine.csv}",
            "published: {file: mein.csv}",
            "There is no file of published numbers 'mein.csv'",
        ),
        ("published: {file: mine.csv}", "published: {file: mine.csv, where: {x: y}}", "no column of"),
    ],
)
def test_mistakes_in_a_spec(cli: Callable, mine: str, old: str, new: str, message: str) -> None:
    assert SPEC.count(old) == 1
    Path(mine).write_text(SPEC.replace(old, new))
    refused = cli("table", mine)
    assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert message in refused.err


@pytest.mark.parametrize("numbers", ["31,0,0", "31.0 %", "nan"])
def test_numbers_that_are_none(cli: Callable, mine: str, numbers: str) -> None:
    Path("mine.csv").write_text(NUMBERS.replace("31.0", numbers))
    refused = cli("table", mine)
    assert refused.code == 1
    assert "Line 3 of the published numbers in" in refused.err


def test_published_numbers_that_are_no_csv(cli: Callable, mine: str) -> None:
    Path("mine.csv").write_bytes(b"method,value\n\xff\xfe,1\n")
    assert "cannot be read as a CSV in UTF-8" in cli("table", mine).err
    Path("mine.csv").write_text("method,column\nERM,first\n")
    assert "it needs a number under 'value' (given: None)" in cli("table", mine).err


@pytest.mark.parametrize("flag", ["--diff", "--missing"])
def test_what_needs_a_sweep(cli: Callable, mine: str, flag: str) -> None:
    refused = cli("table", mine, flag)
    assert refused.code == 1
    assert f"Type: dfdgbench table mine.yaml SWEEP_DIR {flag}" in refused.err


def test_a_sweep_that_the_table_does_not_cover(cli: Callable, mine: str) -> None:
    write_json(Path("other/sweep.json"), {"spec": {"name": "other", "parts": [], "rows": []}, "runs": []})
    refused = cli("table", mine, "other")
    assert "Type: dfdgbench table other other" in refused.err


def test_tables_are_listed_with_paper_and_one_line(cli: Callable) -> None:
    rows = {row["name"]: row for row in json.loads(cli("list", "tables", "--json").out)}
    assert rows["dmg-table1"] == {
        "name": "dmg-table1",
        "paper": "Chattopadhyay et al. 2020 (arXiv:2008.12839)",
        "what": "DMG, Table 1: accuracy (%) on the held-out domain of DomainNet",
    }
    assert rows["quickstart"]["paper"] == "-"
    assert len(rows) == 22


def test_folders_in_place_of_tables(cli: Callable, mine: str) -> None:
    write_json(Path("sweep/sweep.json"), {"spec": {"name": "s", "parts": [], "rows": []}, "runs": []})
    Path("plain").mkdir()
    for words, said in (
        (["plain"], "plain is no sweep's folder: it has no sweep.json."),
        (["plain"], "`dfdgbench collect` and `dfdgbench report` show the results"),
        ([mine, "none"], "none is no sweep's folder: there is no such folder."),
        ([mine, mine], "mine.yaml is no sweep's folder: it is a file."),
        (["sweep", "sweep"], "Type: dfdgbench table sweep; two sweeps: dfdgbench compare sweep sweep"),
    ):
        refused = cli("table", *words)
        assert refused.code == 1
        assert said in refused.err
