"""What a scheduler's job executes: bundles, command lines, signals, requeues."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_slurm import Fake

from dfdgbench.cli import sweep_launch
from dfdgbench.cli.main import main
from dfdgbench.cores import divided
from dfdgbench.engine.config import RunConfig
from dfdgbench.engine.interrupt import SIGNALS, Interrupted, interruptible, stopped_by_signals
from dfdgbench.engine.progress import kept, on_kept
from dfdgbench.engine.runfolder import RunFolder
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


def test_a_scheduler_that_refuses_to_queue_it_again_leaves_the_signals_exit_code(
    fake: Fake, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    fake.says("scontrol-show-job", "JobId=43 JobState=RUNNING\n")
    fake.says("scontrol.fails", "\nAccess denied\n")  # it answers, and then refuses
    monkeypatch.setattr(worker, "perform", lambda *_: signal.raise_signal(signal.SIGUSR1))
    assert main(arguments(lines[1])) == 128 + signal.SIGUSR1
    assert "did not queue this job again: scontrol failed: Access denied" in capsys.readouterr().out


# Queued again for nothing ---------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(fake: Fake, lines: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, bool]]:
    """Executes a job that was queued again ``count`` times until a signal comes; its exit code, and whether it asked again."""
    monkeypatch.setenv("SLURM_JOB_ID", "43")
    fake.says("scontrol-show-job", "JobId=43 JobState=RUNNING\n")

    def call(count: int, keeps: bool = False) -> tuple[int, bool]:
        def perform(config: RunConfig, execution: object, folder: str, *_: object) -> None:
            RunFolder(folder).say("stopped")
            if keeps:
                kept()
            signal.raise_signal(signal.SIGUSR2)

        monkeypatch.setattr(worker, "perform", perform)
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(count))
        before = len(fake.calls("scontrol"))
        code = main(arguments(lines[1]))
        return code, any(given[0] == "requeue" for given, _ in fake.calls("scontrol")[before:])

    return call


def test_a_job_that_keeps_nothing_stops_asking(
    stopped: Callable[..., tuple[int, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert [stopped(count) for count in range(3)] == [(0, True)] * 3
    assert stopped(3) == (1, False)
    told = "Queued again 3 times, and not one step was kept: once more would not help. Give jobs longer (--time LIMIT), have"
    assert told in capsys.readouterr().err
    (run,) = Path("a b/runs").iterdir()
    assert RunFolder(run).state() == "failed"
    assert told in RunFolder(run).status()["error"]


def test_a_job_that_keeps_something_now_and_then_goes_on(stopped: Callable[..., tuple[int, bool]]) -> None:
    assert stopped(3, keeps=True) == (0, True)
    assert [stopped(count) for count in (4, 5)] == [(0, True)] * 2
    (note,) = Path("a b/launcher").glob("*.progress.json")
    note.write_text('{"beginning": ')  # damaged: as if nothing had been kept
    assert stopped(5) == (1, False)
    assert stopped(5, keeps=True)[0] == 1, "killed more often than it could ask: nothing is begun"
    assert note.read_text() == '{"beginning": '


def test_snapshots_artifacts_and_the_ends_of_runs_are_kept(lines: list[str]) -> None:
    given, counted = arguments(lines[1]), []
    bundle = json.loads(Path(given[4]).read_text().splitlines()[0])
    bundle["execution"]["checkpoint_every"] = 0
    Path(given[4]).write_text(json.dumps(bundle) + "\n")
    with on_kept(lambda: counted.append(len(list(Path("a b/runs").glob("*/done"))))):
        assert main(given) == 0
    assert counted == [0, 0, 1], "two steps, two snapshots, one end"


# Several at a time ----------------------------------------------------------------------------------------------------


def test_tasks_that_share_a_gpu_are_executed_by_processes_of_their_own(
    lines: list[str],
) -> None:
    given = arguments(lines[1])
    bundle = [json.loads(line) for line in Path(given[4]).read_text().splitlines()]
    first, second = bundle[0]["tasks"][0], bundle[1]["tasks"][0]
    wrong = {
        **first,
        "id": "wrong",
        "run": "wrong",
        "title": "a wrong one",
        "config": first["config"] | {"network": "no"},
    }
    Path(given[4]).write_text(json.dumps({**bundle[0], "tasks": [first, wrong, second]}) + "\n")
    command = [sys.executable, "-m", "dfdgbench", *given, "--tasks-per-gpu", "2"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert len(list(Path("a b/runs").glob("*/done"))) == 2
    printed = ended.stdout
    assert "3 tasks, 2 at a time" in printed
    assert "failed: a wrong one: There is no network 'no'" in printed
    assert len(set(re.findall(r"worker (\d+): ", printed))) == 2


@pytest.mark.parametrize(("cores", "asked", "share"), [(8, "", 2), (8, "4", 1), (2, "", 1), (8, "junk", 2)])
def test_cores_are_divided(monkeypatch: pytest.MonkeyPatch, cores: int, asked: str, share: int) -> None:
    monkeypatch.setattr("dfdgbench.cores.available_cores", lambda: cores)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", asked)
    assert divided(4) == share


# Runs that train nothing ----------------------------------------------------------------------------------------------


def test_runs_that_are_set_apart_because_they_only_combine_train_nothing(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--algorithms", "AvgPred", "--datasets", "Debug28", "--single-test-envs", "--test-envs", "0"]
    flags += [
        "--network",
        "smallcnn",
        "--hparam",
        "teacher.steps=1",
        "--hparam",
        "teacher.batch_size=4",
        "--output-dir",
        "out",
    ]
    flags += ["--device", "cpu", "--launcher", "commands", "--runs-per-job", "9", "--for", "combine", "cpus=1"]
    monkeypatch.setattr(
        sweep_launch, "_warn_of_other_code", lambda *_: logging.getLogger("dfdgbench").warning("beware")
    )
    assert main(["sweep", "launch", *flags]) == 0
    captured = capsys.readouterr()
    assert "warning: beware" in captured.err
    heads = [line for line in captured.out.splitlines() if line.startswith("#")]
    assert heads == ["# level 0 (teacher)", "# level 1 (combine), once the level before has ended"]
    train, combine = (line for line in captured.out.splitlines() if not line.startswith("#"))
    assert main(arguments(combine)) == 1
    assert (
        "in a job without what training takes, and this was not made: teacher 1, teacher 2" in capsys.readouterr().out
    )
    made: list[str] = []
    with on_kept(lambda: made.append("teacher")):
        assert main(arguments(train)) == 0
    assert made == ["teacher"] * 6, "two of each trial"
    assert main(arguments(combine)) == 0


def test_titles_tell_hparams_seeds_apart(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [
        "--algorithms",
        "ERM",
        "--datasets",
        "Debug28",
        "--single-test-envs",
        "--test-envs",
        "0",
        "--n-hparams",
        "2",
    ]
    assert main(["sweep", "plan", *flags, "--network", "smallcnn", "--json"]) == 0
    tasks = json.loads(capsys.readouterr().out)["tasks"]
    assert {task["title"] for task in tasks if "trial 0" in task["title"]} == {
        "ERM Debug28 -> 0 (trial 0)",
        "ERM Debug28 -> 0 (trial 0, hparams 1)",
    }


def test_only_the_first_signal_stops_what_is_under_way() -> None:
    with stopped_by_signals():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGUSR2)
        signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_leaves_a_loop_and_what_comes_after_it_alone() -> None:
    with stopped_by_signals():
        with contextlib.suppress(KeyError), interruptible():
            for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM):
                signal.raise_signal(number)
            raise KeyError  # as the loop does, once its snapshot is made
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_a_loop_heard_too_late_is_not_the_last_one_heard() -> None:
    with stopped_by_signals():
        with interruptible():
            signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)


def test_signals_that_come_while_python_starts_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, given: started.append(given))
    try:
        Command(("sweep", "work"))()
        assert signal.SIGUSR2 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.raise_signal(signal.SIGUSR2)
        with pytest.raises(Interrupted), stopped_by_signals():
            pytest.fail("the signal was lost")
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    assert started == [[sys.executable, "-u", "-m", "dfdgbench", "sweep", "work"]]
