"""A few processes that share work on files, and that leave nothing behind however the work ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from types import TracebackType
from typing import TypeVar

from dfdgbench.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")
AHEAD = 4
"""Tasks handed out for each process before the first result is waited for."""


class Workers:
    """``jobs`` processes, started when they are first needed; with one job, the caller's own.

    They start from scratch and import what a task's function needs and nothing else. Ctrl-C reaches the caller alone, which
    ends them; where the caller is killed, they end by themselves.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, call: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """``call`` of each of ``tasks``, in their order. ``call`` is a function of a module; tasks are few and coarse."""
        if self.jobs == 1:
            yield from map(call, tasks)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._submit(call, task))
                if len(waiting) >= AHEAD * self.jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process that reads images was killed, or crashed in a decoder: there is too little memory, or a file is "
                "damaged in a way that the decoder does not survive. Type the same command with --jobs 1."
            ) from error

    def _submit(self, call: Callable[[Task], Result], task: Task) -> Future[Result]:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_end_with_parent)
        with _without_interrupts():  # which a process that starts here keeps
            return self._executor.submit(call, task)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_end, args=(parent.sentinel,), daemon=True).start()


def _wait_and_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
