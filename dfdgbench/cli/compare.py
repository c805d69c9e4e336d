"""``dfdgbench compare``: two sweeps cell by cell, or one sweep's methods against each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import fail, say

EXAMPLES = """\
examples:
  dfdgbench compare runs/before runs/after
  dfdgbench compare runs/before runs/after --fail-on-worse      # for scripts: exit code 1 where B is worse
  dfdgbench compare runs/quickstart                             # its methods: paired tests and average ranks"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "compare",
        help="two sweeps cell by cell, with a verdict on noise",
        description="Compare sweep B with sweep A cell by cell, trials paired by seed, with a verdict on noise and what "
        "else differs between their runs. With one sweep: its methods against each other.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", type=Path, metavar="A", help="a sweep's folder")
    parser.add_argument("b", type=Path, nargs="?", metavar="B", help="the sweep that is judged")
    parser.add_argument("--format", choices=["markdown", "csv", "json"], default="markdown")
    parser.add_argument(
        "--fail-on-worse",
        action="store_true",
        help="end with exit code 1 where B is worse in a cell or overall, or lacks a result that A has",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the comparison."""
    if options.b is None:
        return _methods(options)
    from dfdgbench.results import compare_text
    from dfdgbench.results.compare import compare

    found = compare(options.a, options.b)
    say(getattr(compare_text, options.format)(found).rstrip("\n"))
    if options.fail_on_worse and found.worse:
        fail("B is worse than A: " + "; ".join(compare_text.worst(found)))
        return 1
    return 0


def _methods(options: argparse.Namespace) -> int:
    from dfdgbench.errors import ConfigError
    from dfdgbench.results import compare_text
    from dfdgbench.results.cells import placed
    from dfdgbench.results.ranking import pairs, rank
    from dfdgbench.results.table import build
    from dfdgbench.tables.spec import of_sweep

    if options.fail_on_worse:
        raise ConfigError(
            "--fail-on-worse compares two sweeps; one was given. Type: dfdgbench compare A B --fail-on-worse"
        )
    cells = placed(build(of_sweep(options.a), options.a))
    tests, found, why = pairs(cells), None, ""
    if not tests:
        raise ConfigError(
            f"{options.a} has results of fewer than two methods, so that there is nothing to compare. "
            f"What is missing: dfdgbench table {options.a} --missing. Two sweeps: dfdgbench compare A B"
        )
    try:
        found = rank(cells)
    except ConfigError as error:
        why = str(error)
    if options.format == "csv":
        say(compare_text.ranking_csv(tests).rstrip("\n"))
    else:
        text = compare_text.ranking if options.format == "markdown" else compare_text.ranking_json
        say(text(found, tests, why).rstrip("\n"))
    return 0
