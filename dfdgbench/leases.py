"""Leases: who of several processes does a piece of work, on a shared file system without locks.

A lease is a file made with ``O_EXCL``, which holds its owner's identity and a counter that the owner's heartbeat
raises. An observer takes a lease for dead when the file has not changed for ``stale`` seconds *on the observer's own
monotonic clock* (clocks of machines differ), or at once when the owner ran on this machine and is gone. Two processes
that both take themselves for the owner do the same work twice, which is harmless: publishing is one rename.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from dfdgbench.files import explained


def _started(pid: int) -> str:
    """When process ``pid`` started, in the kernel's ticks; empty where that cannot be known, or the process has ended."""
    with contextlib.suppress(OSError, IndexError):
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "" if state in "ZX" else rest[18]  # a killed process stays listed until its parent has looked at it
    return ""


def gone(owner: str) -> bool:
    """Whether ``owner``, the first line of a lease, ran on this machine and has ended."""
    host, _, rest = owner.partition(" ")
    parts = rest.split(" ")
    if (
        host != socket.gethostname()
        or len(parts) < 2
        or not (parts[0].isdecimal() and Path("/proc/self/stat").exists())
    ):
        return False
    return _started(int(parts[0])) != parts[1]


class Lease:
    """One lease file.

    Args:
        path: the file; its folder exists or is made.
        beat: seconds between heartbeats.
        stale: seconds without a heartbeat after which an observer takes over.
    """

    def __init__(self, path: Path, beat: float = 5.0, stale: float = 60.0) -> None:
        self.path, self.beat, self.stale = path, beat, stale
        self.owner = f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())} {uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def try_acquire(self) -> bool:
        """Take the lease if nobody holds it."""
        with explained(self.path, "A lease"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return False
            try:
                with os.fdopen(handle, "w") as file:
                    file.write(self._text(0))
            except BaseException:  # a full disk, say: an empty lease would be nobody's
                self.path.unlink(missing_ok=True)
                raise
        self._stop.clear()
        self._thread = threading.Thread(target=self._heartbeat, daemon=True, name="lease")
        self._thread.start()
        return True

    def release(self) -> None:
        """Give the lease back, if it is still ours."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._is_ours():
            self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def waiting(
        self, ready: Callable[[], bool] = lambda: False, on_wait: Callable[[str], None] = lambda owner: None
    ) -> Iterator[bool]:
        """Hold the lease (yields True), waiting for its holder; or yield False once ``ready()``, without holding it.

        ``on_wait`` is called once, with the holder's identity.
        """
        seen, since, told, pause = "", time.monotonic(), False, 0.05
        while not self.try_acquire():
            if ready():
                yield False
                return
            now = self._read()
            if now != seen:
                seen, since = now, time.monotonic()
            owner = seen.split("\n")[0]
            # A file without an owner was left by a process that died between making it and writing into it.
            if time.monotonic() - since > self.stale or gone(owner):
                self._take_from(seen)
                continue
            if seen and not told:
                told = True
                on_wait(owner)
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        try:
            yield True
        finally:
            self.release()

    def _text(self, count: int) -> str:
        return f"{self.owner}\n{count:020d}\n"

    def _read(self) -> str:
        try:
            return self.path.read_text(errors="replace")
        except OSError:
            return ""

    def _is_ours(self) -> bool:
        return self._read().split("\n")[0] == self.owner

    def _heartbeat(self) -> None:
        count = 0
        while not self._stop.wait(self.beat):
            count += 1
            with contextlib.suppress(OSError):
                if not self._is_ours():
                    return
                with open(self.path, "r+") as file:
                    file.write(self._text(count))

    def _take_from(self, seen: str) -> None:
        """Remove a dead owner's file; if another observer was faster and this is its new file, put that back."""
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex[:8]}")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        if aside.read_text(errors="replace") != seen:
            with contextlib.suppress(OSError):
                os.link(aside, self.path)
        aside.unlink(missing_ok=True)
