"""Two sweeps cell by cell, trials paired by seed, with a verdict on noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dfdgbench.errors import ConfigError, listing
from dfdgbench.results import differing
from dfdgbench.results.cells import Placed, placed
from dfdgbench.results.statistics import ALPHA, PairedTest, holm, paired_test, t_test, welch_test
from dfdgbench.results.table import Table, build
from dfdgbench.results.trials import summary
from dfdgbench.tables.spec import of_sweep

Verdict = Literal[
    "same bits", "within noise", "better", "worse", "differs", "untested", "only in A", "only in B", "missing in A",
    "missing in B", "not finite",
]  # fmt: skip
Key = tuple[str, str, str]


@dataclass(frozen=True)
class CellComparison:
    """One cell of two sweeps.

    Attributes:
        of_one_domain: whether it tells of one held-out domain, and is no average of others.
        digits: decimals that its column shows.
        a, b: means over each sweep's trials; None where there is none.
        difference: mean of B - A over the trials that both have; of the two means where they have none in common.
        se: of ``difference``; None for fewer than two trials.
        pairs: trials that both have.
        p: of the t test of the differences (Welch's where no two trials are shared); None where there is no test.
        corrected: ``p`` by Holm's correction for all cells that were tested.
    """

    part: str
    method: str
    column: str
    of_one_domain: bool
    digits: int
    verdict: Verdict
    a: float | None = None
    b: float | None = None
    difference: float | None = None
    se: float | None = None
    pairs: int = 0
    p: float | None = None
    corrected: float | None = None


@dataclass(frozen=True)
class Pooled:
    """Differences of many pairs (part, held-out domain, trial) together, signed so that more is better.

    Attributes:
        method: whose; "" for all methods'.
        corrected: the signed-rank test's p by Holm's correction for the number of methods; None where there is no test.
    """

    method: str
    test: PairedTest
    corrected: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """Two sweeps.

    Attributes:
        a, b: their folders.
        methods: each method over all cells that both have of it.
        overall: all methods together.
        differs: what else differs between the two sweeps' runs.
    """

    a: Path
    b: Path
    cells: tuple[CellComparison, ...]
    methods: tuple[Pooled, ...]
    overall: Pooled
    differs: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether B is worse in a cell, a method or overall, or lacks a result that it has planned and A has."""
        pooled = (*self.methods, self.overall)
        verdicts = {cell.verdict for cell in self.cells} | {found.verdict for found in pooled}
        return bool(verdicts & {"worse", "missing in B"})


def compare(a: str | Path, b: str | Path) -> Comparison:
    """The sweep in the folder ``b`` against the one in ``a``.

    Raises:
        ConfigError: one of them is no sweep, they share no cell, or no cell has a result in both.
    """
    first, second = Path(a), Path(b)
    tables = [build(of_sweep(folder), folder) for folder in (first, second)]
    ours, theirs = (_cells(table) for table in tables)
    _check(first, second, tables, ours, theirs)
    found = [_compared(key, ours.get(key), theirs.get(key)) for key in dict.fromkeys([*ours, *theirs])]
    by_method = _differences(ours, theirs)
    return Comparison(
        first,
        second,
        cells=tuple(_corrected(found)),
        methods=tuple(_methods(by_method)),
        overall=_pooled("", paired_test([found for differences in by_method.values() for found in differences])),
        differs=tuple(_differs(first, second, ours, theirs)),
    )


def _cells(table: Table) -> dict[Key, Placed]:
    return {found.key: found for found in placed(table) if found.cell.expected}


def _check(a: Path, b: Path, tables: Sequence[Table], ours: Mapping[Key, Placed], theirs: Mapping[Key, Placed]) -> None:
    shared = ours.keys() & theirs.keys()
    if not shared:
        said = [
            f"{folder} ('{table.name}') has {listing(sorted({f'{part}: {method}' for part, method, _ in cells}), 4)}"
            for folder, table, cells in zip((a, b), tables, (ours, theirs), strict=True)
        ]
        raise ConfigError(
            f"No cell is in both sweeps. {'; '.join(said)}. Compare sweeps that share a part and a method, such as two "
            "launches of one table."
        )
    if not any(ours[key].cell.n and theirs[key].cell.n for key in shared):
        empty = [folder for folder, cells in ((a, ours), (b, theirs)) if not any(cells[key].cell.n for key in shared)]
        which = f"{' and '.join(map(str, empty))}: no result there yet" if empty else "each has what the other lacks"
        raise ConfigError(
            f"No cell has a result in both sweeps ({which}). What is missing: dfdgbench table {(empty or [b])[0]} --missing"
        )


def _compared(key: Key, a: Placed | None, b: Placed | None) -> CellComparison:
    known = a or b
    assert known is not None
    row = CellComparison(
        *key, of_one_domain=known.of_one_domain, digits=known.column.digits, verdict="untested",
        a=None if a is None else a.cell.mean, b=None if b is None else b.cell.mean,
    )  # fmt: skip
    if a is None:
        return replace(row, verdict="only in B")
    if b is None:
        return replace(row, verdict="only in A")
    if not a.cell.n or not b.cell.n:
        return replace(row, verdict="missing in B" if a.cell.n else "missing in A")
    one, two = a.cell.values, b.cell.values
    if not all(map(math.isfinite, (*one.values(), *two.values()))):
        return replace(row, verdict="not finite", pairs=len(one.keys() & two.keys()))
    return _judged(row, one, two, a.sign)


def _judged(row: CellComparison, a: Mapping[int, float], b: Mapping[int, float], sign: int) -> CellComparison:
    differences = [b[trial] - a[trial] for trial in sorted(a.keys() & b.keys())]
    over = summary(differences)
    se, p = over.se, t_test(differences)
    if over.n:
        difference = over.mean
    else:
        one, two = summary(a.values()), summary(b.values())
        difference, p = two.mean - one.mean, welch_test(list(b.values()), list(a.values()))
        se = None if one.se is None or two.se is None else math.hypot(one.se, two.se)
    judged = replace(row, difference=difference, se=se, pairs=over.n, p=p)
    if a == b:
        return replace(judged, verdict="same bits", p=None)
    if p is None:
        return judged
    verdict: Verdict = "differs" if not sign else "better" if difference * sign > 0 else "worse"
    return replace(judged, verdict=verdict)  # until the correction for several


def _corrected(cells: Sequence[CellComparison]) -> list[CellComparison]:
    """The cells with p corrected for their number, and the verdicts of those that are no longer significant."""
    tested = [i for i, cell in enumerate(cells) if cell.p is not None]
    found = list(cells)
    for i, p in zip(tested, holm([cell.p for cell in cells if cell.p is not None]), strict=True):
        found[i] = replace(cells[i], corrected=p, verdict=cells[i].verdict if p < ALPHA else "within noise")
    return found


def _differences(ours: Mapping[Key, Placed], theirs: Mapping[Key, Placed]) -> dict[str, list[float]]:
    """By method: B - A of every pair of values of one held-out domain, in one metric, signed so that more is better."""
    shared = [(ours[key], theirs[key]) for key in ours if key in theirs and ours[key].of_one_domain]
    metric = shared[0][0].column.metric if shared else ""
    found: dict[str, list[float]] = {}
    for a, b in shared:
        if a.column.metric == metric:
            one, two = a.cell.values, b.cell.values
            found.setdefault(a.method, []).extend(a.sign * (two[trial] - one[trial]) for trial in one if trial in two)
    return found


def _methods(differences: Mapping[str, Sequence[float]]) -> list[Pooled]:
    tests = {method: paired_test(found) for method, found in differences.items()}
    corrected = iter(holm([test.wilcoxon for test in tests.values() if test.wilcoxon is not None]))
    return [
        _pooled(method, test, next(corrected) if test.wilcoxon is not None else None)
        for method, test in tests.items()
        if test.n
    ]


def _pooled(method: str, test: PairedTest, corrected: float | None = None) -> Pooled:
    """With the verdict by ``corrected``, or where that is None, by the test's own p."""
    p = test.wilcoxon if corrected is None else corrected
    verdict: Verdict
    if test.n and test.mean == 0 and not test.se:
        verdict = "same bits"
    elif p is None:
        verdict = "untested"
    else:
        verdict = "within noise" if p >= ALPHA else "better" if test.mean > 0 else "worse"
    return Pooled(method, test, p, verdict)


def _differs(a: Path, b: Path, ours: Mapping[Key, Placed], theirs: Mapping[Key, Placed]) -> list[str]:
    both = [(ours[key].cell.runs, theirs[key].cell.runs) for key in ours if key in theirs]
    left = dict.fromkeys(run for runs, _ in both for run in runs)
    right = dict.fromkeys(run for _, runs in both for run in runs)
    return differing.differing(differing.configs(a, left), differing.configs(b, right))
