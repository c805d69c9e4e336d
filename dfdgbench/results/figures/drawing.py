"""From a figure's name to its files."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from dfdgbench.errors import ConfigError, listing
from dfdgbench.files import write_bytes
from dfdgbench.results.figures.base import FIGURES, Drawn, Sweep
from dfdgbench.results.figures.style import inches, styled
from dfdgbench.tables.spec import load, of_sweep

# Nothing of when, where or by which release: the same results give the same bytes.
_METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}


def draw(
    name: str, folders: Sequence[Path], outs: Sequence[Path], *, width: str = "column", table: str | None = None
) -> Drawn:
    """Draw the figure ``name`` from the sweeps in ``folders`` into the files ``outs``.

    Args:
        width: "column", "page", or a number of inches.
        table: the table that the runs are laid out as; None: each sweep's own.

    Raises:
        UnknownNameError: there is no such figure or table.
        ConfigError: no sweep, a folder that is none, a file that cannot be written, results that do not suffice.
    """
    made = FIGURES.get(name)()
    size = inches(width)
    for out in outs:
        _check(out)
    sweeps = open_sweeps(name, folders, table)
    with styled():
        drawn = made.draw(sweeps, size)
    for out in outs:
        write_bytes(out, rendered(drawn.canvas, out.suffix.lower()), "The figure")
    return drawn


def open_sweeps(name: str, folders: Sequence[Path], table: str | None = None) -> list[Sweep]:
    """The sweeps in ``folders``, each once.

    Raises:
        ConfigError: none is given, or a folder is none.
    """
    if not folders:
        raise ConfigError(f"Of which sweep? Type for example: dfdgbench figure {name} runs/quickstart")
    once = {folder.resolve(): folder for folder in folders}.values()
    sweeps = [Sweep(folder, of_sweep(folder) if table is None else load(table)) for folder in once]
    twice = [sweep for sweep in sweeps if sum(sweep.name == other.name for other in sweeps) > 1]
    if twice:
        raise ConfigError(
            f"Two sweeps are called '{twice[0].name}': {listing(str(sweep.folder) for sweep in twice)}. A figure tells sweeps "
            "apart by the names of their folders; rename one, or link to it under another name."
        )
    return sweeps


def rendered(canvas: Canvas, suffix: str) -> bytes:
    """The figure as the bytes of a file that ends in ``suffix``."""
    buffer = io.BytesIO()
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # a box is drawn; labels may hold anything
        canvas.savefig(buffer, format=suffix[1:], metadata=_METADATA[suffix])
    return buffer.getvalue()


def _check(out: Path) -> None:
    if out.suffix.lower() not in _METADATA:
        ending = f"ends in '{out.suffix}'" if out.suffix else "has no ending"
        raise ConfigError(
            f"The file {out} {ending}, which is no format of figures. Known: {listing(_METADATA)}. "
            f"Type for example: --out {out.with_suffix('.pdf') if out.name else 'figure.pdf'}"
        )
    folder = out.parent
    if not folder.is_dir():
        raise ConfigError(
            f"The figure cannot be written to {out}: there is no folder {folder}. Type: mkdir -p {folder}"
        )
    if out.is_dir():
        raise ConfigError(
            f"The figure cannot be written to {out}: that is a folder. Give a file in it: {out / 'figure.pdf'}"
        )
    if not os.access(folder, os.W_OK):
        raise ConfigError(
            f"The figure cannot be written to {out}: the folder {folder} is closed to you. Choose another."
        )
