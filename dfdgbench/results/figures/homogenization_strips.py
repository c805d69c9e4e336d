"""Strips of images before and after data homogenisation (Willis and Oala 2021, Figures 2 to 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dfdgbench.engine import diagnostics
from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, wanting
from dfdgbench.results.figures.style import canvas, clean, length

Images = NDArray[np.float32]
_MADE = "homogenised"
_SIZE, _EDGE, _GAP = 7.0, 0.05, 0.04
"""Of labels, in points; of the margins and between rows, in inches."""
_GIVEN = {"clean": "Ground truth", "distorted": "Distorted"}


@FIGURES.register("homogenization-strips")
class HomogenizationStrips(Figure):
    """Ten images of a target set: as they are, distorted, and as each method of data homogenisation makes them."""

    algorithms = ("Homogenization",)

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        strips = _strips(sweeps)
        if len(strips) < 3:
            raise ConfigError(
                "No run of these sweeps has strips of images: only finished runs of the algorithm Homogenization leave them. "
                + wanting(sweeps)
            )
        rows = {label: _picture(images) for label, images in strips.items()}
        # Laid out by hand: with pictures of a fixed shape, a layout engine leaves no room for the longest label.
        beside = max(length(clean(label, 24), _SIZE) for label in rows) + 2 * _EDGE
        first = next(iter(rows.values()))
        tall = (width - beside - _EDGE) * first.shape[0] / first.shape[1]
        height = (tall + _GAP) * len(rows) - _GAP + 2 * _EDGE
        figure = canvas(width, height)
        figure.set_layout_engine("none")
        across, down = _EDGE / width, _EDGE / height
        place = {"left": beside / width, "right": 1 - across, "bottom": down, "top": 1 - down, "hspace": _GAP / tall}
        grid = figure.subplots(len(rows), 1, squeeze=False, gridspec_kw=place)[:, 0]
        for axes, (label, picture) in zip(grid, rows.items(), strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="equal")
            axes.set_ylabel(clean(label, 24), rotation=0, ha="right", va="center", fontsize=_SIZE, labelpad=72 * _EDGE)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set_visible(False)
        return Drawn(
            figure, ("Each image is stretched to the full range by itself, so that its brightness does not show.",)
        )


def _strips(sweeps: Sequence[Sweep]) -> dict[str, Images]:
    """Label to images [N, C, H, W] of the first trial that every method has; what all methods start from comes first."""
    found: dict[str, dict[int, dict[str, Images]]] = {}
    for sweep in sweeps:
        for _, row, filled in sweep.filled:
            if row.of is not None:
                continue
            trials = {trial: chosen for cell in filled.chosen.values() for trial, chosen in cell.items()}
            for trial, chosen in trials.items():
                kept = _kept(chosen.run.folder, int(chosen.record["step"]))
                if kept:
                    found.setdefault(row.key, {})[trial] = kept
    if not found:
        return {}
    common = set.intersection(*(set(trials) for trials in found.values())) or {min(next(iter(found.values())))}
    chosen_trial = min(common)
    shown = {label: trials[chosen_trial] for label, trials in found.items() if chosen_trial in trials}
    start = next(iter(shown.values()))
    strips = {label: start[name] for name, label in _GIVEN.items()}
    return strips | {label: kept[_MADE] for label, kept in shown.items()}


def _kept(folder: object, step: int) -> dict[str, Images]:
    try:
        kept = diagnostics.read(folder, step)  # type: ignore[arg-type]
    except ArtifactError:
        return {}
    return dict(kept) if {*_GIVEN, _MADE} <= set(kept) else {}


def _picture(images: Images) -> Images:
    """Images [N, C, H, W] side by side, [H, N (W + 1), C] or without C where they are grey, each stretched to [0, 1]."""
    low, high = (edge(images, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
    stretched = (images - low) / np.where(high > low, high - low, 1)
    padded = np.pad(stretched, ((0, 0), (0, 0), (0, 0), (0, 1)), constant_values=1.0)
    joined: Images = np.concatenate(list(padded.transpose(0, 2, 3, 1)), axis=1)
    return joined[..., :3] if joined.shape[-1] == 3 else joined.mean(-1)
