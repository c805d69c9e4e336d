"""Images a second into a training step, side by side with the plain way: ImageFolder, PIL transforms, DataLoader.

All ways do DomainBed's augmentation and normalise. They take turns, so that a busy machine hurts all alike; the plain way
counts with the number of workers that is best for it. ``--alternatives`` adds other ways of augmenting stored images.

    python benchmarks/feeding.py --data-dir DATA [--size 224] [--batch 32] [--cores 2] [--seconds 6] [--alternatives]
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.feed.augment import LUMA, apply
from dfdgbench.datasets.feed.readers import DataPath, StoreReader, make_reader, stored_boxes
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import TrainingFeed, domainbed_augmentation
from dfdgbench.networks.base import IMAGENET_MEAN, IMAGENET_STD

MEAN = torch.tensor(IMAGENET_MEAN)[:, None, None]
STD = torch.tensor(IMAGENET_STD)[:, None, None]
Stream = Iterator[torch.Tensor]
DRAINED = 16


def plain(root: Path, size: int, batch: int, workers: int) -> Stream:
    """DomainBed's transforms in the usual loader."""
    steps = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.7, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.3, 0.3, 0.3, 0.3),
            transforms.RandomGrayscale(),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    images = ConcatDataset([ImageFolder(str(folder), steps) for folder in sorted(root.iterdir()) if folder.is_dir()])
    while True:
        sampler = RandomSampler(images, replacement=True)
        for made, _ in DataLoader(images, batch, sampler=sampler, num_workers=workers, drop_last=True):
            yield made


def ours(name: str, data_dir: Path, size: int, batch: int, path: DataPath) -> Stream:
    """Our feeds of all domains, in turn."""
    dataset = DATASETS.get(name)(data_dir)
    feeds = []
    for index in range(len(dataset.metadata.domains)):
        domain = dataset.domain(index)
        reader = make_reader(domain, size, path, dataset.metadata.native_size)
        split = Split(domain, np.arange(len(domain), dtype=np.int64))
        feeds.append(TrainingFeed(split, batch, index, reader, domainbed_augmentation(True)).prefetch())
    for feed in itertools.cycle(feeds):
        yield next(feed)[0].sub_(MEAN).div_(STD)


def stored(name: str, data_dir: Path, size: int, batch: int, path: DataPath, way: str) -> Stream:
    """Other ways of augmenting the images of a store."""
    dataset = DATASETS.get(name)(data_dir)
    reader = make_reader(dataset.domain(0), size, path, dataset.metadata.native_size)
    assert isinstance(reader, StoreReader)
    augment, random = domainbed_augmentation(True), torch.Generator().manual_seed(0)
    done = torch.compile(apply) if way == "compiled tensors" else apply
    v2_steps = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.7, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.3, 0.3, 0.3, 0.3),
            v2.RandomGrayscale(0.1),
        ]
    )
    while True:
        keys = torch.randint(len(reader.domain), (batch,), generator=random).numpy()
        images = torch.from_numpy(reader.train.pixels[keys]).permute(0, 3, 1, 2)
        if way == "v2 on stored bytes":
            made = torch.stack([v2_steps(image) for image in images]).float() / 255
        elif way == "kornia":
            made = _kornia(size)(images.float() / 255)
        else:
            drawn = augment.draw(batch, random)
            made = done(images.float() / 255, drawn, stored_boxes(reader.train, keys, drawn), (size, size))
        yield made.sub_(MEAN).div_(STD)


def _kornia(size: int) -> torch.nn.Module:
    from kornia import augmentation

    return augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=(0.7, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJitter(0.3, 0.3, 0.3, 0.3),
        augmentation.RandomGrayscale(rgb_weights=torch.tensor(LUMA), p=0.1),
    )


def rate(stream: Stream, seconds: float) -> float:
    """Images a second, after what was made ahead while others had their turn."""
    for _ in range(DRAINED):
        next(stream)
    began, images = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        images += len(next(stream))
    return images / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--dataset", default="PACS")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--store-dir", type=Path, help="default: a temporary folder, built anew")
    parser.add_argument("--alternatives", action="store_true", help="other ways of augmenting stored images, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        report(options, options.store_dir or Path(temporary))


def report(options: argparse.Namespace, stores: Path) -> None:
    """Measure every way in turn, several times, and print medians and ratios."""
    size, batch, cores = options.size, options.batch, options.cores
    fast, exact = (DataPath(kind, (stores,), cores, cores, cores) for kind in ("fast", "exact"))
    root = options.data_dir / DATASETS.get(options.dataset).metadata.folder
    common = (options.dataset, options.data_dir, size, batch)
    streams = {f"plain, {n} workers": plain(root, size, batch, n) for n in sorted({0, 1, cores, 2 * cores})}
    streams["exact path"] = ours(*common, exact)
    streams["fast path"] = ours(*common, fast)
    if options.alternatives:
        ways = ("eager tensors", "compiled tensors", "v2 on stored bytes", "kornia")
        streams |= {f"stored, {way}": stored(*common, fast, way) for way in ways}
    for stream in streams.values():  # loaders start and stores are built before anything is timed
        next(stream)
    rates: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(options.rounds):
        for name, stream in streams.items():
            rates[name].append(rate(stream, options.seconds))
    best = max((name for name in streams if name.startswith("plain")), key=lambda name: statistics.median(rates[name]))
    print(f"{options.dataset} at {size}, batches of {batch}, {cores} cores; ratios to '{best}', round by round\n")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates[best], strict=True))
        print(f"{name:28} {statistics.median(found):8.0f} images/s   {ratio:6.2f} x")


if __name__ == "__main__":
    main()
