"""A sweep whose processes are killed at random: it ends complete, and as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

TABLE = """
name: chaos
title: Chaos
trials: 4
options: {network: smallcnn, image_size: 28, weights: none, checkpoint_freq: 20, protocol: domainbed}
hparams: {batch_size: 8}
parts: [{title: Debug28, dataset: Debug28, columns: {"0": a, "1": b}}]
rows:
  - {label: ERM, algorithm: ERM, options: {steps: 500}}
  - {label: AvgPred, algorithm: AvgPred, hparams: {teacher.steps: 400, teacher.batch_size: 8}}
  - {label: BestTeacher, algorithm: BestTeacher, hparams: {teacher.steps: 400, teacher.batch_size: 8}}
  - label: Soup
    algorithm: Soup
    hparams:
      teacher.steps: 400
      teacher.batch_size: 8
      inversion.steps: 20
      inversion.images: 16
      inversion.group: 8
      inversion.required_accuracy: 0
  - label: Multi-DI
    algorithm: Multi-DI
    hparams:
      teacher.steps: 400
      teacher.batch_size: 8
      inversion.steps: 20
      inversion.images: 16
      inversion.group: 8
      inversion.required_accuracy: 0
      distillation.batch_size: 8
      distillation.epochs: 40
"""
SECONDS = 120
RUNS = 40


def launch(folder: Path) -> subprocess.Popen[bytes]:
    """The sweep, with two workers, in a process group of its own."""
    command = [
        sys.executable,
        "-m",
        "dfdgbench",
        "sweep",
        "launch",
        str(folder / "chaos.yaml"),
        "--output-dir",
        str(folder / "out"),
    ]
    command += ["--artifacts", str(folder / "artifacts"), "--jobs", "2", "--device", "cpu", "--checkpoint-every", "0.2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DFDGBENCH_CACHE": str(folder / "cache")}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def children(pid: int) -> list[int]:
    """The worker processes of a launcher; not the resource tracker that Python keeps beside them."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            status = (entry / "stat").read_text().rsplit(")", 1)[1].split() if entry.name.isdigit() else ["", "0"]
            if int(status[1]) == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (OSError, IndexError):
            continue
    return found


def records(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Every run's records without what depends on time and place."""
    found = {}
    for path in sorted((folder / "out" / "runs").glob("*/results.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line.pop("step_time", None)
            line["args"].pop("output_dir")
        found[path.parent.name] = lines
    return found


def made(folder: Path) -> Counter[str]:
    """How often each shared stage was made, as the workers' logs tell."""
    lines = [line for log in (folder / "out" / "logs").glob("*.txt") for line in log.read_text().splitlines()]
    return Counter(line.split(" ", 2)[2].split(": made in")[0] for line in lines if ": made in" in line)


@pytest.mark.slow
def test_a_sweep_whose_children_are_killed_at_random_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    calm, chaos = tmp_path / "calm", tmp_path / "chaos"
    for folder in (calm, chaos):
        folder.mkdir()
        (folder / "chaos.yaml").write_text(TABLE)
    undisturbed = launch(calm)
    assert undisturbed.communicate(timeout=1500)[0] is not None
    assert undisturbed.returncode == 0

    choose, killed = random.Random(0), 0
    ends, launcher = time.monotonic() + SECONDS, launch(chaos)
    while time.monotonic() < ends:
        time.sleep(choose.uniform(1, 12))
        if (
            launcher.poll() is not None
        ):  # a task that was hit too often has failed, or all is done: go on until time is up
            launcher = launch(chaos)
        victims = children(launcher.pid)
        if victims:
            os.kill(choose.choice(victims), signal.SIGKILL)
            killed += 1
    output = launcher.communicate(timeout=1500)[0].decode()
    if launcher.returncode:  # a task that was hit too often
        launcher = launch(chaos)
        output = launcher.communicate(timeout=1500)[0].decode()
    assert launcher.returncode == 0, output
    assert killed >= 5
    assert f"{RUNS} of {RUNS} runs are done" in output
    assert records(chaos) == records(calm)
    assert not made(chaos) - made(calm), "a shared stage was made twice"
