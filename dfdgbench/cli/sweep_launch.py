"""``dfdgbench sweep plan`` and ``sweep launch``: many runs, planned once, executed by any launcher."""

from __future__ import annotations

import argparse
import json
import logging
import math
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import add_execution, add_method, execution, folder, positive
from dfdgbench.cli.output import duration, fail, log_to, say, say_table
from dfdgbench.cli.scheduler import add_scheduler, make_launcher
from dfdgbench.cli.sweep_grid import Chosen, add_grid, choose

if TYPE_CHECKING:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import SweepPlan
    from dfdgbench.tables.spec import TableSpec

log = logging.getLogger("dfdgbench")

EXAMPLES = """\
examples:
  dfdgbench sweep plan dekan-table1 --data-dir data
  dfdgbench sweep launch quickstart
  dfdgbench sweep launch dekan-table1 --data-dir data --datasets PACS --network efficientnet_lite0 --image-size 64
  dfdgbench sweep launch mytable.yaml --output-dir runs/mine --jobs 4
  dfdgbench sweep plan --algorithms ERM CORAL --datasets PACS VLCS --n-hparams 20 --single-test-envs --data-dir data
  dfdgbench sweep launch mygrid.yaml --rules training-domain oracle"""


JSON_HELP = (
    "the plan for programs: output_dir, runs (how many), there (how many runs and stages are done), work (planned and "
    "unshared, in stages, every run's last one counted, and estimated flops; saved: their ratios), seconds (estimated, one "
    "task after the other; null where a kind was never measured), stages (a row a kind), levels, tasks, problems"
)


def add(actions: Any) -> None:
    """Add both actions' parsers."""
    for name, text in (
        ("plan", "print runs, shared stages and cost; launch nothing"),
        ("launch", "execute what is not done yet"),
    ):
        _add_grid(
            actions.add_parser(
                name,
                help=text,
                description=text.capitalize() + ".",
                epilog=EXAMPLES,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            ),
            name,
        )


def _add_grid(parser: argparse.ArgumentParser, action: str) -> None:
    parser.add_argument(
        "table",
        nargs="?",
        metavar="TABLE",
        help="a table (`dfdgbench list tables`) or a YAML file, like one or a grid; without it: --algorithms and --datasets",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="the folder that holds the datasets' folders")
    parser.add_argument(
        "--output-dir", type=folder, metavar="DIR", help="the sweep's folder; default: runs/TABLE, or runs/sweep"
    )
    add_grid(parser)
    add_method(parser)
    add_execution(parser)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.set_defaults(run=launch if action == "launch" else show_plan)
    if action == "launch":
        parser.add_argument(
            "--launcher",
            default="local",
            metavar="NAME",
            help="local (default), debug, slurm, or commands to print shell lines; see `dfdgbench list launchers`",
        )
        parser.add_argument(
            "--jobs",
            type=positive,
            metavar="N",
            help="tasks at a time, in all; default: --tasks-per-gpu for each GPU, else one a core",
        )
        parser.add_argument(
            "--max-gpu-hours", type=hours, metavar="H", help="launch nothing that is estimated to take more"
        )
        add_scheduler(parser)


def _planned(options: argparse.Namespace) -> tuple[Chosen, SweepFolder, SweepPlan]:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import default_output, plan_sweep

    chosen = choose(options)
    folder = SweepFolder(options.output_dir or default_output(chosen.spec.name))
    folder.check(chosen.spec)
    return chosen, folder, plan_sweep(chosen.runs, folder, execution(options))


def show_plan(options: argparse.Namespace) -> int:
    """Print the plan; exit code 1 where something keeps runs from being executed here."""
    chosen, folder, plan = _planned(options)
    if options.json:
        more = {"remarks": chosen.remarks, "would_add": chosen.would_add}
        say(json.dumps(_plan_as_json(folder, plan) | more, indent=2))
    else:
        _say_plan(folder, plan)
        for line in chosen.lines():
            say(line)
    return 1 if plan.problems else 0


def _plan_as_json(folder: SweepFolder, plan: SweepPlan) -> dict[str, Any]:
    return {
        "output_dir": str(folder.path),
        "runs": len(plan.runs),
        "there": {"runs": len(plan.there - plan.stages.keys()), "stages": len(plan.there & plan.stages.keys())},
        "work": {"planned": asdict(plan.planned), "unshared": asdict(plan.unshared), "saved": plan.saved()},
        "seconds": plan.estimate(),
        "stages": plan.kinds(),
        "levels": plan.levels,
        "tasks": [
            {
                "id": task.id,
                "title": task.title,
                "level": task.level,
                "needs": sorted(task.needs),
                "kind": task.kind,
            }
            for task in plan.tasks
        ],
        "problems": dict(plan.problems),
    }


def _say_plan(folder: SweepFolder, plan: SweepPlan) -> None:
    rows = plan.kinds()
    shown = [
        {
            "stage": row["stage"],
            "sets": row["sets"],
            "jobs": row["stages"],
            "done": row["there"],
            "without sharing": row["unshared"],
            "estimate": duration(row["seconds"]) if row["there"] < row["stages"] else "-",
        }
        for row in rows
    ]
    say_table(shown)
    stages, unshared = (sum(row[name] for row in rows if row["stage"] != "run") for name in ("stages", "unshared"))
    say(f"\n{len(plan.runs)} runs share {stages} stages; one job a run, from scratch, would execute {unshared}.")
    saved, planned, alone = plan.saved(), plan.planned, plan.unshared
    say(
        f"Work saved, each run's own last stage counted: {saved['stages']:.1f} times fewer stages ({planned.stages} for "
        f"{alone.stages}), {saved['flops']:.1f} times fewer FLOPs (about {planned.flops:.2g} for {alone.flops:.2g}; evaluation "
        "is left out)."
    )
    say(f"To do: {len(plan.tasks)} tasks in {plan.levels} levels, into {folder.path}.")
    if plan.tasks:
        say(f"Estimated time, one task after the other: {duration(plan.estimate())}.")
    if any(row["seconds"] is None and row["there"] < row["stages"] for row in rows):
        say("'?': nothing of the kind has been measured here yet.")
    for number, (problem, count) in enumerate(plan.problems.items(), 1):
        say(f"\nProblem {number} (keeps {count} runs from being executed here): {problem}")


