"""The tables that come with the package: every published number in its place, in the papers' order, without runs."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dfdgbench.cli.main import main
from dfdgbench.results.slots import places_of
from dfdgbench.results.table import Table, build
from dfdgbench.tables import spec as specs

GOLDEN = Path(__file__).parent / "golden"
"""What ``dfdgbench table NAME`` prints. After a change that is meant: ``dfdgbench table NAME > tests/results/golden/NAME.md``,
and read the difference."""

PAPERS = {"dekan": 1, "ddfordg": 4, "dmg": 6, "homogenization": 4, "sfda": 6}
PUBLISHED = [f"{paper}-table{number + 1}" for paper, count in PAPERS.items() for number in range(count)]
NO_TABLES = {"dekan_repo_results.csv", "sfda_context_upstream.csv"}
"""Numbers of other networks and pictures, for context."""

HEAVY = """
import sys
from dfdgbench.cli.main import main
for name in sys.argv[1:]:
    assert main(["table", name]) == 0
found = {name.split(".")[0] for name in sys.modules} & {"torch", "torchvision", "timm", "pandas", "scipy", "sklearn", "matplotlib"}
print("heavy:", sorted(found))
"""


def lines_of(name: str) -> list[dict[str, str]]:
    with open(specs.PUBLISHED / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def texts(table: Table) -> list[str]:
    """The printed numbers as one reads them: block by block, row by row."""
    cells = [cell for block in table.blocks for row in block.rows for cell in row.cells]
    return [cell.published.text for cell in cells if cell.published is not None]


def test_the_published_tables() -> None:
    assert set(specs.names()) == {*PUBLISHED, "quickstart"}
    assert all(specs.load(name).paper for name in PUBLISHED)
    assert {path.name for path in specs.PUBLISHED.glob("*.csv")} - NO_TABLES == {
        f"{name.replace('-', '_')}.csv" for name in PUBLISHED
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_number_of_the_file_is_in_one_place(name: str) -> None:
    file = f"{name.replace('-', '_')}.csv"
    spec = specs.load(name)
    assert {part.published.file for part in spec.parts if part.published} == {file}
    wanted = Counter(f"{line['value']} ± {line['std']}" if line["std"] else line["value"] for line in lines_of(file))
    assert Counter(texts(build(spec))) == wanted


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_are_read_in_the_order_of_the_paper(name: str) -> None:
    lines = lines_of(f"{name.replace('-', '_')}.csv")
    in_order = [f"{line['value']} ± {line['std']}" if line["std"] else line["value"] for line in lines]
    assert texts(build(specs.load(name))) == in_order


@pytest.mark.parametrize("name", specs.names())
def test_a_table_without_runs_is_the_published_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", name]) == 0
    assert capsys.readouterr().out == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


def test_tables_need_nothing_heavy_and_no_algorithm() -> None:
    command = [sys.executable, "-c", HEAVY, *specs.names()]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "heavy: []"


def test_misprints_are_of_printed_numbers() -> None:
    for name in PUBLISHED:
        spec = specs.load(name)
        cells = [cell for block in build(spec).blocks for row in block.rows for cell in row.cells]
        noted = [cell.published.note for cell in cells if cell.published is not None and cell.published.note]
        assert sorted(noted) == sorted(misprint.note for misprint in spec.misprints)


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name.startswith("dmg-")])
def test_dmgs_averages_are_those_of_their_rows_but_for_noted_misprints(name: str) -> None:
    """Spec dmg, oracle 28. Rows quoted from other papers have one decimal there, a trailing 0 here."""
    different = []
    for block in build(specs.load(name)).blocks:
        for row in block.rows:
            cells = [cell.published.text for cell in row.cells if cell.published is not None]
            if block.columns[-1].label != "Overall" or not cells:
                continue
            *values, average = map(float, cells)
            rounding = 0.051 if all(text.endswith("0") for text in cells) else 0.0051
            if abs(sum(values) / len(values) - average) > rounding:
                different.append((block.title, row.label))
    noted = [(misprint.part, misprint.row) for misprint in specs.load(name).misprints if misprint.column == "Overall"]
    assert sorted(different) == sorted(noted)


def test_dmgs_in_domain_accuracy_is_the_mean_over_the_sources_of_the_analysed_shifts() -> None:
    """Spec dmg, section 10: diagonal and Combined rows of Table 4 average to Table 3's cells, its target's are Table 1's."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for line in lines_of("dmg_table4.csv"):
        found.setdefault((line["setting"], line["method"]), {})[line["column"]] = float(line["value"])
    cells = {
        (number, line["method"], line["column"]): float(line["value"])
        for number in (1, 3)
        for line in lines_of(f"dmg_table{number}.csv")
        if line["backbone"] == "AlexNet"
    }
    for shift in {shift for shift, _ in found}:
        letters, target = shift.split("->")
        sources, combined = letters.split(","), found[shift, "Combined"]
        own = {
            method[5]: values for (where, method), values in found.items() if where == shift and method[:5] == "mask-"
        }
        for method, accuracies in (
            ("DMG (Ours)", [combined[source] for source in sources]),
            ("DMG-KD (Ours)", [own[source][source] for source in sources]),
        ):
            assert sum(accuracies) / 5 == pytest.approx(cells[3, method, target], abs=0.0051)
        assert combined[target] == cells[1, "DMG (Ours)", target]


def test_rows_that_are_run_say_the_same_of_a_table_that_they_show() -> None:
    """Tables that show another's runs are whole in its sweep."""
    for name in PUBLISHED:
        spec = specs.load(name)
        for other in spec.shows:
            places = places_of(spec, specs.load(other).model_dump())
            wanted = {
                (i, j) for i, part in enumerate(spec.parts) for j, row in spec.run_rows() if spec.stands(row, part)
            }
            assert {place for found in places.values() for place in found} == wanted
