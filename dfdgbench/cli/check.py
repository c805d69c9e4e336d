"""``dfdgbench check``: does an algorithm keep the contract."""

from __future__ import annotations

import argparse
import logging
from typing import Any

from dfdgbench.cli.output import say


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "check",
        help="run the contract on an algorithm",
        description="Run the contract on an algorithm: hyper-parameters, plan and access, a tiny run, kill and resume, reload.",
        epilog="examples:\n  dfdgbench check DEKAN\n  dfdgbench check mymethod:MyMethod",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="ALGORITHM")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one line a check; exit code 1 at the first that fails."""
    from dfdgbench.contract import checks_of

    logging.getLogger("dfdgbench").setLevel(logging.WARNING)  # the tiny runs' own lines are no news
    for title, check in checks_of(options.name):
        check()
        say(f"ok  {title}")
    say(f"{options.name} keeps the contract.")
    return 0
