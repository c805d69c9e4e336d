"""``dfdgbench data cache``: stores are built, listed, found by runs, and removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def tree(tmp_path: Path) -> str:
    """``folder:PATH`` of two domains of two classes of four pictures."""
    for number in range(16):
        folder = tmp_path / "mine" / ("indoor", "outdoor")[number % 2] / ("cat", "dog")[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        noise = np.random.RandomState(number).randint(0, 256, (20, 30, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return f"folder:{tmp_path / 'mine'}"


OPTIONS = ("--image-size", "16", "--jobs", "1")


def test_stores_are_built_once_listed_and_removed(cli: Callable, tree: str, tmp_path: Path) -> None:
    before = cli("data", "cache", tree, *OPTIONS, "--list")
    assert f"4 are not built. Type: dfdgbench data cache {tree}" in before.out
    built = cli("data", "cache", tree, *OPTIONS)
    assert built.code == 0
    stores = tmp_path / "mine" / ".dfdgbench" / "stores"
    assert len(list(stores.glob("*/store.json"))) == 4
    assert str(stores) in built.out
    assert cli("data", "cache", tree, *OPTIONS, "--list").out.count("there ") == 4
    assert cli("data", "cache", tree, *OPTIONS).out.count("there ") == 4
    removed = cli("data", "cache", tree, *OPTIONS, "--remove")
    assert removed.out.count("removed") == 4
    assert not list(stores.glob("*/store.json"))


def test_a_run_reads_what_was_cached(cli: Callable, tree: str, tmp_path: Path) -> None:
    cli("data", "cache", tree, *OPTIONS, "--store-dir", "stores")
    train = ("train", "--dataset", tree, "--test-envs", "outdoor", "--network", "smallcnn", "--weights", "none")
    options = (
        "--image-size",
        "16",
        "--steps",
        "2",
        "--hparam",
        "batch_size=4",
        "--device",
        "cpu",
        "--store-dir",
        "stores",
    )
    ended = cli(*train, *options, "--output-dir", "run")
    assert ended.code == 0
    assert "decoding" not in ended.out
    assert not (tmp_path / "mine" / ".dfdgbench").exists()


def test_both_data_paths_train_and_are_told_apart(cli: Callable, tree: str, tmp_path: Path) -> None:
    train = ("train", "--dataset", tree, "--test-envs", "outdoor", "--network", "smallcnn", "--weights", "none")
    options = ("--image-size", "16", "--steps", "2", "--hparam", "batch_size=4", "--device", "cpu")
    for extra in ((), ("--data-path", "exact"), ("--val-augment",)):
        assert cli(*train, *options, *extra).code == 0
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_data_in_memory_needs_no_store(cli: Callable) -> None:
    ended = cli("data", "cache", "Debug28")
    assert ended.code == 0
    assert ended.out.count("in memory") == 3
