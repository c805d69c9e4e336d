"""``dfdgbench list``: what there is."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from dfdgbench.cli.output import say, say_table

KINDS = ("algorithms", "datasets", "networks", "launchers", "rules", "settings", "tables", "hparams", "presets")
EXAMPLES = """\
examples:
  dfdgbench list algorithms
  dfdgbench list datasets
  dfdgbench list datasets PACS
  dfdgbench list hparams DEKAN
  dfdgbench list presets DEKAN"""

WIDTHS = {"domains": 30, "protocols": 12, "licence": 26, "paper": 44, "what": 60}


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
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="an algorithm, for hparams and presets; a dataset, for all about it"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one kind, or one dataset."""
    if options.kind == "datasets" and options.name is not None:
        from dfdgbench.cli.list_dataset import show

        show(options.name, options.json)
        return 0
    rows = _rows(options)
    if options.json:
        say(json.dumps(rows, indent=2))
        return 0
    if options.kind == "datasets":  # a dataset's own page has the description
        rows = [{name: text for name, text in row.items() if name != "what"} for row in rows]
    if options.kind in ("algorithms", "datasets"):
        rows = [_fitted(row) for row in rows]
    say_table(rows, empty=f"none: {options.name} has no {options.kind}" if options.name else "none")
    if options.kind == "datasets":
        _say_forms()
    if options.kind == "networks":
        say("\nWhich pretrained weights are on this machine: dfdgbench networks status")
    return 0


def _fitted(row: dict[str, str]) -> dict[str, str]:
    """A row for a terminal: long cells wrapped."""
    return {name: textwrap.fill(text, WIDTHS.get(name, 40)) for name, text in row.items()}


def _say_forms() -> None:
    from dfdgbench.datasets.base import DATASETS

    say()
    for form in DATASETS.forms():
        say(f"Or {form}.")
    say("All about one: dfdgbench list datasets NAME. Which are here: dfdgbench data status")


def _rows(options: argparse.Namespace) -> list[dict[str, str]]:
    from dfdgbench.catalogue import catalogue, hparams_of
    from dfdgbench.errors import ConfigError

    if options.kind not in ("hparams", "presets"):
        if options.name is not None:
            raise ConfigError(
                f"`list {options.kind}` takes no name; '{options.name}' was given. Names go with datasets, hparams and presets."
            )
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
