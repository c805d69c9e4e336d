"""The commands launcher: prints what another scheduler, or a person, executes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from dfdgbench.engine.config import Execution
from dfdgbench.sweeps.bundles import execution_of, groups, write_bundles
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.kinds import check_kinds
from dfdgbench.sweeps.launchers.base import LAUNCHERS, Launcher, Outcome
from dfdgbench.sweeps.slurm.ledger import fresh_name
from dfdgbench.sweeps.slurm.script import work_arguments

if TYPE_CHECKING:
    from dfdgbench.sweeps.plan import SweepPlan


@LAUNCHERS.register("commands")
class Commands(Launcher):
    """Prints one line of shell a bundle of tasks, by level; executes nothing. Lines of one level need not wait for each other."""

    uses_resources = True
    prints = True

    def check(self, sweep: SweepFolder, plan: SweepPlan) -> None:
        check_kinds(self.resources.kinds, plan)

    def submit(self, sweep: SweepFolder, plan: SweepPlan, execution: Execution) -> Outcome:
        lines = []
        for group in groups(plan.tasks, self.resources):
            bundles, several = group.bundles(), group.resources.tasks_per_gpu
            path = sweep.path.resolve() / "launcher" / f"{fresh_name(sweep.spec().name, group.level)}.jsonl"
            write_bundles(path, bundles, execution_of(execution, group, self.resources), self.resources)
            what = f" ({', '.join(group.kinds)})" if self.resources.kinds else ""
            lines.append(f"# level {group.level}{what}{', once the level before has ended' if group.level else ''}")
            arguments = (work_arguments(sweep.path.resolve(), path, index, several) for index in range(len(bundles)))
            lines += [shlex.join(["dfdgbench", *given]) for given in arguments]
        return Outcome({}, "\n".join(lines) or "# nothing is left to do")
