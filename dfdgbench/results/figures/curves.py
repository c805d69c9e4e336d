"""Learning curves: what every record says of the held-out domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dfdgbench.errors import ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, cells, labels, names, wanting
from dfdgbench.results.figures.style import Look, canvas, frame, legend, legend_height, looks, unit
from dfdgbench.results.fill import Chosen, Filled, shown
from dfdgbench.results.trials import Summary, summary
from dfdgbench.tables.spec import Column, Row

Curve = dict[int, Summary]
Panels = dict[tuple[str, str], dict[str, Curve]]


@FIGURES.register("curves")
class Curves(Figure):
    """Learning curves per held-out domain: mean over trials at every record, and a band of one standard error."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        panels, measures = _panels(sweeps)
        if not any(len(curve) > 1 for curves in panels.values() for curve in curves.values()):
            raise ConfigError(
                "No run has records of more than one step, so that there is no curve to draw. Launch a sweep with "
                f"`--checkpoint-freq STEPS`. {wanting(sweeps)}"
            )
        methods = list(dict.fromkeys(method for curves in panels.values() for method in curves))
        given, called = looks(methods), labels(cells(sweeps), methods)
        several = len({part for part, _ in panels}) > 1
        across = min(len(panels), max(1, int(width / 1.55)))
        down = math.ceil(len(panels) / across)
        figure = canvas(width, 1.35 * down + 0.25 + legend_height(called, width))
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for place, ((part, domain), curves) in zip(product(range(down), range(across)), panels.items(), strict=False):
            axes = grid[place]
            for method, curve in curves.items():
                _draw(axes, curve, given[method])
            frame(axes, f"{part}: {domain}" if several else domain)
            axes.tick_params(labelbottom=True)
        for place in list(product(range(down), range(across)))[len(panels) :]:
            grid[place].set_visible(False)
        figure.supxlabel("Step", fontsize=8)
        figure.supylabel(unit(measures), fontsize=8)
        alone = {method for method in methods if all(len(c.get(method, {})) < 2 for c in panels.values())}
        legend(figure, [_line(given[method], method in alone) for method in methods], called, width)
        named = ", ".join(method for method in methods if method in alone)
        notes = [f"One record only, shown as a level line: {named}."] if named else []
        return Drawn(figure, tuple(notes))


def _panels(sweeps: Sequence[Sweep]) -> tuple[Panels, list[tuple[str, float]]]:
    """Part and domain to method to curve; and the measures that are shown."""
    called = names(sweeps)
    panels: Panels = {}
    measures = []
    for sweep in sweeps:
        for part, row, filled in sweep.filled:
            for column in part.shown():
                if len(column.targets) > 1 or column.on != "target" or column.best == "none":
                    continue
                curve = _curve(column, row, filled)
                if curve:
                    measures.append((column.metric, column.scale))
                    method = called[str(sweep.folder), row.key]
                    panels.setdefault((part.title, column.label), {})[method] = curve
    return panels, measures


def _curve(column: Column, row: Row, filled: Filled) -> Curve:
    """Over the trials of a method, at the steps that all of them have, so that no jump comes from who is missing."""
    trials = [_steps(chosen, column, row) for chosen in filled.chosen[column.targets[0]].values()]
    if not trials:
        return {}
    steps = sorted(set.intersection(*(set(found) for found in trials)))
    return {step: summary([found[step] for found in trials]) for step in steps}


def _steps(chosen: Chosen, column: Column, row: Row) -> Mapping[int, float]:
    values = {
        int(record["step"]): column.scale * shown(Chosen(record, chosen.run), column, row)
        for record in chosen.run.records
    }
    return {step: value for step, value in values.items() if math.isfinite(value)}


def _draw(axes: Axes, curve: Curve, look: Look) -> None:
    steps, means = list(curve), [found.mean for found in curve.values()]
    if len(steps) == 1:
        axes.axhline(means[0], color=look.colour, linestyle=look.dashes, linewidth=0.8)
        return
    axes.plot(steps, means, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=2.6, markevery=0.2)
    errors = [found.se for found in curve.values()]
    if all(error is not None for error in errors):
        low = [mean - (error or 0) for mean, error in zip(means, errors, strict=True)]
        high = [mean + (error or 0) for mean, error in zip(means, errors, strict=True)]
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.18, linewidth=0)


def _line(look: Look, level: bool) -> Line2D:
    if level:
        return Line2D([], [], color=look.colour, linestyle=look.dashes, linewidth=0.8)
    return Line2D([], [], color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=3.5)
