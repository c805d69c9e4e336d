"""A sweep's plan: all runs' stages united by key, in levels, with what is there already and what sharing saves."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dfdgbench.engine.artifacts import MANIFEST, Store
from dfdgbench.engine.config import Execution
from dfdgbench.engine.stage import Stage, walk
from dfdgbench.planning import Plan, Planner
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.sweeps.status import as_number, read_object
from dfdgbench.tables.sweepfile import read_sweep_file

SAMPLE = 64


@dataclass(frozen=True)
class Task:
    """A shared stage to make, or a run to execute.

    Attributes:
        id: the stage's key, or the run's id.
        run: a run that needs it; a worker finds the stage in this run's plan.
        needs: the ids of the stages that must be there before.
        kind: what it is to a scheduler: the stage's kind, ``run``, or ``combine`` for a run whose own stage makes no step.
    """

    id: str
    title: str
    run: SweepRun
    stage: Stage | None
    needs: frozenset[str]
    level: int
    kind: str = "run"


@dataclass(frozen=True)
class Work:
    """Stages to execute, every run's last one counted, and their estimated floating-point operations."""

    stages: int = 0
    flops: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.stages + other.stages, self.flops + other.flops)


@dataclass
class SweepPlan:
    """Attributes:
    tasks: stages and runs still to do, by level.
    there: ids of stages and runs that are done already.
    uses: how many runs need each stage, by its key: as often would one job a run execute it.
    planned, unshared: the work of the whole sweep, done or not, and that of one job a run from scratch.
    problems: what keeps runs from being executed here, with how many runs each concerns.
    """

    runs: list[SweepRun]
    tasks: list[Task] = field(default_factory=list)
    there: set[str] = field(default_factory=set)
    stages: dict[str, Stage] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    planned: Work = Work()
    unshared: Work = Work()
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
                    "unshared": sum(self.uses[stage.key] for stage in stages),
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

    def saved(self) -> dict[str, float]:
        """How many times as much work one job a run would be, in stages and in estimated FLOPs."""
        planned, unshared = asdict(self.planned), asdict(self.unshared)
        return {name: unshared[name] / planned[name] if planned[name] else 1.0 for name in planned}

    def estimate(self) -> float | None:
        """Seconds of all that is to do, one task after the other; None where a kind was never measured."""
        known = [row["seconds"] for row in self.kinds() if row["there"] < row["stages"]]
        return None if None in known else sum(known)

    def _estimate(self, kind: str, stages: Sequence[Stage]) -> float | None:
        rate = self.seconds.get(kind)
        return None if rate is None else rate * sum(max(stage.steps, 1) for stage in stages)

    def _run_estimate(self, tasks: Sequence[Task]) -> float | None:
        rates = [self.seconds.get(f"run {task.run.config.algorithm}") for task in tasks]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) * len(tasks) if known else (0.0 if not tasks else None)


def plan_sweep(runs: Sequence[SweepRun], folder: SweepFolder, execution: Execution) -> SweepPlan:
    """Plan every run and unite their stages. Reads fingerprints, trains nothing."""
    store, planner = Store(execution.artifacts), Planner(execution)
    result = SweepPlan(list(runs))
    done, artifacts = _finished(folder), store.listing()
    result.there = done & {run.run_id for run in runs}
    united = _United(artifacts)
    tasks: dict[str, Task] = {}
    own = Work()
    for run in runs:
        planned = planner.plan(run.config)
        shared = united.add(planned.last)
        united.uses.update(stage.key for stage in shared)
        own += Work(1, planned.last.cost())
        if run.run_id not in result.there:
            result.problems.update(planner.problems(planned))
            for stage in shared:
                if stage.key not in united.there and stage.key not in tasks:
                    tasks[stage.key] = _stage_task(stage, run, united.levels)
            tasks[run.run_id] = _run_task(planned, run, united.levels)
    result.stages, result.uses = united.stages, united.uses
    result.there |= united.there
    result.planned, result.unshared = own + united.work(once=True), own + united.work(once=False)
    result.tasks = sorted(tasks.values(), key=lambda task: task.level)
    result.seconds = recorded_rates(store, artifacts, folder, done)
    return result


