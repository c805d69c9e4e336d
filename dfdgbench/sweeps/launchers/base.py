"""What a launcher is: three methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from dfdgbench.engine.config import Execution
from dfdgbench.registry import Registry, subclass_check
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.resources import Resources
from dfdgbench.sweeps.plan import SweepPlan
from dfdgbench.sweeps.processes import ask_to_stop


@dataclass(frozen=True)
class Outcome:
    """How a submission ended.

    Attributes:
        failed: for launchers that wait: ids of what failed, with the reason.
        handed_over: for launchers that do not wait: what to tell the person; None for those that do.
    """

    failed: dict[str, str]
    handed_over: str | None = None


class Launcher(ABC):
    """Args:
    jobs: how many tasks run at a time; None for the launcher's own choice.
    resources: what jobs of a scheduler ask for; None for nothing in particular.

    Attributes:
        uses_resources: whether it hands tasks to a scheduler.
        prints: whether what it returns is all that is to be printed, as for a pipe.
    """

    uses_resources: ClassVar[bool] = False
    prints: ClassVar[bool] = False

    def __init__(self, jobs: int | None = None, resources: Resources | None = None) -> None:
        self.jobs, self.resources = jobs, resources or Resources()

    @abstractmethod
    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        """Execute the plan's tasks, or hand them to who does."""

    def status(self, sweep: SweepFolder) -> dict[str, str]:
        """Run ids to states; by default what the runs' folders tell."""
        return {run.run_id: sweep.folder(run).state() for run in sweep.runs()}

    def cancel(self, sweep: SweepFolder) -> int:
        """Ask what runs on this machine to stop after a snapshot; returns how many processes were asked."""
        return ask_to_stop(sweep.path)


LAUNCHERS: Registry[type[Launcher]] = Registry(
    "launcher", "dfdgbench.sweeps.launchers", "dfdgbench.launchers", subclass_check("launcher", Launcher)
)
