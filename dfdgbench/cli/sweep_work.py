"""``dfdgbench sweep work``: what a scheduler's job executes; a person seldom types it."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.engine.interrupt import SIGNALS, Interrupted, asked
from dfdgbench.errors import DfdgbenchError

if TYPE_CHECKING:
    from dfdgbench.engine.config import Execution
    from dfdgbench.sweeps.bundles import HandedTask

log = logging.getLogger("dfdgbench")


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "work",
        help="execute one bundle of a launched sweep's tasks, as jobs of a scheduler do",
        description="Execute one bundle of a launched sweep's tasks in this process; launchers make these command lines.",
        epilog="example:\n  dfdgbench sweep work runs/mine --tasks runs/mine/launcher/LIST.jsonl --index 0",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--tasks", type=Path, required=True, metavar="FILE", help="a launcher's list of tasks")
    parser.add_argument("--index", type=int, required=True, metavar="N", help="which bundle of it, from 0")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Execute the bundle; exit code 1 if a task failed."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        with _stopped_by_signals():
            return _work(options)
    except Interrupted as error:
        if _requeued(error.signal, os.environ):
            log.info("%s It was queued again.", error)
            return 0
        raise


def _work(options: argparse.Namespace) -> int:
    from dfdgbench.engine.config import Execution
    from dfdgbench.sweeps.bundles import read_bundle
    from dfdgbench.sweeps.folder import SweepFolder

    sweep = SweepFolder(options.folder)
    sweep.runs()  # a wrong folder is told before anything is made in it
    tasks, how = read_bundle(options.tasks, options.index)
    execution = Execution(**how)
    failed = 0
    for number, task in enumerate(tasks, 1):
        began = time.monotonic()
        log.info("[%d/%d] %s", number, len(tasks), task.title)
        failed += not _tried(task, execution, sweep.path / "runs" / task.run)
        log.info("[%d/%d] %s: %.1f s", number, len(tasks), task.title, time.monotonic() - began)
    return 1 if failed else 0


def _tried(task: HandedTask, execution: Execution, folder: Path) -> bool:
    """Perform a task; a failure is logged, and the bundle's other tasks are tried as well."""
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.engine.runfolder import RunFolder
    from dfdgbench.sweeps.worker import perform

    if task.stage is None and RunFolder(folder).done:
        return True
    try:
        perform(RunConfig.make(**task.config), execution, str(folder), task.stage)
    except Interrupted:
        raise
    except DfdgbenchError as error:
        log.error("failed: %s: %s", task.title, error)
        return False
    except Exception:
        log.error("failed: %s\n%s", task.title, traceback.format_exc())
        return False
    return True


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Within the body, a signal raises ``Interrupted`` wherever no loop turns it into a snapshot."""

    def stop(number: int, frame: object) -> None:
        if not asked():  # else a loop is about to stop
            raise Interrupted("Stopped between steps. The same command goes on from the last snapshot.", number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # what came while Python started is heard now
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _requeued(number: int, environment: Mapping[str, str]) -> bool:
    """Whether the scheduler was asked to queue this job again: one that ends by itself counts as completed, or failed."""
    from dfdgbench.sweeps.slurm.commands import own_job, requeue

    job = own_job(environment)
    if job is None or number == signal.SIGINT:
        return False
    try:
        return requeue(job)
    except DfdgbenchError as error:
        log.error("The scheduler did not queue this job again: %s", error)
        return False
