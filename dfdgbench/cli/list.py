"""``dfdgbench list``: what there is."""

from __future__ import annotations

import argparse
import json
from typing import Any

from dfdgbench.cli.output import say, say_table

KINDS = ("algorithms", "datasets", "networks", "launchers", "rules", "settings", "tables", "hparams", "presets")
EXAMPLES = """\
examples:
  dfdgbench list algorithms
  dfdgbench list datasets
  dfdgbench list hparams DEKAN
  dfdgbench list presets DEKAN"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "list",
        help="show what there is",
        description="Show what there is. The first call imports everything; later ones read a cache.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", nargs="?", metavar="ALGORITHM", help="for hparams and presets")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one kind."""
    rows = _rows(options)
    if options.json:
        say(json.dumps(rows, indent=2))
    else:
        say_table(rows, empty=f"none: {options.name} has no {options.kind}" if options.name else "none")
    return 0


def _rows(options: argparse.Namespace) -> list[dict[str, str]]:
    from dfdgbench.catalogue import catalogue, hparams_of
    from dfdgbench.errors import ConfigError

    if options.kind not in ("hparams", "presets"):
        return catalogue()[options.kind]
    if options.name is None:
        raise ConfigError(f"Of which algorithm? Type for example: dfdgbench list {options.kind} DEKAN")
    if options.kind == "hparams":
        return hparams_of(options.name)
    from dfdgbench.algorithms.base import ALGORITHMS

    presets = ALGORITHMS.get(options.name).presets
    return [
        {"preset": name, "sets": ", ".join(f"{key}={value}" for key, value in values.items()) or "the defaults"}
        for name, values in presets.items()
    ]
