"""The data-access ladder: accuracy against what a method was allowed to see."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from dfdgbench.errors import ConfigError
from dfdgbench.results.cells import DAGGER, Placed
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, cells, names, wanting
from dfdgbench.results.figures.style import GREY, LIGHT, canvas, clean, frame, length, looks, unit
from dfdgbench.results.ladder import KINDS, height, kinds
from dfdgbench.results.record import facts
from dfdgbench.results.trials import Summary, summary
from dfdgbench.settings import SETTINGS, Setting, get_setting

# Inches: heights of a panel and of a row of dots; widths of what stands beside the axes and of a setting.
_PANEL, _ROW = 1.9, 0.135
_BESIDE, _RUNG = 0.85, 0.8


@dataclass(frozen=True)
class Point:
    """A method on one part of the table: its mean over held-out domains, over trials."""

    part: str
    method: str
    setting: Setting
    marked: bool
    value: Summary


@FIGURES.register("access")
class Access(Figure):
    """The data-access ladder: mean over held-out domains against what a method may see, least to most."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        points, left_out, measure = _points(sweeps)
        if not points:
            raise ConfigError(
                f"No method has a trial with results on all held-out domains, whose mean the ladder shows. {wanting(sweeps)}"
            )
        rungs = sorted({point.setting.name: point.setting for point in points}.values(), key=height)
        needed = _BESIDE + _RUNG * len(rungs)
        if width < needed:
            raise ConfigError(
                f"{len(rungs)} settings do not fit beside each other into {width:g} inches; they need {needed:g}. "
                "Type: --width page"
            )
        granted = [kind for kind in KINDS if any(kind in kinds(rung) for rung in rungs)]
        parts = list(dict.fromkeys(point.part for point in points))
        below = _ROW * len(granted) + 0.1
        figure = canvas(width, _PANEL * len(parts) + below + 0.1)
        grid = figure.subplots(
            len(parts) + 1, 1, squeeze=False, sharex=True, height_ratios=[*[_PANEL] * len(parts), below]
        )[:, 0]
        for axes, part in zip(grid, parts, strict=False):
            _panel(axes, [point for point in points if point.part == part], rungs, width)
            frame(axes, part if len(parts) > 1 else "", y=unit([measure]))
        _matrix(grid[-1], rungs, granted)
        absent = [name for name in SETTINGS if name not in {rung.name for rung in rungs}]
        notes = [f"No method is shown of the settings {', '.join(absent)}."] if absent else []
        notes += [f"Left out, as results are missing: {', '.join(left_out)}."] if left_out else []
        marked = any(point.marked for point in points)
        return Drawn(figure, (*notes, *[f"{DAGGER}, hollow: looked at more than its setting grants."] * marked))


def _points(sweeps: Sequence[Sweep]) -> tuple[list[Point], list[str], tuple[str, float]]:
    """The points; the methods that have results, but of no trial on all held-out domains; and the measure."""
    settings = _settings(sweeps)
    chosen = [found for found in cells(sweeps) if found.of_one_domain and (found.part, found.method) in settings]
    if not chosen:
        return [], [], ("acc", 100.0)
    measure = (chosen[0].column.metric, chosen[0].column.scale)
    grouped: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    columns: dict[str, set[str]] = defaultdict(set)
    for found in chosen:
        if (found.column.metric, found.column.scale) == measure:
            grouped[found.part, found.method].append(found)
            columns[found.part].add(found.column.label)
    points, left_out = [], []
    for (part, method), of_method in grouped.items():
        whole = set.intersection(*(set(found.cell.values) for found in of_method))
        value = summary(
            math.fsum(found.cell.values[trial] for found in of_method) / len(of_method) for trial in sorted(whole)
        )
        if value.n and len(of_method) == len(columns[part]):
            marked = any(found.cell.marked for found in of_method)
            points.append(Point(part, method, settings[part, method], marked, value))
        else:
            left_out.append(method)
    return points, list(dict.fromkeys(left_out)), measure


