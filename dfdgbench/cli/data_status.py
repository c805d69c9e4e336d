"""``dfdgbench data status``: which datasets are on disk."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.output import say, say_table

if TYPE_CHECKING:
    from dfdgbench.datasets.check.status import DatasetStatus, DomainStatus

EXAMPLES = """\
examples:
  dfdgbench data status --data-dir data
  dfdgbench data status PACS --data-dir data
  dfdgbench data status folder:my/images"""
WIDTH = 80
TOGETHER = ("missing", "embedded")
"""States of a whole dataset of which one row says all."""


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "status",
        help="which datasets are on disk, and whether they are whole",
        description="Show which datasets are on disk, and whether they are whole, by listing folders and reading the headers "
        "of files; `dfdgbench data verify` reads every file.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument(
        "--data-dir", metavar="DIR", default="data", help="the folder that holds the datasets' folders; default ./data"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print one row a domain, or a dataset; exit code 1 where a named dataset is not whole."""
    from dfdgbench.datasets.check.status import status, status_of_all

    named = [status(name, options.data_dir) for name in options.names]
    found = named or status_of_all(options.data_dir)
    if options.json:
        say(json.dumps([each.json() for each in found], indent=2))
    else:
        # What is there comes first; the rest in the registry's order.
        shown = found if options.names else sorted(found, key=lambda each: each.state == "missing")
        say_table([row for each in shown for row in _rows(each, full=bool(options.names))])
        _say_remarks(shown, options)
    return 1 if any(each.state not in ("ok", "embedded") for each in named) else 0


def _rows(dataset: DatasetStatus, full: bool) -> list[dict[str, Any]]:
    if dataset.state in TOGETHER:
        first, *others = dataset.domains
        name = f"all {len(dataset.domains)}" if others else first.name
        reason = "" if dataset.state == "missing" and not full else first.reason
        return [_row(dataset, name, dataset.state, None, dataset.expected, reason, full)]
    return [_domain_row(dataset, domain, full) for domain in dataset.domains]


def _domain_row(dataset: DatasetStatus, domain: DomainStatus, full: bool) -> dict[str, Any]:
    return _row(dataset, domain.name, domain.state, domain.found, domain.expected, domain.reason, full)


def _row(
    dataset: DatasetStatus, domain: str, state: str, found: int | None, expected: int | None, reason: str, full: bool
) -> dict[str, Any]:
    return {
        "dataset": dataset.name,
        "domain": domain,
        "state": state,
        "images": None if found is None else f"{found:,}",
        "expected": None if expected is None else f"{expected:,}",
        "get": dataset.get if state in ("missing", "wrong") else "",
        "remark": textwrap.fill(reason if full else reason.partition(". ")[0], WIDTH),
    }


def _say_remarks(found: list[DatasetStatus], options: argparse.Namespace) -> None:
    remarks = [f"{each.name}: {remark}" for each in found for remark in each.remarks]
    if options.names:
        remarks += [f"{each.name}: expected layout: {each.layout}" for each in found if each.layout]
    elif any(each.state == "missing" for each in found):
        remarks += [
            f"What is missing: `dfdgbench data download NAME --data-dir {options.data_dir}` gets it; where it is to be got by "
            "hand, `dfdgbench list datasets NAME` says how and where it belongs."
        ]
    if remarks:
        say()
    for remark in remarks:
        say(textwrap.fill(remark, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))
