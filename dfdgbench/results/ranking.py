"""A sweep's methods against each other: average ranks over problems, and paired tests over problems and trials.

A problem is one held-out domain of one part of the table. For ranks, a method's score on it is its mean over trials, as
trials of one domain are no independent problems (Demšar 2006, section 3.2); for paired tests every trial is a pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from dfdgbench.errors import ConfigError, listing
from dfdgbench.results.cells import DAGGER, Placed
from dfdgbench.results.statistics import (
    Floats,
    Friedman,
    PairedTest,
    average_ranks,
    cliques,
    critical_difference,
    friedman,
    holm,
    paired_test,
)


@dataclass(frozen=True)
class Scores:
    """Attributes:
    values: [problems, methods], large is good.
    left_out: what was left out so that no number is missing.
    """

    problems: tuple[str, ...]
    methods: tuple[str, ...]
    values: Floats
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """Attributes:
    ranks: average rank of each of ``scores.methods``, 1 the best.
    difference: the critical one at 0.05 (Nemenyi).
    cliques: indices of methods that do not differ significantly.
    test: whether any differs at all; None for two methods.
    """

    scores: Scores
    ranks: tuple[float, ...]
    difference: float
    cliques: tuple[tuple[int, ...], ...]
    test: Friedman | None


class Pair(NamedTuple):
    """Two methods of one sweep: differences first - second, signed so that more is better; ``corrected`` is Holm's p."""

    first: str
    second: str
    test: PairedTest
    corrected: float | None


def rank(cells: Sequence[Placed]) -> Ranking:
    """Average ranks and what they tell.

    Raises:
        ConfigError: fewer than two methods that share two problems.
    """
    scores = score(cells)
    problems, methods = scores.values.shape
    ranks = tuple(float(found) for found in average_ranks(scores.values))
    difference = critical_difference(methods, problems)
    return Ranking(scores, ranks, difference, tuple(cliques(ranks, difference)), friedman(scores.values))


def score(cells: Sequence[Placed]) -> Scores:
    """The largest set of methods and problems in which no number is missing; at least two of each.

    Raises:
        ConfigError: there is none.
    """
    found = _by_method(cells)
    means = {method: {problem: _mean(trials) for problem, trials in cells.items()} for method, cells in found.items()}
    methods, problems = _largest(means)
    if len(methods) < 2 or len(problems) < 2:
        raise ConfigError(
            "Ranks need at least two methods with results on the same two held-out domains. Results so far: "
            f"{_said(means)}. See what is missing: dfdgbench table SWEEP_DIR --missing"
        )
    every = dict.fromkeys(problem for scores in means.values() for problem in scores)
    left_out = [*(name for name in means if name not in methods), *(name for name in every if name not in problems)]
    values = np.array([[means[method][problem] for method in methods] for problem in problems])
    return Scores(tuple(problems), tuple(methods), values, tuple(left_out))


def pairs(cells: Sequence[Placed]) -> list[Pair]:
    """Every two methods, paired by problem and trial, with Holm's correction for their number."""
    found = _by_method(cells)
    flat = {
        method: {(problem, trial): value for problem, trials in scores.items() for trial, value in trials.items()}
        for method, scores in found.items()
    }
    tests = []
    for first, second in combinations(flat, 2):
        shared = sorted(flat[first].keys() & flat[second].keys())
        tests.append((first, second, paired_test([flat[first][key] - flat[second][key] for key in shared])))
    tested = [test.wilcoxon for _, _, test in tests if test.wilcoxon is not None]
    corrected = iter(holm(tested))
    return [Pair(*pair, None if pair[2].wilcoxon is None else next(corrected)) for pair in tests]


def _by_method(cells: Sequence[Placed]) -> dict[str, dict[str, dict[int, float]]]:
    """Method to problem to trial to value, large is good; of several columns on a domain, the first, in the first metric."""
    chosen = [found for found in cells if found.of_one_domain]
    metric = chosen[0].column.metric if chosen else ""
    methods: dict[str, dict[str, dict[int, float]]] = {}
    marked = {found.method for found in chosen if found.cell.marked}
    several = len({found.part for found in chosen}) > 1
    for found in chosen:
        values = {trial: found.sign * value for trial, value in found.cell.values.items() if math.isfinite(value)}
        problem = f"{found.part}, {found.column.targets[0]}" if several else found.column.targets[0]
        label = f"{found.method} {DAGGER}" if found.method in marked else found.method
        if values and found.column.metric == metric:
            methods.setdefault(label, {}).setdefault(problem, values)
    return methods


def _mean(trials: dict[int, float]) -> float:
    return math.fsum(trials.values()) / len(trials)


def _largest(means: dict[str, dict[str, float]]) -> tuple[list[str], list[str]]:
    """Methods and problems without a gap, as many numbers as can be had by leaving out the methods with fewest."""
    order = sorted(means, key=lambda method: -len(means[method]))
    best: tuple[list[str], list[str]] = ([], [])
    for count in range(2, len(order) + 1):
        shared = [problem for problem in means[order[0]] if all(problem in means[name] for name in order[:count])]
        if len(shared) > 1 and count * len(shared) >= len(best[0]) * len(best[1]):
            best = ([name for name in means if name in order[:count]], shared)
    return best


def _said(means: dict[str, dict[str, float]]) -> str:
    return listing((f"{name} on {listing(found, 3)}" for name, found in means.items()), 4) or "none"
