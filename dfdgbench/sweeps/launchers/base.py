"""What a launcher is: four methods. Importing launchers imports no torch, so that asking one how a sweep is stays quick."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dfdgbench.engine.config import Execution
from dfdgbench.registry import Registry, subclass_check
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.resources import Resources
from dfdgbench.sweeps.processes import ask_to_stop

if TYPE_CHECKING:
    from dfdgbench.sweeps.plan import SweepPlan


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
        shares_gpus: whether it has several tasks share a GPU, without a scheduler.
        prints: whether what it returns is all that is to be printed, as for a pipe.
    """

    uses_resources: ClassVar[bool] = False
    shares_gpus: ClassVar[bool] = False
    prints: ClassVar[bool] = False

    def __init__(self, jobs: int | None = None, resources: Resources | None = None) -> None:
        self.jobs, self.resources = jobs, resources or Resources()

    def check(self, sweep: SweepFolder, plan: SweepPlan) -> None:  # noqa: B027  (most have nothing to check)
        """``DfdgbenchError`` where the plan could not be submitted; called before anything is written."""

    @abstractmethod
    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        """Execute the plan's tasks, or hand them to who does."""

    def status(self, sweep: SweepFolder) -> dict[str, str]:
        """Run ids to states; by default what the runs' folders tell."""
        return {run.run_id: sweep.folder(run).state() for run in sweep.runs()}

    def jobs_told(self, sweep: SweepFolder) -> str:
        """One line about jobs of a scheduler, which make more than runs; empty where there are none."""
        return ""

    def cancel(self, sweep: SweepFolder) -> int:
        """Ask what runs on this machine to stop after a snapshot; returns how many processes were asked."""
        return ask_to_stop(sweep.path)


LAUNCHERS: Registry[type[Launcher]] = Registry(
    "launcher", "dfdgbench.sweeps.launchers", "dfdgbench.launchers", subclass_check("launcher", Launcher)
)
