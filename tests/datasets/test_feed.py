"""Training and evaluation feeds: purity, coverage, caches."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import ArrayDomain, FolderDomain
from dfdgbench.datasets.feed import readers
from dfdgbench.datasets.feed.images import ImageCache, to_float
from dfdgbench.datasets.feed.pixels import plain
from dfdgbench.datasets.feed.readers import ArrayReader, DataPath, FileReader, Reader, make_reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import (
    Batch,
    TrainingFeed,
    balanced_weights,
    domainbed_augmentation,
    evaluation_batches,
)
from dfdgbench.errors import ConfigError, DataError


def whole(domain: Domain) -> Split:
    return Split(domain, np.arange(len(domain), dtype=np.int64))


def equal(one: Batch, other: Batch) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def collect(batches: list[Batch]) -> Batch:
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def numbered(count: int, classes: int = 2) -> ArrayDomain:
    """Images whose every pixel is their number, so that a batch tells what was drawn."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 4, 4, 3))
    return ArrayDomain("numbered", np.ascontiguousarray(images), np.arange(count) % classes)


def reader(domain: Domain, size: int, stores: Path | None = None, workers: int = 0) -> Reader:
    """Of files, or of stores in ``stores``."""
    path = DataPath("fast", (stores,)) if stores is not None else DataPath("exact", workers=workers)
    if isinstance(domain, FolderDomain) and stores is None:
        return FileReader(domain, size, path, ImageCache())
    return make_reader(domain, size, path)


def feed_of(
    split: Split, batch_size: int, seed: int = 0, *, size: int = 4, augment: bool = False, **options: Any
) -> TrainingFeed:
    """A feed of plain or augmented images from the files, or from memory."""
    augmentation = domainbed_augmentation(options.pop("hflip", False)) if augment else None
    made_by = options.pop("by", None) or reader(split.domain, size)
    return TrainingFeed(split, batch_size, seed, made_by, augmentation, **options)


def drawn(images: Tensor) -> list[int]:
    return (images[:, 0, 0, 0] * 255).round().int().tolist()


# --- splits ---------------------------------------------------------------------------------------------------------


def test_split_knows_its_length_labels_and_content(array: ArrayDomain) -> None:
    split = Split(array, np.array([7, 2, 4]))
    assert len(split) == 3
    assert (split.labels == array.labels[[7, 2, 4]]).all()
    assert split.fingerprint() == Split(array, np.array([7, 2, 4])).fingerprint()
    assert split.fingerprint() != Split(array, np.array([2, 7, 4])).fingerprint()
    changed = ArrayDomain("noise", 255 - array.images, array.labels)
    assert split.fingerprint() != Split(changed, np.array([7, 2, 4])).fingerprint()


def test_a_domain_is_hashed_once(array: ArrayDomain, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Split(array, np.array([0])).fingerprint()
    monkeypatch.setattr(ArrayDomain, "fingerprint", lambda self: pytest.fail("hashed again"))
    assert Split(array, np.array([1])).fingerprint() != first


# --- training -------------------------------------------------------------------------------------------------------


def test_only_hflip_mirrors() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], (16, 16, 3))
    domain = ArrayDomain("ramp", np.ascontiguousarray(ramp)[None], np.zeros(1, np.int64))

    def mirrored(hflip: bool) -> int:
        images = feed_of(whole(domain), 40, size=16, augment=True, hflip=hflip).batch(0)[0]
        return int((images[:, :, :, 0].mean((1, 2)) > images[:, :, :, -1].mean((1, 2))).sum())

    assert mirrored(False) == 0
    assert 10 < mirrored(True) < 30


@pytest.mark.parametrize("kind", ["plain", "exact", "fast"])
def test_a_batch_depends_on_seed_and_number_alone(folder: Domain, tmp_path: Path, kind: str) -> None:
    def feed(seed: int) -> TrainingFeed:
        by = reader(folder, 12, tmp_path / "stores" if kind == "fast" else None)
        return feed_of(whole(folder), 4, seed, size=12, augment=kind != "plain", by=by)

    one, other = feed(5), feed(5)
    expected = [one.batch(k) for k in range(4)]
    torch.manual_seed(99)
    assert all(equal(other.batch(k), expected[k]) for k in (3, 0, 2, 1, 3))
    assert not equal(expected[0], expected[1])
    assert not equal(feed(6).batch(0), expected[0])
    resumed = list(itertools.islice(feed(5).prefetch(2), 2))
    assert all(equal(got, wanted) for got, wanted in zip(resumed, expected[2:], strict=True))


