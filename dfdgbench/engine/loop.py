"""The loop: written once for every stage, it can be killed at any instant and ends with the same bits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from dfdgbench.engine import snapshots
from dfdgbench.engine.interrupt import Interrupted, asked
from dfdgbench.engine.problem import at_work
from dfdgbench.engine.progress import Progress, kept
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError
from dfdgbench.seeds import seed_everything

log = logging.getLogger("dfdgbench")


class Recorder(Protocol):
    """What happens between steps: a run writes records, a shared stage nothing."""

    def after(self, state: State, work: Work, number: int, metrics: Metrics, seconds: float) -> None:
        """Called after each step."""

    def saved(self) -> dict[str, Any]:
        """What a snapshot must hold of it."""

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what :meth:`saved` returned; to the beginning, given nothing."""


class Silent:
    """The recorder of shared stages: keeps the last step's metrics."""

    def __init__(self) -> None:
        self.last: Metrics = {}

    def after(self, state: State, work: Work, number: int, metrics: Metrics, seconds: float) -> None:
        self.last = metrics

    def saved(self) -> dict[str, Any]:
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        pass


def run_loop(
    stage: Stage,
    work: Work,
    snapshot: Path,
    every: float,
    recorder: Recorder,
    tick: Callable[[Progress], None] = lambda progress: None,
) -> State:
    """All steps of ``stage``, from its snapshot if there is one.

    Args:
        snapshot: the snapshot's file; removed by whoever keeps the result.
        every: seconds between snapshots.
        tick: called after each step, for whoever shows progress.

    Raises ``Interrupted``, after a snapshot, when a signal asked to stop.
    """
    seed_everything(stage.seed)
    with at_work(stage.reads):
        state = stage.start(work)
    number = _resume(stage, state, snapshot, recorder)
    progress = Progress(stage.title, stage.steps, number)
    saved_at = time.monotonic()
    try:
        while number < stage.steps:
            began = time.perf_counter()
            with at_work(stage.reads):
                metrics = stage.step(state, work, number)
            recorder.after(state, work, number, metrics, time.perf_counter() - began)
            number += 1
            progress.advance()
            tick(progress)
            if asked() or time.monotonic() - saved_at >= every:
                _save(snapshot, stage, state, number, recorder)
                saved_at = time.monotonic()
                _stop_if_asked(stage, number)
    finally:
        progress.close()
    return state


def _save(path: Path, stage: Stage, state: State, number: int, recorder: Recorder) -> None:
    content = {
        "key": stage.key,
        "step": number,
        "state": snapshots.pack(state),
        "generators": snapshots.global_generators(),
        "recorder": recorder.saved(),
    }
    snapshots.save(path, content)
    kept()


def _resume(stage: Stage, state: State, path: Path, recorder: Recorder) -> int:
    """Restore the snapshot, if there is an undamaged one; returns the number of steps already done."""
    try:
        content = snapshots.load(path)
        if content is not None and content["key"] != stage.key:
            raise ArtifactError(f"The snapshot {path} is of another version of this stage.")
    except ArtifactError as error:
        log.warning("%s: %s Starting again from the first step.", stage.title, error)
        path.unlink()
        content = None
    if content is None:
        recorder.restore({})
        return 0
    snapshots.unpack(state, content["state"])
    snapshots.set_global_generators(content["generators"])
    recorder.restore(content["recorder"])
    log.info("%s: going on from step %d of %d", stage.title, content["step"], stage.steps)
    return int(content["step"])


def _stop_if_asked(stage: Stage, number: int) -> None:
    if asked():
        raise Interrupted(
            f"Stopped at step {number} of {stage.steps} of '{stage.title}', after a snapshot. The same command goes on from it.",
            asked(),
        )
