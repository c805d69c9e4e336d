"""Bars: how far the masks of each pair of domains overlap (Chattopadhyay et al. 2020, Figures 4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.dmg_runs import Run, panels, runs_of, stacked
from dfdgbench.results.figures.style import Look, canvas, clean, frame, legend, legend_height, looks
from dfdgbench.results.trials import summary

_BARS = 0.84
_ALL = "all layers"


@FIGURES.register("dmg-iou")
class DMGOverlap(Figure):
    """IoU between DMG's masks for each pair of source domains, their average and the units in use, per layer."""

    algorithms = ("DMG",)

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        shown = panels(runs_of(sweeps))
        sites = list(dict.fromkeys(site for runs in shown.values() for site in map(str, runs[0].masks["sites"])))
        bars = [*sites, _ALL]
        given = looks(bars)
        figure = canvas(width, 1.6 * len(shown) + legend_height(bars, width))
        grid = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, (title, runs) in zip(grid, shown.items(), strict=True):
            _panel(axes, runs, given)
            frame(axes, title, y="IoU, units in use (%)")
        legend(
            figure,
            [Patch(facecolor=given[bar].colour, hatch=given[bar].hatch, edgecolor="white") for bar in bars],
            bars,
            width,
        )
        return Drawn(
            figure,
            ("'all layers' takes the units of all layers as one mask; thin lines are one standard error over trials.",),
        )


def _panel(axes: Axes, runs: Sequence[Run], given: dict[str, Look]) -> None:
    masks = runs[0].masks
    names, sites = list(map(str, masks["domains"])), list(map(str, masks["sites"]))
    iou = np.concatenate([stacked(runs, "hard_iou"), stacked(runs, "hard_iou_pooled")[:, None]], axis=1)
    active = stacked(runs, "active").mean(2)
    in_use = np.concatenate([active, np.average(active, axis=1, weights=masks["units"])[:, None]], axis=1)
    values = 100 * np.concatenate([iou, iou.mean(2, keepdims=True), in_use[:, :, None]], axis=2)
    groups = [f"{_short(names[i])}–{_short(names[j])}" for i, j in masks["pairs"].tolist()] + ["average", "in use"]
    room = _BARS / (len(sites) + 1)
    for bar, name in enumerate([*sites, _ALL]):
        places = np.arange(len(groups)) - _BARS / 2 + (bar + 0.5) * room
        height = values[:, bar].mean(0)
        look = given[name]
        axes.bar(places, height, room * 0.9, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0.3)
        if len(runs) > 1:
            error = np.array([summary(trials).se for trials in values[:, bar].T.tolist()], dtype=np.float64)
            axes.errorbar(places, height, error, fmt="none", color="black", elinewidth=0.7)
    for border in (len(groups) - 2.5, len(groups) - 1.5):
        axes.axvline(border, color="black", linewidth=0.5, linestyle=(0, (2, 2)))
    axes.set_xticks(range(len(groups)), [clean(group, 20) for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 100)


def _short(name: str) -> str:
    """The beginning of a domain's name, enough for a tick."""
    return name if len(name) <= 5 else f"{name[:4]}."
