"""Post-hoc data homogenisation: what a record says of images is what torchmetrics says, over batches that do not come out even."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from dfdgbench.losses.image_quality import comparable
from dfdgbench.networks.homogenization import scores
from dfdgbench.stages import homogenize_measures

BATCH = 6


@pytest.mark.parametrize("reconstructed", [True, False])
def test_the_measures_of_a_target_set_are_those_of_torchmetrics(planned, monkeypatch, reconstructed):
    monkeypatch.setattr(homogenize_measures, "BATCH", BATCH)
    made = planned("Room")
    engine = made.engine()
    for stage in made.last.inputs:
        engine.ensure(stage)
    work = engine.work(made.last)
    state = made.last.start(work)
    target = made.last._measured_on(state, work)
    (delta,) = made.last._perturbed(state._network, work)
    transform = nn.Sequential(delta, *([state.reconstructions[0]] if reconstructed else [])).eval()
    found = target.measure(transform)

    with torch.no_grad():
        moved, unseen = transform(target.images), transform(target.unseen)
        first, second = (judge.eval() for judge in target.judges)
        logits = {
            "accuracy": (scores(first, moved), target.labels),
            "validation_accuracy": (scores(first, unseen), target.unseen_labels),
            "verification_accuracy": (scores(second, unseen), target.unseen_labels),
        }
    assert (len(moved), len(unseen)) == (16, 20), "neither is a multiple of the batch"
    for name, (given, labels) in logits.items():
        theirs = multiclass_accuracy(given, labels, num_classes=4, average="micro")
        assert found[name] == pytest.approx(float(theirs)), name

    psnr, ssim = [], []
    for clean, other in zip(target.images.split(BATCH), moved.split(BATCH), strict=True):
        clean, other = comparable(clean), comparable(other)
        psnr.append(peak_signal_noise_ratio(other, clean, data_range=1.0, dim=(1, 2, 3)))
        _, whole = structural_similarity_index_measure(other, clean, return_full_image=True)
        # Their border is of reflected pixels; ours is where the window fits.
        ssim.append((1 + whole[..., 5:-5, 5:-5].mean()) / 2)
    assert found["psnr"] == pytest.approx(float(torch.stack(psnr).mean()), rel=1e-6)
    assert found["ssim"] == pytest.approx(float(torch.stack(ssim).mean()), abs=1e-6)
