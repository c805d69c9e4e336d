"""The tables that come with the package: every published number in its place, in the papers' order, without runs."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dfdgbench.cli.main import main
from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.segmentation import SegmentationDataset
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


@pytest.mark.parametrize(("name", "means"), [("sfda-table1", 13), ("sfda-table2", 14)])
def test_sfdas_means_are_those_of_their_rows(name: str, means: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Spec sfda, section 9: mIoU, and mIoU* over the subset that records take it over, within what truncation explains."""
    assert main(["table", name]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    spec, seen = specs.load(name), 0
    for part, block in zip(spec.parts, build(spec).blocks, strict=True):
        dataset = DATASETS.get(part.dataset)
        assert issubclass(dataset, SegmentationDataset)
        over = {"miou": dataset.metadata.classes}
        over |= {f"miou_{subset}": classes for subset, classes in dataset.subsets.items()}
        for row in block.rows:
            printed = {
                column.metric: cell.published
                for column, cell in zip(block.columns, row.cells, strict=True)
                if cell.published is not None
            }
            for metric, classes in over.items():
                values = [printed[f"iou_{each}"].value for each in classes]
                assert printed[metric].value == pytest.approx(sum(values) / len(values), abs=0.03), (row.label, metric)
                shown = [line for line in lines if line.split("|")[1].strip() == row.label]
                assert any(f"({printed[metric].text})" in line for line in shown)
                seen += 1
    assert seen == means


def test_what_sfda_does_not_print_has_places_of_its_own() -> None:
    """Spec sfda, section 4 and 6.2: scores at native size beside those at the resized one; Cityscapes with 13 and 19 classes."""
    for number, targets in ((1, ["Cityscapes"]), (2, ["Cityscapes"]), (3, ["Rome", "Rio", "Tokyo", "Taipei"])):
        spec = specs.load(f"sfda-table{number}")
        assert spec.options["native_size"] is True
        for part, block in zip(spec.parts, build(spec).blocks, strict=True):
            native = [column for column in part.shown() if column.metric == "native_miou"]
            assert [column.targets for column in native] == [targets]
            place = block.columns.index(native[0])
            assert not any(row.cells[place].published for row in block.rows)
    parts = {part.title: part for part in specs.load("sfda-table4").parts}
    ours = parts["Cityscapes (19 classes)"]
    assert ours.published is None and ours.options["train_envs"] == ["Cityscapes"]
    wanted = {"Cityscapes": 13, "Cityscapes (19 classes)": 19}
    assert {title: len(DATASETS.get(parts[title].dataset).metadata.classes) for title in wanted} == wanted


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


@pytest.mark.parametrize("name", ["dmg-table1", "dmg-table2", "dmg-table6"])
def test_multi_headed_with_a_shared_head_is_run_on_alexnet_alone(name: str) -> None:
    """Spec dmg, section 7: both kinds of heads are reported where the release had one in every head's place."""
    spec = specs.load(name)
    rows = {row.label: row for row in spec.rows if row.algorithm == "Multi-Headed"}
    shared, usual = rows.pop("Multi-Headed, shared head"), rows.pop("Multi-Headed")
    assert (shared.hparams, usual.hparams, shared.options) == ({"shared_head": True}, {}, usual.options)
    assert [part.title for part in spec.parts if spec.stands(shared, part)] == ["AlexNet"]
    assert all(spec.stands(usual, part) for part in spec.parts)
    assert not rows
