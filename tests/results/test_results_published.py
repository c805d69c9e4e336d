"""Published numbers in tables: each has one place, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from result_builders import finish, plan, small

from dfdgbench.errors import ConfigError, DfdgbenchError, UnknownNameError
from dfdgbench.results.table import build
from dfdgbench.tables.spec import Column, Misprint, Part, Row

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
    spec = small(rows=[*small().rows, Row(label="Theirs")], parts=[part])
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
    spec = small(rows=[*small().rows, Row(label="Theirs")], parts=[small().parts[0], part])
    plan(spec, tmp_path / "sweep")
    block = build(spec, tmp_path / "sweep").blocks[1]
    assert (block.title, block.quoted) == ("As published", True)
    assert [row.label for row in block.rows] == ["Ours", "Theirs"]
    assert all(row.quoted for row in block.rows)


def test_parts_without_numbers_are_left_out_of_the_published_table() -> None:
    assert build(small()).blocks == ()


def test_quoted_methods_are_named(tmp_path: Path) -> None:
    spec = small(rows=[*small().rows, Row(label="Theirs")], parts=[published(tmp_path, "Theirs,H,60,")])
    assert build(spec).notes == ("Quoted as published, and run by nobody here: Theirs.",)


@pytest.mark.parametrize(
    ("lines", "rows", "message"),
    [
        (["Ours,X,1,"], [], "no place in the part 'MD'.*'Ours', column 'X'"),
        (["Theirs,H,1,"], [], "no place in the part 'MD'.*'Theirs', column 'H'"),
        (["Ours,H,1,", "Ours,H,2,"], [], "Two published numbers have the same place"),
        (["Ours,H,1,"], [Row(label="Again", where={"method": "Ours"})], "has two places"),
        (["Ours,H,1,"], [Row(label="Narrow", where={"method": "Ours", "std": "3"})], None),
    ],
)
def test_published_numbers_without_one_place(
    tmp_path: Path, lines: list[str], rows: list[Row], message: str | None
) -> None:
    spec = small(rows=[*small().rows, *rows], parts=[published(tmp_path, *lines)])
    if message is None:
        assert [row.label for row in build(spec).blocks[0].rows] == ["Ours"]
        return
    with pytest.raises(ConfigError, match=message):
        build(spec)


def test_a_part_without_any_number_of_its_file(tmp_path: Path) -> None:
    part = published(tmp_path, "Ours,H,1,")
    (tmp_path / "printed.csv").write_text(HEADER + "p,1,s,Other,b,Ours,H,1,\n")
    with pytest.raises(ConfigError, match=r"No row of .* has dataset 'D'"):
        build(small(parts=[part]))


def test_facts_of_the_setting_are_columns(tmp_path: Path) -> None:
    part = published(tmp_path)
    lines = ["p,1,IPC=10;squeeze=R-18,D,b,Ours,H,1,", "p,1,IPC=50; squeeze=R-18,D,b,Ours,H,2,"]
    (tmp_path / "printed.csv").write_text(HEADER + "\n".join(lines))
    rows = [Row(label=ipc, algorithm="A", where={"IPC": ipc, "squeeze": "R-18"}) for ipc in ("10", "50")]
    table = build(small(rows=rows, parts=[part]))
    assert [row.cells[0].published and row.cells[0].published.value for row in table.blocks[0].rows] == [1.0, 2.0]


def test_known_misprints_are_noted_where_they_stand(tmp_path: Path) -> None:
    part = published(tmp_path, "Ours,H,1,", "Best,H,2,")
    spec = small(parts=[part], misprints=[Misprint(row="Best", column="H", note="should be 3")])
    found = [row.cells[0].published for row in build(spec).blocks[0].rows]
    assert [printed and printed.note for printed in found] == ["", "should be 3"]
    elsewhere = small(parts=[part], misprints=[Misprint(row="Best", column="H", part="MD", note="x")])
    assert build(elsewhere).blocks[0].rows[1].cells[0].published is not None


def test_infinite_numbers_have_no_difference(tmp_path: Path) -> None:
    part = published(tmp_path, "Ours,H,inf,")
    spec = small(parts=[part], trials=1)
    for entry in plan(spec, tmp_path / "sweep"):
        finish(tmp_path / "sweep", entry, 0.5)
    cell = build(spec, tmp_path / "sweep").blocks[0].rows[0].cells[0]
    assert (cell.published and cell.published.text, cell.difference) == ("inf", None)


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [Row(label="Ours", algorithm="A", parts=["MDD"])]}, "no part of the table 'small'.*Did you mean MD"),
        (
            {"rows": [Row(label="Ours", algorithm="A", columns=["X"])]},
            "no column of the table 'small'.*Known: H, B, Average",
        ),
        ({"rows": [Row(label="Ours", of="Theirs"), Row(label="Theirs")]}, "no row with runs .*'of'.*'Theirs'"),
        ({"misprints": [Misprint(row="Oars", column="H", note="x")]}, "no row of the table.*Did you mean Ours"),
        ({"misprints": [Misprint(row="Ours", column="X", note="x")]}, "no column of the table"),
        ({"misprints": [Misprint(row="Ours", column="H", part="X", note="x")]}, "no part of the table"),
        ({"transposed": True}, "transposed, and its part 'MD' is in no 'block'"),
    ],
)
def test_names_that_the_table_does_not_have(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DfdgbenchError, match=message):
        build(small(**changes))


@pytest.mark.parametrize("where", ["row", "column"])
def test_mistakes_in_where_of_rows_and_columns(tmp_path: Path, where: str) -> None:
    part = published(tmp_path, "Ours,H,1,")
    rows = [Row(label="Ours", algorithm="A", where={"metod": "Ours"} if where == "row" else None)]
    if where == "column":
        column = Column(label="H", targets=["handwritten"], where={"colum": "H"})
        part = part.model_copy(update={"columns": {"handwritten": column}})
    with pytest.raises(UnknownNameError, match="Did you mean"):
        build(small(rows=rows, parts=[part]))
