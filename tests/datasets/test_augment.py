"""Batch augmentation: torchvision's operations, an image's own parameters, and the pre-drawn jitter of inversion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from dfdgbench.datasets.feed.augment import BatchAugment, resized_crop
from dfdgbench.datasets.feed.jitter import Jitter, apply_jitter, draw_jitter
from dfdgbench.errors import ConfigError

PLAIN = BatchAugment(crop_scale=(1.0, 1.0), ratio=(1.0, 1.0), jitter=0.0, grayscale=0.0)
EVERYTHING = BatchAugment(hflip=True, hue=0.3, grayscale=0.3)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def random_images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(*shape, dtype=dtype, generator=seeded(seed))


def still(
    steps: int, groups: int, dy: int = 0, dx: int = 0, flip: bool = False, box: tuple[int, ...] = (0, 0, 0, 0)
) -> Jitter:
    """The same jitter for every step and group."""
    shape = (steps, groups)
    return Jitter(
        torch.full(shape, dy), torch.full(shape, dx), torch.full(shape, flip), torch.tensor(box).expand(*shape, 4)
    )


class TestBatchAugment:
    def test_keeps_shape_type_and_range(self) -> None:
        images = random_images(16, 3, 9, 12, dtype=torch.float32).round()
        out = EVERYTHING(images, seeded())
        assert out.shape == images.shape
        assert out.dtype == torch.float32
        assert out.min() >= 0
        assert out.max() <= 1
        assert EVERYTHING(images[:0], seeded()).shape == (0, 3, 9, 12)

    def test_draws_from_the_given_generator_alone(self) -> None:
        images = random_images(8, 3, 8, 8)
        before = torch.get_rng_state()
        first, again, other = (EVERYTHING(images, seeded(seed)) for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_leaves_its_input_alone(self) -> None:
        images = random_images(8, 3, 8, 8)
        copy = images.clone()
        EVERYTHING(images, seeded())
        assert torch.equal(images, copy)

    def test_every_image_has_its_own_parameters(self) -> None:
        images = random_images(1, 3, 8, 8).expand(32, 3, 8, 8)
        out = EVERYTHING(images, seeded()).flatten(1)
        assert torch.cdist(out, out).fill_diagonal_(math.inf).min() > 1e-3

    def test_an_image_does_not_see_the_others(self) -> None:
        images = random_images(6, 3, 8, 8)
        changed = images.clone()
        changed[0] = 0.5
        assert torch.equal(EVERYTHING(images, seeded())[1:], EVERYTHING(changed, seeded())[1:])

    def test_switched_off_it_is_the_identity(self) -> None:
        images = random_images(4, 3, 7, 7)
        assert torch.allclose(PLAIN(images, seeded()), images, atol=1e-12)

    def test_without_a_fitting_crop_the_largest_central_one_is_taken(self) -> None:
        wide = random_images(1, 3, 6, 12)
        narrow = BatchAugment(crop_scale=(1.0, 1.0), ratio=(0.5, 1.0), jitter=0.0, grayscale=0.0)
        assert torch.allclose(narrow(wide, seeded()), resized_crop(wide, torch.tensor([[0, 3, 6, 6]])))

    def test_flips_half_of_the_images_and_only_if_asked(self) -> None:
        ramp = torch.linspace(0, 1, 8).expand(400, 3, 8, 8)
        options = {"crop_scale": (1.0, 1.0), "jitter": 0.0, "grayscale": 0.0}
        flipped = BatchAugment(hflip=True, **options)(ramp, seeded())  # type: ignore[arg-type]
        mirrored = flipped[:, 0, 0, 0] > 0.5
        assert 160 < mirrored.sum() < 240
        assert torch.allclose(flipped[mirrored], ramp[mirrored].flip(-1), atol=1e-5)
        assert torch.allclose(PLAIN(ramp, seeded()), ramp, atol=1e-5)

    def test_switching_one_option_off_leaves_the_others_draws(self) -> None:
        images = random_images(8, 3, 8, 8)
        crop_only = BatchAugment(jitter=0.0, grayscale=0.0)(images, seeded())
        with_grey = BatchAugment(jitter=0.0, grayscale=1.0)(images, seeded())
        luma = (torch.tensor([0.2989, 0.587, 0.114]).double().view(3, 1, 1) * crop_only).sum(1, keepdim=True)
        assert torch.allclose(with_grey, luma.expand_as(with_grey), atol=1e-12)

    def test_greyscale_drops_the_colours_of_the_asked_share(self) -> None:
        images = random_images(500, 3, 2, 2)
        out = BatchAugment(crop_scale=(1.0, 1.0), jitter=0.0, grayscale=0.2)(images, seeded())
        grey = (out.amax(1) - out.amin(1)).flatten(1).amax(1) < 1e-9
        assert 70 < grey.sum() < 130
        assert torch.allclose(out[~grey], images[~grey], atol=1e-12)

    def test_jitter_of_a_flat_grey_image_changes_only_its_brightness(self) -> None:
        """Contrast and saturation blend with the image's own grey; the weights sum to 0.9999."""
        flat = torch.full((400, 3, 4, 4), 0.5, dtype=torch.float64)
        out = BatchAugment(jitter=0.3, grayscale=0.0)(flat, seeded())
        factors = out[:, 0, 0, 0] / 0.5
        assert (out - out[:, :1, :1, :1]).abs().max() < 1e-4
        assert 0.7 - 1e-3 < factors.min() < 0.72
        assert 1.28 < factors.max() < 1.3 + 1e-3

    def test_grey_images_have_no_hue_to_turn(self) -> None:
        grey = random_images(8, 1, 4, 4).expand(8, 3, 4, 4)
        options = {"crop_scale": (1.0, 1.0), "jitter": 0.0, "grayscale": 0.0}
        assert torch.allclose(BatchAugment(hue=0.5, **options)(grey, seeded()), grey, atol=1e-9)  # type: ignore[arg-type]

    def test_hue_turns_keep_value_and_saturation(self) -> None:
        images = random_images(64, 3, 4, 4)
        out = BatchAugment(crop_scale=(1.0, 1.0), jitter=0.0, grayscale=0.0, hue=0.5)(images, seeded())
        assert torch.allclose(out.amax(1), images.amax(1), atol=1e-9)
        assert torch.allclose(out.amin(1), images.amin(1), atol=1e-9)
        assert ((out - images).abs().flatten(1).amax(1) > 1e-3).all()

    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"crop_scale": (0.0, 1.0)}, "crop_scale"),
            ({"crop_scale": (0.9, 0.8)}, "crop_scale"),
            ({"crop_scale": (0.9, 1.1)}, "crop_scale"),
            ({"ratio": (0.0, 1.0)}, "ratio"),
            ({"jitter": -0.1}, "jitter"),
            ({"jitter": 1.1}, "jitter"),
            ({"hue": 0.6}, "hue"),
            ({"grayscale": 1.5}, "grayscale"),
        ],
    )
    def test_refuses_what_cannot_be(self, options: dict[str, object], name: str) -> None:
        with pytest.raises(ConfigError, match=rf"{name} is .*Allowed: .*Type for example"):
            BatchAugment(**options)  # type: ignore[arg-type]


