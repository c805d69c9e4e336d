"""From resources to what submitit writes into a job's script, and the command that a job executes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfdgbench.engine.interrupt import SIGNALS
from dfdgbench.sweeps.launchers.resources import Resources


@dataclass(frozen=True)
class Command:
    """What submitit's pickle holds: the arguments of ``dfdgbench``, and nothing of the sweep itself.

    The process becomes the command, so that the scheduler's signals reach it; those that come while Python starts are
    held back until :func:`dfdgbench.cli.sweep_work.run` is ready for them.
    """

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, "-u", "-m", "dfdgbench", *self.arguments])


def work_arguments(sweep: Path, tasks: Path, index: int, tasks_per_gpu: int = 1) -> tuple[str, ...]:
    """The arguments that have ``dfdgbench`` execute one bundle."""
    several = ("--tasks-per-gpu", str(tasks_per_gpu)) if tasks_per_gpu > 1 else ()
    return ("sweep", "work", str(sweep), "--tasks", str(tasks), "--index", str(index), *several)


def warning_seconds(minutes: int | None) -> int:
    """How long before its time limit a job is told: long enough for a snapshot, short against the job."""
    return 120 if minutes is None else max(15, min(120, 60 * minutes // 4))


def parameters(resources: Resources, name: str, count: int, most: int | None, after: list[str]) -> dict[str, Any]:
    """submitit's parameters of an array.

    Args:
        count: how many elements it has.
        most: how many of them run at a time; None for all.
        after: the jobs that must have ended, well or not.
    """
    given: dict[str, Any] = {
        "job_name": name,
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "gres": resources.gres,
        "time": resources.time,
        "mem": resources.mem,
        "nodes": 1,
        "cpus_per_task": resources.cpus,
        "dependency": f"afterany:{':'.join(after)}" if after else None,
        "array_parallelism": most or count,
        "signal_delay_s": warning_seconds(resources.time),
        "wckey": None,  # submitit's own would be refused where these are tracked
        "setup": list(resources.setup) or None,
        "additional_parameters": {**resources.slurm, "requeue": True, "chdir": os.getcwd()},
    }
    if resources.cpus is not None:
        given["srun_args"] = [f"--cpus-per-task={resources.cpus}"]  # srun takes it from the job no more, since 22.05
    return given


def python_of(resources: Resources) -> str:
    """What starts Python in a job, as a shell takes it."""
    return resources.python or shlex.quote(sys.executable)
