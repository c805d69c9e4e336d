"""Noise: the images of the control carry nothing, and are there in the number asked for."""

from __future__ import annotations

import pytest
import torch

from dfdgbench.engine.stage import walk


@pytest.mark.parametrize("kind", ["gaussian", "textures"])
def test_noise_is_centred_and_drawn_anew_for_every_shard(make_plan, engine, kind):
    plan = make_plan("KD-on-noise", noise__images=32, noise__kind=kind)
    shards = [stage for stage in walk(plan.last) if stage.kind == "noise"]
    assert len(shards) == 4  # as many sets as DEKAN has with two sources
    first, second = (stage.load(engine.ensure(stage), engine.work(stage)).images.float() for stage in shards[:2])
    assert first.shape == (32, 3, 28, 28)
    assert 100 < float(first.mean()) < 156
    assert float(first.std()) > 20
    assert not torch.equal(first, second)


def test_textures_are_coarser_than_independent_pixels(make_plan, engine):
    def roughness(kind):
        plan = make_plan("KD-on-noise", noise__images=32, noise__kind=kind)
        stage = next(stage for stage in walk(plan.last) if stage.kind == "noise")
        images = stage.load(engine.ensure(stage), engine.work(stage)).images.float()
        return float((images[..., 1:] - images[..., :-1]).std() / images.std())

    assert roughness("textures") < 0.7 * roughness("gaussian")
