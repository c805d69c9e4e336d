"""``dfdgbench data``: what is on disk, whether it is whole, and how to get it there."""

from __future__ import annotations

import argparse
from typing import Any

from dfdgbench.cli import data_cache, data_download, data_status, data_verify


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "data",
        help="look after datasets",
        description="Look after datasets.",
        epilog="examples:\n  dfdgbench data status\n  dfdgbench data download PACS --data-dir data\n"
        "  dfdgbench data verify PACS --data-dir data",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    data_status.add(actions)
    data_download.add(actions)
    data_verify.add(actions)
    data_cache.add(actions)
