"""What a scheduler's job executes: bundles, command lines, signals, requeues."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fake_slurm import Fake

from dfdgbench.cli import sweep_work
from dfdgbench.cli.main import main
from dfdgbench.engine.config import RunConfig
from dfdgbench.engine.interrupt import Interrupted
from dfdgbench.errors import ConfigError
from dfdgbench.sweeps import worker
from dfdgbench.sweeps.slurm.script import Command


@pytest.fixture
def lines(fake: Fake, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The command lines of a sweep of two runs on tiny data, by the launcher `commands`."""
    rows = "[{label: ERM, algorithm: ERM, options: {steps: 2}, hparams: {batch_size: 4}}]"
    parts = '[{title: D, dataset: Debug28, columns: {"0": a, "1": b}}]'
    text = f"name: t\ntitle: t\ntrials: 1\noptions: {{network: smallcnn, checkpoint_freq: 0}}\nparts: {parts}\nrows: {rows}\n"
    Path("it's t.yaml").write_text(text)
    assert (
        main(["sweep", "launch", "it's t.yaml", "--launcher", "commands", "--device", "cpu", "--output-dir", "a b"])
        == 0
    )
    return capsys.readouterr().out.splitlines()


def arguments(line: str) -> list[str]:
    """What a shell makes of a line."""
    done = subprocess.run(
        ["bash", "-c", f"dfdgbench() {{ printf '%s\\0' \"$@\"; }}; {line}"], capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def test_commands_are_printed_alone_and_quoted_and_do_the_work(lines: list[str]) -> None:
    assert lines[0] == "# level 0"
    assert len(lines) == 3
    for line in lines[1:]:
        assert main(arguments(line)) == 0
    assert len(list(Path("a b/runs").glob("*/done"))) == 2
    assert main(arguments(lines[1])) == 0  # done already


@pytest.mark.parametrize(("index", "told"), [(7, "has no bundle 7"), (0, "is damaged")])
def test_lists_of_tasks_that_are_wrong(
    lines: list[str], capsys: pytest.CaptureFixture[str], index: int, told: str
) -> None:
    given = arguments(lines[1])
    Path(given[4]).write_text("{}\n")
    assert main([*given[:6], str(index)]) == 1
    assert told in capsys.readouterr().err


def test_a_failure_keeps_no_other_task_of_the_bundle_from_being_tried(
    fake: Fake, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(lines[1])
    bundle = [json.loads(line) for line in Path(given[4]).read_text().splitlines()]
    bundle[0]["tasks"] += bundle[1]["tasks"]
    Path(given[4]).write_text(json.dumps(bundle[0]) + "\n")
    tried = []

    def perform(config: RunConfig, *_: object) -> float:
        tried.append(config.test_envs)
        raise (ConfigError("no luck") if len(tried) == 1 else ValueError("a bug"))

    monkeypatch.setattr(worker, "perform", perform)
    assert main(given) == 1
    assert tried == [[0], [1]]
    shown = capsys.readouterr().out
    assert "no luck" in shown
    assert "ValueError: a bug" in shown


@pytest.mark.parametrize(
    ("number", "state", "code", "requeued"),
    [
        (signal.SIGUSR2, "RUNNING", 0, ["requeue", "40_3"]),
        (signal.SIGTERM, "RUNNING", 0, ["requeue", "40_3"]),
        (signal.SIGTERM, "CANCELLED", 143, None),
        (signal.SIGINT, "RUNNING", 130, None),
    ],
)
def test_a_stopped_job_is_queued_again_unless_it_was_cancelled(
    fake: Fake,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    state: str,
    code: int,
    requeued: list[str] | None,
) -> None:
    for name, value in {"JOB_ID": "43", "ARRAY_JOB_ID": "40", "ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fake.says("scontrol-show-job", f"JobId=43 ArrayJobId=40 JobState={state} Reason=None\n")
    monkeypatch.setattr(worker, "perform", lambda *_: signal.raise_signal(number))
    assert main(arguments(lines[1])) == code
    asked = [given for given, _ in fake.calls("scontrol") if given[0] == "requeue"]
    assert asked == ([requeued] if requeued else [])


def test_a_scheduler_that_does_not_answer_leaves_the_signals_exit_code(
    fake: Fake, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    fake.says("scontrol.fails", "Access denied\n")
    monkeypatch.setattr(worker, "perform", lambda *_: signal.raise_signal(signal.SIGUSR1))
    assert main(arguments(lines[1])) == 128 + signal.SIGUSR1


def test_a_second_signal_leaves_a_loop_its_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_work, "asked", lambda: signal.SIGTERM)
    with sweep_work._stopped_by_signals():
        signal.raise_signal(signal.SIGUSR2)
    monkeypatch.setattr(sweep_work, "asked", lambda: 0)
    with pytest.raises(Interrupted), sweep_work._stopped_by_signals():
        signal.raise_signal(signal.SIGUSR2)


def test_signals_that_come_while_python_starts_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, given: started.append(given))
    try:
        Command(("sweep", "work"))()
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(Interrupted), sweep_work._stopped_by_signals():
            pytest.fail("the signal was lost")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, sweep_work.SIGNALS)
    assert started == [[sys.executable, "-u", "-m", "dfdgbench", "sweep", "work"]]
