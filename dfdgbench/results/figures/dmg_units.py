"""Stacked bars: which share of a layer's units no mask, every mask, or only some masks use."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.dmg_runs import Run, panels, runs_of, stacked
from dfdgbench.results.figures.style import Look, canvas, clean, frame, legend, legend_height, looks

_KINDS = {"shared": "on in every mask", "specific": "on in some", "off": "off in every mask"}


@FIGURES.register("dmg-units")
class DMGUnits(Figure):
    """Shares of units that DMG's masks all use, that only some use, and that none uses, per layer."""

    algorithms = ("DMG",)

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        shown = panels(runs_of(sweeps))
        given, called = looks(_KINDS), list(_KINDS.values())
        across = min(len(shown), max(1, int(width / 1.5)))
        down = -(-len(shown) // across)
        figure = canvas(width, 1.6 * down + legend_height(called, width))
        grid = figure.subplots(down, across, squeeze=False, sharey=True).ravel()
        for axes, (title, runs) in zip(grid, shown.items(), strict=False):
            _panel(axes, runs, given)
            frame(axes, title)
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        figure.supylabel("Units (%)", fontsize=8)
        patches = [Patch(facecolor=given[kind].colour, hatch=given[kind].hatch, edgecolor="white") for kind in _KINDS]
        legend(figure, patches, called, width)
        return Drawn(figure, ("'all' weighs layers by their units; means over trials.",))


def _panel(axes: Axes, runs: Sequence[Run], given: dict[str, Look]) -> None:
    masks = runs[0].masks
    sites = list(map(str, masks["sites"]))
    below = np.zeros(len(sites) + 1)
    for kind in _KINDS:
        shares = 100 * stacked(runs, kind).mean(0)
        heights = np.append(shares, np.average(shares, weights=masks["units"]))
        look = given[kind]
        axes.bar(
            range(len(heights)),
            heights,
            0.75,
            below,
            color=look.colour,
            hatch=look.hatch,
            edgecolor="white",
            linewidth=0.3,
        )
        below += heights
    axes.set_xticks(range(len(sites) + 1), [clean(site, 14) for site in [*sites, "all"]])
    axes.tick_params(axis="x", length=0, labelsize=6.5)
    axes.set_ylim(0, 100)
