"""The student: who teaches on which image, how many steps, which images a batch has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dfdgbench.engine.snapshots import State
from dfdgbench.stages.distil import Distil


class Constant(nn.Module):
    """A teacher of fixed logits."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, images):
        return self.logits.expand(len(images), -1)


class Forbidden(nn.Module):
    def forward(self, images):
        raise AssertionError("a teacher without a weight was asked")


def test_targets_average_the_teachers_of_an_image_after_temperature(make_plan):
    """Oracle: logits (3, 0) and (0, 0) at temperature 3 average to (0.615529, 0.384471)."""
    stage = make_plan().last
    state = State(_teachers=[Constant([3.0, 0.0]), Constant([0.0, 0.0])])
    targets = stage._targets(state, torch.zeros(2, 3, 4, 4), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert targets[0].tolist() == pytest.approx([0.615529, 0.384471], abs=1e-6)
    assert targets[1].tolist() == pytest.approx([0.731059, 0.268941], abs=1e-6)


def test_a_teacher_without_a_weight_is_never_asked(make_plan):
    stage = make_plan().last
    state = State(_teachers=[Constant([3.0, 0.0]), Forbidden()])
    targets = stage._targets(state, torch.zeros(2, 3, 4, 4), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert torch.isfinite(targets).all()


def test_every_images_weights_are_its_sets(make_plan, engine):
    plan = make_plan()
    work = engine.work(plan.last)
    state = plan.last.start(work)
    assert state._weights.tolist() == [[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 8 + [[0.5, 0.5]] * 8
    assert len(state._images) == 24


def test_a_pass_sees_every_image_once(make_plan, engine):
    plan = make_plan()
    work = engine.work(plan.last)
    state = plan.last.start(work)
    drawn = torch.cat([plan.last._draw(state, work, number) for number in range(3)])
    assert sorted(drawn.tolist()) == list(range(24))
    assert drawn.tolist() != sorted(drawn.tolist())
    across = plan.last._draw(state, work, 2)
    assert torch.equal(across, drawn[16:]), "a batch is a function of its number"


def test_sets_can_be_drawn_alike():
    drawn = Distil._draw_per_set([2, 1000], 4000, torch.Generator().manual_seed(0))
    share = float((drawn < 2).float().mean())
    assert 0.45 < share < 0.55
    assert int(drawn.max()) < 1002


def test_multi_di_takes_as_many_steps_as_dekan_unless_told_epochs(make_plan):
    dekan = make_plan("DEKAN", fusion__images=8).last
    assert dekan.steps == 4  # 2 sets and 2 pairs of 8 images, batches of 8
    assert make_plan("Multi-DI").last.steps == dekan.steps
    assert make_plan("Multi-DI", distillation__match="epochs").last.steps == 2
    assert make_plan("Multi-DI-matched").last.steps == dekan.steps
    assert make_plan("KD-on-noise", noise__images=8).last.steps == dekan.steps
    assert make_plan("DEKAN", options={"steps": 9}).last.steps == 9


def test_the_students_batch_normalisation_freezes_when_told(make_plan, engine):
    plan = make_plan(distillation__freeze_bn_after=1)
    work = engine.work(plan.last)
    state = plan.last.start(work)
    mean = next(module for module in state.student.modules() if isinstance(module, nn.BatchNorm2d))
    plan.last.step(state, work, 0)
    before = mean.running_mean.clone()
    plan.last.step(state, work, 1)
    assert torch.equal(before, mean.running_mean)
    assert not mean.training


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_student_comes_closer_to_its_teachers(make_plan, engine, optimizer):
    plan = make_plan(options={"steps": 60}, distillation__optimizer=optimizer, distillation__lr=5e-3)
    work = engine.work(plan.last)
    state = plan.last.start(work)
    losses = [float(plan.last.step(state, work, number)["loss"]) for number in range(60)]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_without_a_share_nothing_is_held_out_and_no_bit_changes(make_plan, engine):
    plan = make_plan()
    work = engine.work(plan.last)
    state = plan.last.start(work)
    assert state._held_out is None
    assert "syn_out_acc" not in plan.last.step(state, work, plan.last.steps - 1)
    whole = torch.cat([pool_set.pool(work).images for pool_set in plan.last.sets])
    assert torch.equal(state._images, whole)


def test_held_out_images_are_of_every_set_and_never_trained_on(make_plan, engine):
    plan = make_plan(distillation__holdout=0.25)
    work = engine.work(plan.last)
    state = plan.last.start(work)
    assert state._held_out_weights.tolist() == [[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2 + [[0.5, 0.5]] * 2
    assert (len(state._images), len(state._held_out)) == (18, 6)
    trained = {image.numpy().tobytes() for image in state._images}
    assert not trained & {image.numpy().tobytes() for image in state._held_out.images}
    again = plan.last.start(work)
    assert torch.equal(again._held_out.images, state._held_out.images)


def test_agreement_with_the_teachers_is_recorded_and_leaves_training_as_it_was(make_plan, engine):
    plan = make_plan(distillation__holdout=0.25, options={"steps": 3, "checkpoint_freq": 2})
    stage, work = plan.last, engine.work(plan.last)
    state = stage.start(work)
    metrics = [stage.step(state, work, number) for number in range(3)]
    assert ["syn_out_acc" in found for found in metrics] == [True, False, True]
    assert state.student.training
    classes = stage.problem.network.num_classes
    for logits, expected in (([9.0] + [0.0] * (classes - 1), 1.0), ([0.0] * (classes - 1) + [9.0], 0.0)):
        state.student = Constant([9.0] + [0.0] * (classes - 1))
        state._teachers = [Constant(logits), Constant(logits)]
        assert float(stage._agreement(state, work)) == expected
