"""``dfdgbench collect``: DomainBed's tables, by every selection rule; what the rules chose; and DomainBed's own forms."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfdgbench.cli.output import say
from dfdgbench.errors import ConfigError

_EXAMPLES = """examples:
  dfdgbench collect runs/quickstart
  dfdgbench collect domainbed_output --format latex
  dfdgbench collect runs/mine --winners --format csv > winners.csv
  dfdgbench collect domainbed_output --domainbed-parity
  dfdgbench collect runs/mine --export-domainbed exported"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "collect",
        help="DomainBed's tables of all runs below a folder",
        description="Collect every run below a folder, ours or DomainBed's, into a table a dataset and selection rule.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--format", choices=["markdown", "latex", "csv", "json"], default="markdown")
    parser.add_argument("--include-unfinished", action="store_true", help="count runs that are not done")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--winners", action="store_true", help="list the run, hparams and step that each rule chose instead"
    )
    form.add_argument(
        "--domainbed-parity",
        action="store_true",
        help="print what DomainBed's collect_results prints of DIR, to the byte",
    )
    form.add_argument(
        "--export-domainbed",
        type=Path,
        metavar="DIR",
        help="write the runs into DIR, as folders for DomainBed's collector",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables; remarks that have no place in them go to standard error."""
    if options.domainbed_parity:
        return _parity(options)
    if options.export_domainbed is not None:
        return _export(options)
    from dfdgbench.results.collect import read_sweep, tables
    from dfdgbench.results.collected import write

    if options.winners:
        return _winners(options)
    found = tables(read_sweep(options.folder, include_unfinished=options.include_unfinished))
    _print(write(found, options.format), found.remarks if options.format == "csv" else ())
    return 0


def _winners(options: argparse.Namespace) -> int:
    from dfdgbench.results.collect import collect_winners

    _print(*collect_winners(options.folder, format=options.format, include_unfinished=options.include_unfinished))
    return 0


def _parity(options: argparse.Namespace) -> int:
    from dfdgbench.results.parity import domainbed_text

    if options.format not in ("markdown", "latex"):
        raise ConfigError(f"DomainBed prints no {options.format}. Leave --format out, or type --format latex.")
    _print(*domainbed_text(options.folder, latex=options.format == "latex"))
    return 0


def _export(options: argparse.Namespace) -> int:
    from dfdgbench.results.export import export_domainbed

    target: Path = options.export_domainbed
    counts, remarks = export_domainbed(options.folder, target, include_unfinished=options.include_unfinished)
    _print("".join(f"{target / name}: {count} run{'s' * (count != 1)}\n" for name, count in counts.items()), remarks)
    return 0


def _print(text: str, remarks: Sequence[str]) -> None:
    say(text.removesuffix("\n"))
    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr, flush=True)
