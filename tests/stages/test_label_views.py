"""Views and label records: what is drawn, what is kept, that a replay is the same to the bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dfdgbench.datasets.feed.augment import resized_crop
from dfdgbench.errors import ArtifactError
from dfdgbench.networks.transfer import TransferNetwork
from dfdgbench.stages.label_records import FILE, LabelRecord, load_record, save_record, set_id
from dfdgbench.stages.label_views import RAW, Mixture, beta_shares, cutmix_box, draw_epoch, exchanged, show
from dfdgbench.stages.relabel import Relabelling
from dfdgbench.stages.shared_views import SharedViews

OWNERS = torch.tensor([0] * 5 + [1] * 6)
IMAGES = torch.randint(0, 256, (11, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def drawn(epoch: int = 0, mixture: Mixture | None = None, **options: object):
    hparams = Relabelling(**{"shuffle_cells": True, **options})
    return draw_epoch(hparams, mixture or Mixture(), OWNERS, epoch, seed=3, size=32, batch=4, flip=True)


@pytest.mark.parametrize(
    ("share", "row", "column", "box"),
    [
        (0.75, 112, 112, (56, 56, 168, 168)),
        (0.75, 0, 0, (0, 0, 56, 56)),
        (1.0, 112, 112, (0, 0, 0, 0)),
        (0.0, 112, 112, (0, 0, 224, 224)),
        (0.36, 200, 10, (111, 0, 224, 99)),
    ],
)
def test_cutmix_boxes(share, row, column, box):
    assert cutmix_box(share, 224, row, column) == box


def test_an_epoch_shows_every_image_once_and_mixes_within_one_part():
    views = drawn()
    assert sorted(views.order.tolist()) == list(range(11))
    assert len(views.shares) == len(views.boxes) == 3
    for batch in range(3):
        rows = slice(4 * batch, 4 * batch + 4)
        owners = OWNERS[views.order[rows].long()]
        assert torch.equal(owners[views.partners[rows].long()], owners)
    assert all(torch.equal(one, two) for one, two in zip(*(drawn().tensors().values() for _ in range(2)), strict=True))
    assert not torch.equal(views.order, drawn(1).order)


def test_partners_of_any_part_leave_all_other_draws_alone():
    own, free = drawn(), drawn(partners="any")
    crossed = 0
    for batch in range(3):
        rows = slice(4 * batch, 4 * batch + 4)
        owners = OWNERS[free.order[rows].long()]
        assert sorted(free.partners[rows].tolist()) == list(range(len(owners)))
        crossed += int((owners[free.partners[rows].long()] != owners).sum())
    assert crossed
    same = {name for name in own.tensors() if torch.equal(own.tensors()[name], free.tensors()[name])}
    assert same == set(own.tensors()) - {"partners"}


def test_a_replay_is_equal_to_the_bit_and_cutmix_takes_the_partners_pixels(tmp_path):
    views = drawn()
    save_record(tmp_path, LabelRecord("s", 11, 4, (views,), torch.zeros(1, 11, 2, dtype=torch.float16)))
    kept = load_record(tmp_path).epochs[0]
    for batch in range(3):
        seen, chosen = show(views, batch, 4, IMAGES)
        again, same = show(kept, batch, 4, IMAGES)
        assert torch.equal(seen, again)
        assert torch.equal(chosen, same)
        assert 0 <= float(seen.min()) <= float(seen.max()) <= 1
    box = (0, 8, 16, 32)
    mixed = dataclasses.replace(views, boxes=torch.tensor([box] * 3, dtype=torch.int16))
    plain = dataclasses.replace(views, boxes=torch.zeros(3, 4, dtype=torch.int16))
    seen, bare = show(mixed, 0, 4, IMAGES)[0], show(plain, 0, 4, IMAGES)[0]
    partners = views.partners[:4].long()
    assert torch.equal(seen[..., 0:16, 8:32], bare[partners][..., 0:16, 8:32])
    assert torch.equal(seen[..., 16:, :], bare[..., 16:, :])
    whole = dataclasses.replace(views, boxes=torch.tensor([(0, 0, 32, 32)] * 3, dtype=torch.int16))
    assert torch.equal(show(whole, 0, 4, IMAGES)[0], bare[partners])


def test_integers_survive_where_cut_fractions_do_not():
    pixels = torch.arange(225)
    assert torch.equal(pixels.to(torch.int16).long(), pixels)
    fractions = (pixels.float() / 224).to(torch.float32)
    cut, rounded = (fractions.double() * 224).to(torch.int64), (fractions.double() * 224).round().to(torch.int64)
    assert int((cut != pixels).sum()) == 93
    assert torch.equal(rounded, pixels)


def test_a_crop_is_that_of_the_reference():
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    top, left, height, width = 30, 11, 97, 140
    expected = torch.nn.functional.interpolate(
        image[..., top : top + height, left : left + width], size=(224, 224), mode="bilinear", align_corners=False
    )
    box = torch.tensor([[top, left, height, width]])
    assert float((resized_crop(image, box) - expected).abs().max()) < 1e-6
    plain, none = torch.zeros(1, 1, dtype=torch.bool), torch.zeros(1, 1, 2, dtype=torch.long)
    shared = SharedViews(box.double()[None], plain, none)
    assert float((shared.see(image[None], 0)[0] - expected).abs().max()) < 1e-6
    turned = SharedViews(box.double()[None], ~plain, torch.tensor([[[3, 5]]]))
    rolled = expected.flip(-1).roll((3, 5), (-2, -1))
    assert float((turned.see(image[None], 0)[0] - rolled).abs().max()) < 1e-6


def test_shuffled_cells_have_four_arrangements_of_the_same_pixels():
    image = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).repeat_interleave(2, 0).repeat_interleave(2, 1)[None, None]
    made = exchanged(image.expand(4, 1, 4, 4), torch.arange(4))
    corners = [tuple(one[0, ::2, ::2].flatten().tolist()) for one in made]
    assert len(set(corners)) == 4
    assert corners[0] == (0, 1, 2, 3)
    assert corners[3] == (3, 2, 1, 0)
    assert all(sorted(one.flatten().tolist()) == sorted(image.flatten().tolist()) for one in made)


def test_shares_of_styles():
    draws = beta_shares(0.1, 2_000_000, np.random.default_rng(0))
    assert draws.mean() == pytest.approx(0.5, abs=0.002)
    assert draws.std() == pytest.approx(0.456, abs=0.002)
    assert ((draws < 0.01) | (draws > 0.99)).mean() == pytest.approx(0.640, abs=0.002)


def test_pairs_of_styles():
    views = drawn(mixture=Mixture(3))
    assert (views.styles[:, 0] != views.styles[:, 1]).all()
    assert int(views.styles.max()) < 3
    pure = drawn(mixture=Mixture(3, share=1.0))
    assert (pure.style_shares == 1).all()
    every = drawn(mixture=Mixture(3, expand=True, include_raw=True))
    assert len(every.order) == 44
    assert sorted(every.styles[every.order == 4][:, 0].tolist()) == [0, 1, 2, RAW]
    psi = TransferNetwork(3, 4).eval()
    batch = next(i for i in range(11) if (every.styles[4 * i : 4 * i + 4, 0] == RAW).any())
    raw = every.styles[4 * batch : 4 * batch + 4, 0] == RAW
    bare = dataclasses.replace(every, boxes=torch.zeros(11, 4, dtype=torch.int16))
    styled, plain = show(bare, batch, 4, IMAGES, psi)[0], show(bare, batch, 4, IMAGES)[0]
    assert torch.equal(styled[raw], plain[raw])
    assert not torch.equal(styled[~raw], plain[~raw])


# Records that cannot be used


def record(tmp_path) -> LabelRecord:
    made = LabelRecord(set_id(["a"]), 11, 4, (drawn(),), torch.zeros(1, 11, 2, dtype=torch.float16))
    save_record(tmp_path, made)
    return made


def test_records_of_another_set_are_refused(tmp_path):
    record(tmp_path)
    kept = load_record(tmp_path)
    kept.require(["a"], 11)
    with pytest.raises(ArtifactError, match="of another set: of 11 images"):
        kept.require(["b"], 11)
    with pytest.raises(ArtifactError, match="of another set"):
        kept.require(["a"], 12)


@pytest.mark.parametrize("damage", ["cut", "order", "partners", "shape", "logits"])
def test_a_damaged_record_is_told(tmp_path, damage):
    made = record(tmp_path)
    (views,) = made.epochs
    if damage == "cut":
        path = tmp_path / FILE
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "logits":
        save_record(tmp_path, dataclasses.replace(made, logits=made.logits[:, :-1]))
    else:
        wrong = {
            "order": dataclasses.replace(views, order=views.order + 1),
            "partners": dataclasses.replace(views, partners=views.partners + 4),
            "shape": dataclasses.replace(views, boxes=views.boxes[:-1]),
        }[damage]
        save_record(tmp_path, dataclasses.replace(made, epochs=(wrong,)))
    with pytest.raises(ArtifactError, match="is damaged"):
        load_record(tmp_path)


def test_batches_shown_together_are_those_shown_alone():
    views = drawn()
    alone = [show(views, batch, 4, IMAGES) for batch in range(3)]
    seen, chosen = show(views, 0, 4, IMAGES, together=3)
    assert torch.equal(seen, torch.cat([one for one, _ in alone]))
    assert torch.equal(chosen, torch.cat([rows for _, rows in alone]))
