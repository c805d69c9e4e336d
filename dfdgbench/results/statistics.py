"""What a set of numbers can and cannot tell: intervals, paired tests, corrections, ranks. docs/statistics.md says why these.

Every function takes plain numbers and knows nothing of tables. SciPy's distributions are imported where they are used:
its ``stats`` takes as long to import as a table to build.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dfdgbench.results.trials import summary

Alternative = Literal["two-sided", "greater"]
Floats = NDArray[np.float64]

ALPHA = 0.05
# A two-sided signed-rank test of n pairs has no smaller p than 2 / 2^n, which is below 0.05 from here on.
FEWEST_PAIRS = 6
RESAMPLES = 9999


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class PairedTest(NamedTuple):
    """What paired differences tell.

    Attributes:
        n: pairs.
        mean: of the differences; NaN of none.
        se: standard error of the mean; None for fewer than two pairs.
        interval: the mean's bootstrap interval at 95 %; None for fewer than two pairs.
        t: p of the paired t test, which takes the differences for normal; None for fewer than two pairs.
        wilcoxon: p of the signed-rank test, which does not; None for fewer than ``FEWEST_PAIRS`` that differ.
        remark: what cannot be told, and why; "" for nothing.
    """

    n: int
    mean: float
    se: float | None
    interval: Interval | None
    t: float | None
    wilcoxon: float | None
    remark: str

    @property
    def significant(self) -> bool:
        """Whether the signed-rank test rejects that the two are alike; never with fewer than ``FEWEST_PAIRS`` pairs."""
        return self.wilcoxon is not None and self.wilcoxon < ALPHA


class Friedman(NamedTuple):
    """Whether any of k methods ranks unlike the others on N problems.

    Attributes:
        chi_squared: Friedman's statistic, corrected for ties.
        f: Iman and Davenport's, which is less conservative (Demšar 2006, section 3.2.2); infinite where the ranks are
            the same on every problem.
        p: of ``f``, with k - 1 and (k - 1)(N - 1) degrees of freedom.
    """

    chi_squared: float
    f: float
    p: float


def bootstrap(values: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Interval | None:
    """Bias-corrected and accelerated bootstrap interval of the mean (Efron 1987); None for fewer than two values.

    The same values in the same order give the same interval. Below some ten values every bootstrap is too narrow.
    """
    there = np.asarray(values, dtype=np.float64)
    if len(there) < 2 or not np.isfinite(there).all():
        return None
    if np.ptp(there) == 0:
        return Interval(float(there[0]), float(there[0]))
    low, high = _bootstrap(there, "BCa", confidence, seed)
    if not (math.isfinite(low) and math.isfinite(high)):  # the acceleration of two values, for one, is 0 / 0
        low, high = _bootstrap(there, "percentile", confidence, seed)
    return Interval(low, high)


def _bootstrap(values: Floats, method: str, confidence: float, seed: int) -> tuple[float, float]:
    from scipy import stats

    options: dict[str, Any] = {"random_state": np.random.default_rng(seed), "method": method}
    with np.errstate(all="ignore"):
        found = stats.bootstrap((values,), np.mean, confidence_level=confidence, n_resamples=RESAMPLES, **options)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def t_test(differences: Sequence[float], alternative: Alternative = "two-sided") -> float | None:
    """p of Student's t test that the mean of ``differences`` is 0; None for fewer than two.

    Args:
        alternative: "greater" asks whether it is above 0.
    """
    over = summary(differences)
    if over.se is None:
        return None
    return _p_of_t(over.mean, over.se, over.n - 1, alternative)


def welch_test(first: Sequence[float], second: Sequence[float], alternative: Alternative = "two-sided") -> float | None:
    """p of Welch's t test that two means are equal; None where one of them has fewer than two values.

    Args:
        alternative: "greater" asks whether the first mean is above the second.
    """
    one, two = summary(first), summary(second)
    if one.se is None or two.se is None:
        return None
    a, b = one.se**2, two.se**2
    if a + b == 0:
        return _p_of_t(one.mean - two.mean, 0.0, 1, alternative)
    freedom = (a + b) ** 2 / (a**2 / (one.n - 1) + b**2 / (two.n - 1))
    return _p_of_t(one.mean - two.mean, math.sqrt(a + b), freedom, alternative)


def _p_of_t(mean: float, se: float, freedom: float, alternative: Alternative) -> float:
    from scipy.special import stdtr

    if se == 0:
        if mean == 0:
            return 1.0
        return 0.0 if mean > 0 or alternative == "two-sided" else 1.0
    t = mean / se
    return float(stdtr(freedom, -t) if alternative == "greater" else 2 * stdtr(freedom, -abs(t)))


def paired_test(differences: Sequence[float]) -> PairedTest:
    """What two-sided tests say of paired differences; those that are not finite do not count."""
    there = [found for found in differences if math.isfinite(found)]
    over, unlike = summary(there), sum(found != 0 for found in there)
    remark = ""
    if unlike < FEWEST_PAIRS:
        smallest = f", whose smallest p is 2/2^{unlike} = {2 / 2**unlike:.2g}" if unlike else ""
        remark = (
            f"{unlike} pairs that differ: no signed-rank test can be significant at {ALPHA} with fewer than "
            f"{FEWEST_PAIRS}{smallest}"
        )
    return PairedTest(
        over.n, over.mean, over.se, bootstrap(there), t_test(there), None if remark else _wilcoxon(there), remark
    )


def _wilcoxon(differences: Sequence[float]) -> float:
    from scipy import stats

    return float(stats.wilcoxon(np.asarray(differences, dtype=np.float64)).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being several (Holm 1979): the i-th smallest of m times m - i + 1, and none below a smaller's."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for position, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - position) * p_values[i]))
        corrected[i] = largest
    return corrected


def average_ranks(scores: Floats) -> Floats:
    """Mean rank of each method, 1 the best, ties sharing theirs. ``scores`` is [problems, methods], large is good."""
    from scipy import stats

    return np.asarray(stats.rankdata(-scores, axis=1).mean(axis=0), dtype=np.float64)


def friedman(scores: Floats) -> Friedman | None:
    """Friedman's test; None for fewer than three methods or two problems. ``scores`` is [problems, methods]."""
    from scipy import stats

    problems, methods = scores.shape
    if methods < 3 or problems < 2:
        return None
    if (scores == scores[:, :1]).all():  # every method tied everywhere: 0 / 0 in the correction for ties
        return Friedman(0.0, 0.0, 1.0)
    chi_squared = float(stats.friedmanchisquare(*scores.T).statistic)
    f = iman_davenport(chi_squared, problems, methods)
    return Friedman(chi_squared, f, float(stats.f.sf(f, methods - 1, (methods - 1) * (problems - 1))))


def iman_davenport(chi_squared: float, problems: int, methods: int) -> float:
    """F = (N - 1) chi² / (N (k - 1) - chi²) (Demšar 2006, section 3.2.2)."""
    room = problems * (methods - 1) - chi_squared
    return math.inf if room <= 1e-9 else (problems - 1) * chi_squared / room


def critical_difference(methods: int, problems: int, alpha: float = ALPHA) -> float:
    """Nemenyi's: mean ranks of ``methods`` on ``problems`` that differ by as much differ significantly.

    CD = q sqrt(k (k + 1) / (6 N)), q the studentised range of k groups over sqrt(2) (Demšar 2006, section 3.2.2).
    """
    from scipy import stats

    q = float(stats.studentized_range.ppf(1 - alpha, methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * problems))


def cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """The largest sets of two or more methods whose mean ranks lie within ``difference``, best first."""
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    found: list[tuple[int, ...]] = []
    for start, first in enumerate(order):
        group = tuple(i for i in order[start:] if ranks[i] - ranks[first] < difference)
        if len(group) > 1 and not (found and set(group) <= set(found[-1])):
            found.append(group)
    return found
