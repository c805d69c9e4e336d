"""The ledger: which job of the scheduler was given which tasks.

It is written before a submission and completed after it, and jobs are recognised by names that occur once, so that a
launching process which dies between the two loses no job.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dfdgbench.files import explained
from dfdgbench.sweeps.slurm.commands import QueuedJob


@dataclass(frozen=True)
class Submission:
    """One array, or one job.

    Attributes:
        name: the job's name, which occurs once.
        job: the scheduler's number; None before it is known.
        bundles: ids of the tasks of each element.
        tasks: the bundle file's name.
        time: seconds since 1970.
    """

    name: str
    job: str | None
    level: int
    bundles: list[list[str]]
    tasks: str
    time: float


def fresh_name(sweep: str, level: int) -> str:
    """A job's name: readable, and like no other."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '-', sweep)[:40]}-level{level}-{uuid.uuid4().hex[:8]}"


class Ledger:
    """Args:
    folder: the launcher's folder within the sweep's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "submissions.jsonl"
        self._read: dict[str, Submission] | None = None

    def add(self, submission: Submission) -> None:
        """Append a line, synced."""
        with explained(self.file, "The launcher's list of jobs"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.file, "ab+") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
                cut = file.read() not in (b"", b"\n")  # by a full disk: what follows is a line of its own
                file.write((b"\n" if cut else b"") + json.dumps(asdict(submission)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._read = None

    def submissions(self) -> list[Submission]:
        """Every submission, in order."""
        return list(self._by_name().values())

    def live(self, jobs: Sequence[QueuedJob]) -> dict[str, QueuedJob]:
        """This sweep's tasks that are in ``jobs``, by id."""
        found: dict[str, QueuedJob] = {}
        for job in jobs:
            submission = self._by_name().get(job.name)
            if submission is not None and job.index < len(submission.bundles):
                found |= dict.fromkeys(submission.bundles[job.index], job)
        return found

    def jobs(self, jobs: Sequence[QueuedJob]) -> list[QueuedJob]:
        """Those of ``jobs`` that are this sweep's."""
        return [job for job in jobs if job.name in self._by_name()]

    def _by_name(self) -> dict[str, Submission]:
        """Every submission, with its number where that was noted; read once a ledger."""
        if self._read is None:
            self._read = {}
            for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []:
                try:
                    submission = Submission(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # a line that a full disk cut
                self._read[submission.name] = submission
        return self._read


def noted(name: str, level: int, bundles: list[list[str]], tasks: str) -> Submission:
    """A submission that has no number yet."""
    return Submission(name, None, level, bundles, tasks, time.time())
