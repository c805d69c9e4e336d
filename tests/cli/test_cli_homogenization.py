"""Data homogenisation as it is typed: on images in files, after the source is gone, and with bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dfdgbench.datasets.cifar10 import CIFAR10
from dfdgbench.datasets.pacs import PACS
from dfdgbench.engine import records
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.networks.base import NETWORKS, Architecture

TINY = {
    "target_images": 4, "batch_size": 2, "epochs": 2, "depth": 2, "width": 2, "classifier.steps": 3,
    "classifier.batch_size": 4, "gathering.batch_size": 8, "gathering.projections": 4,
}  # fmt: skip


@pytest.fixture
def adapt(cli: Callable) -> Callable:
    """``dfdgbench train --algorithm Homogenization`` in small, with more arguments and hyper-parameters."""

    def call(*arguments: object, **hparams: object):
        given = []
        for name, value in {**TINY, **hparams}.items():
            given += ["--hparam", f"{name}={value}"]
        return cli("train", "--algorithm", "Homogenization", "--device", "cpu", *arguments, *given)

    return call


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a PACS of eight 16x16 pictures a class and domain."""
    for domain in PACS.metadata.domains:
        for label, name in enumerate(PACS.metadata.classes):
            folder = tmp_path / "data" / "PACS" / domain / name
            folder.mkdir(parents=True)
            for number in range(8):
                noise = np.random.RandomState(10 * label + number).randint(0, 90, (16, 16, 3)) + 20 * label
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
    monkeypatch.setattr(PACS, "metadata", PACS.metadata.model_copy(update={"counts": (56,) * 4}))
    return tmp_path / "data"


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a CIFAR-10 in its published binary form, of 20 images a file."""
    folder = tmp_path / "data" / "CIFAR10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        pixels = np.random.RandomState(number).randint(0, 256, (20, 3 * 32 * 32))
        labels = np.arange(20) % 10
        (folder / name).write_bytes(np.column_stack([labels, pixels]).astype(np.uint8).tobytes())
    monkeypatch.setattr(CIFAR10, "metadata", CIFAR10.metadata.model_copy(update={"counts": (120,)}))
    return tmp_path / "data"


def record(folder: Path) -> dict[str, float]:
    return dict(records.read(folder / "results.jsonl")[-1])


def test_the_sources_folders_may_be_renamed_away_before_adaptation_begins(adapt, photos, tmp_path):
    common = ("--dataset", "PACS", "--network", "smallcnn", "--image-size", 16, "--data-dir", photos, "--test-envs", 2)
    first = adapt(*common, "--artifacts", "arts", "--output-dir", "first")
    assert (first.code, first.err) == (0, "")
    for made in (tmp_path / "arts" / "homogenize").glob("*"):
        shutil.rmtree(made)  # what the owner released stays
    (tmp_path / "away").mkdir()
    for domain in ("art_painting", "cartoon", "sketch"):
        (photos / "PACS" / domain).rename(tmp_path / "away" / domain)
    second = adapt(*common, "--artifacts", "arts", "--output-dir", "second")
    assert second.code == 0, second.err
    assert "classifier" not in second.out, "nothing of the owner's is made again"
    one, two = (read_tensors(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    before, after = record(tmp_path / "first"), record(tmp_path / "second")
    own = {name for name in before if name.partition("@")[0] in ("accuracy", "validation_accuracy", "l2_error", "psnr")}
    assert len(own) > 8
    assert {name: before[name] for name in own} == {name: after[name] for name in own}
    assert before["env2_test_acc"] == after["env2_test_acc"]


@pytest.mark.parametrize("preset", ["code", "paper"])
def test_cifar10_in_its_published_form(adapt, cifar, tmp_path, preset):
    outcome = adapt(
        *("--dataset", "CIFAR10", "--network", "cifar_resnet18", "--data-dir", cifar, "--test-envs", 0),
        *("--preset", preset, "--output-dir", "run"),
        **{"classifier.steps": 1, "epochs": 1},
    )
    assert (outcome.code, outcome.err) == (0, "")
    found = record(tmp_path / "run")
    assert found["l2_error@distorted"] > 0, "kappa 0.15, by itself"
    assert 0 <= found["validation_accuracy"] <= 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["hparams"]["statistics_weight"], config["hparams"]["perturbation.kappa"]) == (10, 0.15)


# Bad input -----------------------------------------------------------------------------------------------------------


class Flat(Architecture):
    """A perceptron: no convolution."""

    description = "for a test"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def build(self, spec):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * spec.image_size**2, 8), nn.ReLU()), 8


class Thin(Flat):
    """One convolution."""

    def build(self, spec):
        return nn.Sequential(nn.Conv2d(3, 8, spec.image_size), nn.Flatten()), 8


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    NETWORKS.names()
    monkeypatch.setitem(NETWORKS._found, "flat", Flat)
    monkeypatch.setitem(NETWORKS._found, "thin", Thin)


DEBUG = ("--dataset", "Debug28", "--network", "smallcnn", "--train-envs", 0, "--test-envs", 0, "--output-dir", "run")


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({"class_conditional": True, "supervised": False}, "class_conditional=true needs the target's labels"),
        ({"maps": "criterion", "supervised": False}, "maps=criterion is the cross-entropy alone, which needs"),
        ({"statistics_weight": 0, "supervised": False}, "statistics_weight=0 with supervised=false leaves nothing"),
        ({"statistics_weight": 0, "criterion_weight": 0}, "statistics_weight=0 with criterion_weight=0 leaves nothing"),
        ({"target_images": 1}, "1 images (target_images) is smaller than a batch of 2"),
        ({"target_images": 1}, "Type --hparam target_images=2, or --hparam batch_size=1."),
        ({"target_images": 9000}, "target_images is 9000 in batches of 2. Type --hparam target_images="),
        ({"perturbation.kappa": -0.5}, "'perturbation.kappa' = -0.5: Input should be greater than or equal to 0."),
        ({"perturbation.kappa": -0.5}, "Type for example --hparam perturbation.kappa=0.15."),
        ({"perturbation.kind": "blurr"}, "'perturbation.kind' = 'blurr': Input should be 'auto', 'none', 'convolution', 'blur', "),
        ({"verifier": "smallcn"}, "verifier=smallcn is to be a network. There is no network 'smallcn'. Did you mean smallcnn?"),
        ({"statistics_folder": "nowhere"}, "There are no source statistics in nowhere"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(adapt, tmp_path, hparams, message):
    outcome = adapt(*DEBUG, **hparams)
    assert outcome.code != 0
    assert message in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert outcome.out == "", "nothing is trained before it is told"
    assert not list(tmp_path.iterdir()), "nor is anything left"


@pytest.mark.parametrize("maps", ["nn", "nn-all", "random-nn"])
def test_a_network_without_convolutions_has_no_maps(adapt, flat, maps):
    outcome = adapt(*DEBUG, "--network", "flat", maps=maps)
    assert outcome.code != 0
    assert f"The network 'flat' has 0 convolutions, and maps={maps} reads what" in outcome.err
    assert "--hparam maps=rp" in outcome.err


def test_a_network_of_one_convolution_has_the_map_of_nn(adapt, flat):
    outcome = adapt(*DEBUG, "--network", "thin", maps="nn-all")
    assert outcome.code != 0
    assert (
        "'thin' has 1 convolution, and maps=nn-all reads what 2 or more put out. Type --hparam maps=nn, or"
        in outcome.err
    )
    mended = adapt(*DEBUG, "--network", "thin", maps="nn")
    assert (mended.code, mended.err) == (0, "")


def test_a_network_without_convolutions_is_adapted_to_by_projections(adapt, flat, tmp_path):
    outcome = adapt(*DEBUG, "--network", "flat", maps="rp")
    assert (outcome.code, outcome.err) == (0, "")
    assert record(tmp_path / "run")["l2_error"] > 0


# A sweep -------------------------------------------------------------------------------------------------------------

TABLE = f"""
name: strips
title: Two methods on noise
trials: 1
options: {{network: smallcnn, train_envs: ["0"]}}
hparams: {json.dumps(TINY)}
parts: [{{title: Debug28, dataset: Debug28, columns: {{"0": first}}}}]
rows:
  - {{label: CRITERION, algorithm: Homogenization, hparams: {{maps: criterion}}}}
  - {{label: RANDOM NN with a long name, algorithm: Homogenization, hparams: {{maps: random-nn}}}}
