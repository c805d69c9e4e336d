"""LaTeX's own word on the tables: each compiles, without a warning that anything is too wide, and says what it should.

Debian's packages: texlive-latex-base, texlive-latex-recommended, poppler-utils. It fails, and does not skip, where they are
not installed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dfdgbench.results import render
from dfdgbench.results.published import Printed
from dfdgbench.results.table import Block, Cell, Table, TableRow, build
from dfdgbench.tables import spec as specs
from dfdgbench.tables.spec import Column

pytestmark = pytest.mark.latex


def compiled(text: str, folder: Path) -> tuple[str, str]:
    """The words of the document that ``text`` makes, and LaTeX's log."""
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    words = subprocess.run(
        ["pdftotext", "-layout", "table.pdf", "-"], cwd=folder, capture_output=True, text=True, check=True
    )
    return words.stdout, (folder / "table.log").read_text(encoding="utf-8", errors="replace")


@pytest.mark.parametrize("name", specs.names())
def test_tables_compile_and_fit_the_page(tmp_path: Path, name: str) -> None:
    table = build(specs.load(name))
    words, log = compiled(render.latex(table), tmp_path)
    assert "Overfull" not in log
    numbers = [cell.published for block in table.blocks for row in block.rows for cell in row.cells]
    shown = re.sub(r"\s+", " ", words)
    assert all(f"({found.text})" in shown for found in numbers if found is not None)


def test_every_sign_of_a_cell_and_whatever_a_label_holds(tmp_path: Path) -> None:
    sign = (
        "".join(chr(number) for number in range(32, 0x250)) + "日本 → − ε × 😀 \u202e \n \\end{document} \\input{x} %"
    )
    short = "%&_{}\\^~#$|[x] é 日 😀"
    column = Column(label=f"H {short}", targets=["h"])
    cell = Cell(
        mean=71.04, se=0.5, n=2, expected=3, published=Printed(70.0, "70.0", sign), mixed=short, best=True, marked=True
    )
    row = TableRow(f"Row {short}", (cell, Cell()), note=sign, group=short)
    block = Block("Data", (column, column), (row,), ((short, 1), ("", 1)), notes=(sign,))
    words, _ = compiled(render.latex(Table("t", sign, "", (block,), notes=(sign,), ours=True)), tmp_path)
    assert "71.0 ± 0.5‡ [2/3] (70.0)§" in re.sub(r"\s+", " ", words)
    assert "\\end{document}" in words


def test_a_sweep_s_table_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dfdgbench", "table", "sfda-table1", "--format", "latex"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    words, _ = compiled(text, tmp_path)
    assert "SFDA (w/o IPSM)" in words
