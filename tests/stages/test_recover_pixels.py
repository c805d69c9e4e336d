"""The pixels that are recovered, and the step that they take."""

from __future__ import annotations

import pytest
import torch

from dfdgbench.losses.schedules import cosine
from dfdgbench.stages.recover import Pixels

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
LOW, HIGH = (-MEAN / STD)[:, None, None], ((1 - MEAN) / STD)[:, None, None]
STEPS, RATE = 12, 0.25


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(2, 3, 3, 5, 5, generator=torch.Generator().manual_seed(seed))


def test_pixels_stay_in_what_an_image_can_hold():
    """Spec, oracle 14: after any step they are in [0, 1], though noise and a step lead out of it."""
    pixels = Pixels(noise(), MEAN, STD)
    before = pixels.images()
    assert before.min() < 0
    assert before.max() > 1
    for number in range(STEPS):
        pixels.descend(noise(number + 1), number, cosine(number / STEPS, RATE))
        now = pixels.images()
        assert -1e-6 <= float(now.min()) <= float(now.max()) <= 1 + 1e-6
    for sign, edge in ((-1.0, 1.0), (1.0, 0.0)):
        pixels = Pixels(noise(), MEAN, STD)
        pixels.descend(torch.full_like(pixels.values, sign), 0, 1e3)
        torch.testing.assert_close(pixels.images(), torch.full_like(before, edge), rtol=0, atol=1e-6)


def test_a_step_is_adams_with_every_channel_clamped():
    pixels, leaf = Pixels(noise(), MEAN, STD), noise().requires_grad_()
    adam = torch.optim.Adam([leaf], lr=RATE, betas=(0.5, 0.9), eps=1e-8)
    for number in range(STEPS):
        adam.param_groups[0]["lr"] = cosine(number / STEPS, RATE)
        leaf.grad = noise(number + 1)
        adam.step()
        with torch.no_grad():
            leaf.copy_(torch.minimum(torch.maximum(leaf, LOW), HIGH))
        pixels.descend(noise(number + 1), number, cosine(number / STEPS, RATE))
        torch.testing.assert_close(pixels.values, leaf.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", [(slice(1, 2), slice(None)), (slice(0, 2), slice(1, 3))])
def test_a_step_of_some_images_leaves_the_others_alone(place):
    pixels, start = Pixels(noise(), MEAN, STD), noise()
    pixels.descend(noise(1)[place], 0, RATE, place)
    moved = torch.zeros(2, 3, dtype=torch.bool)
    moved[place] = True
    changed = (pixels.values != start).flatten(2).any(2)
    assert torch.equal(changed, moved)
    assert torch.equal(pixels.second.flatten(2).any(2), moved)
