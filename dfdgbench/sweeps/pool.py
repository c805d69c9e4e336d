"""Worker processes that execute tasks beside each other, one GPU each where there are GPUs, or several a GPU.

A worker executes many tasks, so that importing torch is paid once; a task starts when what it needs is there. A worker that
crashes takes its own task with it and no other: another worker takes its place, and the task is tried again, from its
snapshot, a few times. Importing this module imports no torch.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Any

from dfdgbench.engine.interrupt import SIGNALS
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.sweeps.worker import Result, Worker, sequence_of, serve

if TYPE_CHECKING:
    from dfdgbench.engine.config import Execution, RunConfig

log = logging.getLogger("dfdgbench")
ATTEMPTS = 5


@dataclass(frozen=True)
class Piece:
    """A task as a worker process takes it.

    Attributes:
        folder: the run's.
        stage: the key of the stage to make; None to execute the run.
        needs: ids of the tasks that must have ended before.
        trains: whether it may make stages that are missing.
    """

    id: str
    title: str
    config: RunConfig
    folder: str
    stage: str | None
    needs: frozenset[str] = frozenset()
    trains: bool = True


@dataclass
class Board:
    """Which tasks are waiting and ended, and how often each one's process crashed.

    Attributes:
        ended: ids of tasks that ended, well or not, and of what was there before.
    """

    waiting: dict[str, Piece]
    ended: set[str]
    crashes: Counter[str] = field(default_factory=Counter)

    def take(self) -> Piece | None:
        """The next task all of whose needs have ended, well or not: a run makes what is missing itself."""
        ready = next((piece for piece in self.waiting.values() if piece.needs <= self.ended), None)
        return self.waiting.pop(ready.id) if ready is not None else None

    def crashed(self, piece: Piece) -> bool:
        """Put a task whose process crashed back in the queue, at its end; False if it has crashed too often."""
        self.crashes[piece.id] += 1
        if self.crashes[piece.id] < ATTEMPTS:
            self.waiting[piece.id] = piece
            return True
        return False


class _Process:
    """A worker's process, and the task that it is at."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.piece: Piece | None = None
        self.start()

    def start(self) -> None:
        """A fresh process."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=serve, args=(theirs, self.worker), daemon=False)
        with _held_back():
            self.process.start()
        theirs.close()  # or the end of the process would not be seen

    def give(self, piece: Piece, execution: Execution) -> None:
        """Have it execute ``piece``."""
        self.piece = piece
        with contextlib.suppress(OSError):  # a process that has died is noticed where results are waited for
            self.connection.send((piece.config, execution, piece.folder, piece.stage, piece.trains))

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
        """Have it leave a snapshot and end: a terminal's Ctrl-C reaches it too, a scheduler's signal may not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal.SIGTERM)

    def close(self) -> None:
        """Let an idle worker end."""
        self.connection.close()
        self.process.join()


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    """A process that is started in the body hears signals only once it is ready for them (:func:`serve`)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # starting it has let some through again
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Pool:
    """Args:
    size: how many processes.
    gpus: which they share, as CUDA_VISIBLE_DEVICES names them; none for what is there.
    worker: what every process is told; its GPU is set here.
    """

    def __init__(self, size: int, gpus: Sequence[str], execution: Execution, worker: Worker) -> None:
        self.execution = execution
        self.workers = [worker.on(gpu) for gpu in (sequence_of(list(gpus), size) if gpus else [None] * size)]

    def work(
        self, pieces: Sequence[Piece], ended: Callable[[Piece, Result], None], there: frozenset[str] = frozenset()
    ) -> None:
        """Execute ``pieces``. Whatever is raised meanwhile has every process leave a snapshot and end before it goes on.

        Args:
            ended: called with every task that ended, well or not, and what came of it.
            there: ids of what is needed and there already.
        """
        board = Board({piece.id: piece for piece in pieces}, set(there))
        processes: list[_Process] = []
        try:
            for worker in self.workers:
                processes.append(_Process(worker))
            while busy := self._busy(board, processes):
                for ready in wait(list(busy)):
                    self._take_result(board, busy[ready], ended)
        except BaseException:
            for process in processes:
                process.stop()
            raise
        finally:
            for process in processes:
                process.close()

    def _busy(self, board: Board, processes: Sequence[_Process]) -> dict[Any, _Process]:
        """Processes by connection, all those at a task that there is one for."""
        for process in processes:
            piece = board.take() if process.piece is None else None
            if piece is not None:
                process.give(piece, self.execution)
        return {process.connection: process for process in processes if process.piece is not None}

    def _take_result(self, board: Board, process: _Process, ended: Callable[[Piece, Result], None]) -> None:
        piece = process.piece
        assert piece is not None
        process.piece = None
        result = process.result()
        if result is None and board.crashed(piece):
            log.warning("%s: its process crashed (killed, out of memory?) and is tried again", piece.title)
            return
        board.ended.add(piece.id)
        ended(piece, result or _crashed_for_good(piece))


def _crashed_for_good(piece: Piece) -> Result:
    """The result of a task whose process crashed too often; its run could not say so itself."""
    message = f"its process crashed, {ATTEMPTS} times (killed, out of memory?)"
    if piece.stage is None:
        RunFolder(piece.folder).say("failed", error=message)
    return 0.0, message, ""
