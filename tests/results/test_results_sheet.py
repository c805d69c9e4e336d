"""The contact sheet: a row a set, a block a class, only of sets that the sweep's runs used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from dfdgbench.results.sheet import draw_sheet, image_sets, sweep_sheet


def write_set(artifacts: Path, kind: str, title: str, key: str, level: int) -> None:
    folder = artifacts / kind / key
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", np.full((4, 3, 32, 32), level, dtype=np.uint8))
    np.save(folder / "labels.npy", np.array([0, 1, 0, 1], dtype=np.int16))
    (folder / "artifact.json").write_text(json.dumps({"key": key, "title": title}))


def write_run(sweep: Path, keys: list[str]) -> None:
    folder = sweep / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"stages": dict(zip(keys, keys, strict=True))}))


def test_it_shows_the_first_shard_of_every_set_that_was_used(tmp_path: Path) -> None:
    artifacts, sweep = tmp_path / "artifacts", tmp_path / "sweep"
    write_set(artifacts, "inverted", "inverted photo", "a", 40)
    write_set(artifacts, "inverted", "inverted photo #1", "b", 80)
    write_set(artifacts, "fused", "fused photo -> sketch", "c", 120)
    write_set(artifacts, "inverted", "inverted cartoon", "d", 200)
    write_run(sweep, ["a", "b", "c"])
    path = sweep_sheet(sweep, artifacts)
    assert path == artifacts / "contact-sheet-sweep.png"
    levels = set(np.array(Image.open(path).convert("L"))[:, 240:].ravel().tolist())
    assert {40, 120} <= levels, "both sets are on it"
    assert not {80, 200} & levels, "neither a later shard nor an unused set"


def test_without_synthetic_images_there_is_no_sheet(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep", ["teacher"])
    assert sweep_sheet(tmp_path / "sweep", tmp_path / "artifacts") is None
    assert not (tmp_path / "artifacts").exists()


def test_large_images_are_made_smaller_and_many_classes_cut() -> None:
    images = np.zeros((40, 3, 224, 224), dtype=np.uint8)
    sheet = draw_sheet([("set", (images, np.arange(40) % 20))])
    assert sheet.width < 230 + 12 * 2 * 110
    assert sheet.height < 150


def test_sets_of_one_name_and_other_hyperparameters_have_rows_of_their_own(tmp_path: Path) -> None:
    artifacts, sweep = tmp_path / "artifacts", tmp_path / "sweep"
    for key, level, canvas in (("a", 40, "pixels"), ("b", 120, "pyramid")):
        write_set(artifacts, "inverted", "inverted photo", key, level)
        content = {"key": key, "title": "inverted photo", "identity": {"hparams": {"canvas": canvas}, "inputs": ["t"]}}
        (artifacts / "inverted" / key / "artifact.json").write_text(json.dumps(content))
    write_run(sweep, ["a", "b"])
    path = sweep_sheet(sweep, artifacts)
    assert path is not None
    assert {40, 120} <= set(np.array(Image.open(path).convert("L"))[:, 240:].ravel().tolist())


def test_sets_of_several_trials_are_numbered(tmp_path: Path) -> None:
    for key, read in (("a", "one"), ("b", "other")):
        write_set(tmp_path, "random-real", "random-real photo", key, 40)
        content = {"key": key, "title": "random-real photo", "identity": {"reads": [{"fingerprint": read}]}}
        (tmp_path / "random-real" / key / "artifact.json").write_text(json.dumps(content))
    assert [found.title for found in image_sets(["a", "b"], tmp_path)] == ["random-real photo", "random-real photo (2)"]


def test_renderings_in_folders_of_their_own_are_rows_and_titles_have_room(tmp_path: Path) -> None:
    artifacts, sweep = tmp_path / "artifacts", tmp_path / "sweep"
    for style, level in (("photo", 40), ("sketch", 200)):
        folder = artifacts / "transfer" / "a" / f"rendered as {style}"
        folder.mkdir(parents=True)
        np.save(folder / "images.npy", np.full((4, 3, 32, 32), level, dtype=np.uint8))
        np.save(folder / "labels.npy", np.array([0, 1, 0, 1], dtype=np.int16))
    content = {"key": "a", "title": "transfer art_painting -> photo -> sketch"}
    (artifacts / "transfer" / "a" / "artifact.json").write_text(json.dumps(content))
    write_run(sweep, ["a"])
    path = sweep_sheet(sweep, artifacts)
    assert path is not None
    sheet = np.array(Image.open(path).convert("L"))
    assert {40, 200} <= set(sheet[:, 340:].ravel().tolist())
    assert (sheet[:, 240:340] == 40).sum() < 100, "images begin behind the longest title"