class TestCrop:
    def test_enlarges_by_hand(self) -> None:
        """Two columns 0 and 4 enlarged to four: 0, 1, 3, 4, whatever lies beside them."""
        image = torch.tensor([9.0, 0.0, 4.0, 9.0]).expand(1, 1, 4, 4)
        out = resized_crop(image, torch.tensor([[0, 1, 4, 2]]))
        assert torch.allclose(out, torch.tensor([0.0, 1.0, 3.0, 4.0]).expand(1, 1, 4, 4), atol=1e-6)
        mirrored = resized_crop(image, torch.tensor([[0, 1, 4, 2]]), torch.tensor([True]))
        assert torch.allclose(mirrored, out.flip(-1), atol=1e-6)

    def test_is_torchvisions(self) -> None:
        functional = pytest.importorskip("torchvision.transforms.v2.functional")
        images = random_images(4, 3, 10, 14)
        boxes = torch.tensor([[0, 0, 10, 14], [1, 2, 7, 9], [3, 0, 7, 14], [9, 13, 1, 1]])
        out = resized_crop(images, boxes)
        for image, (top, left, height, width), result in zip(images, boxes.tolist(), out, strict=True):
            expected = functional.resized_crop(image, top, left, height, width, [10, 14], antialias=False)
            assert torch.allclose(result, expected, atol=1e-10)

    def test_areas_and_shapes_are_torchvisions(self) -> None:
        """The ramps' outermost values show which box was cut out."""
        size, count = 40, 4000
        ramp = torch.arange(size, dtype=torch.float64) / size
        images = torch.zeros(count, 3, size, size, dtype=torch.float64)
        images[:, 0], images[:, 1] = ramp[:, None], ramp
        out = BatchAugment(crop_scale=(0.3, 0.6), jitter=0.0, grayscale=0.0)(images, seeded())
        top, bottom = (out[:, 0, row, 0] * size for row in (0, -1))
        left, right = (out[:, 1, 0, column] * size for column in (0, -1))
        tall, wide = bottom - top + 1, right - left + 1
        assert torch.allclose(tall, tall.round(), atol=1e-6)
        assert torch.allclose(left, left.round(), atol=1e-6)
        area = tall * wide / size**2
        assert area.min() > 0.28
        assert area.max() < 0.62
        assert area.mean() == pytest.approx(0.45, abs=0.01)
        shape = wide / tall
        assert shape.min() > 0.7
        assert shape.max() < 1.43
        assert shape.log().mean() == pytest.approx(0, abs=0.015)
        assert (top / (size - tall)).mean() == pytest.approx(0.5, abs=0.03)
        assert top.min() == pytest.approx(0, abs=1e-6)
        assert bottom.max() == pytest.approx(size - 1, abs=1e-6)