def launch(options: argparse.Namespace) -> int:
    """Execute the plan, then say where the results are."""
    launcher = make_launcher(options)  # a wrong option of it is told before anything is planned
    with log_to(sys.stderr if launcher.prints else sys.stdout):
        chosen, folder, plan = _planned(options)
        for line in [] if launcher.prints else chosen.lines():
            say(line)
        return execute(options, folder, plan, chosen.spec)


def execute(options: argparse.Namespace, folder: SweepFolder, plan: SweepPlan, spec: TableSpec) -> int:
    """Have the launcher that ``options`` name execute ``plan``: what `sweep launch` and `sweep retry` share."""
    from dfdgbench.results.sheet import sweep_sheet

    launcher = make_launcher(options)
    if plan.problems:
        _say_plan(folder, plan)
        fail("nothing was launched: solve the problems above, or choose other runs (--datasets, --algorithms).")
        return 1
    too_much = _beyond(getattr(options, "max_gpu_hours", None), plan)
    if too_much:
        fail(f"nothing was launched: {too_much}")
        return 1
    how = execution(options)
    launcher.check(folder, plan)
    if plan.tasks:
        _have_weights(plan)
    _warn_of_other_code(folder, plan)
    folder.write(spec, plan.runs, how.model_dump(mode="json"), options_of_launch(options))
    if not launcher.prints:
        _say_plan(folder, plan)
        say()
    for task in plan.tasks:
        if task.stage is None:
            folder.forget_failure(task.run)
    with folder.front():
        outcome = launcher.submit(folder, plan, how)
    if outcome.handed_over is not None:
        say(outcome.handed_over)
        return 0
    failures = {task: reason for task, reason in outcome.failed.items() if not _done_after_all(folder, task, plan)}
    sheet = sweep_sheet(folder.path, how.artifacts)
    if sheet is not None:
        say(f"Synthetic images, by set and class: {sheet}")
    states = folder.states()
    table = shlex.join([*([] if spec.grid else [options.table]), str(folder.path)])
    say(f"{states['done']} of {sum(states.values())} runs are done. Their table: dfdgbench table {table}")
    if states["done"]:
        _name_figures(folder, plan)
    for reason in failures.values():
        fail(f"failed: {reason}")
    return 1 if failures else 0


def _name_figures(folder: SweepFolder, plan: SweepPlan) -> None:
    """What to type for the figures that are these algorithms' own."""
    from dfdgbench.results.figures.base import own_figures

    for name in own_figures({run.config.algorithm for run in plan.runs}):
        say(f"A figure of theirs: dfdgbench figure {name} {shlex.quote(str(folder.path))}")


def _have_weights(plan: SweepPlan) -> None:
    """Get weights that are not here and within reach: where tasks are executed, there may be no internet."""
    from dfdgbench.networks.base import download_weights
    from dfdgbench.planning import networks_of

    for network in networks_of(run.config for run in plan.runs):
        download_weights(network)


def hours(text: str) -> float:
    """A number of hours above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of hours above 0")
    return number


def _beyond(most: float | None, plan: SweepPlan) -> str:
    """Why the plan is too much for so many hours of one device a task, or nothing."""
    if most is None or not plan.tasks:
        return ""
    estimate = plan.estimate()
    if estimate is None:
        return (
            "--max-gpu-hours is given, and nothing like some of these tasks has been measured yet. Launch a few first "
            "(--trials 1 --test-envs 0, say), or leave --max-gpu-hours out."
        )
    if estimate <= 3600 * most:
        return ""
    return (
        f"what is left is estimated at {estimate / 3600:.1f} hours of one device, and --max-gpu-hours is {most:g}. Choose fewer "
        "runs (--datasets, --algorithms, --trials), or a higher limit."
    )


def options_of_launch(options: argparse.Namespace) -> dict[str, Any]:
    """Every option of the command, for sweep.json; paths absolute, so that a later command may be typed elsewhere."""
    kept = {name: value for name, value in vars(options).items() if name not in ("run", "command", "action")}
    return {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in kept.items()}


def _warn_of_other_code(folder: SweepFolder, plan: SweepPlan) -> None:
    """One warning where runs that are there were computed by other code than those to come."""
    changed = folder.other_code()
    if changed and plan.tasks and any(folder.folder(run).config.exists() for run in folder.runs()):
        log.warning(
            "This sweep was launched with other code before: %s. Its runs will mix both. To keep them apart, choose another "
            "--output-dir, or install what it was launched with (%s says).",
            "; ".join(changed),
            folder.file,
        )


def _done_after_all(folder: SweepFolder, task: str, plan: SweepPlan) -> bool:
    """A stage that failed in its own job may have been made by a run that needed it."""
    from dfdgbench.engine.artifacts import Store

    stage = plan.stages.get(task)
    if stage is None:
        return False
    return Store(Path(folder.execution()["artifacts"])).path(stage.address).exists()
