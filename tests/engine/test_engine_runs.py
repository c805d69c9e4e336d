"""A run's folder as the engine leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.planning import plan


def train(folder: Path, **execution: Any) -> RunFolder:
    """Four steps of ERM, with a record at the steps 0, 2 and 3."""
    config = RunConfig.make(
        dataset="Debug28", network="smallcnn", steps=4, checkpoint_freq=2, hparams={"batch_size": 4}
    )
    return plan(config, Execution(device="cpu", artifacts=folder / "artifacts", **execution)).execute(folder / "run")


def models(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.glob("*.safetensors"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["model.safetensors"]),
        ({"skip_model_save": True}, []),
        (
            {"save_model_every_checkpoint": True},
            ["model.safetensors", "model_step0.safetensors", "model_step2.safetensors", "model_step3.safetensors"],
        ),
    ],
)
def test_models_are_kept_as_asked_for(tmp_path: Path, options: dict[str, bool], expected: list[str]) -> None:
    run = train(tmp_path, **options)
    assert models(run) == expected
    if options.get("save_model_every_checkpoint"):
        last, kept = (read_tensors(run.path / name) for name in ("model.safetensors", "model_step3.safetensors"))
        assert all(bool((last[name] == kept[name]).all()) for name in last)


def test_records_have_the_steps_and_means_between_them(tmp_path: Path) -> None:
    found = records.read(train(tmp_path).results)
    assert [record["step"] for record in found] == [0, 2, 3]
    # The smallest in split has 13 of 16 images, and a step takes 4 of each domain.
    assert [record["epoch"] for record in found] == [0.0, 2 / (13 / 4), 3 / (13 / 4)]
    assert all(record["step_time"] > 0 and record["mem_gb"] == 0.0 for record in found)


def test_a_run_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in train(tmp_path).path.iterdir() if path.name != "config.json"}
    after = {path: path.stat().st_mtime_ns for path in train(tmp_path).path.iterdir() if path.name != "config.json"}
    assert after == before


def test_a_torn_line_of_a_killed_run_is_written_again(tmp_path: Path) -> None:
    run = train(tmp_path)
    lines = [{**record, "step_time": 0} for record in records.read(run.results)]
    (run.path / "done").unlink()
    run.results.write_text(run.results.read_text()[:-20])
    assert [{**record, "step_time": 0} for record in records.read(train(tmp_path).results)] == lines
