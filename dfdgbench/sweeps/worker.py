"""What a worker process does. Importing this module imports no torch: a worker is told its GPU first."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cores import SHARE
from dfdgbench.engine.interrupt import Interrupted, stopped_by_signals
from dfdgbench.engine.progress import on_kept

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.engine.stage import Stage
    from dfdgbench.planning import Plan

Result = tuple[float, str, str]
"""Seconds, message, traceback; the message is "" where all went well."""


@dataclass(frozen=True)
class Worker:
    """What a worker process is told.

    Attributes:
        logs: the folder for a log of its own; None for standard output, which workers then share.
        gpu: its GPU, as CUDA_VISIBLE_DEVICES names it; None for what is there.
        cores: how many it may use; None for all that are there.
        on_kept: called when it has kept something that work goes on from.
    """

    logs: str | None
    gpu: str | None = None
    cores: int | None = None
    on_kept: Callable[[], None] | None = None

    def on(self, gpu: str | None) -> Worker:
        """The same with a GPU."""
        return replace(self, gpu=gpu)


def serve(connection: Connection, worker: Worker) -> None:
    """Execute the tasks that come over ``connection`` until it is closed; a worker process's main function."""
    _initialise(worker)
    listening = on_kept(worker.on_kept) if worker.on_kept else contextlib.nullcontext()
    with contextlib.suppress(EOFError, Interrupted, OSError), stopped_by_signals(), listening:
        while True:
            connection.send(attempt(*connection.recv()))


def _initialise(worker: Worker) -> None:
    """Take the GPU, if there is one, and a share of the cores; log to a file of this worker's own, or with the others."""
    if worker.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = worker.gpu
    if worker.cores is not None:
        os.environ[SHARE] = str(worker.cores)
    os.environ.setdefault("TQDM_DISABLE", "1")
    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter(f"worker {os.getpid()}: %(message)s"))
    if worker.logs is not None:
        Path(worker.logs).mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(Path(worker.logs) / f"worker-{os.getpid()}.txt")
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logging.raiseExceptions = False  # a log file on a full disk: what matters is told otherwise
    logger = logging.getLogger("dfdgbench")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def perform(config: RunConfig, execution: Execution, folder: str, stage_key: str | None, trains: bool = True) -> float:
    """Make one shared stage of a run, or execute the run; returns the seconds it took.

    Args:
        trains: whether stages that are missing are made; else they are an ``ArtifactError``.
    """
    from dfdgbench.sweeps.plan import find_stage

    began = time.perf_counter()
    planned = _plan(config.model_dump_json(), execution.model_dump_json())
    if stage_key is not None:
        planned.require().engine().ensure(find_stage(planned, stage_key))
    else:
        if not trains:
            _check_made(planned)
        planned.execute(folder)
    return time.perf_counter() - began


def _check_made(planned: Plan) -> None:
    """``ArtifactError`` where the run would have to make steps of a stage: its job was not given what training takes."""
    from dfdgbench.errors import ArtifactError, listing

    store = planned.require().engine().store

    def missing(stages: Sequence[Stage]) -> Iterator[str]:
        for stage in stages:
            if not store.path(stage.address).exists():
                yield from [stage.title] if stage.steps else missing(stage.inputs)

    absent = listing(dict.fromkeys(missing(planned.last.inputs)), 5)
    if absent:
        raise ArtifactError(
            f"This run combines what others make, in a job without what training takes, and this was not made: {absent}. "
            "Their own logs say why. `dfdgbench sweep launch`, typed again, makes them and then this run."
        )


def attempt(config: RunConfig, execution: Execution, folder: str, stage_key: str | None, trains: bool = True) -> Result:
    """:func:`perform` whose failures are values, which any process can read: seconds, message, traceback."""
    from dfdgbench.errors import DfdgbenchError

    try:
        return perform(config, execution, folder, stage_key, trains), "", ""
    except DfdgbenchError as error:
        return 0.0, str(error), ""
    except BaseException as error:
        return 0.0, f"{type(error).__name__}: {error}", traceback.format_exc()


@lru_cache(maxsize=4)
def _plan(config: str, execution: str) -> Plan:
    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.planning import plan

    return plan(RunConfig.model_validate_json(config), Execution.model_validate_json(execution))


def visible_gpus() -> list[str]:
    """The GPUs that workers share, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def sequence_of(values: list[Any], count: int) -> list[Any]:
    """``count`` values, going round ``values``."""
    return [values[i % len(values)] for i in range(count)]
