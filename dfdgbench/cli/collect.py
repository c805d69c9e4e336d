"""``dfdgbench collect``: DomainBed's tables, by every selection rule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "collect",
        help="DomainBed's tables of all runs below a folder",
        description="Collect every run below a folder, ours or DomainBed's, into a table a dataset and selection rule.",
        epilog="examples:\n  dfdgbench collect runs/quickstart\n  dfdgbench collect domainbed_output --format latex",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=["markdown", "latex"], default="markdown")
    parser.add_argument("--include-unfinished", action="store_true", help="count runs that are not done")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    from dfdgbench.results.collect import collect

    say(collect(options.folder, format=options.format, include_unfinished=options.include_unfinished))
    return 0
