"""Progress: a bar in a terminal, plain lines elsewhere, nothing for what is done in two seconds."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from dfdgbench.engine.interrupt import asked

log = logging.getLogger("dfdgbench")
DELAY = 2.0
PLAIN_EVERY = 30.0
_listeners: list[Callable[[], None]] = []


def kept() -> None:
    """Tell who listens that something is on disk from which work goes on: a snapshot, an artifact, a run's end."""
    for listener in _listeners:
        listener()


@contextlib.contextmanager
def on_kept(listener: Callable[[], None]) -> Iterator[None]:
    """Within the body, ``listener`` is called each time this process has :func:`kept` something."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Progress:
    """Counts steps of one piece of work towards a total."""

    def __init__(self, title: str, total: int, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self._from, self._began, self._said = done, time.monotonic(), time.monotonic()
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty() and total:
            self._bar = tqdm(total=total, initial=done, desc=title, delay=DELAY, leave=False, dynamic_ncols=True)

    def advance(self, steps: int = 1) -> None:
        """Count ``steps`` more."""
        self.done += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            log.info("%s: %s", self.title, self.text())

    @property
    def rate(self) -> float:
        """Steps a second, of this process."""
        return (self.done - self._from) / max(time.monotonic() - self._began, 1e-9)

    @property
    def left(self) -> float:
        """Seconds left at this rate."""
        return (self.total - self.done) / self.rate if self.done > self._from else float("nan")

    def text(self) -> str:
        """``300 of 1001 (12.4/s, 57 s left)``"""
        return f"{self.done} of {self.total} ({self.rate:.1f}/s, {self.left:.0f} s left)"

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()


class Decoding:
    """Shows how far a store is; called with what is done (images, MiB) and its total. Stops when a signal asked to."""

    def __init__(self, title: str = "decoding images, once") -> None:
        self.title = title
        self._progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._progress is None:
            self._progress = Progress(self.title, total)
        self._progress.advance(done - self._progress.done)
        if asked() or done >= total:
            self._progress.close()
            self._progress = None
        if asked():
            raise KeyboardInterrupt  # what is written stays; the next build goes on from it
