"""The debug launcher: everything in this process, one task after the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dfdgbench.engine.config import Execution
from dfdgbench.errors import DfdgbenchError
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.worker import perform

if TYPE_CHECKING:
    from dfdgbench.sweeps.plan import SweepPlan

log = logging.getLogger("dfdgbench")


@LAUNCHERS.register("debug")
class Debug(Launcher):
    """In this process, in order of level; a bug ends the sweep with its traceback.

    What needs something that failed is tried too: it may need less.
    """

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        failed: dict[str, str] = {}
        for number, task in enumerate(plan.tasks, 1):
            log.info("[%d/%d] %s", number, len(plan.tasks), task.title)
            try:
                perform(task.run.config, execution, str(sweep.folder(task.run).path), task.id if task.stage else None)
            except DfdgbenchError as error:
                failed[task.id] = f"{task.title}: {error}"
                log.error("failed: %s", failed[task.id])
        return Outcome(failed)
