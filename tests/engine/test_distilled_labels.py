"""Soft labels: what they do not depend on, and what of them is stored."""

from __future__ import annotations

import pytest
import torch
from tiny import of_kind

from dfdgbench.stages.label_records import load_record
from dfdgbench.stages.label_views import show


def test_labels_do_not_depend_on_how_many_batches_are_labelled_at_once(planned, tmp_path):
    logits = []
    for together in (1, 4):
        made = planned("RDED", relabel__together=together, ipc=6)
        engine, stage = made.engine(), of_kind(made, "labels")[0]
        logits.append(load_record(engine.ensure(stage)).logits.float())
    torch.testing.assert_close(*logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("algorithm", ["G-VBSM", "RDED"])
def test_labels_in_float32_do_not_depend_on_the_batch(planned, algorithm):
    """Spec, oracle 26: 32 images at once, or 256."""
    answers = []
    for together in (1, 8):
        options = {"ipc": 130, "student__batch_size": 32, "relabel__together": together}
        made = planned(algorithm, **options)
        engine, stage = made.engine(), of_kind(made, "labels")[0]
        for given in stage.inputs:
            engine.ensure(given)
        labeller = stage.labeller(engine.work(stage))
        assert not any(model.training for models in labeller.models for model in models)
        views = labeller.views(0)
        answers.append(torch.cat([labeller.answers(views, first) for first in range(0, len(views.shares), together)]))
    assert answers[0].dtype == torch.float32
    assert answers[0].shape == (260, 2)
    torch.testing.assert_close(*answers, rtol=1e-5, atol=1e-5)
    (model,) = labeller.models[0]
    seen = labeller.images.images.float() / 255
    live = model.train()(seen[:32]), model(seen)[:32]
    assert float((live[0] - live[1]).abs().max()) > 1e-3, "which is no matter of course"


def test_stored_labels_are_the_models_answers_rounded(planned):
    """Spec, oracle 23: recomputed in float32 from the record's own views, 1e-3."""
    made = planned("SRe2L", ipc=8, student__batch_size=8)
    engine, stage = made.engine(), of_kind(made, "labels")[0]
    record = load_record(engine.ensure(stage))
    model, found = engine.work(stage).input(of_kind(made, "squeeze")[0]), stage.images.load(engine.work(stage))
    with torch.no_grad():
        for views, stored in zip(record.epochs, record.logits, strict=True):
            batches = [show(views, batch, record.batch, found.images)[0] for batch in range(len(views.shares))]
            asked = torch.cat([model(batch) for batch in batches])
            assert asked.dtype == torch.float32
            torch.testing.assert_close(stored.float(), asked, rtol=1e-3, atol=1e-6)
            assert not torch.equal(stored.float(), asked)
