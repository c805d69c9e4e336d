"""``dfdgbench data cache``: decode a dataset's images once, before a sweep does it; list and remove what was decoded."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.options import Size, folder, positive
from dfdgbench.cli.output import fail, say, say_table, size
from dfdgbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from dfdgbench.datasets.base import Dataset
    from dfdgbench.datasets.domains import FolderDomain
    from dfdgbench.datasets.feed.inventory import Stored
    from dfdgbench.datasets.feed.store import Shape

EXAMPLES = """\
examples:
  dfdgbench data cache PACS
  dfdgbench data cache DomainNet --jobs 32 --store-dir /scratch/stores
  dfdgbench data cache --list
  dfdgbench data cache PACS --list
  dfdgbench data cache PACS --remove
  dfdgbench data cache data/.dfdgbench/stores/STORE --remove

Runs decode what they need by themselves on their first use; this does it beforehand, with all cores. A build that was
stopped goes on with the same command. A store that another process reads or builds is not removed."""

Row = dict[str, Any]


def add(actions: Any) -> None:
    """Add the action's parser."""
    parser = actions.add_parser(
        "cache",
        help="decode images once, for the fast data path",
        description="Decode a dataset's images once into stores, which every run of this machine reads.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="see `dfdgbench list datasets`; or the folder of one store. --list without a name lists all",
    )
    parser.add_argument("--data-dir", metavar="DIR", default="data", help="the datasets' folder; default ./data")
    parser.add_argument("--store-dir", type=folder, metavar="DIR", help="where stores are; default: with the data")
    parser.add_argument(
        "--image-size",
        type=positive,
        nargs="+",
        action=Size,
        metavar="PIXELS",
        help="behind NAME: side of the networks' images, or height and width of images with masks; default: the dataset's, and of "
        "--list and --remove every one",
    )
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes; default: one a core")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="say what there is, of every size; decode nothing")
    action.add_argument("--remove", action="store_true", help="remove the stores instead, of every size")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Build, list or remove stores; exit code 1 where one could not be removed."""
    from dfdgbench.engine.interrupt import terminated_like_interrupted

    if not options.names and not options.list:
        raise ConfigError(
            "Of which dataset? Type for example: dfdgbench data cache PACS. --list alone lists all stores."
        )
    refused: list[str] = []
    with terminated_like_interrupted():
        rows = list(_rows(options, refused))
    say_table(rows, empty="There are no stores here.")
    if options.list:
        _say_what_to_type(options, rows)
    for reason in refused:
        fail(reason)
    return 1 if refused else 0


def _say_what_to_type(options: argparse.Namespace, rows: list[Row]) -> None:
    missing = sum(row["state"] == "not built" for row in rows)
    if missing:
        sides = options.image_size if isinstance(options.image_size, list) else [options.image_size]
        sized = f" --image-size {' '.join(map(str, sides))}" if options.image_size else ""
        folders = (("--data-dir", options.data_dir, "data"), ("--store-dir", options.store_dir, None))
        where = "".join(f" {name} {shlex.quote(str(path))}" for name, path, usual in folders if path != usual)
        say(f"{missing} are not built. Type: dfdgbench data cache {' '.join(options.names)}{where}{sized}")
    outdated = [row["where"] for row in rows if row["state"] == "outdated"]
    if outdated:
        say(
            f"{len(outdated)} are outdated: made of files that have changed since. Type: dfdgbench data cache {outdated[0]} "
            "--remove"
        )


def _rows(options: argparse.Namespace, refused: list[str]) -> Iterator[Row]:
    if not options.names:
        from dfdgbench.cache import cache_folder
        from dfdgbench.datasets.feed.inventory import stores_in

        with_data = Path(options.data_dir).expanduser() / ".dfdgbench" / "stores"
        folders = (options.store_dir,) if options.store_dir else (with_data, cache_folder() / "stores")
        yield from (_row(found, "") for found in stores_in(folders))
    for name in options.names:
        yield from _of_name(options, name, refused)


def _of_name(options: argparse.Namespace, name: str, refused: list[str]) -> Iterator[Row]:
    from dfdgbench.datasets.base import DATASETS
    from dfdgbench.datasets.feed.inventory import stored

    one = stored(Path(name))
    if one is not None and not (options.list or options.remove):
        raise ConfigError(
            f"{name} is a store already. Type --remove to remove it, or the name of a dataset to build its."
        )
    if one is not None:
        yield _removed(one, refused) if options.remove else _row(one, "")
        return
    place = _Place.of(options, DATASETS.get(name)(options.data_dir))
    seen: set[Path] = set()
    for index, label in enumerate(place.dataset.metadata.domains):
        for row in _of_domain(options, place, index, label, refused):
            seen.add(row["where"])
            yield row
    if options.list:
        yield from (_row(found, "outdated") for found in place.recorded() if found.path not in seen)


@dataclass(frozen=True)
class _Place:
    """A dataset, and where its stores are."""

    dataset: Dataset
    folders: tuple[Path, ...]

    @classmethod
    def of(cls, options: argparse.Namespace, dataset: Dataset) -> _Place:
        from dfdgbench.datasets.feed.shapes import store_folders

        return cls(dataset, store_folders(dataset, options.store_dir))

    @property
    def label(self) -> str:
        """What stores have written down."""
        from dfdgbench.datasets.feed.shapes import dataset_label

        return dataset_label(self.dataset)

    def recorded(self) -> Iterator[Stored]:
        """Every store that was built for this dataset."""
        from dfdgbench.datasets.feed.inventory import stores_in

        return (found for found in stores_in(self.folders) if found.dataset == self.label)


def _of_domain(options: argparse.Namespace, place: _Place, index: int, label: str, refused: list[str]) -> Iterator[Row]:
    from dfdgbench.datasets.domains import FolderDomain
    from dfdgbench.datasets.feed.inventory import stores_of
    from dfdgbench.datasets.feed.shapes import shapes_of

    domain = place.dataset.domain(index)
    common: Row = {"dataset": place.dataset.metadata.name, "domain": label}
    if not isinstance(domain, FolderDomain):
        yield _cells(common, images=len(domain), state="in memory")
        return
    wanted = shapes_of(domain, place.dataset.metadata, options.image_size)
    found = stores_of(domain, place.folders)
    if options.image_size is not None and options.remove:
        found = [each for each in found if each.shape in wanted]
    if options.remove or options.list:
        yield from (common | (_removed(each, refused) if options.remove else _row(each, "")) | common for each in found)
    for shape in wanted:
        if not (options.remove or options.list):
            yield common | _built(options, domain, shape, place) | common
        elif shape not in [each.shape for each in found]:
            yield _cells(common, shape, len(domain), len(domain) * shape.bytes, "not built")


def _cells(
    common: Row,
    shape: Shape | None = None,
    images: int | None = None,
    bytes_: int | None = None,
    state: str = "",
    used: str = "",
    where: Path | str = "",
) -> Row:
    return common | {
        "content": "" if shape is None else f"{shape.content} {shape.height}x{shape.width}",
        "images": images,
        "size": "" if bytes_ is None else size(bytes_),
        "state": state,
        "last use": used,
        "where": where,
    }


def _row(found: Stored, state: str) -> Row:
    """What is told of a store."""
    from dfdgbench.datasets.feed.marks import readers

    held = readers(found.path)
    used = "now" if held else time.strftime("%Y-%m-%d %H:%M", time.localtime(found.used))
    common = {"dataset": found.dataset or None, "domain": found.domain}
    said = state or ("there" if found.whole else "half-built")
    return _cells(common, found.shape, found.images, found.bytes, said, used, found.path)


def _removed(found: Stored, refused: list[str]) -> Row:
    from dfdgbench.datasets.feed.inventory import remove

    row = _row(found, "")
    try:
        remove(found.path)
    except DataError as error:
        refused.append(str(error))
        return row | {"state": "not removed"}
    return row | {"state": "removed"}


def _built(options: argparse.Namespace, domain: FolderDomain, shape: Shape, place: _Place) -> Row:
    from dfdgbench.cores import available_cores
    from dfdgbench.datasets.feed.inventory import stored
    from dfdgbench.datasets.feed.store import find_store, open_store
    from dfdgbench.engine.progress import Decoding

    there = find_store(domain, shape, place.folders)
    jobs = options.jobs or available_cores()
    path = there or open_store(domain, shape, place.folders, dataset=place.label, jobs=jobs, progress=Decoding()).path
    found = stored(path)
    assert found is not None
    return _row(found, "there" if there else "built")
