"""``dfdgbench sweep prefetch``: the pretrained weights that a sweep needs, for machines without internet."""

from __future__ import annotations

import argparse
from typing import Any

from dfdgbench.cli.options import add_method
from dfdgbench.cli.sweep_grid import add_grid, choose

EXAMPLES = """\
examples:
  dfdgbench sweep prefetch dekan-table1
  dfdgbench sweep prefetch dekan-table1 --network timm:resnet18
  dfdgbench sweep prefetch --algorithms ERM CORAL --datasets PACS VLCS

Type it on a machine with internet (a login node, say), with the flags of `sweep launch` that say which runs there are. Data is
got by `dfdgbench data download`."""


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "prefetch",
        help="get the pretrained weights that a sweep's runs start from",
        description="Get the pretrained weights that a sweep's runs start from, on a machine with internet.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "table",
        nargs="?",
        metavar="TABLE",
        help="a table (`dfdgbench list tables`) or a YAML file; without it: --algorithms and --datasets",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="taken as `sweep launch` takes it; no image in it is needed")
    add_grid(parser)
    add_method(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Get them; exit code 1 where some cannot be had."""
    from dfdgbench.cli.networks import fetch
    from dfdgbench.planning import networks_of

    return fetch(networks_of(run.config for run in choose(options).runs))
