"""A small table as markdown, LaTeX and CSV, character by character."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from result_builders import finish, plan

from dfdgbench.results import render
from dfdgbench.results.latex import escape, items
from dfdgbench.results.table import Table, build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.spec import Part, Row, TableSpec

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
- Mini_Digits: the digits of everyone.
- Incomplete: 3 cells have fewer trials than the table asks for; [2/3]: two of three.
- Incomplete: 2 cells have no trial yet.
- Mean ± standard error over trials, in percent; in parentheses: as published; †: the method or its selection looked \
at more than its setting grants.
"""

LATEX = r"""\documentclass[a4paper,landscape]{article}
\usepackage{booktabs}
\setlength{\oddsidemargin}{0pt}
\setlength{\textwidth}{24cm}
\begin{document}

\section*{Small: accuracy (\%)}

\subsection*{Mini\_Digits}

\begin{tabular}{lrrr}
\toprule
Method & H & B & Average \\
\midrule
Ours \& co & 52.0 $\pm$ 2.0 (71.60) & 40.0 {[}1/2{]} & 45.0 {[}1/2{]} (71.6 $\pm$ 0.4) \\
Best $^\dagger$ & 90.0 {[}1/2{]} & --- & --- \\
Their\_\textbar{}method & (60.0) & --- & --- \\
\bottomrule
\end{tabular}

\begin{itemize}
  \item The average is misprinted.
  \item Best: looks at the target.
  \item Mini\_Digits: the digits of everyone.
  \item Incomplete: 3 cells have fewer trials than the table asks for; {[}2/3{]}: two of three.
  \item Incomplete: 2 cells have no trial yet.
  \item Mean $\pm$ standard error over trials, in percent; in parentheses: as published; $^\dagger$: the method or """
LATEX += r"""its selection looked at more than its setting grants.
\end{itemize}

\end{document}
"""

CSV = """\
part,row,column,mean,se,n,published,marked
Mini_Digits,Ours & co,H,52.0000,2.0000,2,71.6,false
Mini_Digits,Ours & co,B,40.0000,,1,,false
Mini_Digits,Ours & co,Average,45.0000,,1,71.6,false
Mini_Digits,Best,H,90.0000,,1,,true
Mini_Digits,Best,B,,,0,,true
Mini_Digits,Best,Average,,,0,,true
Mini_Digits,Their_|method,H,,,0,60.0,false
Mini_Digits,Their_|method,B,,,0,,false
Mini_Digits,Their_|method,Average,,,0,,false
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
    assert render.csv(table) == CSV
    assert {len(row) for row in csv.reader(io.StringIO(CSV))} == {8}


def test_missing(table: Table) -> None:
    lines = render.missing(table)
    assert lines[0] == "4 runs planned, without a result yet."
    assert lines[1].startswith("All at once: dfdgbench sweep launch small.yaml --output-dir ")
    assert lines[2].startswith(
        "Ours & co, Mini_Digits, B, trial 1 (absent): dfdgbench train --algorithm DEKAN --dataset MiniDigits"
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
    assert items([""]) == []


@pytest.mark.parametrize("name", specs.names())
def test_latex_of_built_in_tables_is_balanced(name: str) -> None:
    text = render.latex(build(specs.load(name)))
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert text.replace(r"\{", "").replace(r"\}", "").count("{") == text.replace(r"\{", "").replace(r"\}", "").count(
        "}"
    )
    columns = {line.count(" & ") for line in text.splitlines() if line.endswith(r"\\")}
    assert columns == {5}
