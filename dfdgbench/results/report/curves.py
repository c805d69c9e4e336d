"""Learning curves: accuracy by step, a chart for each data set and held-out domain, a line a method."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dfdgbench.results.reading import Run
from dfdgbench.results.record import facts
from dfdgbench.results.report.charts import Axis, path
from dfdgbench.results.scores import Floats, Scores, scores_of

MOST_LINES = 600
"""Single runs' lines that a page draws; beyond, the means over runs stand alone."""
HEIGHT = 230.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 34.0, 350.0, 10.0, 196.0

Curve = Mapping[int, float]


class Trace(NamedTuple):
    """A run's curve, and whether the run has ended well."""

    curve: Curve
    done: bool


@dataclass(frozen=True)
class Line:
    """A method's line; ``single`` are its runs' own, ``number`` its colour's."""

    label: str
    number: int
    mean: str
    single: tuple[str, ...]
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Chart:
    """One held-out domain of one data set, drawn, and the means as a table."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    header: tuple[str, ...]
    data: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Curves:
    """All charts of one measure, and the methods in them in the order of their colours."""

    key: str
    title: str
    charts: tuple[Chart, ...]
    methods: tuple[str, ...]


def held_out(scores: Scores) -> Floats:
    """Accuracy on the (first) held-out domain's test split."""
    return scores.target("test")


def source_validation(scores: Scores) -> Floats:
    """Mean accuracy on the source domains' validation splits."""
    return scores.source_validation()


MEASURES: dict[str, tuple[str, Callable[[Scores], Floats]]] = {
    "target": ("held-out domain, test", held_out),
    "source": ("source domains, validation", source_validation),
}


def curves(runs: Iterable[Run], rows: Mapping[str, str]) -> list[Curves]:
    """The curves of every measure that two records of a run have.

    Args:
        rows: name of a run to the label that it goes by; others go by their algorithm.
    """
    several = [run for run in runs if len(run.records) > 1]
    labels = {run.name: rows.get(run.name, facts(run.records[0]).algorithm) for run in several}
    methods = tuple(dict.fromkeys(labels[run.name] for run in several))
    found = []
    for key, (title, measure) in MEASURES.items():
        places: dict[str, dict[str, list[Trace]]] = defaultdict(lambda: defaultdict(list))
        for run in several:
            curve = _curve(run, measure)
            if len(curve) > 1:
                places[_place(run)][labels[run.name]].append(Trace(curve, run.done))
        single = sum(len(lines) for place in places.values() for lines in place.values()) <= MOST_LINES
        charts = tuple(_chart(title, place, methods, single) for title, place in sorted(places.items()))
        if charts:
            found.append(Curves(key, title, charts, methods))
    return found


def _curve(run: Run, measure: Callable[[Scores], Floats]) -> Curve:
    """Step to percent, without what is no number."""
    found = {
        int(run.records[place]["step"]): 100 * float(number)
        for places, scores in scores_of(run.records)
        for place, number in zip(places, measure(scores), strict=True)
    }
    return {step: number for step, number in sorted(found.items()) if math.isfinite(number)}


def _place(run: Run) -> str:
    said = facts(run.records[0])
    given = run.config.get("domains")
    domains = given if isinstance(given, list) else []
    names = [str(domains[env]) if env < len(domains) else f"domain {env}" for env in said.test_envs]
    return f"{said.dataset}: {' and '.join(names)}"


def _chart(title: str, found: Mapping[str, Sequence[Trace]], methods: Sequence[str], single: bool) -> Chart:
    means = {method: _mean(found[method]) for method in methods if method in found}
    every = [trace.curve for traces in found.values() for trace in traces]
    x = Axis.around([step for curve in every for step in curve], _LEFT, _RIGHT)
    y = Axis.around([number for curve in every for number in curve.values()], _BOTTOM, _TOP)
    lines = [
        Line(
            method,
            methods.index(method),
            path((x(step), y(number)) for step, number in mean.items()),
            tuple(path((x(s), y(n)) for s, n in trace.curve.items()) for trace in found[method])
            if single and len(found[method]) > 1
            else (),
            tuple((x(step), y(number), f"{method}, step {step}: {number:.1f}") for step, number in mean.items()),
        )
        for method, mean in means.items()
    ]
    steps = sorted({step for mean in means.values() for step in mean})
    data = [(str(step), *(f"{mean[step]:.1f}" if step in mean else "" for mean in means.values())) for step in steps]
    return Chart(title, tuple(lines), x.ticks, y.ticks, ("Step", *means), tuple(data))


def _mean(traces: Sequence[Trace]) -> Curve:
    """The mean over the runs that have ended well, else over all, at every step that all of these have, or that any has."""
    curves = [trace.curve for trace in traces if trace.done] or [trace.curve for trace in traces]
    shared = set.intersection(*(set(curve) for curve in curves)) or set().union(*curves)
    return {step: statistics.fmean(curve[step] for curve in curves if step in curve) for step in sorted(shared)}