class TestColoursAreTorchvisions:
    """Each operation alone, with the factor read back from the result, and all of them in a row."""

    def test_jitter(self) -> None:
        functional = pytest.importorskip("torchvision.transforms.v2.functional")
        images = random_images(16, 3, 6, 6)
        augment = BatchAugment(crop_scale=(1.0, 1.0), jitter=0.4, hue=0.2, grayscale=0.0)
        out = augment(images, seeded(5))
        generator = seeded(5)
        torch.rand((2, 16, 10), generator=generator, dtype=torch.float64)
        torch.rand((2, 16), generator=generator, dtype=torch.float64)
        torch.rand(16, generator=generator)
        factors = (1 + 0.4 * (2 * torch.rand((3, 16), generator=generator) - 1)).tolist()
        turns = (0.2 * (2 * torch.rand(16, generator=generator) - 1)).tolist()
        for index, image in enumerate(images):
            image = functional.adjust_brightness(image, factors[0][index])
            image = functional.adjust_contrast(image, factors[1][index])
            image = functional.adjust_saturation(image, factors[2][index])
            image = functional.adjust_hue(image, turns[index])
            assert torch.allclose(out[index], image, atol=1e-6)

    def test_greyscale(self) -> None:
        functional = pytest.importorskip("torchvision.transforms.v2.functional")
        images = random_images(4, 3, 6, 6)
        out = BatchAugment(crop_scale=(1.0, 1.0), jitter=0.0, grayscale=1.0)(images, seeded())
        assert torch.allclose(out, functional.rgb_to_grayscale(images, num_output_channels=3), atol=1e-9)


class TestDrawJitter:
    def test_shapes_types_and_ranges(self) -> None:
        jitter = draw_jitter(500, 3, size=16, max_shift=2, flip=True, erase=0.5, generator=seeded())
        assert jitter.dy.shape == jitter.dx.shape == jitter.flip.shape == (500, 3)
        assert jitter.box.shape == (500, 3, 4)
        assert {jitter.dy.dtype, jitter.dx.dtype, jitter.box.dtype} == {torch.int64}
        assert jitter.flip.dtype == torch.bool
        assert set(jitter.dy.flatten().tolist()) == set(jitter.dx.flatten().tolist()) == {-2, -1, 0, 1, 2}
        assert not torch.equal(jitter.dy, jitter.dx)
        assert jitter.flip.double().mean() == pytest.approx(0.5, abs=0.05)
        assert (jitter.box[..., 2] > 0).double().mean() == pytest.approx(0.5, abs=0.05)

    def test_boxes_are_torchvisions(self) -> None:
        size = 20_000  # large, so that rounding to pixels blurs no limit
        box = draw_jitter(4000, 1, size, 0, flip=False, erase=1.0, generator=seeded()).box[:, 0].double()
        top, left, tall, wide = box.unbind(1)
        assert (tall > 0).double().mean() > 0.999
        top, left, tall, wide = (value[tall > 0] for value in (top, left, tall, wide))
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + tall <= size).all()
        assert (left + wide <= size).all()
        assert (top + tall).max() > 0.98 * size
        assert (left + wide).max() > 0.98 * size
        assert tall.max() < size
        assert wide.max() < size
        area, aspect = tall * wide / size**2, tall / wide
        assert area.min() > 0.0199
        assert area.max() < 0.3301
        assert area.mean() == pytest.approx((0.02 + 0.33) / 2, abs=0.01)
        assert 0.2999 < aspect.min() < 0.303
        assert 3.27 < aspect.max() < 3.3001
        assert aspect.log().mean() == pytest.approx(math.log(0.3 * 3.3) / 2, abs=0.05)

    def test_a_box_is_lower_and_narrower_than_the_image(self) -> None:
        box = draw_jitter(2000, 1, 8, 0, flip=False, erase=1.0, generator=seeded()).box[..., 2:]
        assert box.max() == 7

    def test_options_that_are_off_are_off_and_leave_the_other_draws(self) -> None:
        full = draw_jitter(50, 2, 16, 2, flip=True, erase=1.0, generator=seeded())
        bare = draw_jitter(50, 2, 16, 2, flip=False, erase=0.0, generator=seeded())
        assert not bare.flip.any()
        assert not bare.box.any()
        assert torch.equal(bare.dy, full.dy)
        assert torch.equal(bare.dx, full.dx)
        unmoved = draw_jitter(50, 2, 16, 0, flip=True, erase=1.0, generator=seeded())
        assert not unmoved.dy.any()
        assert not unmoved.dx.any()
        assert torch.equal(unmoved.flip, full.flip)
        assert torch.equal(unmoved.box, full.box)

    def test_a_groups_schedule_does_not_depend_on_later_groups(self) -> None:
        one, three = (draw_jitter(20, groups, 16, 2, True, 0.5, seeded(4)) for groups in (1, 3))
        for name in ("dy", "dx", "flip", "box"):
            assert torch.equal(getattr(one, name)[:, 0], getattr(three, name)[:, 0])
            assert not torch.equal(getattr(three, name)[:, 0], getattr(three, name)[:, 1])

    def test_schedules_of_separate_groups_are_joined(self) -> None:
        parts = [draw_jitter(20, 1, 16, 2, True, 0.5, seeded(seed)) for seed in (1, 2)]
        joined = Jitter.join(parts).to("cpu")
        for name in ("dy", "dx", "flip", "box"):
            for group, part in enumerate(parts):
                assert torch.equal(getattr(joined, name)[:, group], getattr(part, name)[:, 0])

    def test_global_state_is_left_alone(self) -> None:
        before = torch.get_rng_state()
        draw_jitter(5, 2, 16, 2, True, 0.5, seeded())
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize(("max_shift", "erase"), [(-1, 0.5), (2, 1.5), (2, -0.1)])
    def test_refuses_what_cannot_be(self, max_shift: int, erase: float) -> None:
        with pytest.raises(ConfigError, match="Allowed"):
            draw_jitter(5, 1, 16, max_shift, False, erase, seeded())


