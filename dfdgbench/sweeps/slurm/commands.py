"""SLURM's programs: what is asked of them, and their answers. Accounting (sacct) is never asked: it may not be there."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dfdgbench.errors import ConfigError, DfdgbenchError

T = TypeVar("T")
_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
_TRANSIENT = re.compile(
    r"timed out|unable to contact|connection refused|connection reset|temporarily|zero bytes|slurm_receive|try again"
    r"|communication|socket|unable to establish|backup controller",
    re.IGNORECASE,
)


class SchedulerError(DfdgbenchError):
    """A scheduler that refused something, or does not answer."""


def passing(message: str) -> bool:
    """Whether a refusal is one that passes: a controller that restarts or is overloaded."""
    return bool(_TRANSIENT.search(message))


def persistent(act: Callable[[], T], before_retry: Callable[[], object] = lambda: None) -> T:
    """``act()``, tried again with growing pauses while its ``SchedulerError`` is one that passes."""
    for pause in _PAUSES:
        try:
            return act()
        except SchedulerError as error:
            if not passing(str(error)):
                raise
            time.sleep(pause)
            before_retry()
    return act()


def call(program: str, *arguments: str) -> str:
    """The standard output of one of SLURM's programs; ``SchedulerError`` with what it said where it fails."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
    except FileNotFoundError as error:
        raise ConfigError(
            f"The program {program} is not here: this machine is no SLURM login node. Launch from one, or type "
            "--launcher local, or --launcher commands for another scheduler."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{program} timed out after 120 s.") from error
    if done.returncode:
        raise SchedulerError(f"{program} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def ask(program: str, *arguments: str) -> str:
    """:func:`call` for questions, asked again while the controller does not answer."""
    return persistent(lambda: call(program, *arguments))


def _fields(line: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in line.split() if "=" in pair)


def _names(text: str) -> list[str]:
    """A list of names; empty for any."""
    return [] if text in ("", "ALL", "(null)", "N/A") else text.split(",")


@dataclass(frozen=True)
class Partition:
    """Attributes:
    accounts, qos: who alone may use it; empty for anyone.
    minutes: the longest time limit; None for any.
    """

    name: str
    accounts: list[str]
    qos: list[str]
    minutes: int | None


@dataclass(frozen=True)
class Cluster:
    """What a cluster has, as far as options are checked against it."""

    partitions: list[Partition]
    features: list[str]
    array_size: int


def read_cluster() -> Cluster:
    """Ask the controller."""
    from dfdgbench.sweeps.launchers.resources import minutes

    partitions = []
    for line in ask("scontrol", "show", "partition", "-o").splitlines():
        fields = _fields(line)
        if "PartitionName" in fields:
            most = fields.get("MaxTime", "UNLIMITED")
            limit = None if most in ("UNLIMITED", "INFINITE", "NONE") else minutes(most)
            accounts, qos = _names(fields.get("AllowAccounts", "")), _names(fields.get("AllowQos", ""))
            partitions.append(Partition(fields["PartitionName"], accounts, qos, limit))
    features = {name for line in ask("sinfo", "-h", "-o", "%f").splitlines() for name in _names(line.strip())}
    size = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    return Cluster(partitions, sorted(features), int(size.group(1)) if size else 1001)


@dataclass(frozen=True)
class QueuedJob:
    """One job, or one element of an array, that has not ended.

    Attributes:
        id: what scancel and scontrol take: ``123``, or ``123_4``.
        index: within its array; 0 for a job that is no array's.
        state: SLURM's word: PENDING, RUNNING, COMPLETING, ...
        reason: SLURM's word for why it waits.
    """

    id: str
    index: int
    state: str
    reason: str
    name: str

    @property
    def held(self) -> bool:
        """Whether it waits for a person: one that could not be started, or was held by somebody, begins no more by itself."""
        return self.state == "PENDING" and ("held" in self.reason.lower() or self.reason.startswith("JobHold"))


def queue() -> list[QueuedJob]:
    """This user's jobs that have not ended."""
    rows = []
    user = pwd.getpwuid(os.getuid()).pw_name
    for line in ask("squeue", "-h", "-r", "-u", user, "-o", "%i|%K|%T|%r|%j").splitlines():
        parts = line.strip().split("|", 4)
        if len(parts) == 5:
            job, index, *rest = parts
            rows.append(QueuedJob(job, int(index) if index.isdigit() else 0, *rest))
    return rows


def cancel(jobs: Sequence[str]) -> None:
    """Cancel these jobs; one that has ended meanwhile is no error."""
    for start in range(0, len(jobs), 200):
        try:
            ask("scancel", *jobs[start : start + 200])
        except SchedulerError as error:
            if "invalid job id" not in str(error).lower():
                raise


def own_job(environment: Mapping[str, str]) -> str | None:
    """The job that this process is in, as scontrol takes it; None outside of one."""
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else environment.get("SLURM_JOB_ID")


def running(job: str) -> bool:
    """Whether a job that is at work goes on: one that somebody has cancelled does not, and must stay so."""
    return _fields(ask("scontrol", "show", "job", "-o", job)).get("JobState", "") == "RUNNING"


def requeue(job: str) -> None:
    """Have a running job queued again."""
    ask("scontrol", "requeue", job)
