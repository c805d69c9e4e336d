"""``dfdgbench sweep work``: what a scheduler's job executes; a person seldom types it."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import positive
from dfdgbench.cli.output import fail
from dfdgbench.engine.interrupt import Interrupted, stopped_by_signals
from dfdgbench.engine.progress import on_kept
from dfdgbench.errors import DfdgbenchError

if TYPE_CHECKING:
    from dfdgbench.engine.config import Execution
    from dfdgbench.engine.runfolder import RunFolder
    from dfdgbench.sweeps.bundles import HandedTask
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.slurm.requeues import Requeues

log = logging.getLogger("dfdgbench")


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "work",
        help="execute one bundle of a launched sweep's tasks, as jobs of a scheduler do",
        description="Execute one bundle of a launched sweep's tasks; launchers make these command lines.",
        epilog="example:\n  dfdgbench sweep work runs/mine --tasks runs/mine/launcher/LIST.jsonl --index 0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--tasks", type=Path, required=True, metavar="FILE", help="a launcher's list of tasks")
    parser.add_argument("--index", type=int, required=True, metavar="N", help="which bundle of it, from 0")
    parser.add_argument(
        "--tasks-per-gpu",
        type=positive,
        default=1,
        metavar="N",
        help="tasks that share a GPU, or a job without one, each in a process of its own; default 1: in this process",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Execute the bundle; exit code 1 if a task failed, or if the job was queued again too often for nothing."""
    from dfdgbench.sweeps.slurm.requeues import MOST, Requeues

    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    requeues = Requeues.of_job(options.tasks, options.index, os.environ)
    try:
        with stopped_by_signals(), on_kept(requeues.progress):
            bundle = _read(options)
            if requeues.fruitless > MOST:  # it was killed before it could stop asking
                return bundle.give_up(requeues)
            return _work(bundle, options.tasks_per_gpu, requeues)
    except Interrupted as error:
        if not _goes_on(error.signal, os.environ):
            raise
        if requeues.fruitless >= MOST:
            return _read(options).give_up(requeues)
        if not _requeued(os.environ):
            raise
        log.info("%s It was queued again.", error)
        return 0


@dataclass(frozen=True)
class _Bundle:
    """What this process is to execute, and how."""

    sweep: SweepFolder
    tasks: list[HandedTask]
    execution: Execution

    def folder(self, task: HandedTask) -> RunFolder:
        """Where the task's run lives."""
        from dfdgbench.engine.runfolder import RunFolder

        return RunFolder(self.sweep.path / "runs" / task.run)

    def left(self) -> list[HandedTask]:
        """The tasks that are not done, as far as runs' folders tell."""
        return [task for task in self.tasks if task.stage is not None or not self.folder(task).done]

    def give_up(self, requeues: Requeues) -> int:
        """Tell why this job does not go on, and note it in the folders of the runs that it had begun."""
        message = requeues.message(self.execution.checkpoint_every)
        fail(message)
        for task in self.left():
            folder = self.folder(task)
            if task.stage is None and folder.state() in ("running", "stopped"):
                folder.say("failed", error=message)
        return 1


def _read(options: argparse.Namespace) -> _Bundle:
    from dfdgbench.engine.config import Execution
    from dfdgbench.sweeps.bundles import read_bundle
    from dfdgbench.sweeps.folder import SweepFolder

    sweep = SweepFolder(options.folder)
    sweep.runs()  # a wrong folder is told before anything is made in it
    tasks, how = read_bundle(options.tasks, options.index)
    return _Bundle(sweep, tasks, Execution(**how))


def _work(bundle: _Bundle, tasks_per_gpu: int, requeues: Requeues) -> int:
    """Execute the tasks, several at a time where that was asked for; the exit code."""
    left = bundle.left()
    if tasks_per_gpu > 1 and len(left) > 1:
        return _beside_each_other(bundle, left, tasks_per_gpu, requeues)
    failed = 0
    for number, task in enumerate(left, 1):
        began = time.monotonic()
        log.info("[%d/%d] %s", number, len(left), task.title)
        failed += not _tried(task, bundle.execution, str(bundle.folder(task).path))
        log.info("[%d/%d] %s: %.1f s", number, len(left), task.title, time.monotonic() - began)
    return 1 if failed else 0


def _beside_each_other(bundle: _Bundle, left: Sequence[HandedTask], tasks_per_gpu: int, requeues: Requeues) -> int:
    """Execute the tasks in worker processes that share the job's GPUs and cores."""
    from dfdgbench.cores import divided
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.sweeps.pool import Piece, Pool
    from dfdgbench.sweeps.worker import Result, Worker, visible_gpus

    gpus = visible_gpus() if bundle.execution.device in ("auto", "cuda") else []
    size = min(len(left), tasks_per_gpu * max(1, len(gpus)))
    pieces = [
        Piece(
            task.id,
            task.title,
            RunConfig.make(**task.config),
            str(bundle.folder(task).path),
            task.stage,
            trains=task.trains,
        )
        for task in left
    ]
    failures = []
    log.info("%d tasks, %d at a time%s", len(left), size, f" on GPUs {', '.join(gpus)}" if gpus else "")

    def ended(piece: Piece, result: Result) -> None:
        seconds, message, trace = result
        if message:
            failures.append(piece.id)
            log.error("failed: %s: %s%s", piece.title, message, f"\n{trace}" if trace else "")
        else:
            log.info("%s: %.1f s", piece.title, seconds)

    worker = Worker(None, cores=divided(size), on_kept=requeues.progress)
    Pool(size, gpus, bundle.execution, worker).work(pieces, ended)
    return 1 if failures else 0


def _tried(task: HandedTask, execution: Execution, folder: str) -> bool:
    """Perform a task; a failure is logged, and the bundle's other tasks are tried as well."""
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.sweeps.worker import perform

    try:
        perform(RunConfig.make(**task.config), execution, folder, task.stage, task.trains)
    except Interrupted:
        raise
    except DfdgbenchError as error:
        log.error("failed: %s: %s", task.title, error)
        return False
    except Exception:
        log.error("failed: %s\n%s", task.title, traceback.format_exc())
        return False
    return True


def _goes_on(number: int, environment: Mapping[str, str]) -> bool:
    """Whether a job that was stopped by a signal is one that somebody wants to go on: not one that was cancelled."""
    from dfdgbench.sweeps.slurm.commands import own_job, running

    job = own_job(environment)
    if job is None or number == signal.SIGINT:
        return False
    try:
        return running(job)
    except DfdgbenchError as error:
        log.error("The scheduler does not say how this job is, so it is not queued again: %s", error)
        return False


def _requeued(environment: Mapping[str, str]) -> bool:
    """Whether the scheduler queued this job again: one that ends by itself counts as completed, or failed."""
    from dfdgbench.sweeps.slurm.commands import own_job, requeue

    try:
        requeue(own_job(environment) or "")
    except DfdgbenchError as error:
        log.error("The scheduler did not queue this job again: %s", error)
        return False
    return True
