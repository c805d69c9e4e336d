"""Which GPU a worker gets, and that a worker's failure is a value."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from dfdgbench.cores import available_cores
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.sweeps.pool import ATTEMPTS, Board, Piece
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.sweeps.worker import Worker, _initialise, attempt, sequence_of, serve, visible_gpus


@pytest.mark.parametrize(
    ("named", "found"),
    [("", []), ("0", ["0"]), ("0,2", ["0", "2"]), ("GPU-8f,MIG-a1", ["GPU-8f", "MIG-a1"]), ("1,", ["1"])],
)
def test_workers_share_the_gpus_that_are_named(monkeypatch: pytest.MonkeyPatch, named: str, found: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == found


def test_without_a_name_they_share_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_gpus() == ["0", "1", "2"]


def test_more_workers_than_gpus_go_round() -> None:
    assert sequence_of(["0", "2"], 5) == ["0", "2", "0", "2", "0"]
    assert sequence_of(["0", "2"], 1) == ["0"]


@pytest.fixture
def _own_logger() -> Iterator[None]:
    logger = logging.getLogger("dfdgbench")
    before, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(before):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)


def _closed() -> Connection:
    """A connection over which nothing comes any more."""
    ours, theirs = Pipe()
    theirs.close()
    return ours


@pytest.mark.usefixtures("_own_logger")
def test_a_worker_takes_one_gpu_and_logs_to_a_file_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    monkeypatch.setenv("DFDGBENCH_CORES", "")
    serve(_closed(), Worker(str(tmp_path / "logs"), cores=1).on("2"))
    assert (os.environ["CUDA_VISIBLE_DEVICES"], available_cores()) == ("2", 1)
    logging.getLogger("dfdgbench").info("hello")
    assert (tmp_path / "logs" / f"worker-{os.getpid()}.txt").read_text().endswith(" hello\n")


@pytest.mark.usefixtures("_own_logger")
def test_a_worker_without_gpus_leaves_the_variable_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    serve(_closed(), Worker(str(tmp_path)))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def test_a_worker_is_told_its_gpu_before_torch_is_imported() -> None:
    code = "import dfdgbench.sweeps.worker, sys; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_failures_are_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(dataset="Debug28", network="smallcnn", steps=1, hparams={"batch_size": 4})
    execution = Execution(device="cpu", artifacts=tmp_path / "artifacts")
    seconds, message, trace = attempt(config, execution, str(tmp_path / "run"), None)
    assert (seconds > 0, message, trace) == (True, "", "")
    wrong = config.model_copy(update={"hparams": {"lrr": 1}})
    assert attempt(wrong, execution, str(tmp_path / "wrong"), None)[1].startswith("There is no hyper-parameter")
    monkeypatch.setattr("dfdgbench.sweeps.worker.perform", lambda *_: 1 / 0)
    seconds, message, trace = attempt(config, execution, str(tmp_path / "bug"), None)
    assert message == "ZeroDivisionError: division by zero"
    assert "Traceback" in trace


def test_cancelling_asks_what_runs_on_this_machine_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.leases import Lease
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.launchers.base import LAUNCHERS
    from dfdgbench.tables.spec import load

    asked: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, number: asked.append(pid))
    sweep = SweepFolder(tmp_path)
    runs = [SweepRun(0, 0, "A", RunConfig.make(dataset="Debug28", trial_seed=trial)) for trial in range(3)]
    sweep.write(load("quickstart"), runs, {})
    sweep.folder(runs[0]).say("running")
    sweep.folder(runs[1]).finish(1.0)
    launcher = LAUNCHERS.get("local")(1)
    assert list(launcher.status(sweep).values()) == ["running", "done", "absent"]
    assert launcher.cancel(sweep) == 0, "whoever wrote that holds no lease: it has ended, and its id may be another's"
    with Lease(sweep.folder(runs[0]).path / "lease").waiting():
        assert launcher.cancel(sweep) == 1
    assert asked == [os.getpid()]


def test_a_run_keeps_its_row_when_the_tables_rows_change(tmp_path: Path) -> None:
    from dfdgbench.engine.config import RunConfig
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.tables.spec import load

    spec = load("quickstart")
    sweep = SweepFolder(tmp_path)
    runs = [SweepRun(0, row, "blended", RunConfig.make(trial_seed=row)) for row in (1, 3)]
    sweep.write(spec, runs, {})
    fewer = spec.model_copy(update={"rows": [row for row in reversed(spec.rows) if row.label != "BestTeacher"]})
    sweep.write(fewer, [], {})
    assert [(fewer.rows[run.row].label, run.config.trial_seed) for run in sweep.runs()] == [("AvgPred", 1)]


def test_a_task_waits_for_what_it_needs_and_comes_back_last_after_a_crash() -> None:
    first, second, needy = (
        Piece(name, name, RunConfig.make(), "folder", None, frozenset(needs))
        for name, needs in (("a", ()), ("b", ()), ("c", ("a",)))
    )
    board = Board({piece.id: piece for piece in (needy, first, second)}, set())
    assert board.take() is first
    assert board.crashed(first)
    assert [board.take(), board.take(), board.take()] == [second, first, None]
    board.ended.add("a")
    assert board.take() is needy
    for _ in range(ATTEMPTS - 2):
        assert board.crashed(first)
    assert not board.crashed(first)


class _Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_worker_whose_log_is_on_a_full_disk_goes_on_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    logger = logging.getLogger("dfdgbench")
    before, level = list(logger.handlers), logger.level
    _initialise(Worker(str(tmp_path)))
    (handler,) = [found for found in logger.handlers if found not in before]
    assert isinstance(handler, logging.FileHandler)
    file = handler.setStream(_Full())  # type: ignore[arg-type]
    try:
        logger.info("a line that finds no room")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        if file is not None:
            file.close()
    assert "Traceback" not in capsys.readouterr().err