@pytest.mark.parametrize("fast", [False, True])
def test_shapes_and_types(folder: Domain, tmp_path: Path, fast: bool) -> None:
    by = reader(folder, 12, tmp_path / "stores" if fast else None)
    images, labels = feed_of(whole(folder), 5, size=12, augment=True, by=by).batch(0)
    assert (images.shape, images.dtype) == ((5, 3, 12, 12), torch.float32)
    assert images.is_contiguous()
    assert 0 <= images.min() < images.max() <= 1
    assert (labels.shape, labels.dtype) == ((5,), torch.int64)


@pytest.mark.parametrize("augment", [False, True])
def test_workers_change_no_bit(folder: Domain, augment: bool) -> None:
    def some(workers: int) -> list[Batch]:
        by = reader(folder, 12, workers=workers)
        return list(itertools.islice(feed_of(whole(folder), 40, 1, augment=augment, by=by).prefetch(3), 4))

    assert all(equal(one, two) for one, two in zip(some(0), some(2), strict=True))


def test_threads_change_no_bit(folder: Domain, tmp_path: Path) -> None:
    def some(threads: int) -> list[Batch]:
        by = make_reader(folder, 12, DataPath("fast", (tmp_path / "stores",), threads=threads))
        return list(itertools.islice(feed_of(whole(folder), 40, 1, augment=True, by=by).prefetch(3), 4))

    assert all(equal(one, two) for one, two in zip(some(1), some(3), strict=True))


@pytest.mark.parametrize("fast", [False, True])
def test_global_generators_are_left_alone(folder: Domain, tmp_path: Path, fast: bool) -> None:
    before = torch.get_rng_state()
    by = reader(folder, 12, tmp_path / "stores" if fast else None)
    next(feed_of(whole(folder), 4, 1, augment=True, by=by).prefetch())
    list(evaluation_batches(whole(folder), by, 4))
    assert torch.equal(before, torch.get_rng_state())


def test_drawing_is_with_replacement_and_uniform() -> None:
    counts = np.bincount(drawn(feed_of(whole(numbered(5)), 1000).batch(0)[0]), minlength=5)
    assert counts.min() > 150
    assert len(set(drawn(feed_of(whole(numbered(200)), 100).batch(0)[0]))) < 100


def test_keys_are_those_of_the_split() -> None:
    domain = numbered(20, classes=3)
    images, labels = feed_of(Split(domain, np.array([3, 17, 8])), 50).batch(0)
    assert set(drawn(images)) == {3, 17, 8}
    assert labels.tolist() == [number % 3 for number in drawn(images)]


def test_without_replacement_every_pass_is_whole() -> None:
    feed = feed_of(whole(numbered(10)), 4, replacement=False)
    row = [number for k in range(5) for number in drawn(feed.batch(k)[0])]
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    assert row[:10] != row[10:]
    assert drawn(feed.batch(2)[0]) == row[8:12]


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("keys", [[4, 9], [3]])
def test_a_split_smaller_than_the_batch_trains(
    array: ArrayDomain, replacement: bool, augment: bool, keys: list[int]
) -> None:
    split = Split(array, np.array(keys))
    feed = feed_of(split, 7, size=8, augment=augment, replacement=replacement)
    assert feed.batch(0)[0].shape == (7, 3, 8, 8)
    assert f"{len(keys)} training images, fewer than the batch size 7" in feed.notice
    assert feed_of(split, len(keys), size=8).notice == ""


def test_class_balanced_weights_are_domainbeds() -> None:
    weights = balanced_weights(np.array([0, 1, 0, 2, 3, 0]))
    expected = torch.tensor([1 / 12, 1 / 4, 1 / 12, 1 / 4, 1 / 4, 1 / 12])
    assert weights.dtype == torch.float32
    assert torch.allclose(weights, expected, rtol=1e-6)
    assert balanced_weights(np.array([5, 5])).tolist() == [0.5, 0.5]


def test_class_balanced_draws_classes_equally() -> None:
    domain = numbered(40)
    domain.labels = (np.arange(40) >= 36).astype(np.int64)
    plainly, balanced = (feed_of(whole(domain), 2000, class_balanced=flag).batch(0)[1] for flag in (False, True))
    assert 0.05 < plainly.double().mean() < 0.15
    assert 0.45 < balanced.double().mean() < 0.55


def test_class_balanced_with_a_single_class(array: ArrayDomain) -> None:
    array.labels = np.full(10, 2)
    assert set(feed_of(whole(array), 6, size=8, class_balanced=True).batch(0)[1].tolist()) == {2}


def test_wrong_options() -> None:
    split = whole(numbered(3))
    with pytest.raises(DataError, match="'numbered' is empty"):
        feed_of(Split(split.domain, np.array([], np.int64)), 2)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        feed_of(split, 0)
    with pytest.raises(ConfigError, match="replacement"):
        feed_of(split, 2, class_balanced=True, replacement=False)
    with pytest.raises(ValueError, match="no batch -1"):
        feed_of(split, 2).batch(-1)


