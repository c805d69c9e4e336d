"""``dfdgbench sweep status``: how far a sweep is."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say, say_table


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "status",
        help="how far a sweep is",
        epilog="example:\n  dfdgbench sweep status runs/quickstart",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print how far a sweep is."""
    from dfdgbench.sweeps.folder import SweepFolder

    sweep = SweepFolder(options.folder)
    rows = []
    for run in sweep.runs():
        folder = sweep.folder(run)
        status = folder.status()
        at = (
            f"{status['step']}/{status['steps']} {status['stage']}"
            if "step" in status and status.get("state") == "running"
            else ""
        )
        rows.append({"run": run.run_id, "state": folder.state(), "at": at, "error": status.get("error", "")})
    if options.json:
        say(json.dumps(rows, indent=2))
        return 0
    states = sweep.states()
    say_table([row for row in rows if row["state"] != "done"], empty="No run is left to do.")
    say(f"\n{sum(states.values())} runs: " + ", ".join(f"{count} {state}" for state, count in states.items()))
    return 0
