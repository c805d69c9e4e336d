"""Processes of this machine that work on a sweep: found by the leases that they hold, asked to stop by a signal."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections import Counter
from pathlib import Path

from dfdgbench.leases import gone

RUN_LEASES, FRONT_LEASES = "runs/*/lease", "launching/*"


def ask_to_stop(sweep: Path) -> int:
    """Send SIGTERM to every process here that works on the sweep in ``sweep``; returns how many were asked.

    A front process passes the signal on to its workers, so these are left alone: a second signal would end them
    before their snapshot. Workers whose front process has died are asked themselves. Who holds a lease is known by
    process id and start, so that another process which got an old id is never touched.
    """
    fronts = _pids(sweep, FRONT_LEASES)
    workers = {pid for pid in _pids(sweep, RUN_LEASES) if _parent(pid) not in fronts}
    asked = 0
    for pid in fronts | workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            asked += 1
    return asked


def elsewhere(sweep: Path) -> Counter[str]:
    """How many runs other machines hold, by host name; some of these machines may have died."""
    hosts = Counter(owner.split(" ")[0] for owner in _owners(sweep, RUN_LEASES))
    del hosts[socket.gethostname()]
    return hosts


def held_here(lease: Path) -> bool:
    """Whether a process on this machine, which has not ended, holds ``lease``."""
    return _pid(_owner(lease)) is not None


def _pids(sweep: Path, leases: str) -> set[int]:
    return {pid for owner in _owners(sweep, leases) if (pid := _pid(owner)) is not None}


def _pid(owner: str) -> int | None:
    """The process of a lease's owner; None where it is no process of this machine, or has ended."""
    host, *rest = owner.split(" ")
    here = host == socket.gethostname() and rest and rest[0].isdecimal() and not gone(owner)
    return int(rest[0]) if here else None


def _owners(sweep: Path, leases: str) -> list[str]:
    owners = [_owner(path) for path in sweep.glob(leases)]
    return [owner for owner in owners if " " in owner]


def _owner(lease: Path) -> str:
    with contextlib.suppress(OSError):
        return lease.read_text(errors="replace").split("\n")[0]
    return ""


def _parent(pid: int) -> int:
    """The id of a process's parent; 0 where that cannot be known."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0