class TestApplyJitter:
    @pytest.mark.parametrize(("dy", "dx"), [(0, 0), (1, 0), (0, -2), (-3, 2), (5, 9), (-6, -8)])
    @pytest.mark.parametrize("flip", [False, True])
    def test_is_roll_then_flip(self, dy: int, dx: int, flip: bool) -> None:
        images = random_images(2, 3, 3, 5, 7)
        expected = torch.roll(images, (dy, dx), (-2, -1))
        expected = expected.flip(-1) if flip else expected
        assert torch.equal(apply_jitter(images, still(1, 2, dy, dx, flip), 0), expected)

    def test_erases_after_moving(self) -> None:
        images = random_images(1, 2, 3, 5, 7) + 0.1
        expected = torch.roll(images, (1, 2), (-2, -1)).flip(-1)
        expected[..., 1:3, 4:7] = 0
        assert torch.equal(apply_jitter(images, still(1, 1, 1, 2, True, (1, 4, 2, 3)), 0), expected)

    def test_each_group_and_step_has_its_own_row(self) -> None:
        images = random_images(4, 2, 3, 8, 8)
        jitter = draw_jitter(10, 4, 8, 3, True, 0.5, seeded(1))
        for step in (0, 7):
            for group, out in enumerate(apply_jitter(images, jitter, step)):
                shift = (int(jitter.dy[step, group]), int(jitter.dx[step, group]))
                expected = torch.roll(images[group], shift, (-2, -1))
                expected = expected.flip(-1) if jitter.flip[step, group] else expected
                y, x, h, w = jitter.box[step, group].tolist()
                expected[..., y : y + h, x : x + w] = 0
                assert torch.equal(out, expected)
        assert not torch.equal(apply_jitter(images, jitter, 0), apply_jitter(images, jitter, 7))

    def test_a_group_does_not_see_the_others(self) -> None:
        images = random_images(2, 2, 3, 8, 8)
        parts = [draw_jitter(3, 1, 8, 2, True, 1.0, seeded(seed)) for seed in (1, 2)]

        def run(part: Tensor, jitter: Jitter) -> tuple[Tensor, Tensor]:
            leaf = part.clone().requires_grad_()
            out = apply_jitter(leaf, jitter, 1)
            return out.detach(), torch.autograd.grad((out**3).sum(), leaf)[0]

        joint = run(images, Jitter.join(parts))
        alone = [run(images[g : g + 1], parts[g]) for g in range(2)]
        for kind in range(2):
            assert torch.equal(joint[kind], torch.cat([result[kind] for result in alone]))

    def test_gradient_goes_back_where_the_pixel_came_from(self) -> None:
        images = random_images(2, 2, 1, 4, 5).requires_grad_()
        jitter = Jitter.join([still(1, 1, 1, -2, True, (0, 1, 2, 2)), still(1, 1, -1, 1)])
        assert torch.autograd.gradcheck(lambda x: apply_jitter(x, jitter, 0), images)
        (gradient,) = torch.autograd.grad(apply_jitter(images, jitter, 0).sum(), images)
        assert gradient[0].sum() == 2 * (20 - 4)
        assert torch.equal(gradient[1], torch.ones_like(gradient[1]))