class _United:
    """The shared stages of all runs: of several with one key the first.

    Args:
        listing: names of the artifacts that are there.
    """

    def __init__(self, listing: frozenset[str]) -> None:
        self.listing = listing
        self.stages: dict[str, Stage] = {}
        self.levels: dict[str, int] = {}
        self.uses: Counter[str] = Counter()
        self.there: set[str] = set()

    def add(self, last: Stage) -> list[Stage]:
        """The stages before ``last``, each once, inputs first."""
        before = list(walk(*last.inputs))
        for stage in before:
            if stage.key not in self.stages:
                self._new(stage)
        return [self.stages[stage.key] for stage in before]

    def work(self, once: bool) -> Work:
        """The work of every stage once, or as often as it is used."""
        uses = dict.fromkeys(self.stages, 1) if once else self.uses
        return Work(sum(uses.values()), sum(uses[key] * stage.cost() for key, stage in self.stages.items()))

    def _new(self, stage: Stage) -> None:
        self.stages[stage.key] = stage
        self.levels[stage.key] = 1 + max((self.levels[given.key] for given in stage.inputs), default=-1)
        if stage.address.name in self.listing:
            self.there.add(stage.key)


def _finished(folder: SweepFolder) -> set[str]:
    """Ids of the runs that are done: one listing, and a look at each that was started."""
    place = folder.path / "runs"
    return {name for name in os.listdir(place) if (place / name / "done").exists()} if place.is_dir() else set()


def _stage_task(stage: Stage, run: SweepRun, levels: dict[str, int]) -> Task:
    return Task(
        stage.key,
        stage.title,
        run,
        stage,
        frozenset(given.key for given in stage.inputs),
        levels[stage.key],
        stage.kind,
    )


def _run_task(planned: Plan, run: SweepRun, levels: dict[str, int]) -> Task:
    last, config = planned.last, planned.config
    seeds = f"trial {config.trial_seed}" + (f", hparams {config.hparams_seed}" if config.hparams_seed else "")
    held_out = " ".join(planned.problem.domain_name(domain) for domain in planned.problem.targets)
    title = f"{config.algorithm} {config.dataset} -> {held_out} ({seeds})"
    level = 1 + max((levels[given.key] for given in last.inputs), default=-1)
    kind = "run" if last.steps else "combine"
    return Task(run.run_id, title, run, None, frozenset(given.key for given in last.inputs), level, kind)


def recorded_rates(store: Store, artifacts: Iterable[str], folder: SweepFolder, done: Set[str]) -> dict[str, float]:
    """Seconds a step of each kind of stage, and seconds of a whole run of each algorithm, as measured so far.

    Of each, no more than :data:`SAMPLE` are read.

    Args:
        artifacts: names of the artifacts that are there.
        done: ids of the runs that are done.
    """
    stages = ((name.partition("/")[0], store.root / name / MANIFEST) for name in artifacts)
    runs = (
        (f"run {run['config']['algorithm']}", folder.path / "runs" / run["id"] / "status.json")
        for run in (read_sweep_file(folder.path)["runs"] if folder.file.exists() else [])
        if run["id"] in done
    )
    files: dict[str, list[Path]] = defaultdict(list)
    for kind, file in (*stages, *runs):
        files[kind].append(file)
    measured = {kind: [_rate(file) for file in _spread(found)] for kind, found in files.items()}
    known = {kind: [rate for rate in rates if rate is not None] for kind, rates in measured.items()}
    return {kind: sum(rates) / len(rates) for kind, rates in known.items() if rates}


def _spread(files: list[Path]) -> list[Path]:
    """At most :data:`SAMPLE` of ``files``, evenly through their names and so through the data sets."""
    return sorted(files)[:: -(-len(files) // SAMPLE)]


def _rate(file: Path) -> float | None:
    """Seconds a step, of a stage, or seconds, of a run, as ``file`` tells; None where it does not."""
    content = read_object(file)
    seconds, steps = as_number(content.get("seconds")), as_number(content.get("steps"))
    return None if seconds is None else seconds / max(steps or 1.0, 1.0)


def find_stage(planned: Plan, key: str) -> Stage:
    """The stage of a run's plan that has ``key``."""
    return next(stage for stage in walk(planned.last) if stage.key == key)


def default_output(name: str) -> Path:
    """Where a sweep goes that was not told."""
    return Path("runs") / Path(name).stem
