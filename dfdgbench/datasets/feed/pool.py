"""One pool of worker processes for all that decodes in this process: every feed, evaluation, and the building of stores.

Workers are started as programs of their own, not as copies of this process: its threads, its GPU and the main module
of whoever called us stay out of them. They import no torch, so that they start in a fraction of a second.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from loky import get_reusable_executor

from dfdgbench.errors import DataError

P = ParamSpec("P")
T = TypeVar("T")
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
)


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
    """The pool, brought to ``jobs`` processes, which end when idle for five minutes."""
    if jobs <= 1:
        return Inline()
    pool: Executor = get_reusable_executor(
        max_workers=jobs, timeout=300, reuse="auto", initializer=_serve, initargs=(os.getpid(),)
    )
    return pool


@contextmanager
def told() -> Iterator[None]:
    """Turn the sudden end of a worker process within the body into a ``DataError``."""
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            "A process that decodes images was killed (is there too little memory?), or crashed in a decoder. What was stored is "
            "kept. Type the same command again, with --workers 0; stores are built by one process by `dfdgbench data cache "
            "NAME --jobs 1`."
        ) from error


def _serve(parent: int) -> None:
    """Leave signals, which a terminal or a scheduler sends to all processes of a group, to the parent, and end with it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
