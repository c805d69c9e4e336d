"""The SLURM launcher: an array of jobs a level and resources, through submitit; it hands over and returns."""

from __future__ import annotations

import logging
import shlex
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.engine.config import Execution
from dfdgbench.errors import listing, missing_extra
from dfdgbench.leases import Lease
from dfdgbench.sweeps.bundles import Bundle, Group, execution_of, groups, write_bundles
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.kinds import check_kinds
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.launchers.resources import COMBINE, RUN, Resources
from dfdgbench.sweeps.slurm import commands
from dfdgbench.sweeps.slurm.checks import check_path, check_resources
from dfdgbench.sweeps.slurm.ledger import Ledger, fresh_name, noted
from dfdgbench.sweeps.slurm.script import Command, parameters, python_of, work_arguments

if TYPE_CHECKING:
    from submitit import SlurmExecutor

    from dfdgbench.sweeps.plan import SweepPlan, Task

log = logging.getLogger("dfdgbench")


@dataclass(frozen=True)
class _Handing:
    """What the submissions of one launch have in common."""

    sweep: SweepFolder
    name: str
    execution: Execution
    resources: Resources
    ledger: Ledger

    def submit(self, group: Group, bundles: Sequence[Bundle], most: int | None, after: Sequence[str]) -> str:
        """Submit one array of a group's bundles; returns its number."""
        folder = self.ledger.folder
        name = fresh_name(self.name, group.level)
        tasks = folder / f"{name}.jsonl"
        write_bundles(tasks, bundles, execution_of(self.execution, group, self.resources), self.resources)
        submission = noted(name, group.level, [[task.id for task in bundle] for bundle in bundles], tasks.name)
        self.ledger.add(submission)
        place, several = self.sweep.path.resolve(), group.resources.tasks_per_gpu
        calls = [Command(work_arguments(place, tasks, index, several)) for index in range(len(bundles))]
        asked = parameters(group.resources, name, len(bundles), most, list(after))
        # A refusal may come of a submission that was heard: what has this name is not to run twice.
        job = commands.persistent(
            lambda: _sbatch(folder, python_of(group.resources), asked, calls),
            lambda: commands.call("scancel", f"--name={name}"),
        )
        self.ledger.add(replace(submission, job=job))
        return job


@LAUNCHERS.register("slurm")
class Slurm(Launcher):
    """On a SLURM cluster: an array a level and resources, after the level before; preempted jobs go on by themselves."""

    uses_resources = True

    @cached_property
    def _cluster(self) -> commands.Cluster:
        return commands.read_cluster()

    def check(self, sweep: SweepFolder, plan: SweepPlan) -> None:
        _executor_class()
        for path in (sweep.path.resolve(), Path.cwd()):
            check_path(path)
        check_kinds(self.resources.kinds, plan)
        check_resources(self.resources, self._cluster)
        for kind in self.resources.kinds:
            check_resources(self.resources.of(kind), self._cluster, kind)

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        ledger = Ledger(sweep.path.resolve() / "launcher")
        lease = Lease(ledger.folder / "lease")
        with lease.waiting(on_wait=lambda owner: log.info("waiting: another launch is under way (%s)", owner)):
            live = ledger.live(commands.queue())
            handing = _Handing(sweep, sweep.spec().name, execution, self.resources, ledger)
            left = [task for task in plan.tasks if task.id not in live]
            jobs = _submit_levels(handing, left, self._cluster.array_size, live)
        return Outcome({}, _report(sweep, jobs, len(left), len(plan.tasks) - len(left)))

    def status(self, sweep: SweepFolder) -> dict[str, str]:
        """The folders' states, and for what has not ended: queued, running, preempted, or stopped where no job is left."""
        ledger = Ledger(sweep.path / "launcher")
        live = ledger.live(commands.queue())
        handed = {task for submission in ledger.submissions() for bundle in submission.bundles for task in bundle}
        states = super().status(sweep)
        return {run: _state(run, state, live, run in handed) for run, state in states.items()}

    def jobs_told(self, sweep: SweepFolder) -> str:
        """How many jobs run and wait, and how many shared stages they were given, which no run's state shows."""
        ledger = Ledger(sweep.path / "launcher")
        queue = commands.queue()
        counted = Counter("waiting" if job.state == "PENDING" else "running" for job in ledger.jobs(queue))
        if not counted:
            return ""
        runs = {run.run_id for run in sweep.runs()}
        shared = sum(task not in runs for task in ledger.live(queue))
        stages = f", with {shared} shared stages among their tasks" if shared else ""
        counts = ", ".join(f"{count} {state}" for state, count in sorted(counted.items()))
        return f"Jobs: {counts}{stages}.{_held_told(ledger.jobs(queue))}"

    def cancel(self, sweep: SweepFolder) -> int:
        """Cancel this sweep's jobs; those that run leave a snapshot. Returns how many jobs there were."""
        jobs = [job.id for job in Ledger(sweep.path / "launcher").jobs(commands.queue())]
        commands.cancel(jobs)
        return len(jobs)


