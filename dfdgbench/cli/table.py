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
    parser.add_argument("--format", choices=["markdown", "latex", "html", "csv", "json"], default="markdown")
    parser.add_argument("--diff", action="store_true", help="show ours minus the published number instead of both")
    parser.add_argument(
        "--missing", action="store_true", help="list the commands of all missing runs, not the first few"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table, then which runs are missing."""
    from dfdgbench.errors import ConfigError
    from dfdgbench.results import render, table
    from dfdgbench.tables.spec import load, names, of_sweep
    from dfdgbench.tables.sweepfile import SWEEP_FILE

    given, sweep = Path(options.table), options.folder
    if (given / SWEEP_FILE).is_file() and options.table not in names() and sweep is not None:
        raise ConfigError(
            f"TABLE is a sweep's folder, {given}, and so is SWEEP_DIR. Type: dfdgbench table {given}; two sweeps: "
            f"dfdgbench compare {given} {sweep}"
        )
    if sweep is None and ((given / SWEEP_FILE).is_file() or (given.is_dir() and options.table not in names())):
        spec, sweep = of_sweep(given), given
    else:
        spec = load(options.table)
    for asked, what in (
        ("diff", "shows ours minus the published numbers"),
        ("missing", "lists a sweep's missing runs"),
    ):
        if sweep is None and getattr(options, asked):
            raise ConfigError(
                f"--{asked} {what}, and no sweep's folder was given. Type: "
                f"dfdgbench table {options.table} SWEEP_DIR --{asked}"
            )
    built = table.build(spec, sweep)
    if options.format == "html":
        from dfdgbench.results import html

        say(html.document(built, diff=options.diff))
    else:
        say(getattr(render, options.format)(built, diff=options.diff))
    if options.format == "markdown" and sweep is not None:
        for line in render.missing(built, most=None if options.missing else 3):
            say(line)
    return 0
