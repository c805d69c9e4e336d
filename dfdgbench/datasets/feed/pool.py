"""One pool of worker processes for all that decodes in this process: every feed, evaluation, and the building of stores.

Workers are started as programs of their own, not as copies of this process: its threads, its GPU and the main module
of whoever called us stay out of them. They import no torch, so that they start in a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from loky import get_reusable_executor

P = ParamSpec("P")
T = TypeVar("T")


class Inline(Executor):
    """An executor that does the work at once, in this process."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def shared(jobs: int) -> Executor:
    """The pool, of ``jobs`` processes; it grows to the largest number asked for and ends when idle for five minutes."""
    if jobs <= 1:
        return Inline()
    pool: Executor = get_reusable_executor(max_workers=jobs, timeout=300, reuse="auto")
    return pool
