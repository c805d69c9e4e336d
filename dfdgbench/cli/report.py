"""``dfdgbench report``: a sweep as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say, size

EXAMPLES = """\
examples:
  dfdgbench report runs/quickstart                         # writes runs/quickstart/report.html
  dfdgbench report runs/quickstart --out report.html
  dfdgbench report copied/quickstart --artifacts copied/artifacts
  dfdgbench report domainbed_output --out domainbed.html

The page is one file that fetches nothing: send it, or open it from a disk."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "report",
        help="a sweep as one HTML page",
        description="Write a page of tables, charts, images, failures and the runs behind every number.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="SWEEP_DIR", help="a sweep's folder, or any that holds runs")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default SWEEP_DIR/report.html; an earlier report is replaced"
    )
    parser.add_argument(
        "--artifacts",
        type=Path,
        metavar="DIR",
        help="where the images are; default: where the sweep notes it, or in it",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the page, then say what it could not show."""
    from dfdgbench.results.report.writing import write

    written = write(options.folder, options.out, options.artifacts)
    for remark in written.remarks[:5]:
        say(remark)
    if len(written.remarks) > 5:
        say(f"... and {len(written.remarks) - 5} more remarks, in the page.")
    say(f"The report of {written.runs} run{'s' * (written.runs != 1)}: {written.path} ({size(written.size)})")
    return 0
