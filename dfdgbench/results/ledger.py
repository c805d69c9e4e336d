"""Every record of a sweep in arrays: what is read once, kept beside the sweep, and selected from.

A *row* is one record; rows are numbered through the whole ledger, those of one run after each other in the order of
its file. Runs whose records have the same keys share a block of values.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfdgbench.results.reading import places_of_run, read_records
from dfdgbench.results.scores import Floats, Rows, Scores, Shape, are_absent, columns_of, values_of

# Of config.json, what results need: labels of the domains, versions, and args for records that have none.
_CONFIG = ("domains", "versions", "git", "args")


@dataclass(frozen=True)
class Part:
    """Consecutive records of one file with the same args; nearly always all of them."""

    args: Mapping[str, Any]
    hparams: Mapping[str, Any]
    count: int


@dataclass(frozen=True, eq=False)
class Content:
    """What one run's files say.

    Attributes:
        state: "done", what status.json says, or "unfinished".
        config: what of config.json results need.
        keys: of the accuracies, in order of first appearance.
        values: float64 [records, keys].
        steps: int64 [records].
        notes: what was odd.
    """

    state: str
    config: Mapping[str, Any]
    parts: tuple[Part, ...]
    keys: tuple[str, ...]
    values: Floats
    steps: NDArray[np.int64]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """A run of the ledger.

    Attributes:
        name: its folder, below the folder that was read.
        rows: its first row, and the one after its last.
    """

    name: str
    content: Content
    rows: tuple[int, int]

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.content.state == "done"

    @cached_property
    def own(self) -> tuple[Rows, tuple[str, ...]]:
        """The rows that represent it, one a step in order of the steps, and in words why others do not."""
        parts, steps = self.content.parts, self.content.steps
        whose = self.content.config.get("args")
        if len(parts) == 1 and (steps[1:] > steps[:-1]).all() and whose in (None, parts[0].args):
            return np.arange(*self.rows), ()
        args = [part.args for part in parts for _ in range(part.count)]
        places, notes = places_of_run(args, steps.tolist(), whose)
        return self.rows[0] + np.array(places, dtype=np.intp), tuple(notes)

    def part_of(self, row: int) -> Part:
        """What the record in ``row`` says of its run."""
        end = self.rows[0]
        for part in self.content.parts:
            end += part.count
            if row < end:
                return part
        raise IndexError(f"row {row} is not one of {self.name}")


@dataclass(frozen=True, eq=False)
class Ledger:
    """Attributes:
    entries: runs in order of their names; also those without a record.
    planned: names of runs that a sweep has planned and nobody has started.
    notes: folders that could not be read.
    """

    entries: Sequence[Entry]
    planned: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    @classmethod
    def of(cls, contents: Iterable[tuple[str, Content]], planned: Sequence[str], notes: Sequence[str]) -> Ledger:
        """Number the rows of the runs."""
        entries, end = [], 0
        for name, content in contents:
            entries.append(Entry(name, content, (end, end + len(content.steps))))
            end += len(content.steps)
        return cls(entries, planned, notes)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """The step of every row."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *(entry.content.steps for entry in self.entries)])

    @cached_property
    def shapes(self) -> list[tuple[Rows, Scores]]:
        """Every row, by the shape of its run and the keys of its record."""
        found: dict[tuple[Shape, tuple[str, ...]], tuple[list[Rows], list[Floats]]] = {}
        for entry in self.entries:
            start = 0
            for part in entry.content.parts:
                rows, values = found.setdefault((Shape.of(part.args), entry.content.keys), ([], []))
                rows.append(np.arange(start, start + part.count) + entry.rows[0])
                values.append(entry.content.values[start : start + part.count])
                start += part.count
        return [
            (np.concatenate(rows), Scores(shape, {key: i for i, key in enumerate(keys)}, np.concatenate(values)))
            for (shape, keys), (rows, values) in found.items()
        ]

    def entry_of(self, row: int) -> Entry:
        """The run whose record is in ``row``."""
        return self.entries[bisect_right(self._ends, row)]

    @cached_property
    def _ends(self) -> list[int]:
        return [entry.rows[1] for entry in self.entries]

    def record(self, row: int) -> dict[str, Any]:
        """The record in ``row``, as far as results need it: step, args, hparams, accuracies."""
        entry = self.entry_of(row)
        place = row - entry.rows[0]
        part = entry.part_of(row)
        values = entry.content.values[place]
        there = zip(entry.content.keys, values.tolist(), are_absent(values).tolist(), strict=True)
        scores = {key: value for key, value, absent in there if not absent}
        return {"step": int(entry.content.steps[place]), "args": part.args, "hparams": part.hparams, **scores}

    def spread(self, values: Callable[[Scores], Floats]) -> Floats:
        """What ``values`` says of the records of each shape, row by row."""
        found = np.full(len(self.steps), np.nan)
        for rows, scores in self.shapes:
            found[rows] = values(scores)
        return found


def read_content(folder: str, state: str, config: Mapping[str, Any]) -> Content:
    """A run's records and what was odd about them.

    Args:
        config: of config.json; {} where there is none.
    """
    records, notes = read_records(folder, config)
    if state == "done" and not records and not notes:
        notes.append("is done and has no record")
    kept = {name: config[name] for name in _CONFIG if name in config}
    keys = tuple(columns_of(records))
    steps = np.array([record["step"] for record in records], dtype=np.int64)
    return Content(state, kept, tuple(_parts(records)), keys, values_of(records, keys), steps, tuple(notes))


def _parts(records: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    start = 0
    for end in range(1, len(records) + 1):
        first = records[start]
        if end < len(records) and _same(records[end], first):
            continue
        hparams = first.get("hparams")
        yield Part(first["args"], hparams if isinstance(hparams, dict) else {}, end - start)
        start = end


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    for name in ("args", "hparams"):
        mine, theirs = one.get(name), other.get(name)
        if mine is not theirs and json.dumps(mine, sort_keys=True) != json.dumps(theirs, sort_keys=True):
            return False
    return True
