"""How far a download or an archive is: a bar in a terminal, a line in the log now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from dfdgbench.datasets.get import room

log = logging.getLogger("dfdgbench")
DELAY = 1.0
PLAIN_EVERY = 30.0


class Bar:
    """Counts the bytes of one piece of work.

    Args:
        total: bytes to come, those already there included; None where that is not known.
        done: bytes already there.
    """

    def __init__(self, title: str, total: int | None, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done
        self._said = time.monotonic()
        self._bar: Any = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, initial=done, desc=title, unit="B", unit_scale=True, unit_divisor=1024, delay=DELAY,
                leave=False, dynamic_ncols=True,
            )  # fmt: skip

    def to(self, done: int) -> None:
        """``done`` bytes are there by now."""
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.update(step)
        elif time.monotonic() - self._said > PLAIN_EVERY:
            self._said = time.monotonic()
            of = f" of {room.size(self.total)}" if self.total else ""
            log.info("%s: %s%s", self.title, room.size(done), of)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
