"""``dfdgbench data cache``: decode a dataset's images once, before a sweep does it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import folder, positive
from dfdgbench.cli.output import say, say_table, size

if TYPE_CHECKING:
    from dfdgbench.datasets.domains import FolderDomain
    from dfdgbench.datasets.feed.store import Shape

EXAMPLES = """\
examples:
  dfdgbench data cache PACS
  dfdgbench data cache DomainNet --jobs 32 --store-dir /scratch/stores
  dfdgbench data cache PACS --list
  dfdgbench data cache PACS --remove

Runs decode what they need by themselves on their first use; this does it beforehand, with all cores. A build that was
stopped goes on with the same command."""


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "cache",
        help="decode images once, for the fast data path",
        description="Decode a dataset's images once into stores, which every run of this machine reads.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="see `dfdgbench list datasets`")
    parser.add_argument("--data-dir", metavar="DIR", default="data", help="the datasets' folder; default ./data")
    parser.add_argument("--store-dir", type=folder, metavar="DIR", help="where to; default: with the data")
    parser.add_argument("--image-size", type=positive, metavar="PIXELS", help="default: the dataset's")
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes; default: one a core")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="say what there is; decode nothing")
    action.add_argument("--remove", action="store_true", help="remove the stores instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build, list or remove the stores of every domain."""
    from dfdgbench.datasets.base import DATASETS
    from dfdgbench.engine.interrupt import terminated_like_interrupted

    rows: list[dict[str, Any]] = []
    with terminated_like_interrupted():
        for name in options.names:
            dataset = DATASETS.get(name)(options.data_dir)
            for index, domain in enumerate(dataset.metadata.domains):
                rows += _domain(options, name, domain, dataset, index)
    say_table(rows)
    missing = [row for row in rows if row["state"] == "not built"]
    if missing and options.list:
        say(f"{len(missing)} are not built. Type: dfdgbench data cache {' '.join(options.names)}")
    return 0


def _domain(options: argparse.Namespace, name: str, label: str, dataset: Any, index: int) -> list[dict[str, Any]]:
    from dfdgbench.datasets.domains import FolderDomain
    from dfdgbench.datasets.feed.shapes import shapes_of, store_folders

    domain = dataset.domain(index)
    common = {"dataset": name, "domain": label}
    if not isinstance(domain, FolderDomain):
        return [common | {"content": "", "images": len(domain), "size": "", "state": "in memory", "where": ""}]
    folders = store_folders(dataset, options.store_dir)
    rows = []
    for shape in shapes_of(domain, dataset.metadata, options.image_size):
        state, path = _store(options, domain, shape, folders)
        content = f"{shape.content} {shape.height}x{shape.width}"
        bytes_ = size(len(domain) * shape.bytes)
        rows.append(common | {"content": content, "images": len(domain), "size": bytes_, "state": state, "where": path})
    return rows


def _store(
    options: argparse.Namespace, domain: FolderDomain, shape: Shape, folders: tuple[Path, ...]
) -> tuple[str, str]:
    from dfdgbench.cores import available_cores
    from dfdgbench.datasets.feed.store import find_store, open_store, remove_store
    from dfdgbench.engine.progress import Decoding

    found = find_store(domain, shape, folders)
    if options.remove:
        return ("removed" if remove_store(domain, shape, folders) else "not built"), str(found or "")
    if found is not None:
        return "there", str(found)
    if options.list:
        return "not built", ""
    built = open_store(domain, shape, folders, jobs=options.jobs or available_cores(), progress=Decoding())
    return "built", str(built.path)
