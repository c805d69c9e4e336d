"""A small table as markdown, LaTeX and CSV, character by character."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from result_builders import finish, plan, small

from dfdgbench.results import render
from dfdgbench.results.latex import escape, items
from dfdgbench.results.published import Printed
from dfdgbench.results.table import Block, Cell, Table, TableRow, build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.spec import Column, Part, Row, TableSpec

PRINTED = """\
paper,table,setting,dataset,backbone,method,column,value,std
p,1,s,D,b,Ours & co,H,71.60,
p,1,s,D,b,Ours & co,Average,71.6,0.4
p,1,s,D,b,Their_|method,H,60.0,
"""

MARKDOWN = """\
## Small: accuracy (%)

Two rows.

### Mini_Digits

| Method        |                H |    B |             Average |
|:--------------|-----------------:|-----:|--------------------:|
| Ours & co     | 52.0 ± 2.0 (71.60) | 40.0 [1/2] | 45.0 [1/2] (71.6 ± 0.4) |
| Best †        |       90.0 [1/2] |    — |                   — |
| Their_\\|method |           (60.0) |    — |                   — |

- The average is misprinted.
- Best: looks at the target.
- Quoted as published, and run by nobody here: Their_|method.
- Mini_Digits: the digits of everyone.
- Incomplete: 3 cells have fewer trials than the table asks for; [2/3]: two of three.
- Incomplete: 2 cells have no trial yet.
- Mean ± standard error over trials, in percent; in parentheses: as published; †: the method or its selection looked \
at more than its setting grants.
"""

LATEX = r"""\documentclass[a4paper,landscape]{article}
\usepackage{booktabs,graphicx}
\setlength{\parindent}{0pt}
\usepackage[margin=2cm]{geometry}
\begin{document}

\section*{Small: accuracy (\%)}

\subsection*{Mini\_Digits}

\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%
\begin{tabular}{lrrr}
\toprule
Method & H & B & Average \\
\midrule
Ours \& co & 52.0 $\pm$ 2.0 (71.60) & 40.0 {[}1/2{]} & 45.0 {[}1/2{]} (71.6 $\pm$ 0.4) \\
Best $^\dagger$ & 90.0 {[}1/2{]} & --- & --- \\
Their\_\textbar{}method & (60.0) & --- & --- \\
\bottomrule
\end{tabular}}

\begin{itemize}\setlength{\itemsep}{0pt}
  \item The average is misprinted.
  \item Best: looks at the target.
  \item Quoted as published, and run by nobody here: Their\_\textbar{}method.
  \item Mini\_Digits: the digits of everyone.
  \item Incomplete: 3 cells have fewer trials than the table asks for; {[}2/3{]}: two of three.
  \item Incomplete: 2 cells have no trial yet.
  \item Mean $\pm$ standard error over trials, in percent; in parentheses: as published; $^\dagger$: the method or """
LATEX += r"""its selection looked at more than its setting grants.
\end{itemize}

\end{document}
"""

CSV = """\
block,row,column,mean,se,n,expected,published,difference,marked,mixed,runs
Mini_Digits,Ours & co,H,52.0,2.0,2,2,71.60,-19.6,false,,RUN RUN
Mini_Digits,Ours & co,B,40.0,,1,2,,,false,,RUN
Mini_Digits,Ours & co,Average,45.0,,1,2,71.6 ± 0.4,-26.6,false,,RUN RUN
Mini_Digits,Best,H,90.0,,1,2,,,true,,RUN
Mini_Digits,Best,B,,,0,2,,,true,,
Mini_Digits,Best,Average,,,0,2,,,true,,
Mini_Digits,Their_|method,H,,,0,0,60.0,,false,,
Mini_Digits,Their_|method,B,,,0,0,,,false,,
Mini_Digits,Their_|method,Average,,,0,0,,,false,,
"""


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Two rows of two trials, of which some are there."""
    (tmp_path / "printed.csv").write_text(PRINTED)
    spec = TableSpec(
        name="small",
        title="Small: accuracy (%)",
        description="Two rows.",
        trials=2,
        notes=["The average is misprinted."],
        rows=[
            Row(label="Ours & co", algorithm="DEKAN"),
            Row(label="Best", algorithm="Best", oracle=True, note="looks at the target"),
            Row(label="Their_|method"),
        ],
        parts=[
            Part(
                title="Mini_Digits",
                dataset="MiniDigits",
                columns={"handwritten": "H", "blended": "B"},
                note="the digits of everyone.",
                published={"file": str(tmp_path / "printed.csv"), "where": {"dataset": "D"}},
            )
        ],
    )
    values = {(0, 0, 0): 0.50, (0, 1, 0): 0.40, (0, 0, 1): 0.54, (1, 0, 0): 0.90}
    for entry in plan(spec, tmp_path / "sweep", trials=2):
        place = (entry["row"], entry["config"]["test_envs"][0], entry["config"]["trial_seed"])
        if place in values:
            finish(tmp_path / "sweep", entry, values[place])
    return build(spec, tmp_path / "sweep")


