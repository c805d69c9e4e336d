"""Runs that fail or take their process with them: the rest finishes, and what failed is named and retried."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

ALGORITHM = '''
import os, pathlib, signal
from dfdgbench.algorithms.base import Paper, register
from dfdgbench.algorithms.erm import ERM
from dfdgbench.errors import DataError
from dfdgbench.hparams import hparam
from dfdgbench.settings import DOMAIN_GENERALISATION

@register("Trouble", setting=DOMAIN_GENERALISATION, paper=Paper("Nobody"))
class Trouble(ERM):
    """What it is told to be."""

    class Hparams(ERM.Hparams):
        kind: str = hparam("none", doc="of trouble")
        until: str = hparam("", doc="a file; where it is, there is no trouble")

    def update(self, minibatches, unlabeled=None):
        until = pathlib.Path(self.hparams.until)
        once = until.with_suffix(".once")
        if self.hparams.kind == "crash once" and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hparams.kind == "crash" and not until.is_file():
            os.kill(os.getpid(), signal.SIGKILL)
        if self.hparams.kind == "bug" and not until.is_file():
            raise RuntimeError("a bug of one's own")
        if self.hparams.kind == "mend" and not until.is_file():
            raise DataError("something to mend")
        return super().update(minibatches, unlabeled)
'''

TABLE = """
name: trouble
title: Trouble
trials: 1
options: {network: smallcnn, steps: 2, checkpoint_freq: 0}
hparams: {batch_size: 4, until: FILE}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": first}}]
rows:
"""


@pytest.fixture
def launch(cli: Callable, module: Callable, tmp_path: Path) -> Callable:
    """Launches a sweep of ERM and of rows with the given kinds of trouble."""
    module("trouble", ALGORITHM)

    def call(*kinds: str, launcher: str, jobs: int = 1) -> object:
        rows = [f"  - {{label: '{kind}', algorithm: 'trouble:Trouble', hparams: {{kind: '{kind}'}}}}" for kind in kinds]
        table = TABLE.replace("FILE", str(tmp_path / "mended")) + "\n".join([*rows, "  - {label: ERM, algorithm: ERM}"])
        (tmp_path / "trouble.yaml").write_text(table)
        arguments = ("--launcher", launcher, "--jobs", jobs, "--device", "cpu", "--output-dir", "out")
        return cli("sweep", "launch", "trouble.yaml", *arguments)

    return call


def folder_of(kind: str, tmp_path: Path) -> Path:
    """The folder of the run with this kind of trouble."""
    configs = (tmp_path / "out" / "runs").glob("*/config.json")
    return next(path.parent for path in configs if json.loads(path.read_text())["hparams"].get("kind") == kind)


def test_crashing_workers_take_only_their_own_runs_with_them(launch: Callable, cli: Callable, tmp_path: Path) -> None:
    ended = launch("crash once", "crash", "none", launcher="local", jobs=2)
    assert ended.code == 1
    assert "3 of 4 runs are done" in ended.out
    (failure,) = ended.err.splitlines()
    assert failure.startswith("dfdgbench: failed: trouble:Trouble Debug28 -> 0 (trial 0): its process crashed, 5 times")
    assert not (folder_of("crash", tmp_path) / "done").exists()
    assert (folder_of("crash once", tmp_path) / "done").exists()
    status = cli("sweep", "status", "out").out
    assert "its process crashed, 5 times" in status
    assert {"3 done", "1 failed"} == set(status.splitlines()[-1].removeprefix("4 runs: ").split(", "))


@pytest.mark.parametrize(("kind", "launcher"), [("bug", "local"), ("mend", "debug")])
def test_a_failure_is_recorded_and_a_relaunch_tries_again(
    launch: Callable, cli: Callable, tmp_path: Path, kind: str, launcher: str
) -> None:
    ended = launch(kind, launcher=launcher)
    message = {"bug": "a bug of one's own", "mend": "something to mend"}[kind]
    assert ended.code == 1
    assert "1 of 2 runs are done" in ended.out
    assert "failed: trouble:Trouble Debug28 -> 0 (trial 0): " in ended.err
    assert message in ended.err
    assert "Traceback" not in ended.err
    folder = folder_of(kind, tmp_path)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], message in status["error"]) == ("failed", True)
    assert "Traceback" in status["traceback"]
    assert "Traceback" in (folder / "err.txt").read_text()
    assert not (folder / "done").exists()
    assert message in cli("sweep", "status", "out").out
    (tmp_path / "mended").touch()
    again = launch(kind, launcher=launcher)
    assert again.code == 0
    assert "To do: 1 tasks" in again.out
    assert "2 of 2 runs are done" in again.out
    assert "1 failed" not in cli("sweep", "status", "out").out
