"""End to end at a size where inversion works (slow)."""

from __future__ import annotations

import pytest

from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.files import read_json
from dfdgbench.planning import plan


@pytest.mark.slow
def test_teachers_recognise_their_images_and_the_student_beats_chance(tmp_path):
    execution = Execution(device="cpu", artifacts=tmp_path / "artifacts")
    hparams = {
        "teacher.steps": 600, "teacher.lr": 2e-3,
        "inversion.images": 128, "inversion.steps": 300, "inversion.required_accuracy": 95,
        "fusion.images": 128, "fusion.steps": 300,
        "distillation.batch_size": 64, "distillation.epochs": 30, "distillation.lr": 2e-3,
    }  # fmt: skip
    config = RunConfig.make(
        algorithm="DEKAN", dataset="MiniDigits", test_envs=[2], preset="image-prior", checkpoint_freq=0, hparams=hparams
    )
    run = plan(config, execution).execute(tmp_path / "run")
    assert records.read(run.results)[-1]["env2_in_acc"] > 0.2
    accuracies = [
        read_json(path)["teacher accuracy"] for path in (tmp_path / "artifacts" / "inverted").glob("*/facts.json")
    ]
    assert len(accuracies) == 3
    assert min(accuracies) >= 95
