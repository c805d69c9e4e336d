"""Mean and standard error over trials."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from typing import NamedTuple

from dfdgbench.results.record import NAN


class Summary(NamedTuple):
    """Attributes:
    mean: NaN of no values.
    se: sample standard deviation (n - 1) over the root of n; None for fewer than two values.
    n: how many values there are; those that are not finite do not count.
    """

    mean: float
    se: float | None
    n: int


def summary(values: Iterable[float]) -> Summary:
    """Mean and standard error of ``values``, without those that are NaN or infinite."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return Summary(NAN, None, 0)
    error = statistics.stdev(there) / len(there) ** 0.5 if len(there) > 1 else None
    return Summary(statistics.fmean(there), error, len(there))
