"""``dfdgbench sweep plan`` and ``sweep launch``: many runs, planned once, executed by any launcher."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import add_execution, add_method, execution, folder, method_options, overrides, positive
from dfdgbench.cli.output import duration, fail, say, say_table

if TYPE_CHECKING:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.plan import SweepPlan

EXAMPLES = """\
examples:
  dfdgbench sweep plan dekan-table1 --data-dir data
  dfdgbench sweep launch quickstart
  dfdgbench sweep launch dekan-table1 --data-dir data --datasets PACS --network efficientnet_lite0 --image-size 64
  dfdgbench sweep launch mytable.yaml --output-dir runs/mine --jobs 4"""


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
    parser.add_argument("table", metavar="TABLE", help="a table (`dfdgbench list tables`) or a YAML file like one")
    parser.add_argument("--data-dir", metavar="DIR", help="the folder that holds the datasets' folders")
    parser.add_argument("--output-dir", type=folder, metavar="DIR", help="the sweep's folder; default: runs/TABLE")
    group = parser.add_argument_group("which runs")
    group.add_argument("--trials", "--n-trials", dest="trials", type=positive, metavar="N", help="default: the table's")
    group.add_argument("--datasets", nargs="+", default=[], metavar="NAME", help="these alone")
    group.add_argument("--algorithms", nargs="+", default=[], metavar="NAME", help="these rows alone")
    group.add_argument("--test-envs", nargs="+", type=int, default=[], metavar="N", help="these held-out domains alone")
    add_method(parser)
    add_execution(parser)
    parser.add_argument("--json", action="store_true", help="the plan for programs")
    parser.set_defaults(run=launch if action == "launch" else show_plan)
    if action == "launch":
        parser.add_argument(
            "--launcher",
            default="local",
            metavar="NAME",
            help="local (default) or debug; see `dfdgbench list launchers`",
        )
        parser.add_argument(
            "--jobs", type=positive, metavar="N", help="tasks at a time; default: one a GPU, else one a core"
        )


def _planned(options: argparse.Namespace) -> tuple[SweepFolder, SweepPlan]:
    from dfdgbench.sweeps.folder import SweepFolder
    from dfdgbench.sweeps.grid import runs_of
    from dfdgbench.sweeps.plan import default_output, plan_sweep
    from dfdgbench.tables.spec import load

    spec = load(options.table)
    runs = runs_of(
        spec,
        data_dir=options.data_dir,
        options=method_options(options),
        hparams=overrides(options),
        trials=options.trials,
        datasets=options.datasets,
        algorithms=options.algorithms,
        test_envs=options.test_envs,
    )
    folder = SweepFolder(options.output_dir or default_output(spec.name))
    return folder, plan_sweep(runs, folder, execution(options))


def show_plan(options: argparse.Namespace) -> int:
    """Print the plan; exit code 1 where something keeps runs from being executed here."""
    folder, plan = _planned(options)
    if options.json:
        say(json.dumps(_plan_as_json(folder, plan), indent=2))
    else:
        _say_plan(folder, plan)
    return 1 if plan.problems else 0


def _plan_as_json(folder: SweepFolder, plan: SweepPlan) -> dict[str, Any]:
    return {
        "output_dir": str(folder.path),
        "stages": plan.kinds(),
        "levels": plan.levels,
        "tasks": [
            {
                "id": task.id,
                "title": task.title,
                "level": task.level,
                "needs": sorted(task.needs),
                "kind": task.stage.kind if task.stage else "run",
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
    say(f"To do: {len(plan.tasks)} tasks in {plan.levels} levels, into {folder.path}.")
    if any(row["seconds"] is None and row["there"] < row["stages"] for row in rows):
        say("'?': nothing of the kind has been measured here yet.")
    for number, (problem, count) in enumerate(plan.problems.items(), 1):
        say(f"\nProblem {number} (keeps {count} runs from being executed here): {problem}")


def launch(options: argparse.Namespace) -> int:
    """Execute the plan, then say where the results are."""
    from dfdgbench.results.sheet import sweep_sheet
    from dfdgbench.sweeps.launchers.base import LAUNCHERS
    from dfdgbench.tables.spec import load

    launcher = LAUNCHERS.get(options.launcher)(options.jobs)
    folder, plan = _planned(options)
    if plan.problems:
        _say_plan(folder, plan)
        fail("nothing was launched: solve the problems above, or choose other runs (--datasets, --algorithms).")
        return 1
    how = execution(options)
    folder.write(load(options.table), plan.runs, how.model_dump(mode="json"))
    _say_plan(folder, plan)
    say()
    outcome = launcher.submit(folder, plan, how)
    failures = {task: reason for task, reason in outcome.failed.items() if not _done_after_all(folder, task, plan)}
    sheet = sweep_sheet(folder.path, how.artifacts)
    if sheet is not None:
        say(f"Synthetic images, by set and class: {sheet}")
    states = folder.states()
    say(
        f"{states['done']} of {sum(states.values())} runs are done. Their table: dfdgbench table {options.table} {folder.path}"
    )
    for reason in failures.values():
        fail(f"failed: {reason}")
    return 1 if failures else 0


def _done_after_all(folder: SweepFolder, task: str, plan: SweepPlan) -> bool:
    """A stage that failed in its own job may have been made by a run that needed it."""
    from dfdgbench.engine.artifacts import Store

    stage = plan.stages.get(task)
    if stage is None:
        return False
    return Store(Path(folder.execution()["artifacts"])).path(stage.address).exists()
