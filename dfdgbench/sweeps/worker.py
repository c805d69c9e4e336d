"""What a worker process does. Importing this module imports no torch: a worker is told its GPU first."""

from __future__ import annotations

import contextlib
import logging
import os
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.planning import Plan

Result = tuple[float, str, str]
"""Seconds, message, traceback; the message is "" where all went well."""


def serve(connection: Connection, gpu: str | None, log_folder: str) -> None:
    """Execute the tasks that come over ``connection`` until it is closed; a worker process's main function."""
    _initialise(gpu, log_folder)
    with contextlib.suppress(EOFError, KeyboardInterrupt, OSError):
        while True:
            connection.send(attempt(*connection.recv()))


def _initialise(gpu: str | None, log_folder: str) -> None:
    """Take the GPU, if there is one, and log to a file of this worker's own."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    os.environ.setdefault("TQDM_DISABLE", "1")
    Path(log_folder).mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(Path(log_folder) / f"worker-{os.getpid()}.txt")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("dfdgbench")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def perform(config: RunConfig, execution: Execution, folder: str, stage_key: str | None) -> float:
    """Make one shared stage of a run, or execute the run; returns the seconds it took."""
    from dfdgbench.sweeps.plan import find_stage

    began = time.perf_counter()
    planned = _plan(config.model_dump_json(), execution.model_dump_json())
    if stage_key is not None:
        planned.require().engine().ensure(find_stage(planned, stage_key))
    else:
        planned.execute(folder)
    return time.perf_counter() - began


def attempt(config: RunConfig, execution: Execution, folder: str, stage_key: str | None) -> Result:
    """:func:`perform` whose failures are values, which any process can read: seconds, message, traceback."""
    from dfdgbench.errors import DfdgbenchError

    try:
        return perform(config, execution, folder, stage_key), "", ""
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
