"""Executing a plan: shared stages through the store, the predictor stage in the run's folder."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfdgbench.engine import diagnostics, records
from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.evaluation import evaluate
from dfdgbench.engine.interrupt import interruptible
from dfdgbench.engine.loop import Silent, run_loop
from dfdgbench.engine.pictures import pictures
from dfdgbench.engine.predictions import load_predictors, save_predictors
from dfdgbench.engine.problem import at_work
from dfdgbench.engine.progress import kept
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.engine.runtime import Runtime
from dfdgbench.engine.snapshots import State
from dfdgbench.engine.stage import Metrics, PredictorStage, Stage
from dfdgbench.engine.work import Work
from dfdgbench.errors import ArtifactError
from dfdgbench.files import write_json
from dfdgbench.networks.base import unfilled

log = logging.getLogger("dfdgbench")


@dataclass(frozen=True)
class Engine:
    """What executes stages.

    Attributes:
        store: where artifacts are kept.
        runtime: device and precision.
        checkpoint_every: seconds between snapshots.
        may_make: whether artifacts that are not there are made; evaluation only looks for them.
    """

    store: Store
    runtime: Runtime
    checkpoint_every: float = 60.0
    may_make: bool = True

    def ensure(self, stage: Stage, tick: Any = lambda progress: None) -> Path:
        """The artifact of ``stage``, made if it is not there, by this process or by one that is at it already."""
        while True:
            found = self._find(stage)
            if found is not None:
                return found
            if stage.blind:
                _tell_what_is_missing(stage)
            if not self.may_make:
                raise ArtifactError(
                    f"The artifact of '{stage.title}' is not in {self.store.root}. Type --artifacts DIR with the folder that the "
                    "run was trained with, or train the run again."
                )
            for given in stage.inputs:
                self.ensure(given, tick)
            lease = self.store.lease(stage.address)
            published = self.store.path(stage.address).exists
            with lease.waiting(published, partial(log.info, "%s: another process is at it (%s)", stage.title)) as ours:
                if ours and not published():
                    self._make(stage, tick)

    def work(self, stage: Stage, tick: Any = lambda progress: None) -> Work:
        """The view of ``stage``; its inputs are found, or made, when it asks for them."""
        return Work(stage, self.runtime, partial(self.ensure, tick=tick))

    def _find(self, stage: Stage) -> Path | None:
        try:
            return self.store.find(stage.address)
        except ArtifactError as error:
            aside = self.store.set_aside(stage.address)
            log.warning("%s It was moved to %s and is made anew.", error, aside)
            return None

    def _make(self, stage: Stage, tick: Any) -> None:
        began = time.perf_counter()
        work = self.work(stage, tick)
        recorder = Silent()
        snapshot = self.store.work(stage.address) / "snapshot"
        with interruptible(), unfilled(False):  # another stage's loading may be what asks for it
            state = run_loop(stage, work, snapshot, self.checkpoint_every, recorder, tick)
        manifest = {
            "title": stage.title,
            "stage": stage.kind,
            "steps": stage.steps,
            "released": stage.releases.value if stage.releases else None,
            "identity": stage.identity,
            "torch": torch.__version__,
            "seconds": time.perf_counter() - began,
        }
        with self.store.publishing(stage.address, manifest) as folder:
            with at_work(stage.reads):
                facts = dict(stage.finish(state, work, folder))
            write_json(folder / "facts.json", facts)
        kept()
        log.info("%s: made in %.1f s%s", stage.title, time.perf_counter() - began, _in_words(facts))

    # A run -----------------------------------------------------------------------------------------------------------

    def run(
        self,
        last: PredictorStage,
        folder: RunFolder,
        header: Mapping[str, Any],
        *,
        save_model: bool = True,
        save_every: bool = False,
    ) -> None:
        """Execute the plan that ends in ``last`` and leave a finished run's folder.

        Args:
            header: what every record carries besides the measurements: ``args`` and ``hparams``.
            save_every: keep the predictors of every record, as ``model_step0.safetensors``.
        """
        if folder.done:
            log.info("%s is done already", folder.path)
            return
        began = time.perf_counter()
        with folder.under_way():
            if folder.done:  # by the process that this one waited for
                return
            for given in last.inputs:
                self.ensure(given, folder.tick)
            work = self.work(last, folder.tick)
            run = RunRecorder(last, folder, header, save_every)
            with interruptible():
                state = run_loop(last, work, folder.snapshot, self.checkpoint_every, run, folder.tick)
            if last.steps == 0:
                run.record(state, work, 0)
            elif save_model:
                save_predictors(folder.model, last.predictors(state, work))
            folder.finish(time.perf_counter() - began)
            kept()

    def evaluate_pending(self, last: PredictorStage, folder: RunFolder) -> list[str]:
        """Fill the NaN of a run that was trained without data. Returns the splits that are still not there."""
        found = records.read(folder.results)
        work = self.work(last)
        absent: list[str] = []
        for record in found:
            weights = folder.pending / f"step_{record['step']}.safetensors"
            if last.steps and not weights.exists():  # evaluated before
                continue
            with unfilled(last.steps > 0):
                predictors = last.build(work)
            if last.steps:
                load_predictors(weights, predictors)
            values, absent = evaluate(last, predictors, last.problem, self.runtime, record["step"])
            record.update(values, epoch=last.epoch(record["step"]))
        records.rewrite(folder.results, found)
        if not absent:  # not before the records are kept
            shutil.rmtree(folder.pending, ignore_errors=True)
        return absent


@dataclass
class RunRecorder:
    """Writes a run's records: means of what steps returned since the last one, and every accuracy."""

    stage: PredictorStage
    folder: RunFolder
    header: Mapping[str, Any]
    save_every: bool = False
    length: int = 0
    sums: dict[str, list[Any]] = field(default_factory=dict)

    def after(self, state: State, work: Work, number: int, metrics: Metrics, seconds: float) -> None:
        for name, value in {**metrics, "step_time": seconds}.items():
            self.sums.setdefault(name, []).append(value.detach() if isinstance(value, torch.Tensor) else value)
        if self.stage.recorded(number):
            self.record(state, work, number)

    def record(self, state: State, work: Work, number: int) -> None:
        """Evaluate, append one record, log one row."""
        predictors = self.stage.predictors(state, work)
        accuracies, absent = evaluate(self.stage, predictors, self.stage.problem, work.runtime, number)
        measures = self.stage.measures(state, work)
        means = {name: _mean(values) for name, values in self.sums.items()}
        measured = {
            "step": number,
            "epoch": self.stage.epoch(number),
            "mem_gb": work.runtime.memory_gb(),
            **means,
            **measures,
            **accuracies,
        }
        if absent and self.stage.steps:
            save_predictors(self.folder.pending / f"step_{number}.safetensors", predictors)
        if self.save_every and self.stage.steps:
            save_predictors(self.folder.path / f"model_step{number}.safetensors", predictors)
        arrays = dict(self.stage.diagnostics(state, work))
        if number >= self.stage.steps - 1:
            arrays |= pictures(self.stage.problem, next(iter(predictors.values())), work.runtime)
        if arrays:
            diagnostics.write(self.folder.path, number, arrays)
        self.length = records.append(self.folder.results, {**self.header, **measured})
        self.sums = {}
        log.info("%s", row(measured, absent, self.stage.problem.task.suffixes[0]))

    def saved(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "sums": {name: [float(value) for value in values] for name, values in self.sums.items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        self.length, self.sums = saved.get("length", 0), saved.get("sums", {})
        records.cut(self.folder.results, self.length)


def row(measured: Mapping[str, Any], absent: list[str], metric: str = "acc") -> str:
    """A record in one line for a person: step, loss, the primary metric in percent."""
    parts = [f"step {measured['step']}"]
    parts += [f"{name} {measured[name]:.4f}" for name in ("loss",) if name in measured]
    parts += [
        f"{name.removesuffix(f'_{metric}')} {100 * value:.1f}"
        for name, value in measured.items()
        if name.startswith("env") and name.endswith(f"_{metric}") and value == value
    ]
    return "  ".join(parts) + (f"  (not evaluated, no data: {', '.join(absent)})" if absent else "")


def _tell_what_is_missing(stage: Stage) -> None:
    """Raise the ``DataError`` of the first split that the stage reads and that is not here."""
    for given in stage.reads:
        stage.problem.split(given.domain, given.split)


def _mean(values: list[Any]) -> float:
    return sum(float(value) for value in values) / len(values)


def _in_words(facts: Mapping[str, Any]) -> str:
    numbers = [f"{name} {value:.4g}" for name, value in facts.items() if isinstance(value, int | float)]
    return f" ({', '.join(numbers)})" if numbers else ""


def blank_predictors(engine: Engine, last: PredictorStage, folder: RunFolder) -> dict[str, nn.Module]:
    """A run's predictors, loaded from its folder; initial weights are needed only where they are all there is."""
    with unfilled(last.steps > 0):
        predictors = last.build(engine.work(last))
    if last.steps:
        load_predictors(folder.model, predictors)
    return predictors
