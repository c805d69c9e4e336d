"""Curves: accuracy and overlap against the weight of DMG's penalty (Chattopadhyay et al. 2020, Figures 3, 5 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dfdgbench.errors import ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.dmg_runs import Run, runs_of, seen_in_training
from dfdgbench.results.figures.style import Look, canvas, clean, frame, legend, legend_height, looks
from dfdgbench.results.trials import summary

_WEIGHTS = {"lambda_iou": "λ of the overlap", "lambda_sparsity": "λ of the L1 norm"}
_ACCURACIES: dict[str, Callable[[Run], float]] = {
    "Out of domain (%)": Run.out_of_domain,
    "In domain (%)": Run.in_domain,
}
_OVERLAP = "IoU of masks (%)"
_ALL = "all layers"
# Unfilled markers, which no held-out domain has; colours are the domains'.
_LAYER_MARKERS = ("x", "+", "1", "2", "3", "4", "|", "_")
_SAID = (
    "IoU: thin lines, with a layer's marker, are of that layer alone; thick ones take the units of all layers as one mask, and "
    "have the standard errors over trials."
)


@FIGURES.register("dmg-lambda")
class DMGLambda(Figure):
    """Accuracy out of domain and in domain, and the masks' IoU, whole and per layer, against lambda, for each held-out domain."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        runs = runs_of(sweeps)
        along, layers = _along(runs), _layers(runs)
        several = len({run.part for run in runs}) > 1
        given = looks(_line(run, several) for run in runs)
        called = [*given, *(clean(layer, 20) for layer in layers), _ALL]
        across = 3 if width > 4 else 1
        figure = canvas(width, 1.65 * len(along) * (3 // across) + legend_height(called, width))
        grid = figure.subplots(len(along) * (3 // across), across, squeeze=False).reshape(len(along), 3)
        for (weight, members), panels in zip(along.items(), map(list, grid), strict=True):
            lines: dict[str, list[Run]] = {}
            for run in members:
                lines.setdefault(_line(run, several), []).append(run)
            _row(panels, weight, {line: (given[line], found) for line, found in lines.items()}, layers)
            for axes in panels[:-1] if across == 1 else ():
                axes.tick_params(labelbottom=False)
                axes.set_xlabel("")
        handles = [Line2D([], [], **_drawn_as(look)) for look in given.values()]
        handles += [Line2D([], [], color="black", **style) for style in layers.values()]
        handles.append(Line2D([], [], color="black"))
        legend(figure, handles, called, width)
        return Drawn(figure, (_SAID, *_left_out(runs, along), *seen_in_training(runs)))


def _line(run: Run, several: bool) -> str:
    """What the line is called that a run is of, where there are ``several`` parts."""
    return f"→ {run.target} ({run.part})" if several else f"→ {run.target}"


def _row(
    panels: Sequence[Axes],
    weight: str,
    lines: Mapping[str, tuple[Look, Sequence[Run]]],
    layers: Mapping[str, Mapping[str, Any]],
) -> None:
    """The panels of one weight, a line in each for every one of ``lines``."""
    *accuracies, overlap = panels
    for axes, (title, measure) in zip(accuracies, _ACCURACIES.items(), strict=True):
        for look, runs in lines.values():
            _curve(axes, [(_value(run, weight), measure(run)) for run in runs], _drawn_as(look))
        frame(axes, x=_WEIGHTS[weight], y=title)
    for look, runs in lines.values():
        _overlaps(overlap, runs, weight, look, layers)
    frame(overlap, x=_WEIGHTS[weight], y=_OVERLAP)
    _ticks(panels, sorted({_value(run, weight) for _, runs in lines.values() for run in runs}))


def _drawn_as(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "linestyle": look.dashes, "marker": look.marker, "markersize": 3}


def _layers(runs: Sequence[Run]) -> dict[str, dict[str, Any]]:
    """How the lines of each masked layer differ from the others of their colour."""
    names = dict.fromkeys(str(site) for run in runs for site in run.masks["sites"])
    return {
        name: {"marker": _LAYER_MARKERS[i % len(_LAYER_MARKERS)], "markersize": 4, "linewidth": 0.6}
        for i, name in enumerate(names)
    }


def _overlaps(
    axes: Axes, runs: Sequence[Run], weight: str, look: Look, layers: Mapping[str, Mapping[str, Any]]
) -> None:
    """IoU over pairs of masks [%]: all layers' units together, then each layer's, which not every run need have."""
    points: dict[str, list[tuple[float, float]]] = {layer: [] for layer in (_ALL, *layers)}
    for run in runs:
        masks, place = run.masks, _value(run, weight)
        points[_ALL].append((place, 100 * float(masks["hard_iou_pooled"].mean())))
        for site, pairs in zip(map(str, masks["sites"]), masks["hard_iou"], strict=True):
            points[site].append((place, 100 * float(pairs.mean())))
    _curve(axes, points.pop(_ALL), _drawn_as(look))
    for layer, found in points.items():
        _curve(axes, found, {"color": look.colour, **layers[layer]}, errors=False)


def _ticks(panels: Iterable[Axes], places: Sequence[float]) -> None:
    """A logarithmic axis with a place for 0, marked where there are runs."""
    for axes in panels:
        axes.set_xscale("symlog", linthresh=next(place for place in places if place > 0), linscale=0.5)
        axes.set_xticks(places, [_brief(place) for place in places], fontsize=6.5)
        axes.set_xticks([], minor=True)


def _brief(number: float) -> str:
    """0, 1e-5, 0.001, 1."""
    return f"{number:g}".replace("e-0", "e-")


def _value(run: Run, weight: str) -> float:
    return float(run.chosen.record["hparams"][weight])


def _along(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs along each weight that has several values: those that agree in the other one, at its value with the most."""
    found = {}
    for weight, other in zip(_WEIGHTS, reversed(_WEIGHTS), strict=True):
        alike: dict[float, list[Run]] = {}
        for run in sorted(runs, key=lambda run: _value(run, other)):
            alike.setdefault(_value(run, other), []).append(run)
        values = {kept: {_value(run, weight) for run in members} for kept, members in alike.items()}
        kept = max(values, key=lambda kept: len(values[kept]))
        if len(values[kept]) > 1:
            found[weight] = alike[kept]
    if not found:
        raise ConfigError(
            "All runs of DMG have the same lambda, so that there is no curve to draw. Plan a sweep whose table has a row for each "
            "value, hparams: {lambda_iou: 0.01} say, or give several sweeps."
        )
    return found


def _left_out(runs: Sequence[Run], along: Mapping[str, Sequence[Run]]) -> list[str]:
    drawn = {run.chosen.run.folder for members in along.values() for run in members}
    count = len({run.chosen.run.folder for run in runs} - drawn)
    return [f"{count} runs differ from those drawn in both weights, and are left out."] if count else []


def _curve(axes: Axes, points: Iterable[tuple[float, float]], style: Mapping[str, Any], *, errors: bool = True) -> None:
    """Means over the trials at each place, with a standard error where there are several and ``errors`` are wanted."""
    values: dict[float, list[float]] = {}
    for place, value in sorted(points):
        values.setdefault(place, []).append(value)
    found = {place: summary(numbers) for place, numbers in values.items()}
    means = [each.mean for each in found.values()]
    axes.plot(list(found), means, **style)
    spread = [each.se for each in found.values() if each.se is not None]
    if errors and len(spread) == len(found):
        axes.errorbar(list(found), means, spread, fmt="none", color=style["color"], elinewidth=0.7)