@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_one_or_two_channels(channels: int) -> None:
    images = np.random.RandomState(0).randint(0, 256, (6, 8, 8, channels)).astype(np.uint8)
    domain = ArrayDomain("few", images, np.zeros(6, np.int64))
    assert torch.equal(
        collect(list(evaluation_batches(whole(domain), reader(domain, 8), 4)))[0],
        torch.from_numpy(images).permute(0, 3, 1, 2) / 255,
    )
    assert feed_of(whole(domain), 3, size=12).batch(0)[0].shape == (3, channels, 12, 12)
    with pytest.raises(ConfigError, match=f"has {channels} channels; augmentation needs 3"):
        feed_of(whole(domain), 3, size=8, augment=True).batch(0)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_from_any_process(folder: Domain, workers: int) -> None:
    assert isinstance(folder, FolderDomain)
    path = folder.root / folder.files[4]
    path.write_bytes(path.read_bytes()[:-60])
    by = reader(folder, 12, workers=workers)
    with pytest.raises(DataError, match=r"^The image .*pic_001.png cannot be decoded"):
        next(feed_of(Split(folder, np.array([4])), 2, augment=True, by=by).prefetch())
    with pytest.raises(DataError, match=r"^The image .*pic_001.png cannot be decoded"):
        list(evaluation_batches(whole(folder), by, 4))


def test_a_worker_that_dies_is_told(folder: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "from_files", lambda *args: os._exit(1))
    with pytest.raises(DataError, match=r"was killed .* --workers 0"):
        feed_of(whole(folder), 4, augment=True, by=reader(folder, 12, workers=2)).batch(0)


# --- evaluation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 6])
def test_evaluation_reads_each_image_once_in_order(size: int) -> None:
    domain = numbered(30, classes=3)
    keys = np.random.RandomState(0).permutation(30)[:23]
    batches = list(evaluation_batches(Split(domain, keys), reader(domain, size), 10))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    images, labels = collect(batches)
    assert drawn(images) == keys.tolist()
    assert labels.tolist() == (keys % 3).tolist()
    assert images.shape[1:] == (3, size, size)


@pytest.mark.parametrize("limit", [0, 1300, 1 << 20])
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_uncached_evaluation_agree(folder: Domain, limit: int, workers: int) -> None:
    assert isinstance(folder, FolderDomain)
    by = FileReader(folder, 12, DataPath("exact", workers=workers), ImageCache(limit))
    expected = torch.from_numpy(np.stack([plain(folder.image(i), 12, 12) for i in range(len(folder))]))
    for _ in range(2):
        images, _ = collect(list(evaluation_batches(whole(folder), by, 4)))
        assert torch.equal(images, to_float(expected.permute(0, 3, 1, 2)))
    assert by.cache.used == min(limit // 432, 9) * 432


@pytest.mark.parametrize("size", [12, 16, 40])
def test_evaluation_is_the_same_on_both_paths(folder: Domain, tmp_path: Path, size: int) -> None:
    fast, exact = reader(folder, size, tmp_path / "stores"), reader(folder, size)
    assert equal(*(collect(list(evaluation_batches(whole(folder), by, 4))) for by in (fast, exact)))


def test_a_second_evaluation_decodes_nothing(folder: Domain) -> None:
    assert isinstance(folder, FolderDomain)
    by = reader(folder, 12)
    first = collect(list(evaluation_batches(whole(folder), by, 4)))
    for file in folder.files:
        (folder.root / file).unlink()
    assert equal(collect(list(evaluation_batches(whole(folder), by, 4))), first)


def test_evaluation_can_be_augmented_as_domainbed_does(folder: Domain) -> None:
    def images(seed: int) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        return collect(
            list(evaluation_batches(whole(folder), reader(folder, 12), 4, domainbed_augmentation(True), random))
        )[0]

    plainly = collect(list(evaluation_batches(whole(folder), reader(folder, 12), 4)))[0]
    assert torch.equal(images(1), images(1))
    assert not torch.equal(images(1), images(2))
    assert not torch.equal(images(1), plainly)


def test_a_cache_frees_what_its_domains_held() -> None:
    cache = ImageCache()
    domain = numbered(3)
    list(evaluation_batches(whole(domain), ArrayReader(domain, 8, DataPath(), cache), 2))
    assert cache.used == 3 * 8 * 8 * 3
    del domain
    assert cache.used == 0


def test_to_float_is_contiguous() -> None:
    made = to_float(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8).permute(0, 3, 1, 2))
    assert made.is_contiguous()
    assert bool((made == 1).all())
