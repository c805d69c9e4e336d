"""The sheet of predicted masks, from a small sweep's runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdgbench.cli.main import main
from dfdgbench.engine import diagnostics
from dfdgbench.engine.pictures import SHOWN

TABLE = """
name: scenes
title: Scenes
description: Two methods.
trials: 1
selection: last
options: {steps: 2, checkpoint_freq: 0}
hparams: {source.steps: 2, source.batch_size: 2}
rows:
  - {label: source only, algorithm: SourceOnly}
  - {label: SFDA, algorithm: SFDA, hparams: {batch_size: 2, gamma: 0, g.width: 4, g.latent: 8}}
parts:
  - title: scenes
    dataset: DebugScenes
    options: {train_envs: ["0"]}
    columns:
      mean: {label: mIoU, targets: ["1"], metric: miou}
    average: null
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two runs of segmentation."""
    folder = tmp_path_factory.mktemp("scenes")
    (folder / "scenes.yaml").write_text(TABLE)
    typed = ["--output-dir", str(folder / "sweep"), "--artifacts", str(folder / "artifacts"), "--launcher", "debug"]
    assert main(["sweep", "launch", str(folder / "scenes.yaml"), *typed, "--device", "cpu"]) == 0
    return folder / "sweep"


def test_the_last_record_keeps_pictures(sweep: Path) -> None:
    for run, step in (("SFDA", 1), ("SourceOnly", 0)):
        (folder,) = (sweep / "runs").glob(f"{run}-*")
        arrays = diagnostics.read(folder, step)
        shown = min(SHOWN, 2)
        assert arrays["images_1"].shape == (shown, 32, 64, 3) and arrays["truth_1"].shape == (shown, 32, 64)
        assert set(np.unique(arrays["predicted_1"])) <= {0, 1, 2} and arrays["palette"].shape == (3, 3)
    generated = diagnostics.read(next((sweep / "runs").glob("SFDA-*")), 1)
    assert generated["generated_images"].shape == (4, 16, 32, 3) and generated["generated_model"].shape == (4, 16, 32)


@pytest.mark.parametrize("figure", ["segmentation", "segmentation-generated"])
def test_a_sheet_is_drawn(sweep: Path, tmp_path: Path, figure: str) -> None:
    out = tmp_path / "sheet.png"
    assert main(["figure", figure, str(sweep), "--out", str(out), "--width", "page"]) == 0
    pixels = np.asarray(Image.open(out).convert("RGB"))
    if figure == "segmentation":
        for colour in ((60, 60, 60), (200, 80, 0), (0, 120, 200)):
            assert (pixels == colour).all(-1).sum() > 100


def test_the_table_shows_the_mean_of_ious(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(sweep)]) == 0
    shown = capsys.readouterr().out
    assert "mIoU" in shown and "—" not in shown.split("| SFDA")[1].split("\n")[0]


def test_runs_without_pictures_are_told(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(sweep, bare)
    for folder in (bare / "runs").glob("*/diagnostics"):
        shutil.rmtree(folder)
    assert main(["figure", "segmentation", str(bare), "--out", str(tmp_path / "no.png")]) != 0
    assert "No run here has kept pictures" in capsys.readouterr().err
