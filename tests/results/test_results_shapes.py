"""Tables of other shapes than methods by held-out domains: groups, parts side by side, one run shown several ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from result_builders import finish, plan, small

from dfdgbench.errors import ConfigError
from dfdgbench.results import render
from dfdgbench.results.table import Table, build
from dfdgbench.tables.spec import Column, Part, Row, TableSpec

COLUMNS = {"handwritten": "H", "blended": "B"}
CSV = "paper,table,setting,dataset,backbone,method,column,value,std\n"


def means(table: Table, block: int = 0) -> list[list[float | None]]:
    """Rows of means, to one decimal."""
    return [
        [found and round(found, 1) for found in (cell.mean for cell in row.cells)] for row in table.blocks[block].rows
    ]


def filled(spec: TableSpec, sweep: Path, accuracy: float = 0.5, **others: float) -> Table:
    """The table of a sweep whose runs all left the same record."""
    for entry in plan(spec, sweep):
        finish(sweep, entry, accuracy, **others)
    return build(spec, sweep)


def one_column(**given: Any) -> Part:
    column = Column(**{"label": "shown", "targets": ["handwritten"], **given})
    return Part(title="MD", dataset="MiniDigits", columns={"a": column}, average=None)


def printed(tmp_path: Path, *lines: str) -> str:
    """A CSV of dataset, method, column and value."""
    made = [
        f"p,1,,{dataset},b,{method},{column},{value},"
        for dataset, method, column, value in (x.split(",") for x in lines)
    ]
    (tmp_path / "printed.csv").write_text(CSV + "\n".join(made))
    return str(tmp_path / "printed.csv")


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ({}, 50.0),
        ({"on": "sources"}, 70.0),
        ({"on": "printed"}, 80.0),
        ({"on": "nowhere"}, None),
        ({"on": "run", "metric": "ratio", "scale": 1}, 0.3),
        ({"on": "run", "metric": "ratio", "scale": 1, "predictor": "raw"}, 0.2),
        ({"on": "run", "metric": "absent"}, None),
        ({"metric": "miou"}, 40.0),
        ({"predictor": "mask-ens"}, 55.0),
        ({"scale": 1000}, 500.0),
    ],
)
def test_what_a_column_shows(tmp_path: Path, column: dict[str, Any], shown: float | None) -> None:
    record = {
        "env1_in_acc": 0.6,
        "env2_in_acc": 0.8,
        "env3_in_acc": 0.7,
        "env0_in_miou": 0.4,
        "ratio": 0.3,
        "ratio@raw": 0.2,
    }
    spec = small(rows=[Row(label="Ours", algorithm="A")], parts=[one_column(**column)], trials=1)
    table = filled(spec, tmp_path, **record, **{"env0_in_acc@mask-ens": 0.55})
    assert means(table) == [[shown]]


def test_a_record_that_says_not_what_it_was_trained_on(tmp_path: Path) -> None:
    rows = [Row(label="Ours", algorithm="A", on="sources", options={"train_envs": [1, 2]})]
    spec = small(rows=rows, parts=[one_column()], trials=1)
    table = filled(spec, tmp_path, env1_in_acc=0.6, env2_in_acc=0.8, env3_in_acc=0.1)
    assert means(table) == [[70.0]]


def test_sources_that_are_not_tested_show_their_validation_split(tmp_path: Path) -> None:
    """The protocol "adaptation" records ``val`` of sources and ``test`` of targets (SFDA's Table 4 is of sources)."""
    rows = [Row(label="Ours", algorithm="A", on="sources", options={"train_envs": [1, 2], "protocol": "adaptation"})]
    spec = small(rows=rows, parts=[one_column(metric="miou")], trials=1)
    table = filled(spec, tmp_path, env0_test_acc=0.1, env0_test_miou=0.2, env1_val_miou=0.6, env2_val_miou=0.8)
    assert means(table) == [[70.0]]


def test_rows_that_show_the_runs_of_another(tmp_path: Path) -> None:
    rows = [
        Row(label="mask", of="Own: DMG", predictor="mask-ens"),
        Row(label="sources", of="Own: DMG", on="sources"),
        Row(group="Own", label="DMG", algorithm="DMG"),
    ]
    spec = small(rows=rows, parts=[one_column()], trials=2)
    entries = plan(spec, tmp_path, trials=2)
    assert {entry["row"] for entry in entries} == {2}
    others: dict[str, float] = {f"env{env}_in_acc": 0.7 for env in (1, 2, 3)} | {"env0_in_acc@mask-ens": 0.6}
    finish(tmp_path, entries[0], 0.5, **others)
    table = build(spec, tmp_path)
    assert means(table) == [[60.0], [70.0], [50.0]]
    assert [(row.cells[0].n, row.cells[0].expected) for row in table.blocks[0].rows] == [(1, 2)] * 3
    assert [run.place for run in table.missing] == ["Own: DMG, MD, shown"]


def test_rows_of_one_label_in_two_groups(tmp_path: Path) -> None:
    rows = [Row(group=group, label="ERM", algorithm="ERM", options={"network": group}) for group in ("wide", "deep")]
    spec = small(rows=rows, trials=1)
    entries = plan(spec, tmp_path)
    for entry in entries:
        finish(tmp_path, entry, 0.5 + 0.1 * entry["row"])
    table = build(spec, tmp_path)
    assert means(table) == [[50.0, 50.0, 50.0], [60.0, 60.0, 60.0]]
    assert [row.key for row in table.blocks[0].rows] == ["wide: ERM", "deep: ERM"]
    lines = render.markdown(table).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == [
        "Method",
        "*wide*",
        "ERM",
        "*deep*",
        "ERM",
    ]


def test_parts_side_by_side(tmp_path: Path) -> None:
    parts = [
        Part(title="One", block="Both", dataset="MiniDigits", columns=COLUMNS, average=None),
        Part(
            title="Two",
            block="Both",
            dataset="MiniDigits",
            columns={"printed": "P", "numbers": "N"},
            average=None,
            options={"network": "x"},
        ),
    ]
    rows = [Row(label="first", algorithm="A", parts=["Two"]), Row(label="second", algorithm="B")]
    spec = small(rows=rows, parts=parts, trials=1)
    table = filled(spec, tmp_path)
    assert len(table.blocks) == 1
    assert (table.blocks[0].title, table.blocks[0].header) == ("Both", ("One H", "One B", "Two P", "Two N"))
    assert means(table) == [[None, None, 50.0, 50.0], [50.0, 50.0, 50.0, 50.0]]
    tex = render.latex(table)
    assert r" & \multicolumn{2}{c}{One} & \multicolumn{2}{c}{Two} \\" in tex
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in tex
    assert r"Method & H & B & P & N \\" in tex


def test_parts_of_one_column_side_by_side_are_called_by_their_titles(tmp_path: Path) -> None:
    parts = [
        one_column().model_copy(update={"title": title, "block": "All", "options": {"network": title}})
        for title in ("PACS", "VLCS")
    ]
    table = filled(small(rows=[Row(label="A", algorithm="A")], parts=parts, trials=1), tmp_path)
    assert table.blocks[0].header == ("PACS", "VLCS")
    assert "multicolumn" not in render.latex(table)


def transposed(tmp_path: Path) -> TableSpec:
    columns = {
        name: Column(label=name, targets=["handwritten"], on="run", metric=name, scale=1) for name in ("acc", "size")
    }
    file = printed(
        tmp_path,
        "X,ERM,acc,1",
        "X,A,acc,2",
        "X,sizes,size,0.3",
        "X,Ours,acc,4",
        "X,Ours,size,0.5",
        "Y,ERM,acc,6",
        "Y,Ours,size,7",
    )
    parts = [
        Part(
            title=name,
            block="Data",
            dataset="MiniDigits",
            columns=columns,
            average=None,
            options={"network": f"net{name}"},
            published={"file": file, "where": {"dataset": name}},
        )
        for name in ("X", "Y")
    ]
    rows = [
        Row(label="ERM", algorithm="ERM", columns=["acc"]),
        Row(group="All", label="A", algorithm="A", columns=["acc"]),
        Row(group="All", label="size", of="All: A", columns=["size"], where={"method": "sizes"}),
        Row(label="Ours", algorithm="B"),
    ]
    return small(rows=rows, parts=parts, trials=1, transposed=True, corner="Data set")


def test_a_line_a_part_and_a_column_a_row(tmp_path: Path) -> None:
    (block,) = build(transposed(tmp_path)).blocks
    assert block.header == ("ERM", "All A", "All size", "Ours acc", "Ours size")
    assert block.parts == (("", 1), ("All", 2), ("Ours", 2))
    texts = [[cell.published.text if cell.published else "" for cell in row.cells] for row in block.rows]
    assert texts == [["1", "2", "0.3", "4", "0.5"], ["6", "", "", "", "7"]]
    assert [row.label for row in block.rows] == ["X", "Y"]


def test_a_transposed_table_of_runs(tmp_path: Path) -> None:
    spec = transposed(tmp_path)
    entries = plan(spec, tmp_path / "sweep")
    for entry in entries:
        if not (entry["part"] == 1 and entry["row"] == 1):
            finish(tmp_path / "sweep", entry, 0.5, acc=entry["part"] + 1, size=0.25)
    table = build(spec, tmp_path / "sweep")
    assert means(table) == [[1.0, 1.0, 0.2, 1.0, 0.2], [2.0, None, None, 2.0, 0.2]]
    assert [run.place for run in table.missing] == ["All: A, Y, handwritten"]
    text = render.markdown(table)
    assert "| Data set   |" in text
    assert text.count("| X ") == 1
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in render.latex(table)


def test_marks_of_single_cells_where_not_all_of_a_line_is_marked(tmp_path: Path) -> None:
    spec = transposed(tmp_path)
    rows = [row.model_copy(update={"oracle": row.label == "ERM"}) for row in spec.rows]
    text = render.markdown(build(spec.model_copy(update={"rows": rows})))
    assert "(1) †" in text
    assert "X †" not in text


def test_runs_of_another_table_that_says_the_same_of_them(tmp_path: Path) -> None:
    first = small(
        name="first",
        rows=[Row(label="DMG (Ours)", algorithm="DMG", options={"preset": "code"}), Row(label="ERM", algorithm="ERM")],
        parts=[Part(title="Net", dataset="MiniDigits", columns=COLUMNS, options={"network": "resnet18"})],
        trials=1,
    )
    second = small(
        name="second",
        shows=["first"],
        rows=[
            Row(label="Combined", algorithm="DMG", options={"preset": "code"}),
            Row(label="ERM", algorithm="ERM", hparams={"lr": 1}),
        ],
        parts=[Part(title="Shift", dataset="MiniDigits", columns={"blended": "B"})],
        options={"network": "resnet18"},
        trials=1,
    )
    for entry in plan(first, tmp_path):
        if entry["row"] == 0:
            finish(tmp_path, entry, 0.5)
    table = build(second, tmp_path)
    assert means(table) == [[50.0, 50.0], [None, None]]
    assert (table.missing, table.unplanned) == ((), 1)
    assert table.launch.startswith("dfdgbench sweep launch first.yaml")
    with pytest.raises(ConfigError, match="dfdgbench table first"):
        build(second.model_copy(update={"shows": []}), tmp_path)


def test_a_run_that_says_nothing_of_its_precision_is_not_another_s(tmp_path: Path) -> None:
    spec = small(rows=[Row(label="Ours", algorithm="A")], parts=[one_column()], trials=3)
    says: list[dict[str, object]] = [{}, {"dtype": "float32", "channels_last": True}, {"dtype": "bfloat16"}]
    entries = plan(spec, tmp_path, trials=3)
    for entry, precision in zip(entries, says, strict=True):
        finish(tmp_path, entry, 0.5)
        path = tmp_path / "runs" / entry["id"] / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": precision}))
    assert "‡ Runs by bfloat16, float32 channels last: MD" in render.markdown(build(spec, tmp_path))
    (tmp_path / "runs" / entries[2]["id"] / "results.jsonl").unlink()
    assert "‡" not in render.markdown(build(spec, tmp_path))


def test_cells_of_several_devices_or_precisions(tmp_path: Path) -> None:
    spec = small(rows=[Row(label="Ours", algorithm="A")], parts=[one_column()], trials=2)
    for entry, device in zip(plan(spec, tmp_path, trials=2), ("NVIDIA H200", "Tesla T4"), strict=True):
        finish(tmp_path, entry, 0.5, device=device)
    text = render.markdown(build(spec, tmp_path))
    assert "50.0 ± 0.0‡" in text
    assert "‡ Runs by NVIDIA H200, Tesla T4: MD, Ours, shown." in text