"""


def test_a_sweep_ends_with_the_names_of_its_table_and_its_figure(cli, tmp_path):
    (tmp_path / "strips.yaml").write_text(TABLE)
    launched = cli("sweep", "launch", "strips.yaml", "--launcher", "debug", "--device", "cpu")
    assert (launched.code, launched.err) == (0, "")
    last = launched.out.strip().splitlines()[-2:]
    assert last[0].endswith("Their table: dfdgbench table strips.yaml runs/strips")
    named = last[1].removeprefix("A figure of theirs: dfdgbench ")
    assert named == "figure homogenization-strips runs/strips"
    drawn = cli(*named.split(), "--out", "strips.png")
    assert (drawn.code, drawn.err) == (0, "")
    assert Image.open(tmp_path / "strips.png").size[0] > 900
    _nothing_is_cut(tmp_path / "runs" / "strips")


def test_both_readings_of_the_reconstruction_network_share_models_and_statistics(cli):
    planned = cli("sweep", "plan", Path(__file__).parents[2] / "benchmarks" / "homogenization-readings.yaml")
    assert (planned.code, planned.err) == (0, "")
    assert "12 runs share 3 stages" in planned.out


def _nothing_is_cut(folder: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from dfdgbench.results.figures.drawing import open_sweeps
    from dfdgbench.results.figures.homogenization_strips import HomogenizationStrips
    from dfdgbench.results.figures.style import inches, styled

    for width in ("column", "page"):
        with styled():
            figure = HomogenizationStrips().draw(open_sweeps("x", [folder]), inches(width)).canvas
            renderer = FigureCanvasAgg(figure).get_renderer()
            figure.draw(renderer)
        labels = [axes.yaxis.label for axes in figure.axes]
        assert [label.get_text() for label in labels[:3]] == ["Ground truth", "Distorted", "CRITERION"]
        for label in labels:
            box = label.get_window_extent(renderer)
            assert 0 <= box.x0 < box.x1 <= figure.axes[0].get_window_extent(renderer).x0
            assert 0 <= box.y0 < box.y1 <= figure.bbox.height
