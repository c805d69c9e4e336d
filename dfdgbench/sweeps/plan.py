"""A sweep's plan: all runs' stages united by key, in levels, with what is there already and what sharing saves."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dfdgbench.engine.artifacts import Store
from dfdgbench.engine.config import Execution
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.planning import Plan, plan
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.grid import SweepRun


@dataclass(frozen=True)
class Task:
    """A shared stage to make, or a run to execute.

    Attributes:
        id: the stage's key, or the run's id.
        run: a run that needs it; a worker finds the stage in this run's plan.
        needs: the ids of the stages that must be there before.
    """

    id: str
    title: str
    run: SweepRun
    stage: Stage | None
    needs: frozenset[str]
    level: int


@dataclass
class SweepPlan:
    """Attributes:
    tasks: stages and runs still to do, by level.
    there: ids of stages and runs that are done already.
    naive: how many stages one job a run, sharing nothing, would execute.
    problems: what keeps runs from being executed here, with how many runs each concerns.
    """

    runs: list[SweepRun]
    tasks: list[Task]
    there: set[str]
    stages: dict[str, Stage]
    naive: Counter[str]
    problems: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def levels(self) -> int:
        return max((task.level for task in self.tasks), default=-1) + 1

    def kinds(self) -> list[dict[str, Any]]:
        """One row a kind of stage: sets, stages, how many are there, and how many unshared runs would make."""
        by_kind: dict[str, list[Stage]] = defaultdict(list)
        for stage in self.stages.values():
            by_kind[stage.kind].append(stage)
        rows = []
        for kind, stages in by_kind.items():
            sets = {
                (stage.problem.metadata.name, stage.problem.trial_seed, stage.domains, str(stage.identity["hparams"]))
                for stage in stages
            }
            rows.append(
                {
                    "stage": kind,
                    "sets": len(sets),
                    "stages": len(stages),
                    "there": sum(stage.key in self.there for stage in stages),
                    "unshared": self.naive[kind],
                    "seconds": self._estimate(kind, [stage for stage in stages if stage.key not in self.there]),
                }
            )
        done = sum(run.run_id in self.there for run in self.runs)
        left = [task for task in self.tasks if task.stage is None]
        rows.append(
            {
                "stage": "run",
                "sets": len(self.runs),
                "stages": len(self.runs),
                "there": done,
                "unshared": len(self.runs),
                "seconds": self._run_estimate(left),
            }
        )
        return rows

    def _estimate(self, kind: str, stages: Sequence[Stage]) -> float | None:
        rate = self.seconds.get(kind)
        return None if rate is None else rate * sum(max(stage.steps, 1) for stage in stages)

    def _run_estimate(self, tasks: Sequence[Task]) -> float | None:
        rates = [self.seconds.get(f"run {task.run.config.algorithm}") for task in tasks]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) * len(tasks) if known else (0.0 if not tasks else None)


def plan_sweep(runs: Sequence[SweepRun], folder: SweepFolder, execution: Execution) -> SweepPlan:
    """Plan every run and unite their stages. Reads fingerprints, trains nothing."""
    store = Store(execution.artifacts)
    result = SweepPlan(list(runs), [], set(), {}, Counter())
    tasks: dict[str, Task] = {}
    levels: dict[str, int] = {}
    for run in runs:
        planned = plan(run.config, execution)
        shared = [stage for stage in walk(planned.last) if stage is not planned.last]
        result.naive.update(stage.kind for stage in shared)
        done = folder.folder(run).done
        if done:
            result.there.add(run.run_id)
        else:
            result.problems.update(planned.problems())
        for stage in shared:
            result.stages.setdefault(stage.key, stage)
            levels[stage.key] = 1 + max((levels[given.key] for given in stage.inputs), default=-1)
            if store.path(stage.address).exists():
                result.there.add(stage.key)
            elif not done:
                tasks.setdefault(stage.key, _stage_task(stage, run, levels))
        if not done:
            tasks[run.run_id] = _run_task(planned, run, levels)
    result.tasks = sorted(tasks.values(), key=lambda task: task.level)
    result.seconds = recorded_rates(store, folder)
    return result


def _stage_task(stage: Stage, run: SweepRun, levels: dict[str, int]) -> Task:
    return Task(stage.key, stage.title, run, stage, frozenset(given.key for given in stage.inputs), levels[stage.key])


def _run_task(planned: Plan, run: SweepRun, levels: dict[str, int]) -> Task:
    last = planned.last
    held_out = " ".join(planned.problem.domain_name(domain) for domain in planned.problem.targets)
    title = f"{planned.config.algorithm} {planned.config.dataset} -> {held_out} (trial {planned.config.trial_seed})"
    level = 1 + max((levels[given.key] for given in last.inputs), default=-1)
    return Task(run.run_id, title, run, None, frozenset(given.key for given in last.inputs), level)


def recorded_rates(store: Store, folder: SweepFolder) -> dict[str, float]:
    """Seconds a step of each kind of stage, and seconds of a whole run of each algorithm, as measured so far."""
    spent: dict[str, list[float]] = defaultdict(list)
    for _, manifest in store.entries():
        if "seconds" in manifest:
            spent[manifest["stage"]].append(manifest["seconds"] / max(manifest.get("steps", 1), 1))
    for run in folder.runs() if folder.file.exists() else []:
        status = folder.folder(run).status()
        if "seconds" in status:
            spent[f"run {run.config.algorithm}"].append(status["seconds"])
    return {kind: sum(values) / len(values) for kind, values in spent.items()}


def find_stage(planned: Plan, key: str) -> Stage:
    """The stage of a run's plan that has ``key``."""
    return next(stage for stage in walk(planned.last) if stage.key == key)


def default_output(name: str) -> Path:
    """Where a sweep goes that was not told."""
    return Path("runs") / Path(name).stem
