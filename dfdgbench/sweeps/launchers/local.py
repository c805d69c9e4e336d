"""The local launcher: a bounded number of worker processes on this machine."""

from __future__ import annotations

import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from dfdgbench.cores import divided
from dfdgbench.engine.config import Execution
from dfdgbench.engine.interrupt import Interrupted, terminated_like_interrupted
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.pool import Piece, Pool
from dfdgbench.sweeps.worker import Result, Worker, visible_gpus

if TYPE_CHECKING:
    from dfdgbench.sweeps.plan import SweepPlan, Task

log = logging.getLogger("dfdgbench")


@LAUNCHERS.register("local")
class Local(Launcher):
    """On this machine; ``jobs`` defaults to the GPUs times the tasks a GPU, or to the CPU cores where there is no GPU."""

    shares_gpus = True

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        gpus = visible_gpus() if execution.device in ("auto", "cuda") else []
        jobs = self.jobs or self.resources.tasks_per_gpu * len(gpus) or os.cpu_count() or 1
        jobs = max(1, min(jobs, len(plan.tasks)))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        log.info("%d tasks in %d processes%s", len(plan.tasks), jobs, f" on GPUs {', '.join(gpus)}" if gpus else "")
        if not plan.tasks:
            return Outcome({})
        cores = divided(jobs) if jobs > len(gpus) > 0 else None
        pool = Pool(jobs, gpus, execution, Worker(str(sweep.path / "logs"), cores=cores))
        bar = tqdm(total=len(plan.tasks), unit="task", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        told = _Told(bar)
        try:
            with terminated_like_interrupted():
                pool.work([_piece(task, sweep) for task in plan.tasks], told.ended, frozenset(plan.there))
        except KeyboardInterrupt as error:
            raise Interrupted(
                "Stopped; what was under way has left snapshots. The same command goes on from them.", 2
            ) from error
        finally:
            bar.close()
        return Outcome(told.failed)


def _piece(task: Task, sweep: SweepFolder) -> Piece:
    key = task.id if task.stage is not None else None
    return Piece(task.id, task.title, task.run.config, str(sweep.folder(task.run).path), key, task.needs)


class _Told:
    """What came of tasks, as a person sees it while they are executed."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self.bar, self.count = bar, 0
        self.failed: dict[str, str] = {}

    def ended(self, piece: Piece, result: Result) -> None:
        """Note what came of a task."""
        seconds, message, trace = result
        self.count += 1
        self.bar.update()
        if message:
            self.failed[piece.id] = f"{piece.title}: {message}"
            log.error("failed: %s%s", self.failed[piece.id], f"\n{trace}" if trace else "")
        elif self.bar.disable:
            log.info("[%d/%d] %s: %.1f s", self.count, self.bar.total, piece.title, seconds)
        else:
            self.bar.set_postfix_str(f"{piece.title}: {seconds:.1f} s at {time.strftime('%H:%M:%S')}")
