"""Bars: every method on every held-out domain."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from dfdgbench.errors import ConfigError
from dfdgbench.results.cells import Placed
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, cells, labels, wanting
from dfdgbench.results.figures.style import Look, canvas, clean, frame, legend, legend_height, looks, unit

_BARS = 0.84  # of the room between two domains
_MOST_DOTS = 10


@FIGURES.register("domains")
class Domains(Figure):
    """Bars per held-out domain: mean, standard error and every trial of each method."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        every = cells(sweeps)
        shown = [found for found in every if found.column.on == "target" and found.sign]
        if not shown:
            raise ConfigError(f"There is no result on a held-out domain yet. {wanting(sweeps)}")
        metric = (shown[0].column.metric, shown[0].column.scale)
        other = {found.column.metric for found in shown if (found.column.metric, found.column.scale) != metric}
        shown = [found for found in shown if (found.column.metric, found.column.scale) == metric]
        methods = list(dict.fromkeys(found.method for found in shown))
        given, called = looks(methods), labels(shown, methods)
        parts = list(dict.fromkeys(found.part for found in shown))
        figure = canvas(width, 1.55 * len(parts) + legend_height(called, width))
        grid = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
        for axes, part in zip(grid, parts, strict=True):
            _panel(axes, [found for found in shown if found.part == part], given)
            frame(axes, part if len(parts) > 1 else "", y=unit([metric]))
        legend(figure, [_patch(given[method]) for method in methods], called, width)
        notes = [f"Left out: columns in other measures ({', '.join(sorted(other))})."] if other else []
        return Drawn(figure, tuple(notes))


def _panel(axes: Axes, shown: Sequence[Placed], given: dict[str, Look]) -> None:
    columns = list(dict.fromkeys(found.column.label for found in shown))
    methods = [method for method in given if any(found.method == method for found in shown)]
    room = _BARS / len(methods)
    for found in shown:
        place = columns.index(found.column.label) - _BARS / 2 + (methods.index(found.method) + 0.5) * room
        _bar(axes, place, room, found, given[found.method])
    averages = [i for i, label in enumerate(columns) if _is_average(label, shown)]
    for i in averages:
        if i > 0:
            axes.axvline(i - 0.5, color="black", linewidth=0.5, linestyle=(0, (2, 2)))
    axes.set_xticks(range(len(columns)), [clean(label, 20) for label in columns])
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.55, len(columns) - 0.45)


def _bar(axes: Axes, place: float, room: float, found: Placed, look: Look) -> None:
    cell = found.cell
    assert cell.mean is not None
    axes.bar(place, cell.mean, room * 0.9, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0.3)
    if cell.se is not None:
        axes.errorbar(
            place, cell.mean, cell.se, color="black", elinewidth=0.7, capsize=min(2.0, 8 * room), capthick=0.7
        )
    trials = [value for value in cell.values.values() if math.isfinite(value)]
    if 1 < len(trials) <= _MOST_DOTS:
        across = place + np.linspace(-0.22, 0.22, len(trials)) * room
        axes.plot(across, trials, ".", color="black", markersize=1.6, alpha=0.75)


def _is_average(label: str, shown: Sequence[Placed]) -> bool:
    return any(found.column.label == label and len(found.column.targets) > 1 for found in shown)


def _patch(look: Look) -> Patch:
    return Patch(facecolor=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0.3)
