"""The local launcher: a bounded number of worker processes, one GPU each where there are GPUs.

A worker executes many tasks, so that importing torch is paid once; a task starts when what it needs is there. A worker that
crashes takes its own task with it and no other: another worker takes its place, and the task is tried again, from its
snapshot, a few times.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

from tqdm import tqdm

from dfdgbench.engine.config import Execution
from dfdgbench.engine.interrupt import Interrupted, terminated_like_interrupted
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.plan import SweepPlan, Task
from dfdgbench.sweeps.worker import Result, sequence_of, serve, visible_gpus

log = logging.getLogger("dfdgbench")
ATTEMPTS = 5


@dataclass
class _Board:
    """Which tasks are waiting, ended and failed, and how often each one's process crashed."""

    waiting: dict[str, Task]
    there: set[str]
    ended: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    crashes: Counter[str] = field(default_factory=Counter)

    def take(self) -> Task | None:
        """The next task all of whose needs have ended, well or not: a run makes what is missing itself."""
        there = self.there | self.ended
        ready = next((task for task in self.waiting.values() if task.needs <= there), None)
        return self.waiting.pop(ready.id) if ready is not None else None

    def crashed(self, task: Task) -> bool:
        """Put a task whose process crashed back in the queue, at its end; False if it has crashed too often."""
        self.crashes[task.id] += 1
        if self.crashes[task.id] < ATTEMPTS:
            self.waiting[task.id] = task
            return True
        return False


class _Worker:
    """A process that executes tasks, and the one it is at."""

    def __init__(self, gpu: str | None, logs: str) -> None:
        self.gpu, self.logs = gpu, logs
        self.task: Task | None = None
        self.start()

    def start(self) -> None:
        """A fresh process."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=serve, args=(theirs, self.gpu, self.logs), daemon=False)
        self.process.start()
        theirs.close()  # or the end of the process would not be seen

    def give(self, task: Task, sweep: SweepFolder, execution: Execution) -> None:
        """Have it execute ``task``."""
        self.task = task
        key = task.id if task.stage is not None else None
        with contextlib.suppress(OSError):  # a process that has died is noticed where results are waited for
            self.connection.send((task.run.config, execution, str(sweep.folder(task.run).path), key))

    def result(self) -> Result | None:
        """What came of its task; None if the process crashed, and another one is started."""
        with contextlib.suppress(EOFError, OSError):
            result: Result = self.connection.recv()
            return result
        self.process.join()
        self.connection.close()
        self.start()
        return None

    def stop(self) -> None:
        """Have it leave a snapshot and end: a terminal's Ctrl-C reaches it too, a scheduler's signal does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal.SIGTERM)

    def close(self) -> None:
        """Let an idle worker end."""
        self.connection.close()
        self.process.join()


@LAUNCHERS.register("local")
class Local(Launcher):
    """On this machine; ``jobs`` defaults to the number of GPUs, or of CPU cores where there is none."""

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        gpus = visible_gpus() if execution.device in ("auto", "cuda") else []
        jobs = self.jobs or len(gpus) or os.cpu_count() or 1
        jobs = max(1, min(jobs, len(plan.tasks)))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        board = _Board({task.id: task for task in plan.tasks}, plan.there)
        log.info("%d tasks in %d processes%s", len(plan.tasks), jobs, f" on GPUs {', '.join(gpus)}" if gpus else "")
        if not plan.tasks:
            return Outcome({})
        bar = tqdm(total=len(plan.tasks), unit="task", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        workers: list[_Worker] = []
        try:
            with terminated_like_interrupted():
                for gpu in sequence_of(gpus, jobs) if gpus else [None] * jobs:
                    workers.append(_Worker(gpu, str(sweep.path / "logs")))
                self._work(board, workers, sweep, execution, bar)
        except KeyboardInterrupt as error:
            for worker in workers:
                worker.stop()
            raise Interrupted(
                "Stopped; what was under way has left snapshots. The same command goes on from them.", 2
            ) from error
        finally:
            bar.close()
            for worker in workers:
                worker.close()
        return Outcome(board.failed)

    def _work(
        self, board: _Board, workers: Sequence[_Worker], sweep: SweepFolder, execution: Execution, bar: tqdm[Any]
    ) -> None:
        """Keep every worker at a task until none is left."""
        while True:
            for worker in workers:
                task = board.take() if worker.task is None else None
                if task is not None:
                    worker.give(task, sweep, execution)
            busy: dict[Any, _Worker] = {worker.connection: worker for worker in workers if worker.task is not None}
            if not busy:
                return
            for ready in wait(list(busy)):
                self._ended(board, busy[ready], sweep, bar)

    def _ended(self, board: _Board, worker: _Worker, sweep: SweepFolder, bar: tqdm[Any]) -> None:
        """Note what came of a worker's task."""
        task = worker.task
        assert task is not None
        worker.task = None
        result = worker.result()
        if result is None and board.crashed(task):
            log.warning("%s: its process crashed (killed, out of memory?) and is tried again", task.title)
            return
        if result is None:
            result = (0.0, f"its process crashed, {ATTEMPTS} times (killed, out of memory?)", "")
            if task.stage is None:  # it could not say so itself
                sweep.folder(task.run).say("failed", error=result[1])
        self._note(board, task, result, bar)

    @staticmethod
    def _note(board: _Board, task: Task, result: Result, bar: tqdm[Any]) -> None:
        seconds, message, trace = result
        board.ended.add(task.id)
        bar.update()
        if message:
            board.failed[task.id] = f"{task.title}: {message}"
            log.error("failed: %s%s", board.failed[task.id], f"\n{trace}" if trace else "")
        elif bar.disable:
            log.info("[%d/%d] %s: %.1f s", len(board.ended), bar.total, task.title, seconds)
        else:
            bar.set_postfix_str(f"{task.title}: {seconds:.1f} s at {time.strftime('%H:%M:%S')}")
