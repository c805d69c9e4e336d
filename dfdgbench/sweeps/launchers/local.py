"""The local launcher: a bounded pool of processes, one GPU each where there are GPUs.

A worker executes many tasks, so that importing torch is paid once; a task starts when what it needs is there. A worker
that crashes takes only its task with it: the tasks that were under way are tried again, each alone, so that the one to
blame is known.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from dfdgbench.engine.config import Execution
from dfdgbench.engine.interrupt import Interrupted, terminated_like_interrupted
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.plan import SweepPlan, Task
from dfdgbench.sweeps.worker import attempt, initialise, sequence_of, visible_gpus

log = logging.getLogger("dfdgbench")
Result = tuple[float, str, str]


@dataclass
class _Board:
    """Which tasks are ready, under way, done and failed."""

    waiting: dict[str, Task]
    there: set[str]
    under_way: dict[Future[Result], Task] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)

    def ready(self, most: int) -> list[Task]:
        """At most ``most`` tasks all of whose needs have ended, well or not: a run makes what is missing itself."""
        there = self.there | self.ended
        return [task for task in self.waiting.values() if task.needs <= there][:most]

    def start(self, task: Task, future: Future[Result]) -> None:
        """The task is under way."""
        del self.waiting[task.id]
        self.under_way[future] = task


@LAUNCHERS.register("local")
class Local(Launcher):
    """On this machine; ``jobs`` defaults to the number of GPUs, or of CPU cores where there is none."""

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        gpus = visible_gpus() if execution.device in ("auto", "cuda") else []
        jobs = self.jobs or len(gpus) or os.cpu_count() or 1
        jobs = max(1, min(jobs, len(plan.tasks)))
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        board = _Board({task.id: task for task in plan.tasks}, plan.there)
        total = len(plan.tasks)
        log.info("%d tasks in %d processes%s", total, jobs, f" on GPUs {', '.join(gpus)}" if gpus else "")
        bar = tqdm(total=total, unit="task", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        pool = self._pool(jobs, gpus, sweep)
        try:
            with terminated_like_interrupted():
                while board.waiting or board.under_way:
                    try:
                        self._round(board, pool, jobs, sweep, execution, bar)
                    except BrokenProcessPool:
                        pool.shutdown(wait=False, cancel_futures=True)
                        self._after_crash(board, gpus, sweep, execution, bar)
                        pool = self._pool(jobs, gpus, sweep)
        except KeyboardInterrupt as error:
            self._stop(pool)
            raise Interrupted(
                "Stopped; what was under way has left snapshots. The same command goes on from them.", 2
            ) from error
        finally:
            bar.close()
        pool.shutdown()
        return Outcome(board.failed)

    @staticmethod
    def _stop(pool: ProcessPoolExecutor) -> None:
        """Have every worker leave a snapshot: a terminal's Ctrl-C reaches them too, a scheduler's signal does not."""
        for child in multiprocessing.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid or 0, signal.SIGTERM)
        pool.shutdown(wait=True, cancel_futures=True)

    @staticmethod
    def _pool(jobs: int, gpus: list[str], sweep: SweepFolder) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        names = None
        if gpus:
            names = context.Queue()
            for name in sequence_of(gpus, jobs):
                names.put(name)
        return ProcessPoolExecutor(jobs, context, initialise, (names, str(sweep.path / "logs")))

    def _round(
        self,
        board: _Board,
        pool: ProcessPoolExecutor,
        jobs: int,
        sweep: SweepFolder,
        execution: Execution,
        bar: tqdm[Any],
    ) -> None:
        """Fill the pool, wait for one task to end, note how."""
        for task in board.ready(jobs - len(board.under_way)):
            board.start(task, self._start(pool, task, sweep, execution))
        done, _ = wait(board.under_way, return_when=FIRST_COMPLETED)
        for future in done:
            result = future.result()  # a crash is raised here, with the task still on the board
            self._note(board, board.under_way.pop(future), result, bar)

    @staticmethod
    def _start(pool: ProcessPoolExecutor, task: Task, sweep: SweepFolder, execution: Execution) -> Future[Result]:
        key = task.id if task.stage is not None else None
        return pool.submit(attempt, task.run.config, execution, str(sweep.folder(task.run).path), key)

    def _after_crash(
        self, board: _Board, gpus: list[str], sweep: SweepFolder, execution: Execution, bar: tqdm[Any]
    ) -> None:
        """Try again what was under way, each task alone in a process of its own."""
        suspects = list(board.under_way.values())
        board.under_way.clear()
        for task in suspects:
            # Twice: a bystander of the crash has not had its own first attempt.
            result = self._alone(task, gpus, sweep, execution) or self._alone(task, gpus, sweep, execution)
            if result is None:
                result = (0.0, "its process crashed, twice (killed, out of memory?)", "")
                if task.stage is None:  # it could not say so itself
                    sweep.folder(task.run).say("failed", error=result[1])
            self._note(board, task, result, bar)

    def _alone(self, task: Task, gpus: list[str], sweep: SweepFolder, execution: Execution) -> Result | None:
        """One attempt in a process of its own; None if the process crashed."""
        with self._pool(1, gpus[:1], sweep) as pool, contextlib.suppress(BrokenProcessPool):
            return self._start(pool, task, sweep, execution).result()
        return None

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
