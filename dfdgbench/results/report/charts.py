"""Geometry of the report's charts: values to places in a picture of fixed width, which templates write as SVG.

A drawing is 360 units wide, so that its text stays legible on the narrowest screen; several stand side by side on a wide one.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

WIDTH = 360.0
LABELS = 128.0
RIGHT = 346.0
ROW, HEADING = 21.0, 15.0
_LABEL_SIGNS, _HEADING_SIGNS = 21, 62

Shape = Literal["dot", "ring", "bar"]


@dataclass(frozen=True)
class Point:
    """A value to be marked, with its error; ``tip`` is what is said of it."""

    value: float
    shape: Shape
    tip: str
    error: float | None = None


@dataclass(frozen=True)
class Line:
    """A row of a chart: a label with its points, or a heading over the rows that follow."""

    label: str
    points: tuple[Point, ...] = ()
    heading: bool = False


@dataclass(frozen=True)
class Mark:
    """A point in its place.

    Attributes:
        low, high: the ends of a bar; ``x`` twice for what is none.
        error_low, error_high: the ends of its error; None where it has none.
    """

    x: float
    low: float
    high: float
    shape: Shape
    tip: str
    error_low: float | None = None
    error_high: float | None = None


@dataclass(frozen=True)
class Text:
    """A clipped text in its place; ``whole`` is all of it."""

    x: float
    y: float
    shown: str
    whole: str
    heading: bool = False


@dataclass(frozen=True)
class Rows:
    """A chart of rows, drawn: labels to the left, marks to the right, an axis below."""

    title: str
    height: float
    texts: tuple[Text, ...]
    marks: tuple[tuple[float, tuple[Mark, ...]], ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Axis:
    """A range of values with round ticks, mapped to the places from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, *, zero: bool = False) -> Axis:
        """The axis that holds all finite ``values``, widened to round numbers; with ``zero`` it begins there at the latest."""
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
        step = _step(high - low or abs(high) or 1.0)
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(low, high if high > low else low + step, start, end)

    def __call__(self, value: float) -> float:
        """The place of ``value``."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Places and numbers of the round values."""
        step = _step(self.high - self.low)
        count = round((self.high - self.low) / step)
        return tuple((self(self.low + i * step), f"{self.low + i * step:.6g}") for i in range(count + 1))


def axis_of(groups: Iterable[Sequence[Line]], *, zero: bool = False) -> Axis:
    """One axis for the rows of several charts, so that they can be compared."""
    ends = [
        end
        for rows in groups
        for row in rows
        for point in row.points
        for end in (point.value - (point.error or 0.0), point.value + (point.error or 0.0))
    ]
    return Axis.around(ends, LABELS + 6, RIGHT, zero=zero)


def draw_rows(title: str, rows: Sequence[Line], axis: Axis) -> Rows:
    """The chart of ``rows`` along ``axis``; points that are not finite are left out."""
    y, texts, marks = 6.0, [], []
    for row in rows:
        if row.heading:
            y += 4.0
            for part in textwrap.wrap(row.label, _HEADING_SIGNS) or [""]:
                texts.append(Text(0.0, y + HEADING / 2, clip(part, _HEADING_SIGNS), row.label, True))
                y += HEADING
            continue
        middle = y + ROW / 2
        texts.append(Text(LABELS, middle, clip(row.label, _LABEL_SIGNS), row.label))
        marks.append((middle, tuple(_mark(point, axis) for point in row.points if math.isfinite(point.value))))
        y += ROW
    return Rows(title, y + 24.0, tuple(texts), tuple(marks), axis.ticks)


def clip(text: str, signs: int) -> str:
    """``text`` in one line of at most ``signs`` signs."""
    line = " ".join(text.split())
    return line if len(line) <= signs else f"{line[: signs - 1]}…"


def path(points: Iterable[tuple[float, float]]) -> str:
    """The SVG path through ``points``."""
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in points)


def _mark(point: Point, axis: Axis) -> Mark:
    x = axis(point.value)
    base = axis(max(axis.low, min(0.0, axis.high))) if point.shape == "bar" else x
    if point.error is None or not math.isfinite(point.error):
        return Mark(x, min(base, x), max(base, x), point.shape, point.tip)
    ends = axis(point.value - point.error), axis(point.value + point.error)
    return Mark(x, min(base, x), max(base, x), point.shape, point.tip, *ends)


def _step(span: float) -> float:
    """A round distance that divides ``span`` into about four."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next((factor * power for factor in (1, 2, 2.5, 5) if span / (factor * power) <= 5), 10 * power)
