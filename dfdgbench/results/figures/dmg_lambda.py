"""Curves: accuracy and overlap against the weight of DMG's penalty (Chattopadhyay et al. 2020, Figures 3 and 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dfdgbench.errors import ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.dmg_runs import Run, runs_of, seen_in_training
from dfdgbench.results.figures.style import Look, canvas, frame, legend, legend_height, looks
from dfdgbench.results.trials import summary

_WEIGHTS = {"lambda_iou": "λ of the overlap", "lambda_sparsity": "λ of the L1 norm"}
_MEASURES: dict[str, Callable[[Run], float]] = {
    "Out of domain (%)": Run.out_of_domain,
    "In domain (%)": Run.in_domain,
    "IoU of masks (%)": lambda run: 100 * float(run.masks["hard_iou_pooled"].mean()),
}


@FIGURES.register("dmg-lambda")
class DMGLambda(Figure):
    """Accuracy out of domain and in domain, and the masks' IoU, against lambda, for each held-out domain."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        runs = runs_of(sweeps)
        weight = _varied(runs)
        several = len({run.part for run in runs}) > 1
        lines: dict[str, list[Run]] = {}
        for run in runs:
            lines.setdefault(f"→ {run.target}" + f" ({run.part})" * several, []).append(run)
        given, called = looks(lines), list(lines)
        across = 3 if width > 4 else 1
        figure = canvas(width, 1.5 * (3 // across) + 0.15 + legend_height(called, width))
        grid = figure.subplots(3 // across, across, squeeze=False, sharex=True).ravel()
        places = sorted(set(map(weight, runs)))
        for axes, (title, measure) in zip(grid, _MEASURES.items(), strict=True):
            for line, members in lines.items():
                _curve(axes, members, weight, measure, given[line])
            axes.set_xscale("symlog", linthresh=next(place for place in places if place > 0), linscale=0.5)
            axes.set_xticks(places, [_brief(place) for place in places], fontsize=6.5)
            axes.set_xticks([], minor=True)
            frame(axes, y=title)
        figure.supxlabel(_WEIGHTS[weight.__name__], fontsize=8)
        handles = [
            Line2D([], [], color=given[line].colour, linestyle=given[line].dashes, marker=given[line].marker)
            for line in lines
        ]
        legend(figure, handles, called, width)
        return Drawn(figure, tuple(seen_in_training(runs)))


def _brief(number: float) -> str:
    """0, 1e-5, 0.001, 1."""
    return f"{number:g}".replace("e-0", "e-")


def _varied(runs: Sequence[Run]) -> Callable[[Run], float]:
    """The weight that the runs differ in."""

    def lambda_iou(run: Run) -> float:
        return float(run.chosen.record["hparams"]["lambda_iou"])

    def lambda_sparsity(run: Run) -> float:
        return float(run.chosen.record["hparams"]["lambda_sparsity"])

    values = {weight: set(map(weight, runs)) for weight in (lambda_iou, lambda_sparsity)}
    most = max(values, key=lambda weight: len(values[weight]))
    if len(values[most]) < 2:
        raise ConfigError(
            "All runs of DMG have the same lambda, so that there is no curve to draw. Plan a sweep whose table has a row for each "
            "value, hparams: {lambda_iou: 0.01} say, or give several sweeps."
        )
    return most


def _curve(
    axes: Axes, runs: Sequence[Run], weight: Callable[[Run], float], measure: Callable[[Run], float], look: Look
) -> None:
    values: dict[float, list[float]] = {}
    for run in sorted(runs, key=weight):
        values.setdefault(weight(run), []).append(measure(run))
    found = {place: summary(numbers) for place, numbers in values.items()}
    means = [each.mean for each in found.values()]
    axes.plot(list(found), means, color=look.colour, linestyle=look.dashes, marker=look.marker, markersize=3)
    errors = [each.se for each in found.values()]
    if all(error is not None for error in errors):
        axes.errorbar(
            list(found), means, [error or 0 for error in errors], fmt="none", color=look.colour, elinewidth=0.7
        )
