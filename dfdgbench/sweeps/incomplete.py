"""Deleting the folders of runs that have not ended well, and never that of a run that somebody is at."""

from __future__ import annotations

import os
import shlex
import shutil
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from dfdgbench.errors import ConfigError
from dfdgbench.files import explained
from dfdgbench.leases import Lease
from dfdgbench.sweeps.processes import FRONT_LEASES
from dfdgbench.sweeps.status import STALE, RunStatus, SweepStatus, Watcher

KEPT = ("done", "trained", "running", "queued", "preempted")
Found = tuple[RunStatus, Path]


def incomplete(status: SweepStatus) -> list[Found]:
    """The runs that have a folder but are neither done nor in anybody's hands, with their folders.

    Raises:
        ConfigError: a launch is under way, which may begin with any of them.
    """
    if any(not Watcher().dead(lease) for lease in status.path.glob(FRONT_LEASES)):
        raise ConfigError(
            f"A launch of {status.path} is under way and may begin with any run. Wait for it, or type: dfdgbench sweep cancel "
            f"{shlex.quote(str(status.path))}. If its machine has died, remove {status.path / 'launching'}."
        )
    found = [(run, status.path / "runs" / run.run) for run in status.runs if run.state not in KEPT]
    return [(run, folder) for run, folder in found if folder.is_dir() and not folder.is_symlink()]


def delete(found: Iterable[Found]) -> tuple[int, list[Path]]:
    """Delete runs' folders; returns how many, and those that were left because somebody has them.

    Whoever deletes holds the run's lease. A folder is renamed first, so that one that is there is whole.
    """
    deleted, left = 0, []
    for run, folder in found:
        until = time.monotonic() + 1.0
        lease = Lease(folder / "lease", stale=0.3 if run.state == "lost" else STALE)  # lost: watched for long enough
        with lease.waiting(ready=lambda until=until: time.monotonic() > until) as ours:  # type: ignore[misc]
            if not ours or (folder / "done").exists():
                left.append(folder)
                continue
            aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
            with explained(folder, "That the folder is gone"):
                os.rename(folder, aside)
                shutil.rmtree(aside)
            deleted += 1
    return deleted, left
