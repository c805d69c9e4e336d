"""Figures: classes in ``FIGURES``; one file in this package, or an outside package's entry point, adds one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from matplotlib.figure import Figure as Canvas

from dfdgbench.docstrings import first_sentence
from dfdgbench.registry import Registry, subclass_check
from dfdgbench.results.cells import DAGGER, Placed, placed
from dfdgbench.results.figures.style import clean
from dfdgbench.results.fill import Filled, fill
from dfdgbench.results.slots import read_slots
from dfdgbench.results.table import Table, build
from dfdgbench.tables.spec import Part, Row, TableSpec


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder and the table that its runs are laid out as."""

    folder: Path
    spec: TableSpec

    @property
    def name(self) -> str:
        """What sets it apart from the other sweeps of a figure."""
        return self.folder.resolve().name

    @cached_property
    def table(self) -> Table:
        """Its table."""
        return build(self.spec, self.folder)

    @cached_property
    def filled(self) -> list[tuple[Part, Row, Filled]]:
        """What it has for every row of every part: the chosen record of each trial, and the run that it is of."""
        slots = read_slots(self.spec, self.folder)
        return [
            (part, row, fill(self.spec, i, j, slots))
            for i, part in enumerate(self.spec.parts)
            for j, row in enumerate(self.spec.rows)
            if not part.quoted and not row.quoted and self.spec.stands(row, part)
        ]


@dataclass(frozen=True)
class Drawn:
    """A figure, and what a person should know of it that it does not show."""

    canvas: Canvas
    notes: tuple[str, ...] = ()


class Figure(ABC):
    """One kind of figure. The first sentence of its docstring says what it shows.

    Attributes:
        algorithms: whose runs leave what this figure shows and others do not: a launch that has done some names the figure.
    """

    algorithms: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def draw(self, sweeps: Sequence[Sweep], width: float) -> Drawn:
        """The figure of one sweep or several, ``width`` inches wide.

        Raises:
            ConfigError: the sweeps do not have what it shows; the message says what is missing.
        """

    @classmethod
    def summary(cls) -> str:
        """The first sentence of the docstring."""
        return first_sentence(cls.__doc__)


FIGURES: Registry[type[Figure]] = Registry(
    "figure", "dfdgbench.results.figures", "dfdgbench.figures", subclass_check("figure", Figure)
)


def own_figures(algorithms: Collection[str]) -> list[str]:
    """Names of the figures that are made for any of these algorithms."""
    return [name for name, figure in FIGURES.items() if not set(figure.algorithms).isdisjoint(algorithms)]


def names(sweeps: Sequence[Sweep]) -> dict[tuple[str, str], str]:
    """What a figure calls the method of a sweep, by (sweep's folder, row's key): with the sweep's name where several have it."""
    keys = {str(sweep.folder): {row.key for part in sweep.table.parts for row in part.rows} for sweep in sweeps}
    several = Counter(key for found in keys.values() for key in found)
    return {
        (str(sweep.folder), key): f"{key} [{sweep.name}]" if several[key] > 1 else key
        for sweep in sweeps
        for key in keys[str(sweep.folder)]
    }


def cells(sweeps: Sequence[Sweep]) -> list[Placed]:
    """Every cell of all sweeps that has a result of ours."""
    called = names(sweeps)
    return [
        found._replace(method=called[str(sweep.folder), found.method])
        for sweep in sweeps
        for found in placed(sweep.table)
        if found.cell.n
    ]


def labels(shown: Sequence[Placed], methods: Iterable[str]) -> list[str]:
    """What a legend calls each of ``methods``: with a † where it, or its selection, looked at more than its setting grants."""
    marked = {found.method for found in shown if found.cell.marked}
    return [clean(method, 40) + f" {DAGGER}" * (method in marked) for method in methods]


def wanting(sweeps: Sequence[Sweep]) -> str:
    """What is missing of the sweeps' results, and what to type; for messages."""
    lines = []
    for sweep in sweeps:
        table, there = sweep.table, sum(found.cell.n > 0 for found in placed(sweep.table))
        state = f"{sweep.folder} has results in {there} cells"
        if table.missing or table.unplanned:
            state += (
                f", {len(table.missing) + table.unplanned} runs are missing (dfdgbench table {sweep.folder} --missing)"
            )
        lines.append(state)
    return "; ".join(lines) + "."
