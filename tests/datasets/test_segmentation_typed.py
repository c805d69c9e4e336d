"""Segmentation as a person types it: masks of several sizes, what masks and options may be wrong, stores of a size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from trees_segmentation import HEIGHT, WIDTH, blocks, deep_mask, grey_mask, picture, planted

from dfdgbench.api import load
from dfdgbench.cli.main import main
from dfdgbench.datasets.domains import MaskedDomain
from dfdgbench.networks.base import NETWORKS
from dfdgbench.networks.segmentation_nets import DeepLabSmall
from dfdgbench.posing import open_dataset

MEASURED = "test/0001TP_008550", "test/0001TP_008580"
SFDA = ("g.width=4", "g.latent=8", "ipsm.k=2", "d.width=4")


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of CamVid's small tree."""
    planted("CamVid", tmp_path, monkeypatch)
    open_dataset.cache_clear()
    return tmp_path / "CamVid"


Typed = Callable[..., tuple[int, str, dict[str, Any]]]


@pytest.fixture
def train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a run from day to dusk: its exit code, what it said of errors, and its last record."""

    def typed(algorithm: str, *options: str, dataset: str = "CamVid", envs: tuple[str, str] = ("day", "dusk")) -> Any:
        run = tmp_path / "run"
        line = ["train", "--algorithm", algorithm, "--dataset", dataset, "--data-dir", str(tmp_path)]
        line += ["--train-envs", envs[0], "--test-envs", envs[1], "--network", "deeplab_small", "--weights", "none"]
        line += ["--image-size", "32", "64", "--steps", "2", "--checkpoint-freq", "0", "--device", "cpu"]
        given = ("source.steps=2", "source.batch_size=2", "batch_size=2")[: 2 if algorithm == "SourceOnly" else 3]
        line += [part for value in given for part in ("--hparam", value)]
        line += ["--output-dir", str(run), "--artifacts", str(tmp_path / "artifacts"), *options]
        code, said = main(line), capsys.readouterr().err
        assert "Traceback" not in said
        lines = (run / "results.jsonl").read_text().splitlines() if code == 0 else ["{}"]
        return code, said, json.loads(lines[-1])

    return typed


def hparams(*given: str) -> list[str]:
    return [part for value in given for part in ("--hparam", value)]


# Sizes --------------------------------------------------------------------------------------------------------------------


def test_masks_are_scored_in_their_own_sizes_too(camvid: Path, train: Typed) -> None:
    for (width, height), name in zip(((48, 24), (31, 17)), MEASURED, strict=True):
        grey_mask(camvid / f"{name.replace('/', 'annot/')}.png", blocks(7, range(12), width, height))
    code, _, record = train("SourceOnly", "--native-size")
    assert code == 0

    run = load(camvid.parent / "run", device="cpu")
    domain = run.plan.problem.dataset.domain(1)
    assert isinstance(domain, MaskedDomain)
    reader = run.plan.problem.pair_reader(1, torch.device("cpu"))
    matrix, pixels = torch.zeros(11, 11), 0
    for key in domain.parts["test"].tolist():
        mask = torch.from_numpy(domain.mask(key).astype(np.int64))
        scores = run.predict(reader.start(np.array([key]))()[0])
        seen = functional.interpolate(scores, mask.shape, mode="bilinear", align_corners=False).argmax(1)[0]
        for true, predicted in zip(mask.flatten().tolist(), seen.flatten().tolist(), strict=True):
            if true != 255:
                matrix[true, predicted] += 1
                pixels += 1
    assert 0 < pixels < 48 * 24 + 31 * 17
    assert record["env1_test_native_acc"] == pytest.approx(float(matrix.trace() / pixels))
    ious = matrix.diag() / (matrix.sum(0) + matrix.sum(1) - matrix.diag())
    assert record["env1_test_native_miou"] == pytest.approx(float(ious[ious.isfinite()].mean()))
    assert record["env1_test_native_miou"] != record["env1_test_miou"]
    assert math.isfinite(record["env1_test_native_miou_frequent"])


def test_native_sizes_are_asked_for_and_may_be_asked_for_later(
    camvid: Path, train: Typed, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, record = train("SourceOnly")
    assert code == 0 and not any("native" in key for key in record)
    assert main(["evaluate", str(camvid.parent / "run"), "--native-size"]) == 0
    shown = capsys.readouterr().out
    assert "env1_test_native_miou" in shown and "env1_test_miou" in shown
    assert main(["evaluate", str(camvid.parent / "run"), "--native-size", "--pending"]) != 0
    assert "Leave --native-size out, or --pending" in capsys.readouterr().err


def test_masks_have_no_size_of_their_own_in_classification(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["train", "--dataset", "Debug28", "--native-size", "--output-dir", str(tmp_path / "run")]
    assert main([*typed, "--artifacts", str(tmp_path / "artifacts")]) != 0
    assert "Debug28 is a dataset for classification. Leave it out" in capsys.readouterr().err


def test_stores_of_a_height_and_a_width(camvid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["data", "cache", "CamVid", "--data-dir", str(camvid.parent), "--jobs", "1", "--image-size"]
    assert main([*typed, "32", "64"]) == 0
    stores = sorted(path.name for path in (camvid.parent / ".dfdgbench/stores").iterdir() if path.is_dir())
    assert [name.rsplit("-", 1)[0] for name in stores] == [
        f"{domain}-{content}-32x64" for domain in ("day", "dusk", "seq05") for content in ("mask", "photo")
    ]
    capsys.readouterr()
    assert main([*typed, "32"]) != 0
    assert "Type --image-size 32 43 for those of CamVid" in capsys.readouterr().err
    assert main([*typed, "32", "64", "3"]) != 0
    assert "give one number, or a height and a width" in capsys.readouterr().err
    assert main([*typed, "16", "32", "--list"]) == 0
    assert f"Type: dfdgbench data cache CamVid --data-dir {camvid.parent} --image-size 16 32" in capsys.readouterr().out


# Masks that are not as they should be -------------------------------------------------------------------------------------


def test_ids_that_no_class_has_are_ignored(camvid: Path, train: Typed) -> None:
    for name in MEASURED:
        grey_mask(camvid / f"{name.replace('/', 'annot/')}.png", blocks(3, (0, 1, 3, 99, 250)))
    code, _, record = train("SourceOnly", "--native-size")
    assert code == 0 and record["env1_test_classes"] >= 3 and 0 <= record["env1_test_native_miou"] <= 1


def test_a_mask_of_another_size_than_its_image(camvid: Path, train: Typed) -> None:
    picture(camvid / "train/0016E5_00390.png", 5, WIDTH + 6, HEIGHT + 2)
    grey_mask(camvid / "testannot/0001TP_008550.png", blocks(1, range(12), 2 * WIDTH, HEIGHT + 1))
    code, _, record = train("MinEnt")
    assert code == 0 and 0 <= record["env1_test_miou"] <= 1


def test_a_class_that_is_nowhere_has_no_iou_and_is_in_no_mean(camvid: Path, train: Typed) -> None:
    for file in camvid.glob("*annot/*.png"):
        grey_mask(file, blocks(2, (0, 3)))
    code, _, record = train("SourceOnly", *hparams("source.steps=150", "source.lr=0.05"))
    assert code == 0
    ious = {key: value for key, value in record.items() if key.startswith("env1_test_iou_")}
    seen = [value for value in ious.values() if not math.isnan(value)]
    assert math.isnan(ious["env1_test_iou_bicyclist"]) and 2 <= len(seen) == record["env1_test_classes"] < 11
    assert record["env1_test_miou"] == pytest.approx(sum(seen) / len(seen))


@pytest.mark.parametrize("depth", ["16 bits", "16 bits in 3 channels"])
def test_deep_masks_are_refused_by_a_reader_of_8_bits(camvid: Path, train: Typed, depth: str) -> None:
    file, ids = camvid / "trainannot/0016E5_00390.png", blocks(1, range(12))
    if depth == "16 bits":
        Image.fromarray(ids.astype(np.uint16)).save(file)
    else:
        deep_mask(file, ids)
    code, said, _ = train("SourceOnly")
    assert code != 0 and "0016E5_00390.png is an image of mode" in said and "one channel of 8 bits" in said
    assert "Put the file of label ids there" in said


def test_masks_of_synthia_in_8_bits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Typed) -> None:
    planted("SYNTHIA-Cityscapes", tmp_path, monkeypatch)
    open_dataset.cache_clear()
    picture(tmp_path / "SYNTHIA/GT/LABELS/0000001.png", 1)
    code, said, _ = train("SourceOnly", dataset="SYNTHIA-Cityscapes", envs=("SYNTHIA", "Cityscapes"))
    assert code != 0 and "0000001.png holds 8 bits in each of its channels (3); 16 bits in 3" in said


# Options that do not go together ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("batch_size=3",), "batch_size 3 cannot be halved into easy and hard patches. Type an even number"),
        (("ipsm.k=5",), "cuts images of 32x64 into patches of 6x12 pixels"),
        (("ipsm.k=40",), "cuts images of 32x64 into patches of 0x1 pixels"),
        (("ipsm.k=0",), "greater than 0"),
    ],
)
def test_batches_and_patches_that_cannot_be(camvid: Path, train: Typed, given: tuple[str, ...], message: str) -> None:
    code, said, _ = train("SFDA", *hparams(*SFDA, *given))
    assert code != 0 and message in said
    assert not (camvid.parent / "run").exists()


class Ungrouped(DeepLabSmall):
    """A DeepLab without batch normalisation."""

    def build(self, spec: Any) -> Any:
        body, channels = super().build(spec)
        for block in body.children():
            block[1] = torch.nn.GroupNorm(2, block[1].num_features)
        return body, channels

    def classifier(self, spec: Any, n_features: int) -> torch.nn.Module:
        return torch.nn.Conv2d(n_features, spec.num_classes, 1)


def test_a_network_without_batch_normalisation(camvid: Path, train: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS._found, "ungrouped", Ungrouped)
    code, said, _ = train("SFDA", "--network", "ungrouped", *hparams(*SFDA))
    assert code != 0 and "'ungrouped' has no batch normalisation" in said and "GroupNorm" in said
    assert "deeplab_small" in said and "resnet18" not in said


def test_the_drive_to_drive_pair_is_named_by_its_drive(camvid: Path, train: Typed) -> None:
    code, _, record = train("SFDA", *hparams(*SFDA), envs=("day", "seq05"))
    assert code == 0 and 0 <= record["env2_test_miou"] <= 1
    assert record["args"]["train_envs"] == [0] and record["args"]["test_envs"] == [2]