def _settings(sweeps: Sequence[Sweep]) -> dict[tuple[str, str], Setting]:
    """The setting of each method's runs, by part and method."""
    called = names(sweeps)
    found = {}
    for sweep in sweeps:
        for part, row, filled in sweep.filled:
            chosen = [choice for trials in filled.chosen.values() for choice in trials.values()]
            if chosen:
                setting = get_setting(facts(chosen[0].record).setting)
                found[part.title, called[str(sweep.folder), row.key]] = setting
    return found


def _panel(axes: Axes, points: Sequence[Point], rungs: Sequence[Setting], width: float) -> None:
    given = looks(rung.name for rung in rungs)
    axes.set_xlim(-0.5, len(rungs) - 0.5)
    values = [point.value.mean for point in points]
    margin = 0.08 * (max(values) - min(values)) or 1.0
    low, high = min(values) - margin, max(values) + margin
    axes.set_ylim(low, high)
    an_inch = len(rungs) / (width - _BESIDE)  # of the axis
    for x, rung in enumerate(rungs):
        there = sorted((point for point in points if point.setting == rung), key=lambda point: point.value.mean)
        if not there:
            continue
        labels = [_label(point, 1 / an_inch - 0.35) for point in there]
        left = x - min(0.42, (0.25 + max(length(label, 7) for label in labels)) / 2 * an_inch)
        places = _apart([point.value.mean for point in there], (high - low) * 0.115 / (_PANEL - 0.35), low, high)
        for point, label, place in zip(there, labels, places, strict=True):
            look = given[rung.name]
            axes.errorbar(
                left, point.value.mean, point.value.se, color=look.colour, marker=look.marker, elinewidth=0.7, markersize=4,
                markerfacecolor="white" if point.marked else look.colour, markeredgewidth=0.9,
            )  # fmt: skip
            line = [left + 0.06 * an_inch, left + 0.17 * an_inch]
            axes.plot(line, [point.value.mean, place], color=GREY, linewidth=0.4)
            axes.text(left + 0.19 * an_inch, place, label, va="center", fontsize=7)
    axes.tick_params(axis="x", length=0, labelbottom=False)


def _label(point: Point, room: float) -> str:
    """The method's name, cut to ``room`` inches."""
    mark = f" {DAGGER}" * point.marked
    most = next((n for n in range(48, 6, -1) if length(clean(point.method, n) + mark, 7) <= room), 6)
    return clean(point.method, most) + mark


def _apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels, at least ``gap`` apart and as near to their rising values as that allows."""
    places = list(values)
    for _ in range(200):
        moved = False
        for i in range(1, len(places)):
            lacking = gap - (places[i] - places[i - 1])
            if lacking > 1e-9:
                places[i - 1] -= lacking / 2
                places[i] += lacking / 2
                moved = True
        if not moved:
            break
    if places and len(places) * gap < high - low:
        shift = max(low + gap / 2 - places[0], 0.0) + min(high - gap / 2 - places[-1], 0.0)
        places = [place + shift for place in places]
    return places


def _matrix(axes: Axes, rungs: Sequence[Setting], granted: Sequence[str]) -> None:
    """A dot for each thing that a setting grants, as in an UpSet plot."""
    for y, kind in enumerate(granted):
        for x, rung in enumerate(rungs):
            axes.plot(x, y, "o", color="black" if kind in kinds(rung) else LIGHT, markersize=3.6)
    for x, rung in enumerate(rungs):
        seen = [y for y, kind in enumerate(granted) if kind in kinds(rung)]
        axes.plot([x, x], [min(seen), max(seen)], color="black", linewidth=0.9)
    axes.set_yticks(range(len(granted)), granted)
    axes.set_ylim(-0.6, len(granted) - 0.4)
    axes.set_xticks(
        range(len(rungs)), [rung.name.replace("-", "-\n", 1) if len(rungs) > 3 else rung.name for rung in rungs]
    )
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
