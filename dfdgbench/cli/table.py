"""``dfdgbench table``: a published table, ours beside the printed numbers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say

EXAMPLES = """\
examples:
  dfdgbench table dekan-table1                      # the published numbers
  dfdgbench table quickstart runs/quickstart
  dfdgbench table runs/mysweep                      # the table of the sweep's own grid
  dfdgbench table dekan-table1 runs/dekan-table1 --format latex > table1.tex"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "table",
        help="render a paper's table",
        description="Render a table: mean, standard error over trials, and the published number.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "table", metavar="TABLE", help="see `dfdgbench list tables`; or a YAML file; or a sweep's folder alone"
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="SWEEP_DIR", help="without it: the published table")
    parser.add_argument("--format", choices=["markdown", "latex", "csv"], default="markdown")
    parser.add_argument(
        "--missing", action="store_true", help="list the commands of all missing runs, not the first few"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table, then which runs are missing."""
    from dfdgbench.results import render, table
    from dfdgbench.tables.spec import SWEEP_FILE, load, of_sweep

    given = Path(options.table)
    if options.folder is None and (given / SWEEP_FILE).is_file():
        options.folder = given
        built = table.build(of_sweep(given), given)
    else:
        built = table.build(load(options.table), options.folder)
    say(getattr(render, options.format)(built))
    if options.format == "markdown" and options.folder is not None:
        for line in render.missing(built, most=None if options.missing else 3):
            say(line)
    return 0
