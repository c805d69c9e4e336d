"""What a launcher is: three methods."""

from __future__ import annotations

import os
import signal
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass

from dfdgbench.engine.config import Execution
from dfdgbench.registry import Registry, subclass_check
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.plan import SweepPlan


@dataclass(frozen=True)
class Outcome:
    """How a submission ended, for launchers that wait: ids of what failed, with the reason."""

    failed: dict[str, str]


class Launcher(ABC):
    """Args:
    jobs: how many tasks run at a time; None for the launcher's own choice.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self.jobs = jobs

    @abstractmethod
    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        """Execute the plan's tasks, or hand them to who does."""

    def status(self, sweep: SweepFolder) -> dict[str, str]:
        """Run ids to states; by default what the runs' folders tell."""
        return {run.run_id: sweep.folder(run).state() for run in sweep.runs()}

    def cancel(self, sweep: SweepFolder) -> int:
        """Ask what runs on this machine to stop after a snapshot; returns how many processes were asked."""
        asked = set()
        for run in sweep.runs():
            status = sweep.folder(run).status()
            if status.get("state") == "running" and status.get("host") == socket.gethostname():
                asked.add(int(status["pid"]))
        for pid in asked:
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        return len(asked)


LAUNCHERS: Registry[type[Launcher]] = Registry(
    "launcher", "dfdgbench.sweeps.launchers", "dfdgbench.launchers", subclass_check("launcher", Launcher)
)
