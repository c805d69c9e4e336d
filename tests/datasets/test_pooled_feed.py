"""Batches from the concatenation of domains: every image once a pass, in proportion to size, resumable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.feed.augment import BatchAugment
from dfdgbench.datasets.feed.readers import DataPath, make_reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import (
    EachDomain,
    PooledFeed,
    TrainingFeed,
    dmg_domainnet_augmentation,
    dmg_pacs_augmentation,
    pooled_batches,
)
from dfdgbench.errors import ConfigError, DataError

SIZES = (5, 9, 2)


def splits() -> list[Split]:
    """Domains whose every image says in its pixels which it is; the keys are not in order."""
    found = []
    for number, size in enumerate(SIZES):
        images = np.zeros((size + 3, 4, 4, 3), dtype=np.uint8)
        images[..., 0], images[..., 1] = 50 * number, 10 * np.arange(size + 3)[:, None, None]
        domain = ArrayDomain(f"d{number}", images, np.arange(size + 3) % 3)
        found.append(Split(domain, np.arange(size)[::-1].copy()))
    return found


def feed(batch_size: int = 4, augment: BatchAugment | None = None, seed: int = 7) -> PooledFeed:
    given = splits()
    return PooledFeed(given, batch_size, seed, [make_reader(split.domain, 4, DataPath()) for split in given], augment)


def seen(batch: list[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[int, int]]:
    return [
        (position, round(float(image[1, 0, 0]) * 255 / 10))
        for position, (images, _) in enumerate(batch)
        for image in images
    ]


def test_a_pass_shows_every_image_once_and_keeps_its_last_smaller_batch():
    given = feed()
    assert given.batches_per_pass == 4
    every = [(domain, image) for domain, size in enumerate(SIZES) for image in range(size)]
    for number in (0, 1):
        batches = [given.batch(4 * number + k) for k in range(4)]
        assert [sum(len(labels) for _, labels in batch) for batch in batches] == [4, 4, 4, 4]
        assert sorted(image for batch in batches for image in seen(batch)) == every
    assert [len(seen(feed(5).batch(k))) for k in range(4)] == [5, 5, 5, 1]
    assert seen(given.batch(0)) != seen(given.batch(4)), "each pass has an order of its own"


def test_a_batch_is_one_minibatch_a_domain_with_its_labels_some_empty():
    given = feed(2)
    empty = 0
    for k in range(given.batches_per_pass):
        batch = given.batch(k)
        assert len(batch) == 3
        for position, (images, labels) in enumerate(batch):
            assert images.shape[1:] == (3, 4, 4)
            assert images.dtype == torch.float32
            assert labels.dtype == torch.int64
            assert len(images) == len(labels)
            assert labels.tolist() == [image % 3 for _, image in seen([batch[position]])]
            empty += not len(labels)
    assert empty


def test_batch_k_does_not_depend_on_what_came_before():
    streamed = feed(3, BatchAugment(hflip=True)).prefetch(5)
    for k in (5, 6, 7):
        for (images, labels), (others, their) in zip(
            next(streamed), feed(3, BatchAugment(hflip=True)).batch(k), strict=True
        ):
            assert torch.equal(images, others)
            assert torch.equal(labels, their)
    assert seen(feed(seed=8).batch(0)) != seen(feed().batch(0))


def test_a_batch_larger_than_all_is_all_and_said():
    given = feed(100)
    assert given.batches_per_pass == 1
    assert len(seen(given.batch(3))) == sum(SIZES)
    assert "16 training images together, fewer than the batch size 100" in given.notice
    assert not feed(16).notice


def test_wrong_options_are_told():
    given = splits()
    readers = [make_reader(split.domain, 4, DataPath()) for split in given]
    with pytest.raises(ConfigError, match="batch_size is 0"):
        PooledFeed(given, 0, 0, readers)
    with pytest.raises(DataError, match="'d1' is empty"):
        PooledFeed([given[0], Split(given[1].domain, np.arange(0)), given[2]], 4, 0, readers)
    with pytest.raises(ValueError, match="batches count from 0"):
        feed().batch(-1)


def test_each_domain_gives_what_its_feeds_give():
    given = splits()
    feeds = [TrainingFeed(split, 3, 5 + i, make_reader(split.domain, 4, DataPath())) for i, split in enumerate(given)]
    batch = next(EachDomain(feeds).prefetch(2))
    assert all(torch.equal(batch[i][0], feeds[i].batch(2)[0]) for i in range(3))


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        ((7137, 6870, 7478, 5446), (112, 108, 117, 86)),
        ((338674, 336426, 323472, 260171, 260031, 325456), (5292, 5257, 5055, 4066, 4063, 5086)),
    ],
    ids=["PACS", "DomainNet"],
)
def test_the_steps_of_dmgs_epochs(images, steps):
    assert tuple(pooled_batches(count, 64) for count in images) == steps


def test_dmgs_augmentations():
    random = torch.Generator().manual_seed(0)
    drawn = dmg_pacs_augmentation(True).draw(4000, random)
    assert 0.8 <= drawn.area.min() < 0.81 < 0.99 < drawn.area.max() <= 1
    assert 0.6 <= drawn.factors.min() < 0.61 < 1.39 < drawn.factors.max() <= 1.4
    assert -0.4 <= drawn.turn.min() < -0.39 < 0.39 < drawn.turn.max() <= 0.4
    assert not drawn.grey.any()
    assert 0.45 < drawn.flip.mean() < 0.55
    drawn = dmg_domainnet_augmentation(True).draw(100, random)
    assert (drawn.factors == 1).all()
    assert not drawn.turn.any()
    boxes = drawn.rows(0, 1).boxes(512, 256)
    assert boxes[0, 2:].tolist() == [448, 224], "7/8 of either side, of whatever shape the image is"
    every = drawn.boxes(np.full(100, 512), np.full(100, 256))
    assert every[:, 0].max() > 32
    assert (every[:, :2] + every[:, 2:] <= (512, 256)).all()


def test_a_squashed_crop_of_another_ratio_is_refused():
    with pytest.raises(ConfigError, match="where images are squashed"):
        BatchAugment(squashed=True)
