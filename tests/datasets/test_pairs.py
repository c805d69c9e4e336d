"""Images and masks, moved together."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfdgbench.datasets.camvid import CamVid
from dfdgbench.datasets.disk.masks import read_indexed, table
from dfdgbench.datasets.domains import MaskedDomain, unlabelled
from dfdgbench.datasets.feed.pairs import PairFeed, PairReader, pair_batches
from dfdgbench.datasets.feed.readers import DataPath
from dfdgbench.datasets.feed.shapes import shapes_of
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import Batch
from dfdgbench.errors import ConfigError, DataError

SHAPE = (12, 20)
KINDS = ("fast", "exact")


@pytest.fixture
def scenes(tmp_path: Path) -> MaskedDomain:
    """Six scenes of 24x40 pixels whose colour tells the class of each pixel; the last mask has another size, the first none."""
    random = np.random.RandomState(0)
    root, files, masks = tmp_path / "scenes", [], [""]
    root.mkdir()
    for number in range(6):
        classes = np.repeat(np.repeat(random.randint(0, 5, (3, 5)), 8, 0), 8, 1).astype(np.uint8)
        Image.fromarray(np.stack([50 * classes, classes, 255 - classes], -1).astype(np.uint8)).save(
            root / f"{number}.png"
        )
        files.append(f"{number}.png")
        if number:
            mask = Image.fromarray(classes)
            (mask.resize((80, 48), Image.Resampling.NEAREST) if number == 5 else mask).save(root / f"{number}_mask.png")
            masks.append(f"{number}_mask.png")
    return MaskedDomain("scenes", root, files, masks, partial(read_indexed, lookup=table({n: n for n in range(5)})))


def reader(scenes: MaskedDomain, kind: str, tmp_path: Path) -> PairReader:
    return PairReader(scenes, SHAPE, DataPath(kind, (tmp_path / "stores",)))  # type: ignore[arg-type]


def same(one: Batch, other: Batch) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def labelled(scenes: MaskedDomain) -> Split:
    return Split(scenes, np.arange(1, 6))


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_keep_their_classes_mirrored_or_not(scenes: MaskedDomain, tmp_path: Path, kind: str) -> None:
    images, masks = PairFeed([labelled(scenes)], 40, 0, [reader(scenes, kind, tmp_path)]).batch(0)
    assert (images.shape, images.dtype) == ((40, 3, *SHAPE), torch.float32)
    assert (masks.shape, masks.dtype) == ((40, *SHAPE), torch.int64)
    # Blocks of 8 pixels shrink to 4: in a block's middle the colour is that of the class, wherever it was moved.
    inner = (..., slice(1, None, 4), slice(1, None, 4))
    assert (images[:, 0][inner] * 255 - 50 * masks[inner]).abs().max() < 12
    plainly = PairFeed([labelled(scenes)], 40, 0, [reader(scenes, kind, tmp_path)], hflip=False).batch(0)
    mirrored = [not torch.equal(one, other) for one, other in zip(masks, plainly[1], strict=True)]
    assert 8 < sum(mirrored) < 32
    for one, other, flipped in zip(images, plainly[0], mirrored, strict=True):
        assert torch.equal(one.flip(-1) if flipped else one, other)


def test_both_paths_give_the_same_bits(scenes: MaskedDomain, tmp_path: Path) -> None:
    fast, exact = (PairFeed([labelled(scenes)], 4, 3, [reader(scenes, kind, tmp_path)]) for kind in KINDS)
    assert all(same(fast.batch(k), exact.batch(k)) for k in range(3))


def test_a_batch_depends_on_seed_and_number_alone(scenes: MaskedDomain, tmp_path: Path) -> None:
    def feed(seed: int) -> PairFeed:
        return PairFeed([labelled(scenes)], 4, seed, [reader(scenes, "fast", tmp_path)])

    expected = [feed(1).batch(k) for k in range(4)]
    torch.manual_seed(5)
    assert all(
        same(got, wanted) for got, wanted in zip(itertools.islice(feed(1).prefetch(1), 3), expected[1:], strict=True)
    )
    assert not same(feed(2).batch(0), expected[0])


@pytest.mark.parametrize("kind", KINDS)
def test_unlabelled_images_come_without_masks(scenes: MaskedDomain, tmp_path: Path, kind: str) -> None:
    reader(scenes, kind, tmp_path).start(np.array([0]))()
    blank = unlabelled(scenes)
    assert isinstance(blank, MaskedDomain)
    images, masks = PairFeed([labelled(scenes)], 3, 0, [reader(blank, kind, tmp_path)]).batch(0)
    assert (masks == 255).all()
    wanted = PairFeed([labelled(scenes)], 3, 0, [reader(scenes, kind, tmp_path)]).batch(0)[0]
    assert torch.equal(images, wanted)
    stores = list((tmp_path / "stores").glob("*photo*/store.json"))
    assert len(stores) == (kind == "fast"), "decoded once, whoever may see the masks"
    mixed = reader(scenes, kind, tmp_path).start(np.array([0, 1]))()[1]
    assert (mixed[0] == 255).all()
    assert (mixed[1] != 255).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_split_without_masks_is_shown_none(scenes: MaskedDomain, tmp_path: Path, kind: str) -> None:
    blank, sighted = Split(unlabelled(scenes), np.arange(1, 6)), reader(scenes, kind, tmp_path)
    shown = [PairFeed([blank], 3, 0, [sighted]).batch(0), *pair_batches(blank, sighted, 2)]
    assert all((masks == 255).all() for _, masks in shown)
    assert torch.equal(shown[0][0], PairFeed([labelled(scenes)], 3, 0, [sighted]).batch(0)[0])


def test_masks_are_stored_where_there_are_any(scenes: MaskedDomain) -> None:
    metadata = CamVid.metadata
    blank = unlabelled(scenes)
    assert isinstance(blank, MaskedDomain)
    assert [shape.content for shape in shapes_of(scenes, metadata)] == ["photo", "mask"]
    assert [shape.content for shape in shapes_of(blank, metadata)] == ["photo"]


def test_building_is_told_of(scenes: MaskedDomain, tmp_path: Path) -> None:
    told: list[int] = []
    path = DataPath("fast", (tmp_path / "stores",), progress=lambda done, total: told.append(done))
    PairReader(scenes, SHAPE, path).start(np.array([1]))()
    assert told == [6, 6]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_sees_every_pair_once_in_order(scenes: MaskedDomain, tmp_path: Path, kind: str) -> None:
    split = Split(scenes, np.array([4, 2, 5]))
    batches = list(pair_batches(split, reader(scenes, kind, tmp_path), 2))
    assert [len(images) for images, _ in batches] == [2, 1]
    masks = torch.cat([masks for _, masks in batches]).numpy()
    for mask, key in zip(masks, split.keys.tolist(), strict=True):
        wanted = np.asarray(Image.fromarray(scenes.mask(key)).resize((20, 12), Image.Resampling.NEAREST))
        assert np.array_equal(mask, wanted)


def test_wrong_options(scenes: MaskedDomain, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'scenes' is empty"):
        PairFeed([Split(scenes, np.array([], np.int64))], 2, 0, [reader(scenes, "fast", tmp_path)])
    with pytest.raises(ConfigError, match="batch_size is 0"):
        PairFeed([labelled(scenes)], 0, 0, [reader(scenes, "fast", tmp_path)])
    with pytest.raises(DataError, match="has no mask: it is unlabelled"):
        scenes.mask(0)


def test_a_narrowed_feed_draws_from_the_positions_of_its_batch_alone(scenes: MaskedDomain, tmp_path: Path) -> None:
    whole = PairFeed([labelled(scenes)], 8, 0, [reader(scenes, "fast", tmp_path)], hflip=False)
    each = whole.readers[0].start(np.arange(1, 6))()[0]

    def drawn(feed: PairFeed, k: int) -> set[int]:
        return {int((each == image).flatten(1).all(1).nonzero().item()) for image in feed.batch(k)[0]}

    narrow = whole.narrowed(lambda k: torch.tensor([2] if k else [0, 4]))
    assert drawn(narrow, 0) == {0, 4} and drawn(narrow, 1) == {2}
    assert same(next(narrow.prefetch(1)), narrow.batch(1))
    assert len(drawn(whole, 0)) > 2
    assert same(whole.narrowed(lambda k: None).batch(0), whole.batch(0))
    assert same(whole.narrowed(lambda k: torch.arange(5)).batch(0), whole.batch(0))
