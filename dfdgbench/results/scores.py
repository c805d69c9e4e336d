"""The accuracies of many records at once: one row a record, one column a key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfdgbench.results.record import Record, Use, is_score, score_key

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# A key that a record lacks is not the same as one with NaN in it, which is there: a NaN of another payload tells.
_ABSENT_BITS = np.uint64(0x7FF8_0000_0000_0DFD)
ABSENT = float(np.array(_ABSENT_BITS).view(np.float64))


def are_absent(values: Floats) -> NDArray[np.bool_]:
    """Which values of :class:`Scores` stand for a key that the record lacks."""
    there: NDArray[np.bool_] = values.view(np.uint64) == _ABSENT_BITS
    return there


class Shape(NamedTuple):
    """What a rule must know of a run to read its records.

    Attributes:
        sources: the domains trained on; None where the record does not say (DomainBed: all that are not held out).
    """

    protocol: str
    targets: tuple[int, ...]
    sources: tuple[int, ...] | None

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> Shape:
        """The shape of the runs with these ``args``."""
        named = args.get("train_envs")
        return cls(
            args.get("protocol") or "domainbed",
            tuple(map(int, args["test_envs"])),
            None if named is None else tuple(map(int, named)),
        )

    def key(self, env: int, use: Use, predictor: str = "") -> str:
        """Under which a record has a domain's accuracy on the protocol's ``use`` split."""
        return score_key(self.protocol, env, use, "acc", predictor)


@dataclass(frozen=True, eq=False)
class Scores:
    """Records of runs of one shape.

    Attributes:
        columns: number of each key's column.
        values: float64 [records, keys]; ``ABSENT`` where a record has no such key.
    """

    shape: Shape
    columns: Mapping[str, int]
    values: Floats

    def __len__(self) -> int:
        return len(self.values)

    def column(self, key: str) -> Floats:
        """The values under a key; NaN where there is none."""
        if key not in self.columns:
            return np.full(len(self), np.nan)
        return self.values[:, self.columns[key]]

    def value(self, env: int, use: Use, predictor: str = "") -> Floats:
        """A domain's accuracy on the protocol's ``use`` split, in every record; NaN where there is none."""
        return self.column(self.shape.key(env, use, predictor))

    def target(self, use: Use, predictor: str = "") -> Floats:
        """The accuracy on the held-out domain."""
        return self.value(self.shape.targets[0], use, predictor)

    def has(self, env: int, use: Use, predictor: str = "") -> NDArray[np.bool_]:
        """Which records have the accuracy of a domain at all, be it NaN."""
        return ~are_absent(self.value(env, use, predictor))

    def domains(self, use: Use, predictor: str = "") -> Iterator[tuple[list[int], Rows]]:
        """Domains 0, 1, ... up to the first that a record has no accuracy of, with the records that have as many.

        It is how DomainBed counts a record's domains.
        """
        there: list[NDArray[np.bool_]] = []
        for env in count():
            if self.shape.key(env, use, predictor) not in self.columns:
                break
            there.append(self.has(env, use, predictor) & (there[-1] if there else True))
        counts = np.sum(there, axis=0, dtype=np.intp) if there else np.zeros(len(self), dtype=np.intp)
        for number in np.unique(counts).tolist():
            yield list(range(number)), np.flatnonzero(counts == number)

    def source_validation(self, predictor: str = "") -> Floats:
        """Unweighted mean over the source domains of the accuracy on their validation splits; NaN without any."""
        if self.shape.sources is not None:
            known = [env for env in self.shape.sources if self.shape.key(env, "validation", predictor) in self.columns]
            sources = [(known, np.arange(len(self)))]
        else:
            sources = list(self.domains("validation", predictor))
        means = np.full(len(self), np.nan)
        for envs, rows in sources:
            columns = [self.value(env, "validation", predictor)[rows] for env in envs if env not in self.shape.targets]
            if columns:
                # Along contiguous rows NumPy adds in the order in which it adds a list: ties stay DomainBed's ties.
                means[rows] = np.ascontiguousarray(np.stack(columns, axis=1)).mean(axis=1)
        return means


def columns_of(records: Iterable[Record]) -> dict[str, int]:
    """Every key of an accuracy in ``records`` with a number, in order of first appearance."""
    found: dict[str, int] = {}
    seen: set[str] = set()
    for record in records:
        if not record.keys() <= seen:
            for key in record:
                if key not in seen and is_score(key):
                    found[key] = len(found)
                seen.add(key)
    return found


def values_of(records: Sequence[Record], keys: Sequence[str]) -> Floats:
    """The values of ``records`` under ``keys`` [records, keys]; ``ABSENT`` for no number."""
    rows = [[record.get(key) for key in keys] for record in records]
    if {type(value) for row in rows for value in row} <= {float}:
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(keys))
    return np.array([[_number(value) for value in row] for row in rows], dtype=np.float64).reshape(len(rows), len(keys))


def scores_of(records: Sequence[Record]) -> Iterator[tuple[list[int], Scores]]:
    """The records by shape, with their places in ``records``."""
    places: dict[Shape, list[int]] = {}
    for place, record in enumerate(records):
        places.setdefault(Shape.of(record["args"]), []).append(place)
    for shape, found in places.items():
        chosen = [records[place] for place in found]
        columns = columns_of(chosen)
        yield found, Scores(shape, columns, values_of(chosen, list(columns)))


def _number(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return float(value)
    return ABSENT
