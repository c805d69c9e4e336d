"""What the command line prints: results to standard output, messages of the log too, errors to standard error."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from dfdgbench.datasets.get.room import size

__all__ = ["duration", "fail", "listen", "log_to", "plain_table", "say", "say_table", "size"]


class _BesideBars(logging.Handler):
    """Prints log lines without breaking progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        prefix = "warning: " if record.levelno == logging.WARNING else ""
        stream = _streams[-1] if _streams else sys.stdout
        tqdm.write(prefix + record.getMessage(), file=stream)
        stream.flush()


_streams: list[TextIO] = []


@contextlib.contextmanager
def log_to(stream: TextIO) -> Iterator[None]:
    """Within the body the log goes to ``stream``: to standard error where standard output is a result alone, for a pipe."""
    _streams.append(stream)
    try:
        yield
    finally:
        _streams.pop()


@contextlib.contextmanager
def listen() -> Iterator[None]:
    """Show the package's log within the body."""
    logger, handler = logging.getLogger("dfdgbench"), _BesideBars()
    before, logging.raiseExceptions = logger.level, False  # a log file on a full disk: what matters is told otherwise
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logging.raiseExceptions = True
        logger.removeHandler(handler)
        logger.setLevel(before)


def say(text: str = "") -> None:
    """A line to standard output."""
    print(text, flush=True)


def fail(text: str) -> None:
    """A message to standard error."""
    print(f"dfdgbench: {text}", file=sys.stderr, flush=True)


def say_table(rows: Sequence[Mapping[str, Any]], empty: str = "nothing") -> None:
    """Rows as a plain table, columns from the first row's keys."""
    say(plain_table(rows) if rows else empty)


def plain_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What :func:`say_table` prints; rows must not be empty."""
    from tabulate import tabulate

    return tabulate(
        [list(row.values()) for row in rows],
        headers=list(rows[0]),
        tablefmt="simple",
        missingval="-",
        disable_numparse=True,
    )


def duration(seconds: float | None) -> str:
    """``3 s``, ``12 min``, ``5.1 h``; ``?`` where it is not known."""
    if seconds is None or seconds != seconds:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
