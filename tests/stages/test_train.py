"""Teachers: shared initial weights, selection on their own validation split, what they read."""

from __future__ import annotations

import torch

from dfdgbench.engine.stage import walk
from dfdgbench.settings import Read, Released, Side


def teachers(plan):
    return [stage for stage in walk(plan.last) if stage.kind == "teacher"]


def test_a_teacher_reads_its_own_domain_alone_and_is_the_owners(make_plan):
    first, second = teachers(make_plan())
    assert first.reads == (Read(1, "in"), Read(1, "out"))
    assert second.reads == (Read(2, "in"), Read(2, "out"))
    assert first.side is Side.OWNER
    assert first.releases is Released.MODEL


def test_teachers_of_a_trial_start_from_the_same_weights(make_plan, engine):
    first, second = (engine.work(stage) for stage in teachers(make_plan()))
    one = first.stage.build(first)["default"].state_dict()
    two = second.stage.build(second)["default"].state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    other_trial = teachers(make_plan(options={"trial_seed": 1}))[0]
    three = other_trial.build(engine.work(other_trial))["default"].state_dict()
    assert not torch.equal(one["classifier.weight"], three["classifier.weight"])


def test_the_released_weights_are_the_best_on_the_own_validation_split(make_plan, engine, monkeypatch):
    stage = teachers(make_plan(teacher__steps=5))[0]
    monkeypatch.setattr(type(stage), "_due", lambda self, number: True)
    scores = iter([0.2, 0.6, 0.4, 0.6, 0.1])
    kept = {}

    def accuracy(work, predictor, read):
        assert read == Read(1, "out")
        value = next(scores)
        if value == 0.6 and not kept:
            kept.update({name: tensor.clone() for name, tensor in predictor.state_dict().items()})
        return value

    monkeypatch.setattr("dfdgbench.engine.work.Work.accuracy", accuracy)
    folder = engine.ensure(stage)
    loaded = stage.load(folder, engine.work(stage)).state_dict()
    assert all(torch.equal(loaded[name], kept[name]) for name in kept), "the first of two equal scores is kept"


def test_selection_last_reads_no_validation_split(make_plan):
    assert teachers(make_plan(teacher__selection="last"))[0].reads == (Read(1, "in"),)


def test_a_loaded_teacher_is_frozen_and_in_eval_mode(make_plan, engine):
    stage = teachers(make_plan())[0]
    teacher = stage.load(engine.ensure(stage), engine.work(stage))
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_domains_named_in_hflip_domains_are_mirrored_though_the_dataset_says_no(make_plan):
    stage = teachers(make_plan(options={"dataset": "MiniDigits"}, teacher__hflip_domains=("printed",)))
    mirrored = {one.domains[0]: one._hflip(one.reads[0]) for one in stage}
    assert mirrored == {"blended": None, "printed": True, "numbers": None}


def test_the_epoch_of_a_record_counts_the_smallest_domain_held_out_ones_too(make_plan):
    plan = make_plan("ERM", options={"steps": 7}, batch_size=4)
    assert plan.last.epoch(6) == 6 / (13 / 4)  # 16 images a domain, 13 of them in the in split
