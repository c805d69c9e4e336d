"""Ours against the published numbers, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dfdgbench.errors import ConfigError
from dfdgbench.results.cells import Placed, placed
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, cells, labels, wanting
from dfdgbench.results.figures.style import (
    GREY,
    Look,
    canvas,
    frame,
    legend,
    legend_height,
    looks,
    unit,
)
from dfdgbench.results.trials import summary

_LINE = 0.17  # inches a method takes in the panel of differences


@FIGURES.register("dots")
class Dots(Figure):
    """Ours against published: each cell with our standard error and the diagonal, and the differences by method."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        both = [found for found in cells(sweeps) if found.cell.difference is not None]
        if not both:
            raise ConfigError(_why(sweeps))
        measure = (both[0].column.metric, both[0].column.scale)
        shown = [found for found in both if (found.column.metric, found.column.scale) == measure]
        methods = list(dict.fromkeys(found.method for found in shown))
        given, called = looks(methods), labels(shown, methods)
        beside = width >= 5
        above = legend_height(called, width)
        below = 0.45 + _LINE * len(methods)
        square = min(width, 2.6)
        figure = canvas(width, above + (max(square, below) if beside else square + below))
        if beside:
            scatter, strip = figure.subplots(1, 2, width_ratios=(1, 1.2))
        else:
            scatter, strip = figure.subplots(2, 1, height_ratios=(square, below))
        _scatter(scatter, shown, given, unit([measure]))
        _strip(strip, shown, given, called)
        legend(figure, [_marker(given[method]) for method in methods], called, width)
        other = len(both) - len(shown)
        notes = [f"Left out: {other} cells in other measures than '{measure[0]}'."] if other else []
        return Drawn(figure, tuple(notes))


def _scatter(axes: Axes, shown: Sequence[Placed], given: dict[str, Look], name: str) -> None:
    numbers = [number for found in shown for number in (found.cell.mean, _printed(found)) if number is not None]
    margin = 0.06 * (max(numbers) - min(numbers)) or 1.0
    low, high = min(numbers) - margin, max(numbers) + margin
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
    for found in shown:
        look = given[found.method]
        axes.errorbar(
            _printed(found), found.cell.mean or 0.0, found.cell.se, color=look.colour, marker=look.marker, markersize=3.6,
            elinewidth=0.7, markerfacecolor="none" if _average(found) else look.colour, markeredgewidth=0.8, linestyle="",
        )  # fmt: skip
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.grid(visible=True, axis="both")
    frame(axes, x=f"Published: {name[:1].lower()}{name[1:]}", y="Ours")


def _strip(axes: Axes, shown: Sequence[Placed], given: dict[str, Look], called: Sequence[str]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)))
    for i, (method, look) in enumerate(given.items()):
        cells_of = [found for found in shown if found.method == method]
        single = [found for found in cells_of if not _average(found)] or cells_of
        differences = [found.cell.difference or 0.0 for found in single]
        spread = i + np.linspace(-0.18, 0.18, len(single)) if len(single) > 1 else [i]
        for found, difference, place in zip(single, differences, spread, strict=True):
            axes.errorbar(
                difference,
                place,
                xerr=found.cell.se,
                color=look.colour,
                marker=look.marker,
                markersize=2.8,
                elinewidth=0.6,
            )
        mean = summary(differences).mean
        axes.plot([mean, mean], [i - 0.36, i + 0.36], color="black", linewidth=1.2, solid_capstyle="butt")
    axes.set_yticks(range(len(called)), called)
    axes.set_ylim(len(called) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    frame(axes, x="Ours − published, by held-out domain; bar: mean")
    axes.margins(x=0.06)


def _printed(found: Placed) -> float:
    assert found.cell.published is not None
    return found.cell.published.value


def _average(found: Placed) -> bool:
    return len(found.column.targets) > 1


def _marker(look: Look) -> Line2D:
    return Line2D([], [], color=look.colour, marker=look.marker, markersize=3.6, linestyle="")


def _why(sweeps: Sequence[Sweep]) -> str:
    printed = sum(found.cell.published is not None for sweep in sweeps for found in placed(sweep.table))
    if not printed:
        return (
            "The table has no published number, so that there is nothing to set ours against. Draw a sweep of a published "
            "table (`dfdgbench list tables`), or name one with --table."
        )
    return (
        f"No cell has both a number of ours and a published one: {printed} cells of the table have a published number, none "
        f"of them a result. {wanting(sweeps)}"
    )
