"""Published numbers in tables: each has one place, and a wrong one is refused."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from result_builders import plan, small

from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.results.published import Numbers
from dfdgbench.results.table import build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.spec import Part, Row

HEADER = "paper,table,setting,dataset,backbone,method,column,value,std\n"


def published(tmp_path: Path, *lines: str, **changes: Any) -> Part:
    """A part whose published numbers are ``lines``: method,column,value,std."""
    path = tmp_path / "printed.csv"
    path.write_text(HEADER + "".join(f"p,1,s,D,b,{line}\n" for line in lines))
    given = {
        "title": "MD",
        "dataset": "MiniDigits",
        "columns": {"handwritten": "H"},
        "published": {"file": str(path), "where": {"dataset": "D"}},
    }
    return Part(**(given | changes))


def test_published_numbers_beside_ours_and_alone(tmp_path: Path) -> None:
    part = published(tmp_path, "Ours,H,71.60,0.4", "Ours,Average,71.6,", "Theirs,H,60,")
    spec = small(parts=[part])
    plan(spec, tmp_path / "sweep")
    ours, best, theirs = build(spec, tmp_path / "sweep").blocks[0].rows
    assert [found.published and found.published.text for found in ours.cells] == ["71.60 ± 0.4", "71.6"]
    assert (best.quoted, best.cells[0].published) == (False, None)
    assert (theirs.label, theirs.quoted, theirs.cells[0].published and theirs.cells[0].published.value) == (
        "Theirs",
        True,
        60.0,
    )
    alone = build(spec)
    assert [(row.label, row.quoted) for row in alone.blocks[0].rows] == [("Ours", True), ("Theirs", True)]
    assert not alone.ours


def test_a_quoted_part_is_printed_numbers_alone(tmp_path: Path) -> None:
    part = published(tmp_path, "Theirs,H,60,", "Ours,H,71.60,0.4", title="As published", quoted=True)
    spec = small(parts=[small().parts[0], part])
    plan(spec, tmp_path / "sweep")
    block = build(spec, tmp_path / "sweep").blocks[1]
    assert (block.title, block.quoted) == ("As published", True)
    assert [row.label for row in block.rows] == ["Ours", "Theirs"]
    assert all(row.quoted for row in block.rows)


def test_parts_without_numbers_are_left_out_of_the_published_table() -> None:
    assert build(small()).blocks == ()


@pytest.mark.parametrize(
    ("lines", "changes", "message"),
    [
        (["Ours,X,1,"], {}, "no place in the part 'MD'.*'Ours', column 'X'"),
        (["Ours,H,1,", "Ours,H,2,"], {}, "Two published numbers"),
        ([], {}, "No row of .* has dataset 'D'"),
    ],
)
def test_published_numbers_without_one_place(
    tmp_path: Path, lines: list[str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build(
            small(parts=[published(tmp_path, *(lines or ["Ours,H,1,"]), **changes)])
            if lines
            else small(parts=[_nowhere(tmp_path)])
        )


def _nowhere(tmp_path: Path) -> Part:
    part = published(tmp_path, "Ours,H,1,")
    (tmp_path / "printed.csv").write_text(HEADER + "p,1,s,Other,b,Ours,H,1,\n")
    return part


def test_mistakes_in_where_and_file(tmp_path: Path) -> None:
    part = published(tmp_path, "Ours,H,1,")
    assert part.published is not None
    for update in ({"where": {"datset": "D"}}, {"file": "dekan_table.csv"}):
        wrong = part.model_copy(update={"published": part.published.model_copy(update=update)})
        with pytest.raises(UnknownNameError, match="Did you mean"):
            build(small(parts=[wrong]))


def test_labels_are_single() -> None:
    with pytest.raises(ConfigError, match="two rows called 'Ours'"):
        build(small(rows=[Row(label="Ours", algorithm="A"), Row(label="Ours", algorithm="B")]))
    with pytest.raises(ConfigError, match="two columns of 'MD' called 'H'"):
        build(small(parts=[Part(title="MD", dataset="D", columns={"a": "H", "b": "H"})]))


@pytest.mark.parametrize("name", specs.names())
def test_every_published_number_of_a_built_in_table_has_one_place(name: str) -> None:
    spec = specs.load(name)
    placed = Counter(
        (block.title, row.label, column, found.published.text)
        for block in build(spec).blocks
        for row in block.rows
        for column, found in zip(block.header, row.cells, strict=True)
        if found.published is not None
    )
    wanted: Counter[tuple[str, str, str, str]] = Counter()
    for part in spec.parts:
        if part.published is not None:
            with open(specs.PUBLISHED / part.published.file, encoding="utf-8", newline="") as file:
                rows = [
                    row for row in csv.DictReader(file) if part.published.where.items() <= row.items() and row["value"]
                ]
            texts = [row["value"] + (f" ± {row['std']}" if row["std"] else "") for row in rows]
            wanted.update(
                (part.title, row["method"], row["column"], text) for row, text in zip(rows, texts, strict=True)
            )
    assert placed == wanted


@pytest.mark.parametrize("name", specs.names())
def test_rows_of_built_in_tables_that_are_run_are_not_quoted_by_a_typing_error(name: str) -> None:
    spec = specs.load(name)
    known = {row.label for row in spec.rows}
    for part in spec.parts:
        if part.published is not None:
            assert known & set(Numbers(part).methods)
