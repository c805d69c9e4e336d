"""``dfdgbench sweep``: many runs, planned once, executed by any launcher."""

from __future__ import annotations

import argparse
from typing import Any

from dfdgbench.cli import sweep_launch, sweep_manage, sweep_prefetch, sweep_status, sweep_work

EXAMPLES = """\
examples:
  dfdgbench sweep plan dekan-table1 --data-dir data
  dfdgbench sweep launch quickstart
  dfdgbench sweep status runs/quickstart --watch 5
  dfdgbench sweep retry runs/quickstart --failed"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "sweep",
        help="plan, launch and watch many runs",
        description="Plan, launch and watch the runs that fill a table.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    sweep_launch.add(actions)
    sweep_prefetch.add(actions)
    sweep_status.add(actions)
    sweep_manage.add(actions)
    sweep_work.add(actions)
