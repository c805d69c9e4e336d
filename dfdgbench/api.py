"""The same from Python: ``dfdgbench.train(...)``, ``dfdgbench.load(RUN)``, ``dfdgbench.frame(SWEEP)``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.evaluation import evaluate
from dfdgbench.engine.execute import Engine, blank_predictors
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.errors import ArtifactError, ConfigError, listing, unknown
from dfdgbench.planning import Plan, plan
from dfdgbench.posing import make_problem, open_dataset, task_of


@dataclass(frozen=True, eq=False)
class Run:
    """A run on disk.

    Attributes:
        folder: where it is.
        plan: what it was planned to be.
    """

    folder: RunFolder
    plan: Plan

    @property
    def config(self) -> RunConfig:
        """The run's options."""
        return self.plan.config

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.folder.done

    @property
    def records(self) -> list[dict[str, Any]]:
        """Every record, in order, as in results.jsonl."""
        return records.read(self.folder.results)

    @cached_property
    def engine(self) -> Engine:
        """What executes and evaluates it."""
        return replace(self.plan.engine(), may_make=False)

    @cached_property
    def predictors(self) -> dict[str, nn.Module]:
        """Its predictors by name, the default one first, in eval mode: images float [B, 3, H, W] in [0, 1] to scores."""
        if not self.done:
            raise ConfigError(
                f"The run {self.folder.path} is not done ({self.folder.state()}); the command that trained it goes on with it."
            )
        found = blank_predictors(self.engine, self.plan.last, self.folder)
        chosen = _recorded_default(self.records[-1], list(found))
        return {name: found[name].eval() for name in sorted(found, key=lambda name: name != chosen)}

    @torch.no_grad()
    def predict(self, images: Tensor, predictor: str | None = None, domain: str | int | None = None) -> Tensor:
        """Scores [B, K] of images float [B, 3, H, W] in [0, 1].

        Args:
            predictor: one of ``predictors``; None for the default one.
            domain: the domain that the images are from, for predictors that ask ("known-domain").

        Raises ``ConfigError`` for a domain that the predictor has no answer for, ``UnknownNameError`` for unknown names.
        """
        scores: Tensor = self._answering(predictor, domain)(images.to(self.engine.runtime.device))
        return scores

    def _answering(self, name: str | None, domain: str | int | None) -> nn.Module:
        name = next(iter(self.predictors)) if name is None else name
        if name not in self.predictors:
            raise unknown("predictor of the run", name, self.predictors)
        if domain is None:
            return self.predictors[name]
        problem = self.plan.problem
        index = problem.metadata.index(domain)
        found = self.plan.last.answering(self.predictors[name], index, problem.protocol.test)
        if found is None:
            trained = ", ".join(problem.domain_name(source) for source in problem.sources)
            raise ConfigError(
                f"The predictor '{name}' has no answer for images of '{problem.domain_name(index)}', which the run was not trained "
                f"on. It was trained on {trained}. Name one of these, or another predictor: {listing(self.predictors)}."
            )
        return found

    def evaluate(
        self, dataset: str | None = None, data_dir: str | None = None, native_size: bool = False
    ) -> dict[str, float]:
        """Record keys to accuracies (0 to 1) on every domain and split, of the run's dataset or of another one.

        Args:
            native_size: score masks in their own size, too.

        Raises ``ConfigError`` where the other one's classes are others.
        """
        problem = self.plan.problem
        if dataset is not None and dataset != self.config.dataset:
            other = open_dataset(dataset, data_dir or self.config.data_dir)
            ours, theirs = problem.metadata.classes, other.metadata.classes
            if len(ours) != len(theirs):
                raise ConfigError(
                    f"The run tells {len(ours)} classes apart, {dataset} has {len(theirs)}: it cannot be evaluated on it."
                )
            if ours != theirs:
                differ = ", ".join(f"{one} / {two}" for one, two in zip(ours, theirs, strict=True) if one != two)
                raise ConfigError(
                    f"The run's classes are not those of {dataset} ({differ}): it cannot be evaluated on it."
                )
            config = self.config.model_copy(
                update={"dataset": dataset, "test_envs": [0], "train_envs": None, "protocol": None}
            )
            made = make_problem(config, self.plan.execution, other)
            problem = replace(made, network=problem.network)
        if native_size:
            problem = replace(problem, task=task_of(problem.dataset, native_size=True))
        # What an oracle chose on the run's own domains stays chosen on another dataset's.
        chosen = next(iter(self.predictors)) if problem.metadata is not self.plan.problem.metadata else None
        values, absent = evaluate(self.plan.last, self.predictors, problem, self.engine.runtime, chosen=chosen)
        if absent:
            problem.split(*_first(problem, absent))  # raises the error that says what is missing
        return values

    def evaluate_pending(self) -> list[str]:
        """Fill the records of a run that was trained without data; returns the splits that are still not there."""
        return self.engine.evaluate_pending(self.plan.last, self.folder)


def _recorded_default(record: dict[str, Any], names: list[str]) -> str:
    """Which of several predictors the record has under DomainBed's keys: an oracle's choice is seen by its values."""

    def is_default(name: str) -> bool:
        keys = [key.removesuffix(f"@{name}") for key in record if key.endswith(f"@{name}")]
        return bool(keys) and all(_same(record[key], record[f"{key}@{name}"]) for key in keys)

    return next(filter(is_default, names), names[0])


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _first(problem: Any, absent: list[str]) -> tuple[int, str]:
    domain, _, split = absent[0].rpartition("/")
    return problem.metadata.domains.index(domain), split


def load(
    folder: str | Path,
    *,
    data_dir: str | None = None,
    artifacts: str | Path | None = None,
    device: str = "auto",
    local_dir: str | None = None,
) -> Run:
    """The run in ``folder``; its data and artifacts are looked for where they were, or where the arguments say."""
    there = RunFolder(folder)
    content = there.read_config()
    if not isinstance(content, dict) or not {"config", "execution"} <= set(content):
        raise ArtifactError(f"The file {there.config} is damaged (it describes no run). Train the run again.")
    config = RunConfig.make(**content["config"])
    if data_dir is not None:
        config = config.model_copy(update={"data_dir": str(data_dir)})
    execution = Execution.model_validate(content["execution"])
    given = {"artifacts": None if artifacts is None else Path(artifacts), "local_dir": local_dir}
    changed = {"device": device} | {name: value for name, value in given.items() if value is not None}
    execution = Execution.make(**execution.model_dump() | changed)
    return Run(there, plan(config, execution))


def train(*, output_dir: str | Path | None = None, execution: Execution | None = None, **options: Any) -> Run:
    """Train a run, or go on with it; ``options`` are the flags of ``dfdgbench train``, with underscores.

    Examples:
        >>> run = train(algorithm="AvgPred", dataset="MiniDigits", test_envs=[0])  # doctest: +SKIP
        >>> run.records[-1]["env0_in_acc"]  # doctest: +SKIP
    """
    planned = plan(RunConfig.make(**options), execution)
    folder = planned.execute(output_dir or Path("runs") / planned.config.run_id)
    return Run(folder, planned)
