"""``dfdgbench data``: what is on disk."""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.output import say_table

if TYPE_CHECKING:
    from dfdgbench.datasets.disk.status import DatasetStatus, DomainStatus


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "data",
        help="look after datasets",
        description="Look after datasets.",
        epilog="examples:\n  dfdgbench data status\n  dfdgbench data status PACS --data-dir data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status",
        help="which datasets are on disk, and whether they are whole",
        description="Show which datasets are on disk, and whether they are whole.",
        epilog="example:\n  dfdgbench data status PACS --data-dir data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    status.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    status.add_argument("--data-dir", metavar="DIR", help="the folder that holds the datasets' folders; default ./data")
    status.set_defaults(run=run)


def _row(dataset: DatasetStatus, domain: DomainStatus) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "domain": domain.name,
        "state": domain.state,
        "images": domain.found,
        "expected": domain.expected,
        "remark": textwrap.fill(domain.reason, 80),
    }


def run(options: argparse.Namespace) -> int:
    """Print one row a domain; exit code 1 where a named dataset is not whole."""
    from dfdgbench.datasets.base import DATASETS
    from dfdgbench.datasets.disk.status import status

    found = [status(name, options.data_dir or "data") for name in options.names or DATASETS.names()]
    say_table([_row(dataset, domain) for dataset in found for domain in dataset.domains])
    return 1 if options.names and any(dataset.state not in ("ok", "embedded") for dataset in found) else 0
