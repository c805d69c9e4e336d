"""Critical-difference diagram of average ranks (Demšar 2006, figure 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from dfdgbench.results.compare_text import ranking_notes
from dfdgbench.results.figures.base import FIGURES, Drawn, Figure, Sweep, cells
from dfdgbench.results.figures.style import GREY, canvas, clean, length
from dfdgbench.results.ranking import Ranking, rank

_LINE = 0.16  # inches between two names
_TOP = 0.62  # from the upper edge to the axis of ranks


@FIGURES.register("ranks")
class Ranks(Figure):
    """Average ranks over held-out domains; a bar joins methods that do not differ significantly (Nemenyi)."""

    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        found = rank(cells(sweeps))
        below = 0.13 * len(found.cliques) + 0.1
        height = _TOP + below + _LINE * math.ceil(len(found.ranks) / 2) + 0.3
        figure = canvas(width, height)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        _Diagram(axes, found, width).draw()
        axes.text(width / 2, height - 0.08, _caption(found), ha="center", va="center", fontsize=7, color=GREY)
        return Drawn(figure, tuple(ranking_notes(found)))


class _Diagram:
    """Places are in inches, from the upper left."""

    def __init__(self, axes: Axes, found: Ranking, width: float) -> None:
        self.axes, self.found = axes, found
        self.order = sorted(range(len(found.ranks)), key=found.ranks.__getitem__)
        self.half = math.ceil(len(self.order) / 2)
        self.labels = [f"{clean(found.scores.methods[i], 30)} ({found.ranks[i]:.2f})" for i in self.order]
        self._place(width)

    def _place(self, width: float) -> None:
        """Left end and scale of the axis, as long as leaves room for the names beside the best and the worst rank."""
        before, after = (
            0.2 + max(map(length, labels)) for labels in (self.labels[: self.half], self.labels[self.half :])
        )
        ranks = [self.found.ranks[i] for i in self.order]
        first, last, most = ranks[0], ranks[-1], len(ranks)
        scale = max(width - before - after, 0.3) / max(last - first, 0.01)
        self.scale = min(scale, (width - 0.3) / (most - 1))
        low, high = before - (first - 1) * self.scale, width - after - (last - 1) * self.scale
        self.left = min(max((low + high) / 2, 0.15), width - 0.15 - (most - 1) * self.scale)
        self.right = self.left + (most - 1) * self.scale
        self.edges = self._at(first) - 0.06, self._at(last) + 0.06

    def draw(self) -> None:
        count = len(self.found.ranks)
        self._line(self.left, _TOP, self.right, _TOP, 0.8)
        for number in range(1, count + 1):
            self._line(self._at(number), _TOP - 0.06, self._at(number), _TOP, 0.8)
            self.axes.text(self._at(number), _TOP - 0.09, str(number), ha="center", va="bottom", fontsize=7.5)
        self._critical_difference()
        for level, group in enumerate(self.found.cliques):
            ranks = [self.found.ranks[i] for i in group]
            y = _TOP + 0.11 + 0.13 * level
            self._line(self._at(min(ranks)) - 0.03, y, self._at(max(ranks)) + 0.03, y, 2.6)
        self._names()

    def _names(self) -> None:
        first = _TOP + 0.13 * len(self.found.cliques) + 0.17
        for position, (i, label) in enumerate(zip(self.order, self.labels, strict=True)):
            on_left = position < self.half
            level = position if on_left else len(self.order) - 1 - position
            y, x = first + _LINE * level, self._at(self.found.ranks[i])
            side, edge = ("right", self.edges[0]) if on_left else ("left", self.edges[1])
            self.axes.plot([x, x, edge], [_TOP, y, y], color="black", linewidth=0.7, solid_joinstyle="miter")
            self.axes.text(edge + (-0.04 if on_left else 0.04), y, label, ha=side, va="center", fontsize=7.5)

    def _critical_difference(self) -> None:
        """A ruler above the axis, as long as the difference, or as the axis with an arrow where it is longer."""
        end = self._at(1 + self.found.difference)
        y = 0.24
        too_long = self.found.difference > len(self.found.ranks) - 1
        self._line(self.left, y, self.right if too_long else end, y, 0.8)
        self._line(self.left, y - 0.04, self.left, y + 0.04, 0.8)
        if too_long:
            self.axes.annotate(
                "", (self.right + 0.12, y), (self.right - 0.05, y), arrowprops={"arrowstyle": "->", "linewidth": 0.8}
            )
        else:
            self._line(end, y - 0.04, end, y + 0.04, 0.8)
        middle = (self.left + (self.right if too_long else end)) / 2
        self.axes.text(middle, y - 0.05, f"CD = {self.found.difference:.2f}", ha="center", va="bottom", fontsize=7.5)

    def _at(self, rank: float) -> float:
        return self.left + (rank - 1) * self.scale

    def _line(self, x: float, y: float, to_x: float, to_y: float, width: float) -> None:
        self.axes.plot([x, to_x], [y, to_y], color="black", linewidth=width, solid_capstyle="butt")


def _caption(found: Ranking) -> str:
    problems = len(found.scores.problems)
    text = f"Average rank over {problems} held-out domains"
    if found.test is not None:
        p = "< 0.001" if found.test.p < 0.001 else f"= {found.test.p:.3f}"
        text += f"; Friedman p {p}"
    return text
