"""A picture sheet: images of a held-out domain, their masks, and the masks that each method predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfdgbench.engine import diagnostics
from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, names, wanting
from dfdgbench.results.figures.style import canvas, clean, length

Arrays = dict[str, NDArray[Any]]
_GENERATED = {"generated images": "generated_images", "source model": "generated_source", "model": "generated_model"}


class _Seen(NamedTuple):
    """The arrays beside one run's record."""

    method: str
    target: str
    arrays: Arrays


class _Row(NamedTuple):
    """A title, and pictures uint8 [N, H, W, 3]."""

    title: str
    pictures: NDArray[np.uint8]


@FIGURES.register("segmentation")
class Segmentation(Figure):
    """Images of the held-out domains, their masks, and the masks predicted by each method in the first trial it has."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        rows: dict[str, list[_Row]] = {}
        for seen in _seen(sweeps):
            arrays, target = seen.arrays, seen.target
            if f"images_{target}" not in arrays:
                continue
            palette = arrays["palette"]
            if target not in rows:
                truth = _coloured(arrays[f"truth_{target}"], palette)
                rows[target] = [_Row("image", arrays[f"images_{target}"]), _Row("truth", truth)]
            rows[target].append(_Row(seen.method, _coloured(arrays[f"predicted_{target}"], palette)))
        return _sheet(rows, width, sweeps, "Black: pixels of no class.")


@FIGURES.register("segmentation-generated")
class Generated(Figure):
    """Images that methods such as SFDA generate, and the masks that the source model and the adapted one see in them."""

    algorithms = ("SFDA", "TransferOnly")

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        rows = {}
        for seen in _seen(sweeps):
            if "generated_images" in seen.arrays and "palette" in seen.arrays:
                rows[f"{seen.method} → {seen.target}"] = [
                    _Row(title, _coloured(seen.arrays[name], seen.arrays["palette"]))
                    for title, name in _GENERATED.items()
                ]
        return _sheet(rows, width, sweeps, "At the chosen record, of the same noise in every run.")


def _seen(sweeps: Sequence[Sweep]) -> Iterator[_Seen]:
    called = names(sweeps)
    for sweep in sweeps:
        for _, row, filled in sweep.filled:
            for target, trials in filled.chosen.items():
                for trial in sorted(trials)[:1]:
                    chosen = trials[trial]
                    try:
                        arrays = diagnostics.read(chosen.run.folder, int(chosen.record["step"]))
                    except ArtifactError:
                        continue
                    yield _Seen(called[str(sweep.folder), row.key], target, arrays)


def _coloured(picture: NDArray[Any], palette: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes uint8 [N, H, W] in their colours, black for those of none; pictures as they are."""
    if picture.ndim == 4:
        return picture.astype(np.uint8)
    colours = np.zeros((256, 3), dtype=np.uint8)
    colours[: len(palette)] = palette
    made: NDArray[np.uint8] = colours[picture]
    return made


def _sheet(groups: dict[str, list[_Row]], width: float, sweeps: Sequence[Sweep], note: str) -> Drawn:
    rows = [row for members in groups.values() for row in members]
    if not rows:
        raise ConfigError(
            f"No run here has kept pictures, which runs of segmentation do at their last record. {wanting(sweeps)}"
        )
    columns = max(len(row.pictures) for row in rows)
    height, wide = rows[0].pictures.shape[1:3]
    cell = (width - 0.1 - max(length(row.title) for row in rows)) / columns
    figure = canvas(width, (cell * height / wide + 0.04) * len(rows) + 0.2 * len(groups))
    figure.get_layout_engine().set(h_pad=0.01, w_pad=0.01, hspace=0.0, wspace=0.0)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    first = 0
    for title, members in groups.items():
        grid[first, 0].set_title(clean(title, 60), loc="left")
        for number, row in enumerate(members, first):
            grid[number, 0].text(
                -0.05, 0.5, clean(row.title, 24), transform=grid[number, 0].transAxes, ha="right", va="center"
            )
            for axes, picture in zip(grid[number], row.pictures, strict=False):
                axes.imshow(picture, interpolation="nearest")
        first += len(members)
    return Drawn(figure, (note,))
