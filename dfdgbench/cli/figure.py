"""``dfdgbench figure``: a figure for a paper, drawn from sweeps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say, say_table

EXAMPLES = """\
examples:
  dfdgbench figure --list
  dfdgbench figure domains runs/quickstart                           # domains.pdf
  dfdgbench figure curves runs/quickstart --out curves.svg --width page
  dfdgbench figure dots runs/dekan-table1 runs/again --out dots.pdf dots.png"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "figure",
        help="draw a figure for a paper",
        description="Draw a figure from one sweep or several, as PDF, SVG or PNG. The same results give the same file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="see `dfdgbench figure --list`")
    parser.add_argument("sweeps", nargs="*", type=Path, metavar="SWEEP_DIR")
    parser.add_argument("--list", action="store_true", help="show which figures there are")
    parser.add_argument(
        "--out",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="one or more, ending in .pdf, .svg or .png; default: NAME.pdf",
    )
    parser.add_argument("--width", default="column", help="column (3.25 inches), page (6.75), or a number of inches")
    parser.add_argument("--table", metavar="TABLE", help="lay the runs out as this table; default: the sweep's own")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Draw the figure, or list all."""
    from dfdgbench.errors import ConfigError
    from dfdgbench.results.figures.base import FIGURES
    from dfdgbench.results.figures.drawing import draw

    if options.list:
        say_table([{"name": name, "shows": found.summary()} for name, found in FIGURES.items()])
        return 0
    if options.name is None:
        raise ConfigError(
            "Which figure? Type for example: dfdgbench figure domains runs/quickstart. All: dfdgbench figure --list"
        )
    outs = options.out or [Path(f"{options.name.partition(':')[0]}.pdf")]
    drawn = draw(options.name, options.sweeps, outs, width=options.width, table=options.table)
    for note in drawn.notes:
        say(note)
    for path in outs:
        say(f"Written: {path}")
    return 0
