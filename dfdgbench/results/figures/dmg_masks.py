"""A matrix: the accuracy of each of DMG's masks on each domain (Chattopadhyay et al. 2020, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep
from dfdgbench.results.figures.dmg_runs import Run, panels, runs_of, seen_in_training
from dfdgbench.results.figures.style import canvas, clean, frame

_COMBINED = {"known-domain": "own domain's", "mask-ens": "mean mask", "pred-ens": "combined"}


@FIGURES.register("dmg-masks")
class DMGMasks(Figure):
    """Accuracy on every domain by DMG's mask that was chosen, the held-out domain last; the best of a domain is framed."""

    algorithms = ("DMG",)

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        runs = runs_of(sweeps)
        shown = panels(runs)
        rows = max(len(members[0].sources) for members in shown.values()) + len(_COMBINED)
        figure = canvas(width, (0.45 + 0.19 * rows) * len(shown))
        grid = figure.subplots(len(shown), 1, squeeze=False)[:, 0]
        for axes, (title, members) in zip(grid, shown.items(), strict=True):
            _panel(axes, members)
            frame(axes, title)
        return Drawn(figure, ("Accuracy in %, means over trials.", *seen_in_training(runs)))


def _panel(axes: Axes, runs: Sequence[Run]) -> None:
    first = runs[0]
    columns = [*first.sources, first.domains.index(first.target)]
    masks = {f"mask-{first.domains[source]}": first.domains[source] for source in first.sources} | _COMBINED
    values = np.array(
        [[np.mean([run.accuracy(domain, mask) for run in runs]) for domain in columns] for mask in masks], dtype=float
    )
    axes.imshow(_shades(values), cmap="Greys", vmin=0, vmax=2.2, aspect="auto")
    best = np.nanmax(values, axis=0)
    for row, column in np.ndindex(values.shape):
        found = values[row, column]
        text = "–" if np.isnan(found) else f"{found:.1f}"
        box = {"boxstyle": "square,pad=0.15", "fill": False, "linewidth": 0.7} if found == best[column] else None
        axes.text(column, row, text, ha="center", va="center", fontsize=7, bbox=box)
    axes.axvline(len(columns) - 1.5, color="black", linewidth=0.7)
    axes.axhline(len(masks) - len(_COMBINED) - 0.5, color="black", linewidth=0.7)
    axes.set_xticks(range(len(columns)), [clean(first.domains[domain], 14) for domain in columns])
    axes.set_yticks(range(len(masks)), [clean(name, 16) for name in masks.values()])
    axes.tick_params(length=0)
    axes.grid(False)


def _shades(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 to 1 in each column: how well a mask does on a domain, among all masks."""
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    shades: NDArray[np.float64] = np.nan_to_num((values - low) / np.where(high > low, high - low, 1.0))
    return shades
