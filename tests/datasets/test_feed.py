"""Training and evaluation feeds: purity, coverage, caches."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import ArrayDomain, FolderDomain
from dfdgbench.datasets.feed import (
    Batch,
    ImageCache,
    Split,
    TrainingFeed,
    balanced_weights,
    eval_transform,
    evaluation_batches,
    to_float,
    train_transform,
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


# --- transforms -----------------------------------------------------------------------------------------------------


def test_plain_transform_keeps_pixels_of_the_right_size(array: ArrayDomain) -> None:
    made = eval_transform(8)(array.image(3))
    assert made.dtype == torch.float32
    assert torch.equal(made, torch.from_numpy(array.images[3]).permute(2, 0, 1) / 255)
    assert train_transform(8, False, True) == eval_transform(8)


def test_transforms_give_squares_in_the_unit_interval(folder: Domain) -> None:
    for transform in (eval_transform(12), train_transform(12, True, True)):
        made = transform(folder.image(0))
        assert made.shape == (3, 12, 12)
        assert 0 <= made.min() < made.max() <= 1


def test_only_hflip_mirrors() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 16).astype(np.uint8)[None, :, None], (16, 16, 3))
    domain = ArrayDomain("ramp", np.ascontiguousarray(ramp)[None], np.zeros(1, np.int64))

    def mirrored(hflip: bool) -> int:
        feed = TrainingFeed(whole(domain), 40, 0, train_transform(16, True, hflip))
        images = feed.batch(0)[0]
        return int((images[:, :, :, 0].mean((1, 2)) > images[:, :, :, -1].mean((1, 2))).sum())

    assert mirrored(False) == 0
    assert 10 < mirrored(True) < 30


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augment", [False, True])
def test_a_batch_depends_on_seed_and_number_alone(folder: Domain, augment: bool) -> None:
    def feed(seed: int) -> TrainingFeed:
        return TrainingFeed(whole(folder), 4, seed, train_transform(12, augment, True), cache=ImageCache())

    one, other = feed(5), feed(5)
    expected = [one.batch(k) for k in range(4)]
    torch.manual_seed(99)
    assert all(equal(other.batch(k), expected[k]) for k in (3, 0, 2, 1, 3))
    assert not equal(expected[0], expected[1])
    assert not equal(feed(6).batch(0), expected[0])
    resumed = list(itertools.islice(feed(5).prefetch(2), 2))
    assert all(equal(got, wanted) for got, wanted in zip(resumed, expected[2:], strict=True))


def test_shapes_and_types(folder: Domain) -> None:
    images, labels = TrainingFeed(whole(folder), 5, 0, train_transform(12, True, True)).batch(0)
    assert (images.shape, images.dtype) == ((5, 3, 12, 12), torch.float32)
    assert images.is_contiguous()
    assert (labels.shape, labels.dtype) == ((5,), torch.int64)


@pytest.mark.parametrize("augment", [False, True])
def test_workers_change_no_bit(folder: Domain, augment: bool) -> None:
    def some(workers: int) -> list[Batch]:
        transform = train_transform(12, augment, True)
        feed = TrainingFeed(whole(folder), 4, 1, transform, workers=workers, cache=ImageCache())
        return list(itertools.islice(feed.prefetch(3), 4))

    assert all(equal(one, two) for one, two in zip(some(0), some(2), strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_global_generators_are_left_alone(folder: Domain, workers: int) -> None:
    before = torch.get_rng_state()
    feed = TrainingFeed(whole(folder), 4, 1, train_transform(12, True, True), workers=workers)
    next(feed.prefetch())
    list(evaluation_batches(whole(folder), 12, 4, workers=workers))
    assert torch.equal(before, torch.get_rng_state())


def test_augmentation_does_not_seed_accelerators(folder: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the accelerators"))
    TrainingFeed(whole(folder), 2, 0, train_transform(12, True, True)).batch(0)


def test_drawing_is_with_replacement_and_uniform() -> None:
    feed = TrainingFeed(whole(numbered(5)), 1000, 0, train_transform(4, False, False))
    counts = np.bincount(drawn(feed.batch(0)[0]), minlength=5)
    assert counts.min() > 150
    single = TrainingFeed(whole(numbered(200)), 100, 0, train_transform(4, False, False))
    assert len(set(drawn(single.batch(0)[0]))) < 100


def test_keys_are_those_of_the_split() -> None:
    domain = numbered(20, classes=3)
    feed = TrainingFeed(Split(domain, np.array([3, 17, 8])), 50, 0, train_transform(4, False, False))
    images, labels = feed.batch(0)
    assert set(drawn(images)) == {3, 17, 8}
    assert labels.tolist() == [number % 3 for number in drawn(images)]


def test_without_replacement_every_pass_is_whole() -> None:
    feed = TrainingFeed(whole(numbered(10)), 4, 0, train_transform(4, False, False), replacement=False)
    row = [number for k in range(5) for number in drawn(feed.batch(k)[0])]
    assert sorted(row[:10]) == sorted(row[10:]) == list(range(10))
    assert row[:10] != row[10:]
    assert drawn(feed.batch(2)[0]) == row[8:12]


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("augment", [True, False])
def test_a_split_smaller_than_the_batch_trains(array: ArrayDomain, replacement: bool, augment: bool) -> None:
    split = Split(array, np.array([4, 9]))
    feed = TrainingFeed(split, 7, 0, train_transform(8, augment, False), replacement=replacement)
    assert feed.batch(0)[0].shape == (7, 3, 8, 8)
    assert "2 training images, fewer than the batch size 7" in feed.notice
    assert TrainingFeed(split, 2, 0, train_transform(8, augment, False)).notice == ""


def test_class_balanced_weights_are_domainbeds() -> None:
    weights = balanced_weights(np.array([0, 1, 0, 2, 3, 0]))
    expected = torch.tensor([1 / 12, 1 / 4, 1 / 12, 1 / 4, 1 / 4, 1 / 12])
    assert weights.dtype == torch.float32
    assert torch.allclose(weights, expected, rtol=1e-6)
    assert balanced_weights(np.array([5, 5])).tolist() == [0.5, 0.5]


def test_class_balanced_draws_classes_equally() -> None:
    domain = numbered(40)
    domain.labels = (np.arange(40) >= 36).astype(np.int64)
    plain, balanced = (
        TrainingFeed(whole(domain), 2000, 0, train_transform(4, False, False), class_balanced=flag).batch(0)[1]
        for flag in (False, True)
    )
    assert 0.05 < plain.double().mean() < 0.15
    assert 0.45 < balanced.double().mean() < 0.55


def test_wrong_options() -> None:
    transform, split = train_transform(4, False, False), whole(numbered(3))
    with pytest.raises(DataError, match="'numbered' is empty"):
        TrainingFeed(Split(split.domain, np.array([], np.int64)), 2, 0, transform)
    with pytest.raises(ConfigError, match="batch size 0"):
        TrainingFeed(split, 0, 0, transform)
    with pytest.raises(ConfigError, match="replacement"):
        TrainingFeed(split, 2, 0, transform, class_balanced=True, replacement=False)
    with pytest.raises(ValueError, match="no batch -1"):
        TrainingFeed(split, 2, 0, transform).batch(-1)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_from_any_process(folder: Domain, workers: int) -> None:
    assert isinstance(folder, FolderDomain)
    path = folder.root / folder.files[4]
    path.write_bytes(path.read_bytes()[:-60])
    feed = TrainingFeed(Split(folder, np.array([4])), 2, 0, train_transform(12, True, True), workers=workers)
    with pytest.raises(DataError, match=r"^The image .*pic_001.png cannot be decoded"):
        next(feed.prefetch())
    with pytest.raises(DataError, match=r"^The image .*pic_001.png cannot be decoded"):
        list(evaluation_batches(whole(folder), 12, 4, workers))


# --- evaluation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [4, 6])
def test_evaluation_reads_each_image_once_in_order(size: int, workers: int) -> None:
    domain = numbered(30, classes=3)
    keys = np.random.RandomState(0).permutation(30)[:23]
    batches = list(evaluation_batches(Split(domain, keys), size, 10, workers, ImageCache()))
    assert [len(labels) for _, labels in batches] == [10, 10, 3]
    images, labels = collect(batches)
    assert drawn(images) == keys.tolist()
    assert labels.tolist() == (keys % 3).tolist()
    assert images.shape[1:] == (3, size, size)


def test_vectorised_and_single_images_agree(array: ArrayDomain) -> None:
    images, _ = collect(list(evaluation_batches(whole(array), 8, 4)))
    assert torch.equal(images, torch.stack([eval_transform(8)(array.image(i)) for i in range(len(array))]))


@pytest.mark.parametrize("limit", [0, 1300, 1 << 20])
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_uncached_evaluation_agree(folder: Domain, limit: int, workers: int) -> None:
    cache = ImageCache(limit)
    expected = torch.stack([eval_transform(12)(folder.image(i)) for i in range(len(folder))])
    for _ in range(2):
        images, _ = collect(list(evaluation_batches(whole(folder), 12, 4, workers, cache)))
        assert torch.equal(images, expected)
    assert cache.used == min(limit // 432, 9) * 432


def test_a_second_evaluation_decodes_nothing(folder: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ImageCache()
    first = collect(list(evaluation_batches(whole(folder), 12, 4, 0, cache)))
    monkeypatch.setattr(FolderDomain, "image", lambda self, index: pytest.fail("decoded again"))
    assert equal(collect(list(evaluation_batches(whole(folder), 12, 4, 2, cache))), first)


def test_training_decodes_an_image_once(folder: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    def feed(limit: int) -> TrainingFeed:
        transform = train_transform(12, True, True)
        return TrainingFeed(whole(folder), 9, 0, transform, replacement=False, cache=ImageCache(limit))

    uncached = [feed(0).batch(k) for k in range(2)]
    cached = feed(1 << 20)
    assert equal(cached.batch(0), uncached[0])
    monkeypatch.setattr(FolderDomain, "image", lambda self, index: pytest.fail("decoded again"))
    assert equal(cached.batch(1), uncached[1])


def test_a_cache_frees_what_its_domains_held() -> None:
    cache = ImageCache()
    domain = numbered(3)
    list(evaluation_batches(whole(domain), 8, 2, 0, cache))
    assert cache.used == 3 * 8 * 8 * 3
    assert pickle.loads(pickle.dumps(cache)).used == 0
    del domain
    assert cache.used == 0


def test_to_float_is_contiguous() -> None:
    made = to_float(torch.full((2, 4, 4, 3), 255, dtype=torch.uint8).permute(0, 3, 1, 2))
    assert made.is_contiguous()
    assert bool((made == 1).all())
