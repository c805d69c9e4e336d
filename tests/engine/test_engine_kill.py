"""The command, killed by the system at instants that nobody chose, ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from dfdgbench.cli.main import main

KILLS = 10
PLACES = ["--output-dir", "run", "--artifacts", "artifacts"]
PROBLEM = ["--dataset", "Debug28", "--network", "smallcnn", "--device", "cpu", "--checkpoint-every", "0"]
DEKAN = tiny.tiny(
    "teacher", "inversion", "fusion", "distillation", teacher__steps=15, inversion__steps=15, fusion__steps=15
)
Command = list[str]


def command(algorithm: str, *options: str, **hparams: object) -> Command:
    given = [part for name, value in hparams.items() for part in ("--hparam", f"{name}={json.dumps(value)}")]
    return [sys.executable, "-m", "dfdgbench", "train", "--algorithm", algorithm, *PROBLEM, *PLACES, *options, *given]


def launch(arguments: Command, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def alone(arguments: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """The same run in this process, which nobody disturbs; returns its seconds."""
    folder.mkdir()
    began = time.monotonic()
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        assert main(arguments[3:]) == 0
    return time.monotonic() - began


def wait_until(process: subprocess.Popen[str], happened: Callable[[], bool]) -> float:
    """The time at which it has happened, or the process has ended."""
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return time.monotonic()


def running(folder: Path, pid: int) -> bool:
    """Whether process ``pid`` has begun with the run itself."""
    status = folder / "run" / "status.json"
    return status.exists() and json.loads(status.read_text())["pid"] == pid


def left(folder: Path) -> tuple[bytes, bytes]:
    """Records without times, and the model."""
    text = (folder / "run" / "results.jsonl").read_bytes()
    return re.sub(rb'"step_time": [0-9.e+-]+', b"", text), (folder / "run" / "model.safetensors").read_bytes()


def test_killed_at_ten_random_instants_it_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command("DEKAN", "--steps", "40", "--checkpoint-freq", "7", **DEKAN)
    seconds = alone(arguments, tmp_path / "alone", monkeypatch)
    delays, killed, done = random.Random(0), 0, 0
    while killed < KILLS and not (tmp_path / "killed" / "run" / "done").exists():
        process = launch(arguments, tmp_path / "killed")
        wait_until(process, lambda: running(tmp_path / "killed", process.pid))  # noqa: B023 - called at once
        time.sleep(delays.uniform(0, seconds / 10))
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        done = len(list((tmp_path / "killed" / "artifacts").glob("[!.]*/*/artifact.json")))
    assert killed >= KILLS // 2, "the run was done before it could be killed often"
    assert done, "it never came beyond its first stage"
    last = launch(arguments, tmp_path / "killed")
    out, err = last.communicate(timeout=120)
    assert last.returncode == 0, out + err
    assert left(tmp_path / "killed") == left(tmp_path / "alone")
    assert not list((tmp_path / "killed" / "artifacts" / ".work").rglob("snapshot"))
    assert not list((tmp_path / "killed" / "artifacts" / ".damaged").rglob("*"))


def test_asked_to_end_it_says_that_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = command("ERM", "--steps", "120", "--checkpoint-freq", "50", batch_size=8)
    alone(arguments, tmp_path / "alone", monkeypatch)
    process = launch(arguments, tmp_path / "asked")
    wait_until(process, (tmp_path / "asked" / "run" / "snapshot").exists)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert re.search(
        r"Stopped at step \d+ of 120 of 'train .*', after a snapshot. The same command goes on from it.", err
    )
    status = json.loads((tmp_path / "asked" / "run" / "status.json").read_text())
    assert status["state"] == "stopped"
    assert not (tmp_path / "asked" / "run" / "lease").exists()
    out, err = launch(arguments, tmp_path / "asked").communicate(timeout=120)
    assert "going on from step" in out, err
    assert left(tmp_path / "asked") == left(tmp_path / "alone")
