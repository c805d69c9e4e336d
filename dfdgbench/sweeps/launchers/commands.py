"""The commands launcher: prints what another scheduler, or a person, executes."""

from __future__ import annotations

import shlex

from dfdgbench.engine.config import Execution
from dfdgbench.sweeps.bundles import bundled, by_level, write_bundles
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.plan import SweepPlan
from dfdgbench.sweeps.slurm.ledger import fresh_name
from dfdgbench.sweeps.slurm.script import work_arguments


@LAUNCHERS.register("commands")
class Commands(Launcher):
    """Prints one line of shell a bundle of tasks, by level; executes nothing. Lines of one level need not wait for each other."""

    uses_resources = True
    prints = True

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        lines = []
        for level, tasks in by_level(plan.tasks).items():
            bundles = bundled(tasks, self.resources.runs_per_job)
            path = sweep.path.resolve() / "launcher" / f"{fresh_name(sweep.spec().name, level)}.jsonl"
            write_bundles(path, bundles, execution)
            lines.append(f"# level {level}{', once the level before has ended' if level else ''}")
            arguments = (work_arguments(sweep.path.resolve(), path, index) for index in range(len(bundles)))
            lines += [shlex.join(["dfdgbench", *given]) for given in arguments]
        return Outcome({}, "\n".join(lines) or "# nothing is left to do")
