"""The loop can be stopped at any step and ends with the same bits."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from tiny import Drift, Killed, killer

from dfdgbench.engine import snapshots
from dfdgbench.engine.interrupt import Interrupted, asked, interruptible
from dfdgbench.engine.loop import Silent, run_loop
from dfdgbench.engine.snapshots import pack
from dfdgbench.engine.work import Work
from dfdgbench.seeds import untouched_randomness

LENGTH = 6


@pytest.fixture(autouse=True)
def _own_randomness() -> Iterator[None]:
    with untouched_randomness():
        yield


@pytest.fixture
def stage(artifacts: Path) -> Drift:
    return Drift(tiny.problem(artifacts), length=LENGTH)


def outcome(stage: Drift, snapshot: Path, tick: object = lambda progress: None, every: float = 0.0) -> str:
    """Everything that the loop's state is at the end."""
    state = run_loop(stage, Work(stage, tiny.CPU, {}), snapshot, every, Silent(), tick)  # type: ignore[arg-type]
    return repr(pack(state))


@pytest.mark.parametrize("kills", [[step] for step in range(1, LENGTH)] + [[1] * (LENGTH - 1), [2, 1, 2]], ids=str)
def test_killed_and_resumed_it_ends_as_if_left_alone(stage: Drift, tmp_path: Path, kills: list[int]) -> None:
    alone = outcome(stage, tmp_path / "alone")
    for steps in kills:
        with pytest.raises(Killed):
            outcome(stage, tmp_path / "snapshot", killer(steps))
    assert outcome(stage, tmp_path / "snapshot") == alone


def test_a_finished_loop_is_not_gone_through_again(stage: Drift, tmp_path: Path) -> None:
    alone = outcome(stage, tmp_path / "snapshot")
    stage.on_step = lambda number: pytest.fail(f"step {number} is done")
    assert outcome(stage, tmp_path / "snapshot") == alone


def test_snapshots_are_taken_when_they_are_due(stage: Drift, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        outcome(stage, tmp_path / "snapshot", killer(4), every=1e9)
    assert not (tmp_path / "snapshot").exists()


def test_a_damaged_snapshot_is_told_and_the_end_is_the_same(
    stage: Drift, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = outcome(stage, tmp_path / "alone")
    with pytest.raises(Killed):
        outcome(stage, tmp_path / "snapshot", killer(3))
    with open(tmp_path / "snapshot", "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"xx")
    first: list[int] = []
    stage.on_step = first.append
    with caplog.at_level(logging.WARNING, "dfdgbench"):
        assert outcome(stage, tmp_path / "snapshot") == alone
    assert first[0] == 0
    assert "is damaged. Starting again from the first step." in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_it_after_a_snapshot(stage: Drift, tmp_path: Path, number: signal.Signals) -> None:
    alone = outcome(stage, tmp_path / "alone")

    def send(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), number)

    stage.on_step = send
    told = r"Stopped at step 3 of 6 of 'drift 0'.*same command goes on"
    with pytest.raises(Interrupted, match=told) as caught, interruptible():
        outcome(stage, tmp_path / "snapshot", every=1e9)
    assert caught.value.signal == number
    content = snapshots.load(tmp_path / "snapshot")
    assert content is not None
    assert content["step"] == 3
    stage.on_step = lambda step: None
    assert outcome(stage, tmp_path / "snapshot") == alone


def test_a_second_signal_acts_as_it_did_before() -> None:
    acted: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: acted.append(number))
    try:
        with interruptible():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert (asked(), acted) == (signal.SIGUSR1, [])
            os.kill(os.getpid(), signal.SIGUSR1)
            assert acted == [signal.SIGUSR1]
        assert asked() == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(acted) == 2
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_steps_are_timed_and_counted(stage: Drift, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    outcome(stage, tmp_path / "snapshot", lambda progress: seen.append((progress.done, progress.total)))
    assert seen == [(step, LENGTH) for step in range(1, LENGTH + 1)]
