"""Curves: SFDA against K, alpha and beta (Liu et al. 2021, Figure 8, Tables 5 and 6)."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from dfdgbench.errors import ConfigError
from dfdgbench.results.blocks import Cell
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, wanting
from dfdgbench.results.figures.style import Look, canvas, frame, legend, legend_height, looks, unit
from dfdgbench.tables.spec import Column

ALGORITHM = "SFDA"
_TITLES = {"K": "patches a side K", "α": "weight α of the outputs", "β": "weight β of the attention"}
_WITHOUT_IPSM = 1.0  # where the paper's figure has it
_PRINTED = "#555555"


_OURS = ("ipsm.k", "gamma", "tau", "alpha", "beta")  # what the three are made of


class _Point(NamedTuple):
    """A row's cell, and the values of the three hyper-parameters that its runs had; of all others, what they are."""

    line: str
    given: dict[str, float]
    rest: str
    column: Column
    cell: Cell


@FIGURES.register("sfda-hparams")
class SFDAHparams(Figure):
    """SFDA against K, alpha and beta, each with the other two at their most frequent values, and the printed numbers."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        points = _points(sweeps)
        panels = _panels(points)
        if not panels:
            raise ConfigError(
                "The runs of SFDA differ in none of K, alpha and beta with the other two alike, so that no curve can be drawn. "
                "Plan a sweep whose table has a row for each value, as benchmarks/sfda-hparams.yaml has, or give several sweeps. "
                + wanting(sweeps)
            )
        lines = list(dict.fromkeys(point.line for members in panels.values() for point in members))
        printed = any(point.cell.published is not None for members in panels.values() for point in members)
        called = [*lines, *["published"] * printed]
        across = len(panels) if width > 4 else 1
        figure = canvas(width, 1.9 * (len(panels) // across) + legend_height(called, width))
        grid = figure.subplots(len(panels) // across, across, squeeze=False, sharey=width > 4).ravel()
        given = looks(lines)
        measure = unit((point.column.metric, point.column.scale) for point in points)
        for number, (axes, (name, members)) in enumerate(zip(grid, panels.items(), strict=True)):
            for line in lines:
                _curve(axes, [point for point in members if point.line == line], name, given[line])
            _scaled(axes, members, name)
            frame(axes, x=_TITLES[name], y=measure if number % across == 0 else "")
        handles = [
            Line2D([], [], color=given[line].colour, linestyle=given[line].dashes, marker=given[line].marker)
            for line in lines
        ]
        handles += [Line2D([], [], color=_PRINTED, linestyle=":", marker="x")] * printed
        legend(figure, handles, called, width)
        notes = ["K = 1: without IPSM (γ = 0)."] if any(x.given["K"] == _WITHOUT_IPSM for x in points) else []
        return Drawn(figure, (*notes, "Bars: standard errors over trials."))


def _points(sweeps: Sequence[Sweep]) -> list[_Point]:
    """Every cell of SFDA's on one held-out domain that has a result, from the first such column of its part; of rows that differ
    in other hyper-parameters, the most frequent kind."""
    several = len({part.title for sweep in sweeps for part, _, _ in sweep.filled}) > 1
    found = []
    for sweep in sweeps:
        rows = {(part.title, row.key): (part.columns, row.cells) for part in sweep.table.parts for row in part.rows}
        for part, row, filled in sweep.filled:
            if row.algorithm != ALGORITHM or row.of is not None:
                continue
            for target, trials in filled.chosen.items():
                columns, cells = rows[part.title, row.key]
                shown = next(
                    ((c, x) for c, x in zip(columns, cells, strict=True) if c.targets == [target] and x.n), None
                )
                if not trials or shown is None:
                    continue
                hparams = next(iter(trials.values())).record["hparams"]
                k = float(hparams["ipsm.k"]) if hparams["gamma"] else _WITHOUT_IPSM
                given = {"K": k, "α": float(hparams["alpha"]), "β": float(hparams["beta"])}
                rest = repr(sorted((name, value) for name, value in hparams.items() if name not in _OURS))
                found.append(_Point(f"→ {target}" + f" ({part.title})" * several, given, rest, *shown))
    if not found:
        raise ConfigError(f"There is no finished run of SFDA, which this figure shows. {wanting(sweeps)}")
    usual = statistics.mode(point.rest for point in found)
    return [point for point in found if point.rest == usual]


def _panels(points: Sequence[_Point]) -> dict[str, list[_Point]]:
    """For each hyper-parameter that varies alone: its points, those in which the other two have their usual values."""
    usual = {name: statistics.mode(point.given[name] for point in points) for name in _TITLES}
    made = {}
    for name in _TITLES:
        others = [other for other in _TITLES if other != name]
        members = [point for point in points if all(point.given[other] == usual[other] for other in others)]
        if len({point.given[name] for point in members}) > 1:
            made[name] = sorted(members, key=lambda point: point.given[name])
    return made


def _curve(axes: Axes, points: Sequence[_Point], name: str, look: Look) -> None:
    places = [point.given[name] for point in points]
    means = [point.cell.mean for point in points]
    axes.plot(places, means, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=3)  # type: ignore[arg-type]
    errors = [point.cell.se or 0.0 for point in points]
    axes.errorbar(places, means, errors, fmt="none", color=look.colour, elinewidth=0.7, capsize=2)  # type: ignore[arg-type]
    printed = [(point.given[name], point.cell.published.value) for point in points if point.cell.published is not None]
    if printed:
        axes.plot(*zip(*printed, strict=True), color=_PRINTED, linestyle=":", marker="x", markersize=4)


def _scaled(axes: Axes, points: Sequence[_Point], name: str) -> None:
    """Ticks at the values themselves; of the weights, on a logarithmic axis."""
    places = sorted({point.given[name] for point in points})
    if name != "K" and places[0] > 0:
        axes.set_xscale("log")
    axes.set_xticks(places, [f"{place:g}" for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
