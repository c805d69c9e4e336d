"""How figures look: sizes, colours that colour-blind readers and grey prints tell apart, text that is never a formula."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from dfdgbench.errors import ConfigError

# Inches: a column and the page of two-column proceedings.
WIDTHS = {"column": 3.25, "page": 6.75}
_NARROWEST, _WIDEST = 2.0, 20.0

# Okabe and Ito 2008, without the yellow that is too light on white. Grey prints are told apart by marker, dashes and hatch.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
_HATCHES = ("", "////", "||||", "\\\\\\\\", "xxxx", "----", "++")
GREY = "#767676"
LIGHT = "#D9D9D9"

_RC: dict[str, Any] = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # both come with matplotlib, so that a figure is the same everywhere
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.2,
    "legend.handletextpad": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "dfdgbench",
    "savefig.dpi": 300,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
}


class Look(NamedTuple):
    """How one method is drawn."""

    colour: str
    marker: str
    dashes: Any
    hatch: str


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in our style within the body, whatever the user's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        parameters: Any = mpl.rcParams  # whose names, as releases type them, differ
        parameters.update(_RC)
        yield


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method, in order: no two alike among the first 28."""
    found = {}
    for i, method in enumerate(dict.fromkeys(methods)):
        turn = i // len(COLOURS)
        dashes = _DASHES[(i + turn) % len(_DASHES)]
        found[method] = Look(
            COLOURS[i % len(COLOURS)],
            _MARKERS[(i + turn) % len(_MARKERS)],
            dashes,
            _HATCHES[(i + turn) % len(_HATCHES)],
        )
    return found


def inches(given: str) -> float:
    """A figure's width from what a person typed.

    Raises:
        ConfigError: neither a name of ``WIDTHS`` nor a sensible number.
    """
    if given in WIDTHS:
        return WIDTHS[given]
    try:
        width = float(given)
    except ValueError:
        width = 0.0
    if not _NARROWEST <= width <= _WIDEST:
        names = " or ".join(f"'{name}' ({size} inches)" for name, size in WIDTHS.items())
        raise ConfigError(
            f"The width '{given}' is none. Give {names}, or a number of inches from {_NARROWEST:g} to {_WIDEST:g}."
        )
    return width


def clean(text: str, most: int = 48) -> str:
    """``text`` on one line, without characters that a file cannot hold, cut where it is very long."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    shown = shown.encode("utf-8", errors="replace").decode("utf-8")
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def canvas(width: float, height: float) -> Canvas:
    """An empty figure, in inches; it needs no display."""
    return Canvas(figsize=(width, height), layout="constrained")


def length(text: str, size: float = 7.5) -> float:
    """Inches that ``text`` takes in letters of ``size`` points."""
    if not text.strip():
        return 0.0
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        path = TextPath((0, 0), text, size=size, prop=FontProperties(family=_RC["font.family"]))
    return float(path.get_extents().width) / 72


def legend(figure: Canvas, handles: Sequence[Any], labels: Sequence[str], width: float) -> None:
    """One legend for the whole figure, above it, in as many columns as fit into ``width`` inches."""
    made = figure.legend(
        handles, [str(i) for i in range(len(labels))], loc="outside upper left", ncols=_columns(labels, width)
    )
    for text, label in zip(made.get_texts(), labels, strict=True):
        text.set_text(label)  # not before: matplotlib leaves out labels that begin with an underscore


def legend_height(labels: Sequence[str], width: float) -> float:
    """Inches that :func:`legend` takes."""
    return 0.1 + 0.155 * math.ceil(len(labels) / _columns(labels, width))


def _columns(labels: Sequence[str], width: float) -> int:
    """Columns of a legend, filled one after the other as matplotlib does; each is as wide as its longest label."""
    for count in range(len(labels), 1, -1):
        rows = math.ceil(len(labels) / count)
        longest = [max(map(length, labels[start : start + rows])) for start in range(0, len(labels), rows)]
        if len(longest) == count and sum(0.43 + found for found in longest) <= width:
            return count
    return 1


def frame(axes: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title (to the left) and axis labels."""
    axes.set_title(clean(title, 70), loc="left")
    axes.set_xlabel(clean(x))
    axes.set_ylabel(clean(y))


def unit(scales: Iterable[tuple[str, float]]) -> str:
    """The axis label of values in (metric, scale): "Accuracy (%)"; "Value" where they differ."""
    found = set(scales)
    if len(found) != 1:
        return "Value"
    metric, scale = found.pop()
    name = {"acc": "Accuracy", "miou": "mIoU"}.get(metric, metric.replace("_", " "))
    return f"{name} (%)" if scale == 100 else name
