"""Being asked to stop: a signal becomes a flag, which loops look at between steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_asked: list[int] = []
_heard: list[int] = []
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
)
"""What schedulers send before they kill: the end of the time limit, preemption, and a person's Ctrl-C."""


class Interrupted(Exception):
    """Work was stopped after a snapshot; the same command goes on from it.

    Attributes:
        signal: the number of the signal that asked for it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


def asked() -> int:
    """The number of the signal that asked to stop, 0 if none did."""
    return _asked[-1] if _asked else 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the body, a first signal sets the flag; a second one acts at once, as without this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: object) -> None:
        _asked.append(number)
        _heard.append(number)
        signal.signal(number, before[number])

    _asked.clear()
    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield
        _heard.clear()  # it came too late for the body
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.clear()


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the body, a first signal raises ``Interrupted`` wherever no loop turns it into a snapshot, and later ones do
    nothing: schedulers send several, and what the first one started is not to be cut short.

    Signals that were held back (``pthread_sigmask``) are heard from here on.
    """

    def stop(number: int, frame: object) -> None:
        if not _heard:
            _heard.append(number)
            raise Interrupted("Stopped between steps. The same command goes on from the last snapshot.", number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _heard.clear()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Within the body, SIGTERM raises ``KeyboardInterrupt`` as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