def _state(run: str, on_disk: str, live: Mapping[str, commands.QueuedJob], handed: bool) -> str:
    if on_disk in ("done", "failed") and run not in live:
        return on_disk
    if run not in live:
        return "stopped" if handed and on_disk == "running" else on_disk
    if on_disk == "done":
        return on_disk
    if live[run].state == "PENDING":
        return "preempted" if on_disk in ("running", "stopped") else "queued"
    return "running" if on_disk == "running" else "queued"


def _held_told(jobs: Sequence[commands.QueuedJob]) -> str:
    held = [job for job in jobs if job.held]
    if not held:
        return ""
    reasons = listing(sorted({job.reason for job in held}))
    return (
        f" {len(held)} of the waiting ones are held ({reasons}) and begin no more by themselves. To let them go on, type: "
        f"scontrol release {' '.join(job.id for job in held)}"
    )


def _submit_levels(
    handing: _Handing, tasks: Sequence[Task], array_size: int, live: Mapping[str, commands.QueuedJob]
) -> list[str]:
    """Submit arrays, level by level; each comes after those of the level before that make stages, and after jobs that make
    its needs. Nothing needs a run, so that runs with resources of their own hold nobody up."""
    every: list[str] = []
    before: list[str] = []
    for _, level in groupby(groups(tasks, handing.resources), lambda group: group.level):
        stages: list[str] = []
        for group in level:
            jobs = _submit_group(handing, group, array_size, live, before)
            stages += jobs if set(group.kinds) - {RUN, COMBINE} else []
            every += jobs
        before = stages or before
    return every


def _submit_group(
    handing: _Handing,
    group: Group,
    array_size: int,
    live: Mapping[str, commands.QueuedJob],
    before: Sequence[str],
) -> list[str]:
    """Submit the arrays of one group, of which no more jobs than it asks for run at a time."""
    elsewhere = {live[need].id for task in group.tasks for need in task.needs if need in live}
    arrays = bundled_arrays(group.bundles(), array_size)
    running = group.resources.max_running
    jobs: list[str] = []
    for number, array in enumerate(arrays):
        after = [*before, *sorted(elsewhere)]
        if running is not None and number >= running:
            after.append(jobs[number - running])
        jobs.append(handing.submit(group, array, running and max(1, running // len(arrays)), after))
    return jobs


def bundled_arrays(bundles: Sequence[Bundle], array_size: int) -> list[list[Bundle]]:
    """Arrays no longer than the cluster's MaxArraySize, which is one more than the largest index."""
    return [list(bundles[start : start + array_size]) for start in range(0, len(bundles), array_size)]


def _executor_class() -> type[SlurmExecutor]:
    try:
        from submitit import SlurmExecutor
    except ImportError as error:
        raise missing_extra("submitit", "slurm", "The launcher slurm") from error
    return SlurmExecutor


def _sbatch(folder: Path, python: str, asked: dict[str, Any], calls: Sequence[Command]) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            executor = _executor_class()(folder, python=python)
            executor.update_parameters(**asked)
            with executor.batch():
                jobs = [executor.submit(call) for call in calls]
    except (FailedJobError, FailedSubmissionError) as error:
        raise commands.SchedulerError(
            f"The scheduler refused the array {asked['job_name']}: {str(error).strip()} Tasks of arrays submitted before "
            "it stay queued; the same command submits the others."
        ) from error
    return str(jobs[0].job_id).split("_")[0]


def _report(sweep: SweepFolder, jobs: Sequence[str], submitted: int, left_out: int) -> str:
    parts = []
    if submitted:
        numbers = "job" if len(jobs) == 1 else "jobs"
        parts.append(f"Submitted {submitted} tasks, {numbers} {', '.join(jobs)}.")
    if left_out:
        parts.append(f"{left_out} tasks are queued or running already and were not submitted again.")
    if not parts:
        return "Nothing is left to submit."
    parts.append(f"Watch them: dfdgbench sweep status {shlex.quote(str(sweep.path))}")
    return "\n".join(parts)
