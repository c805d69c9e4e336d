"""Who reads a store: marks that readers leave in its folder, so that nobody removes it from under them.

A mark is a file in the store's folder ``readers`` that names its owner, who touches it every minute. Its age is taken by the file
system's own clock, for those of machines differ; the mark of a process that ran on this machine and has ended counts for
nothing at once. Where a store may not be written, its readers leave no mark.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from dfdgbench.leases import Lease, gone

FOLDER = "readers"
BEAT = 60.0
STALE = 600.0
_held: set[Path] = set()
_lock = threading.RLock()  # a store may be collected, and its mark released, while its thread holds it
_beating: list[int] = []  # the process whose thread touches the marks: a forked one has no such thread


class Mark:
    """This process reads the store at ``store``, until :meth:`release`."""

    def __init__(self, store: Path) -> None:
        self.path = store / FOLDER / uuid.uuid4().hex
        self._pid = os.getpid()
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(exist_ok=True)  # of a store that is gone, nothing is made
            self.path.write_text(Lease(self.path).owner + "\n")
            _touch_from_now_on(self.path)

    def release(self) -> None:
        """Take the mark away; a second time does nothing."""
        if os.getpid() != self._pid:
            return
        with _lock:
            _held.discard(self.path)
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


def _touch_from_now_on(mark: Path) -> None:
    with _lock:
        _held.add(mark)
        if _beating != [os.getpid()]:
            _beating[:] = [os.getpid()]
            threading.Thread(target=_beat, daemon=True, name="marks").start()


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        with _lock:
            marks = list(_held)
        for mark in marks:
            with contextlib.suppress(OSError):
                os.utime(mark)


def readers(store: Path) -> list[str]:
    """The other processes that read the store, as ``PROCESS on HOST``; marks that nobody holds any more are removed."""
    return sorted({_named(owner) for mark, owner in _marks(store) if _alive(mark, owner) and not _ours(owner)})


def last_used(store: Path) -> float:
    """When somebody last began or ceased to read the store, or built it: seconds since 1970, by the file system's clock."""
    times = [0.0]
    for name in (FOLDER, "store.json", "progress"):
        with contextlib.suppress(OSError):
            times.append((store / name).stat().st_mtime)
    return max(times)


def _marks(store: Path) -> Iterator[tuple[Path, str]]:
    with contextlib.suppress(OSError):
        for path in sorted((store / FOLDER).iterdir()):
            with contextlib.suppress(OSError):
                yield path, path.read_text(errors="replace").partition("\n")[0]


def _alive(mark: Path, owner: str) -> bool:
    try:
        age = _now(mark.parent) - mark.stat().st_mtime
    except OSError:
        return False
    if not gone(owner) and age <= STALE:
        return True
    with contextlib.suppress(OSError):
        mark.unlink()
    return False


def _now(folder: Path) -> float:
    """The time by the clock of the file system that ``folder`` is on."""
    probe = folder.parent / f".now-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _ours(owner: str) -> bool:
    return owner.split(" ")[:2] == [socket.gethostname(), str(os.getpid())]


def _named(owner: str) -> str:
    host, pid, *_ = [*owner.split(" "), "?", "?"]
    return f"process {pid} on {host}"
