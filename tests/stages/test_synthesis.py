"""Inversion and fusion: what is matched, what is left alone, what is kept."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from dfdgbench.engine.stage import walk
from dfdgbench.errors import ConfigError, FrozenBNError, NoBatchNormError
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.norm import buffers_digest
from dfdgbench.stages.canvas import Pyramid, make_canvas
from dfdgbench.stages.fuse import layer_weights
from dfdgbench.stages.invert import stored_moments
from dfdgbench.stages.pool import labels_of, quantise


def of_kind(plan, kind):
    return [stage for stage in walk(plan.last) if stage.kind == kind]


def made(engine, stage):
    return stage.load(engine.ensure(stage), engine.work(stage))


def test_an_inverted_set_is_balanced_uint8_and_reads_no_image(make_plan, engine):
    first, second = of_kind(make_plan(), "inverted")[:2]
    pool = made(engine, first)
    assert first.reads == ()
    assert pool.images.shape == (4, 3, 28, 28)
    assert pool.images.dtype == torch.uint8
    assert (first.index, second.index) == (0, 1)
    assert torch.cat([pool.labels, made(engine, second).labels]).tolist() == [0, 1, 0, 1] * 2


def test_a_teachers_buffers_are_the_same_bytes_before_and_after(make_plan, engine):
    stage = of_kind(make_plan(), "fused")[0]
    work = engine.work(stage)
    teachers = [work.input(stage.a), work.input(stage.b)]
    before = [buffers_digest(teacher) for teacher in teachers]
    state = stage.start(work)
    for number in range(stage.steps):
        stage.step(state, work, number)
    assert [buffers_digest(teacher) for teacher in teachers] == before


def test_how_groups_are_cut_into_shards_is_no_matter(make_plan, engine):
    """Losses are summed over groups, and each group has generators of its own: its images differ in rounding alone."""
    joined = made(engine, of_kind(make_plan(inversion__groups_per_shard=2), "inverted")[0])
    single = [made(engine, stage) for stage in of_kind(make_plan(), "inverted")[:2]]
    images = torch.cat([pool.images for pool in single])
    assert joined.labels.tolist() == [label for pool in single for label in pool.labels.tolist()]
    assert (joined.images.int() - images.int()).abs().max() <= 1


def test_the_moment_term_uses_teacher_a_alone(make_plan, engine):
    stage = of_kind(make_plan(), "fused")[0]
    work = engine.work(stage)
    before = stage.start(work)._guides
    other = work.input(stage.b)
    with torch.no_grad():
        for module in other.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.add_(3.0)
    after = stage.start(work)._guides
    assert before[1].bands is None
    assert all(
        torch.equal(x.mean, y.mean) and torch.equal(x.var_slack, y.var_slack)
        for x, y in zip(before[0].bands, after[0].bands, strict=True)
    )


def test_a_pair_and_its_mirror_are_two_sets(make_plan):
    fused = of_kind(make_plan(), "fused")
    assert [stage.domains for stage in fused] == [("1", "2"), ("2", "1")]
    assert fused[0].key != fused[1].key


def test_fusion_targets_are_b_as_a_sees_it_or_as_stored_or_none(make_plan, engine):
    cross = of_kind(make_plan(), "fused")[0]
    work = engine.work(cross)
    a = work.input(cross.a)
    assert not torch.allclose(cross._bands(a, work)[0].mean, stored_moments(a)[0][0])
    stored = of_kind(make_plan("Stored-target-cross"), "fused")[0]
    bands = stored._bands(a, engine.work(stored))
    assert torch.equal(bands[0].mean, stored_moments(a)[0][0])
    assert float(bands[0].mean_slack) == 0.0
    bare = of_kind(make_plan("CE-only-cross"), "fused")[0]
    assert bare._bands(a, engine.work(bare)) is None
    assert all(not stage.inputs[2:] for stage in (stored, bare)), "without the cross target, b's images are no input"


def test_only_a_speaks_where_cross_ce_is_a_only(make_plan, engine):
    stage = of_kind(make_plan(fusion__cross_ce="a_only"), "fused")[0]
    assert len(stage.guides(engine.work(stage))) == 1


@pytest.mark.parametrize(("network", "layers", "excluded"), [("resnet18", 20, 5), ("resnet50", 53, 10)])
def test_the_last_stage_of_a_resnet_is_layer4(network, layers, excluded):
    weights = layer_weights(build(NetworkSpec(network, 7, weights="none", image_size=64), 0), "exclude-last-stage")
    assert len(weights) == layers
    assert weights[-excluded:] == [0.0] * excluded
    assert set(weights[:-excluded]) == {1.0}


def test_a_set_that_its_teacher_does_not_recognise_is_refused(make_plan, engine):
    stage = of_kind(make_plan(inversion__steps=1, inversion__lr=1e-9, inversion__required_accuracy=100), "inverted")[0]
    with pytest.raises(ConfigError, match=r"recognises .* 100 % are required. Give more steps"):
        engine.ensure(stage)
    assert not engine.store.path(stage.address).exists()


def test_a_set_that_does_not_divide_into_shards_is_refused(make_plan):
    with pytest.raises(ConfigError, match="multiple of 3"):
        make_plan(inversion__group=3, inversion__images=8)


def test_teachers_with_identical_batch_normalisation_are_refused(make_plan, engine, monkeypatch):
    stage = of_kind(make_plan(), "fused")[0]
    work = engine.work(stage)
    twin = copy.deepcopy(work.input(stage.a))
    monkeypatch.setattr(work, "input", lambda given: twin)
    with pytest.raises(FrozenBNError):
        stage.guides(work)


def test_a_network_without_batch_normalisation_is_refused_when_the_run_is_planned(make_plan):
    with pytest.raises(NoBatchNormError, match="GroupNorm"):
        make_plan(options={"network": "MNIST_CNN"})


def test_more_steps_match_the_moments_better_and_are_recognised(make_plan, engine):
    plan = make_plan(
        options={"dataset": "MiniDigits"},
        teacher__steps=60,
        teacher__batch_size=32,
        inversion__steps=90,
        inversion__group=16,
        inversion__images=16,
    )
    stage = of_kind(plan, "inverted")[0]
    work = engine.work(stage)
    state = stage.start(work)
    first = {name: float(value) for name, value in stage.step(state, work, 0).items()}
    for number in range(1, stage.steps):
        last = stage.step(state, work, number)
    assert float(last["moments"]) < 0.6 * first["moments"]
    assert float(last["ce"]) < first["ce"]


def test_the_best_iterate_is_kept_group_by_group(make_plan, engine):
    stage = of_kind(make_plan(inversion__keep="best", inversion__groups_per_shard=2), "inverted")[0]
    work = engine.work(stage)
    state = stage.start(work)
    with torch.no_grad():
        state.canvas.images.fill_(0.25)
    stage._keep_best(state, torch.tensor([3.0, 5.0]))
    with torch.no_grad():
        state.canvas.images.fill_(0.75)
    stage._keep_best(state, torch.tensor([4.0, 1.0]))
    assert state.best[:4].unique().tolist() == [0.25]
    assert state.best[4:].unique().tolist() == [0.75]


def test_quantising_rounds_to_the_nearest_level():
    levels = torch.tensor([0.0, 0.0019, 0.0021, 0.5, 1.0, 1.7, -0.2])
    assert quantise(levels).tolist() == [0, 0, 1, 128, 255, 255, 0]


def test_labels_go_round_the_classes():
    assert labels_of(3, 5, 4).tolist() == [3, 0, 1, 2, 3]


def test_a_pyramid_has_little_colour_and_a_gradient_where_it_saturates():
    teacher = build(NetworkSpec("smallcnn", 10, image_size=32), 0)
    canvas = make_canvas("pyramid", teacher, 2, 32, 0.3, 0.1, [torch.Generator().manual_seed(0)])
    assert isinstance(canvas, Pyramid)
    with torch.no_grad():
        canvas.levels[2].add_(5.0)
    images = canvas()
    assert 0 <= images.detach().min() <= images.detach().max() <= 1
    images.sum().backward()
    assert all(float(level.grad.abs().sum()) > 0 for level in canvas.levels)
    assert [parameters["lr"] for parameters in canvas.parameter_groups()] == pytest.approx([0.1, 0.03, 0.01])


def test_the_same_seed_gives_the_same_file(make_plan, engine, tmp_path):
    stage = of_kind(make_plan(), "inverted")[0]
    folder = engine.ensure(stage)
    first = np.load(folder / "images.npy")
    folder.rename(tmp_path / "aside")
    engine.store._verified.clear()
    assert np.array_equal(first, np.load(engine.ensure(stage) / "images.npy"))
