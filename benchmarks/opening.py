"""Opening a data set, and decoding its store: seconds, private memory, use of the cores.

python benchmarks/opening.py --data-dir DATA            # PACS: open with its store; decode it with all cores
python benchmarks/opening.py --files 25000 50000 100000 # trees of tiny files: growth of time and memory
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from loky import get_reusable_executor
from PIL import Image

from dfdgbench.cores import available_cores
from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.feed.readers import DataPath, StoreReader, make_reader
from dfdgbench.datasets.feed.store import Shape, open_store

DOMAINS, CLASSES = 6, 345


def private() -> float:
    """MiB of memory that is this process's alone."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and MiB of private memory that ``work`` takes; what it returns is held until both are read."""
    before, began = private(), time.perf_counter()
    kept = work()
    taken = time.perf_counter() - began, private() - before
    del kept
    return taken


def opened(dataset: Dataset) -> list[object]:
    """Every domain, listed and fingerprinted."""
    domains = [dataset.domain(index) for index in range(len(dataset.metadata.domains))]
    return [(domain, domain.fingerprint()) for domain in domains]


def with_stores(name: str, data_dir: Path, stores: Path) -> list[object]:
    """Every domain with its stores."""
    dataset = DATASETS.get(name)(data_dir)
    readers = []
    for index in range(len(dataset.metadata.domains)):
        path = DataPath(stores=(stores,), jobs=available_cores())
        reader = make_reader(dataset.domain(index), dataset.metadata.image_size, path, dataset.metadata.native_size)
        assert isinstance(reader, StoreReader)
        readers.append((reader, reader.train, reader.whole))
    return [dataset, readers]


def real(name: str, data_dir: Path) -> None:
    """Decode a data set's stores, then open it with them."""
    cores = available_cores()
    dataset = DATASETS.get(name)(data_dir)
    domains = [dataset.domain(index) for index in range(len(dataset.metadata.domains))]
    images = sum(map(len, domains))
    with tempfile.TemporaryDirectory() as folder:
        get_reusable_executor(max_workers=cores).submit(os.getpid).result()  # workers start before anything is timed
        began, spent = time.perf_counter(), os.times()
        side = dataset.metadata.native_size or 268
        for domain in domains:
            open_store(domain, Shape(side, side), [Path(folder)], jobs=cores)  # type: ignore[arg-type]
        seconds = time.perf_counter() - began
        get_reusable_executor(max_workers=cores).shutdown(wait=True)  # then its processes' times are known
        after = os.times()
        used = sum(after[:4]) - sum(spent[:4])
        print(f"decoding {images} images of {name}: {seconds:.1f} s, {images / seconds:.0f} images/s, {cores} cores "
              f"{100 * used / seconds / cores:.0f} % busy")  # fmt: skip
        with_stores(name, data_dir, Path(folder))
        seconds, memory = measured(lambda: with_stores(name, data_dir, Path(folder)))
        print(f"opening {name} with its stores: {seconds:.2f} s, {memory:.0f} MiB of private memory")


def grown(counts: list[int]) -> None:
    """Open trees of several sizes."""
    previous = None
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "tree"
            plant(root, count)
            seconds, memory = measured(lambda root=root: opened(DATASETS.get(f"folder:{root}")()))
            growth = f", {seconds / previous[1] / (count / previous[0]):.2f} x linear" if previous else ""
            print(f"opening {count:7d} files: {seconds:5.2f} s, {memory:4.0f} MiB{growth}")
            previous = previous or (count, seconds)


def plant(root: Path, files: int) -> None:
    """A tree of tiny images in six domains of 345 classes."""
    content = root.parent / "one.png"
    Image.new("RGB", (2, 2)).save(content)
    bytes_ = content.read_bytes()
    for number in range(files):
        folder = root / f"domain{number % DOMAINS}" / f"class_{number // DOMAINS % CLASSES:03d}"
        if number < DOMAINS * CLASSES:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{folder.name}_{number:06d}.png").write_bytes(bytes_)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--dataset", default="PACS")
    parser.add_argument("--files", type=int, nargs="+", default=[])
    options = parser.parse_args()
    if not options.data_dir and not options.files:
        sys.exit("Give --data-dir DATA, --files N ..., or both.")
    if options.data_dir:
        real(options.dataset, options.data_dir)
    grown(options.files)


if __name__ == "__main__":
    main()
