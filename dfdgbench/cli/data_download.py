"""``dfdgbench data download``: get datasets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.output import fail, say, say_table, size
from dfdgbench.errors import DfdgbenchError

if TYPE_CHECKING:
    from dfdgbench.datasets.get.obtain import Outcome, Wanted
    from dfdgbench.datasets.metadata import Metadata

EXAMPLES = """\
examples:
  dfdgbench data download PACS
  dfdgbench data download PACS VLCS --data-dir /big/disk/data
  dfdgbench data download DomainNet --dry-run

A download that was stopped goes on with the same command. A file that this machine cannot reach can be brought by hand:
--offline says which, and where to put it."""


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "download",
        help="download datasets, check them, and put them in place",
        description="Download datasets, check them, and put them in place. What is there already is never changed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="see `dfdgbench list datasets`")
    parser.add_argument("--data-dir", metavar="DIR", default="data", help="where to; default ./data")
    parser.add_argument("--offline", action="store_true", help="never try the network (so does DFDGBENCH_OFFLINE=1)")
    parser.add_argument("--keep", action="store_true", help="keep the downloaded archives")
    parser.add_argument("--dry-run", action="store_true", help="list files, sizes and addresses; do nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Get one dataset after the other; exit code 1 where one could not be had."""
    from dfdgbench.datasets.base import DATASETS
    from dfdgbench.engine.interrupt import terminated_like_interrupted

    metadata = {
        name: DATASETS.get(name).metadata for name in options.names
    }  # a misspelt name is told before hours of work
    if options.dry_run:
        for name in metadata:
            _list(name, metadata[name], options.data_dir)
        return 0
    failed = 0
    with terminated_like_interrupted():
        for name in metadata:
            try:
                _get(name, metadata[name], options)
            except DfdgbenchError as error:
                fail(str(error))
                failed = 1
            except KeyboardInterrupt:
                fail("Stopped. The same command goes on with what has been downloaded.")
                return 130
    return failed


def _get(name: str, metadata: Metadata, options: argparse.Namespace) -> None:
    from dfdgbench.datasets.get.obtain import obtain

    outcome = obtain(name, options.data_dir, options.offline, options.keep)
    say(_told(name, metadata, options.data_dir, outcome))
    if outcome.how == "downloaded":
        say(f"Licence: {metadata.licence or 'not stated'}. Cite: {metadata.citation or 'see its home page'}.")


def _told(name: str, metadata: Metadata, data_dir: str, outcome: Outcome) -> str:
    where, images = Path(data_dir) / metadata.folder, f"{outcome.images:,} images" if outcome.images else ""
    return {
        "embedded": f"{name} needs no download: it is made of what is installed, or read where it lies.",
        "there": f"{name} is whole in {where}: {images}. Nothing to do.",
        "built": f"{name} is whole in {where}: {images}, made of what was there.",
        "downloaded": f"{name} is whole in {where}: {images}.",
    }[outcome.how]


def _list(name: str, metadata: Metadata, data_dir: str) -> None:
    """Print what a download would take."""
    from dfdgbench.datasets.check.status import status
    from dfdgbench.datasets.get.obtain import wanted

    if (state := status(name, data_dir).state) in ("ok", "embedded"):
        say(f"{name} is {'whole' if state == 'ok' else 'embedded'}: nothing would be downloaded.")
        return
    files = wanted(metadata, data_dir)
    if files:
        to_come = [file.source.size for file in files if file.at is None]
        unknown = f", and {to_come.count(None)} of unknown size" * (None in to_come)
        say(f"{name}: {size(sum(count or 0 for count in to_come))} to download{unknown}")
        say_table([row for file in files for row in _rows(file)])
    else:
        say(f"{name} cannot be downloaded by a command. {metadata.manual or f'See {metadata.homepage}.'}")


def _rows(file: Wanted) -> list[dict[str, Any]]:
    """A row for each mirror."""
    from dfdgbench.datasets.get.transfer import address

    state = f"there: {file.at}" if file.at is not None else f"{size(file.come)} have come" if file.come else "to come"
    known = size(file.source.size) if file.source.size else None
    first, *others = file.source.urls
    rows = [{"file": file.source.file, "size": known, "state": state, "address": address(first)}]
    return rows + [{"file": "", "size": "", "state": "or", "address": address(url)} for url in others]