def squeezed(text: str) -> list[str]:
    """Lines with runs of blanks and dashes made one: how wide a column is printed does not matter."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return ["|--" if line.startswith("|:-") else line for line in lines]


def test_markdown(table: Table) -> None:
    assert squeezed(render.markdown(table)) == squeezed(MARKDOWN)


def test_latex(table: Table) -> None:
    assert render.latex(table) == LATEX


def test_csv(table: Table) -> None:
    assert re.sub(r"[A-Za-z]+-MiniDigits-\S+", "RUN", render.csv(table)) == CSV
    assert {len(row) for row in csv.reader(io.StringIO(CSV))} == {12}


def test_json(table: Table) -> None:
    content = json.loads(render.json(table))
    assert content["name"] == "small"
    assert content["cells"] == render.cells(table)
    first = content["cells"][0]
    assert (first["mean"], first["se"], first["published"], first["difference"]) == (52.0, 2.0, "71.60", -19.6)
    assert first["runs"] == list(table.blocks[0].rows[0].cells[0].runs)
    assert {run["state"] for run in content["missing"]} == {"planned"}
    assert "The average is misprinted." in content["notes"]


def test_csv_and_json_of_nothing(tmp_path: Path) -> None:
    empty = build(small())
    assert render.csv(empty) == "block,row,column\n"
    assert json.loads(render.json(empty))["cells"] == []


def test_json_holds_no_infinite_number(tmp_path: Path) -> None:
    text = render.json(build(specs.load("homogenization-table1")))
    found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert "inf" in {cell["published"] for cell in found["cells"]}


def test_differences(table: Table) -> None:
    text = render.markdown(table, diff=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[1:] == [["Ours & co", "-19.6 ± 2.0", "—", "-26.6 [1/2]"], ["Best †", "—", "—", "—"]]
    assert "- Ours minus the published number ± our standard error over trials; †" in text
    assert r"$\pm$ 2.0 & --- & -26.6 {[}1/2{]} \\" in render.latex(table, diff=True)


def test_differences_keep_the_marks_of_their_cells() -> None:
    cell = Cell(mean=50.0, n=2, expected=3, published=Printed(52.0, "52.0", "odd"), mixed="float32, bfloat16")
    assert render.text_of(cell, 1, diff=True) == "-2.0‡§ [2/3]"
    assert render.text_of(cell, 1) == "50.0‡ [2/3] (52.0)§"


def test_differences_where_nothing_is_published(tmp_path: Path) -> None:
    """The best is bold in the table, and a dash is not."""
    spec = small(trials=1)
    for entry, accuracy in zip(plan(spec, tmp_path), (0.5, 0.5, 0.6, 0.4), strict=True):
        finish(tmp_path, entry, accuracy)
    built = build(
        spec.model_copy(update={"rows": [row.model_copy(update={"oracle": False}) for row in spec.rows]}), tmp_path
    )
    assert "**" in render.markdown(built)
    text = render.markdown(built, diff=True)
    assert "**" not in text
    assert "- No cell has both a result of ours and a published number" in text


def test_differences_of_printed_numbers_alone_are_none() -> None:
    assert "|" not in render.markdown(build(specs.load("dekan-table1")), diff=True).split("- ")[0]


def test_marks_of_cells() -> None:
    column = Column(label="H", targets=["h"])
    printed = Printed(70.0, "70.0", "should be 71")
    cells = (
        Cell(mean=71.04, se=0.51, n=2, expected=3, published=printed, mixed="A, B", best=True, marked=True),
        Cell(),
    )
    block = Block("Data", (column, column), (TableRow("Ours", cells),), (("Data", 2),))
    text = render.markdown(Table("t", "T", "", (block,), ours=True))
    assert "| Ours †   | **71.0 ± 0.5‡** [2/3] (70.0)§ |" in text
    assert "- § Data, Ours, H: should be 71" in text
    assert "- ‡ Runs by A, B: Data, Ours, H." in text
    assert "bold: the best of ours" in text


def test_many_cells_of_several_devices_share_a_note() -> None:
    columns = tuple(Column(label=label, targets=["h"]) for label in "HBPN")
    row = TableRow("Ours", tuple(Cell(mean=50.0, n=1, expected=1, mixed="A, B") for _ in columns))
    text = render.markdown(Table("t", "T", "", (Block("Data", columns, (row,), (("Data", 4),)),), ours=True))
    assert "- ‡ Runs by A, B: Data, Ours, H; Data, Ours, B; and 2 more." in text


@pytest.mark.parametrize(("digits", "text"), [(0, "71 ± 1"), (1, "71.0 ± 0.5"), (3, "71.040 ± 0.510")])
def test_digits(digits: int, text: str) -> None:
    assert render.text_of(Cell(mean=71.04, se=0.51, n=3, expected=3), digits) == text


def test_missing(table: Table) -> None:
    lines = render.missing(table)
    assert lines[0] == "4 runs planned, without a result yet."
    assert lines[1].startswith("All at once: dfdgbench sweep launch small.yaml --output-dir ")
    assert lines[2].startswith(
        "Ours & co, Mini_Digits, B, trial 1 (planned): dfdgbench train --algorithm DEKAN --dataset MiniDigits"
    )
    assert lines[-1] == "... and 1 more: --missing lists them all."
    assert len(render.missing(table, most=None)) == 6


def test_nothing_is_missing_of_the_published_table() -> None:
    published = build(specs.load("dekan-table1"))
    assert render.missing(published) == []
    text = render.markdown(published)
    assert "| DEKAN         |        (83.01) |" in text
    assert "printed as 83.88; its four columns average to 83.85" in text
    assert "standard error" not in text


def test_escapes() -> None:
    assert escape(r"50% of $x_1^2$ & {a} #1 ~ \b") == (
        r"50\% of \$x\_1\textasciicircum{}2\$ \& \{a\} \#1 \textasciitilde{} \textbackslash{}b"
    )
    assert escape("5 ± 1 † — ε → × < > |") == (
        r"5 $\pm$ 1 $^\dagger$ --- $\epsilon$ $\to$ $\times$ \textless{} \textgreater{} \textbar{}"
    )
    assert escape("α § ‡ é ð 日") == r"$\alpha$ \S{} $^\ddagger$ é U+00F0 U+65E5"
    assert items([""]) == []


@pytest.mark.parametrize("name", specs.names())
def test_latex_of_built_in_tables_is_balanced(name: str) -> None:
    text = render.latex(build(specs.load(name)))
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.replace(r"\{", "").replace(r"\}", "").count("{") == text.replace(r"\{", "").replace(r"\}", "").count(
        "}"
    )
    for body in text.split(r"\begin{tabular}{l")[1:]:
        width = body.index("}")
        lines = [line for line in body.split(r"\end{tabular}")[0].splitlines() if line.endswith(r"\\")]
        plain = [line for line in lines if "multicolumn" not in line and "addlinespace" not in line]
        assert {line.count(" & ") for line in plain} == {width}
