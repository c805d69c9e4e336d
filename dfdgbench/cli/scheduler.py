"""Flags of what a scheduler's jobs ask for, for launchers that hand tasks to one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dfdgbench.cli.options import positive
from dfdgbench.errors import ConfigError

if TYPE_CHECKING:
    from dfdgbench.sweeps.launchers.base import Launcher

_FLAGS = ("partition", "account", "qos", "constraint", "gres", "time", "mem", "cpus", "runs_per_job", "max_running")
_SHARED = "tasks_per_gpu"


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """What jobs ask for; defaults stand in a site's file."""
    group = parser.add_argument_group(
        "SLURM", "with --launcher slurm; defaults: ~/.config/dfdgbench/site.yaml, or the file $DFDGBENCH_SITE"
    )
    group.add_argument("--partition", metavar="NAME", help="one, or several joined by commas")
    group.add_argument("--account", metavar="NAME", help="who pays")
    group.add_argument("--qos", metavar="NAME", help="quality of service")
    group.add_argument("--constraint", metavar="FEATURES", help="of the node: 'a100|h100'")
    group.add_argument("--gres", metavar="LIST", help="what is counted: gpu:1")
    group.add_argument("--time", metavar="LIMIT", help="minutes, HH:MM:SS or D-HH:MM:SS; default: the partition's")
    group.add_argument("--mem", metavar="SIZE", help="of the node: 16G")
    group.add_argument("--cpus", type=positive, metavar="N", help="CPU cores a job")
    group.add_argument(
        "--runs-per-job", type=positive, metavar="N", help="tasks that one job executes; default: --tasks-per-gpu"
    )
    group.add_argument(
        "--tasks-per-gpu",
        type=positive,
        metavar="N",
        help="tasks that share a GPU at a time, or a job without one; also with --launcher local; default 1",
    )
    group.add_argument("--max-running", type=positive, metavar="N", help="jobs of a level that run at a time")
    group.add_argument(
        "--slurm",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="another long option of sbatch; may be repeated",
    )
    group.add_argument(
        "--for",
        dest="kinds",
        nargs="+",
        metavar=("KIND", "KEY=VALUE"),
        action="append",
        default=[],
        help="what tasks of a kind ask for instead: a stage of the plan (teacher), run, or combine for runs that train nothing "
        "themselves; --for combine partition=cpu gres= ; may be repeated",
    )


def make_launcher(options: argparse.Namespace) -> Launcher:
    """The launcher that ``options`` name, with what its jobs ask for; flags that it has no use for are refused."""
    from dfdgbench.sweeps.launchers.base import LAUNCHERS
    from dfdgbench.sweeps.launchers.resources import Resources, resources_of

    launcher = LAUNCHERS.get(options.launcher)
    flags = {name: getattr(options, name, None) for name in (*_FLAGS, _SHARED)}
    extra, kinds = getattr(options, "slurm", []), getattr(options, "kinds", [])
    given = [name for name, value in flags.items() if value is not None]
    given += ["slurm"] * bool(extra) + ["for"] * bool(kinds)
    if launcher.uses_resources:
        if options.jobs is not None:
            raise ConfigError(
                f"--jobs is for launchers on this machine, not for {options.launcher}. Type --max-running "
                f"{options.jobs} for so many jobs at a time, or --runs-per-job {options.jobs} for so many tasks a job."
            )
        return launcher(None, resources_of(flags, extra, kinds))
    if given == [_SHARED] and launcher.shares_gpus:
        return launcher(options.jobs, Resources.make({_SHARED: flags[_SHARED]}))
    if given:
        flag = given[0].replace("_", "-")
        raise ConfigError(
            f"--{flag} is for schedulers' jobs, and the launcher {options.launcher} makes none. Leave it out, or type "
            "--launcher slurm."
        )
    return launcher(options.jobs)
