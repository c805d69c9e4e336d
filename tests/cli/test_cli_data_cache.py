"""``dfdgbench data cache``: stores are built, listed, found by runs, and removed."""

from __future__ import annotations

import json
import shlex
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


def test_stores_of_every_size_are_listed_and_removed(cli: Callable, tree: str, tmp_path: Path) -> None:
    for side in ("16", "8"):
        cli("data", "cache", tree, "--image-size", side, "--jobs", "1")
    listed = cli("data", "cache", tree, "--list").out
    for shape in ("image 16x16", "image 8x8"):
        assert listed.count(shape) == 2
    assert "4 are not built" in listed, "those of the default size"
    assert listed.count("there ") == 8
    one = cli("data", "cache", tree, "--image-size", "8", "--remove").out
    assert one.count("removed") == 4
    assert cli("data", "cache", tree, "--remove").out.count("removed") == 4
    assert cli("data", "cache", tree, "--list").out.count("there ") == 0


def test_all_stores_of_a_folder_are_listed_without_a_name(cli: Callable, tree: str, tmp_path: Path) -> None:
    nothing = cli("data", "cache", "--list")
    assert (nothing.code, nothing.out) == (0, "There are no stores here.\n")
    cli("data", "cache", tree, *OPTIONS, "--store-dir", "stores")
    (tmp_path / "stores" / "else").mkdir()
    listed = cli("data", "cache", "--list", "--store-dir", "stores").out
    assert listed.count(tree) == 4
    assert "KiB" in listed
    assert "else" not in listed
    assert cli("data", "cache").code == 1
    assert "Of which dataset?" in cli("data", "cache", "--remove").err


def test_an_outdated_store_is_told_and_removed_by_its_folder(cli: Callable, tree: str, tmp_path: Path) -> None:
    cli("data", "cache", tree, *OPTIONS)
    next((tmp_path / "mine" / "indoor" / "cat").iterdir()).unlink()
    listed = cli("data", "cache", tree, "--list", "--image-size", "16").out
    assert listed.count("outdated ") == 2
    assert "2 are outdated: made of files that have changed since. Type: dfdgbench data cache " in listed
    path = listed.rpartition("dfdgbench data cache ")[2].partition(" --remove")[0]
    assert "is a store already. Type --remove" in cli("data", "cache", path).err
    assert Path(path).is_dir()
    assert cli("data", "cache", path, "--list").out.count("there ") == 1
    assert "removed" in cli("data", "cache", path, "--remove").out
    assert not Path(path).exists()


def test_a_store_in_use_is_not_removed(cli: Callable, tree: str, tmp_path: Path) -> None:
    cli("data", "cache", tree, *OPTIONS)
    path = next(path.parent for path in (tmp_path / "mine").glob(".dfdgbench/stores/indoor*/store.json"))
    (path / "readers").mkdir(exist_ok=True)
    (path / "readers" / "mark").write_text("node7 123 1 0\n")
    assert cli("data", "cache", tree, "--list").out.count("now") == 1
    removed = cli("data", "cache", tree, "--remove")
    assert removed.code == 1
    assert "is in use: process 123 on node7." in removed.err
    assert "Traceback" not in removed.err
    assert (removed.out.count("not removed"), removed.out.count("removed")) == (1, 4)
    assert (path / "store.json").is_file()


def test_a_run_reads_copies_on_the_machines_own_disk(
    cli: Callable, tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").mkdir()
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    train = ("train", "--dataset", tree, "--test-envs", "outdoor", "--network", "smallcnn", "--weights", "none")
    options = ("--image-size", "16", "--steps", "2", "--hparam", "batch_size=4", "--device", "cpu")
    assert cli(*train, *options, "--output-dir", "plain").code == 0
    local = cli(*train, *options, "--output-dir", "copied", "--local-dir", "$NODE_DISK")
    assert local.code == 0
    copies = [path.name.partition("@")[0] for path in (tmp_path / "node").glob("dfdgbench-stores-*/*@*")]
    assert len(copies) == local.out.count(": copied to ") == 3
    assert cli("data", "cache", "--list", "--store-dir", next((tmp_path / "node").iterdir())).out.count("there ") == 3
    shared = {line["step"]: line["env0_in_acc"] for line in records(tmp_path / "plain")}
    assert {line["step"]: line["env0_in_acc"] for line in records(tmp_path / "copied")} == shared
    loss = [[line["loss"] for line in records(tmp_path / name)] for name in ("plain", "copied")]
    assert loss[0] == loss[1]
    monkeypatch.delenv("NODE_DISK")
    evaluated = cli("evaluate", "copied")
    assert evaluated.code == 0
    assert "$NODE_DISK is not set on this machine" in evaluated.out
    again = cli("evaluate", "copied", "--local-dir", tmp_path / "node")
    assert "warning" not in again.out


def test_a_sweeps_jobs_copy_to_the_disk_of_the_node_they_run_on(
    cli: Callable, tree: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_DISK", raising=False)  # it means nothing where the sweep is launched
    flags = (
        "--algorithms",
        "ERM",
        "--datasets",
        tree,
        "--network",
        "smallcnn",
        "--weights",
        "none",
        "--image-size",
        "16",
    )
    small = ("--steps", "1", "--hparam", "batch_size=2", "--device", "cpu", "--trials", "1", "--n-hparams", "1")
    launch = ("--single-test-envs", "--launcher", "commands", "--output-dir", "sweep", "--local-dir", "$NODE_DISK")
    printed = cli("sweep", "launch", *flags, *small, *launch)
    assert printed.code == 0
    assert "not set" not in printed.out + printed.err
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    job = next(line for line in printed.out.splitlines() if line.startswith("dfdgbench sweep work"))
    done = cli(*shlex.split(job)[1:])
    assert done.code == 0
    assert "copied to" in done.out
    assert list((tmp_path / "node").glob("dfdgbench-stores-*/*@*/copy.json"))


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("given", ["$", "a$-b", " ", "${X"])
def test_a_local_folder_that_is_none(cli: Callable, given: str) -> None:
    refused = cli("train", "--dataset", "Debug28", "--local-dir", given)
    assert refused.code == 1
    assert "--local-dir: " in refused.err
    assert "no folder" in refused.err


def test_digits_that_are_two_domains(cli: Callable, tmp_path: Path) -> None:
    for number, domain in enumerate(("1", "10", "2")):
        for label, name in enumerate(("cat", "dog")):
            folder = tmp_path / "mine" / domain / name
            folder.mkdir(parents=True)
            for index in range(5):
                noise = np.random.RandomState(100 * number + 10 * label + index).randint(0, 256, (20, 30, 3))
                Image.fromarray(noise.astype(np.uint8)).save(folder / f"{index}.png")
    given = (
        "--dataset",
        f"folder:{tmp_path / 'mine'}",
        "--network",
        "smallcnn",
        "--weights",
        "none",
        "--image-size",
        "8",
    )
    small = ("--steps", "1", "--hparam", "batch_size=2", "--device", "cpu", "--output-dir")
    for flag in ("--test-envs", "--train-envs"):
        refused = cli("train", *given, flag, "1", *small, "refused")
        assert refused.code == 1
        assert "'1' is two domains of folder:mine" in refused.err
        assert not (tmp_path / "refused").exists()
    for text, index in (("name:1", 0), ("number:1", 1), ("10", 1)):
        folder = text.replace(":", "-")
        assert cli("train", *given, "--test-envs", text, *small, folder).code == 0
        assert records(tmp_path / folder)[-1]["args"]["test_envs"] == [index]
    swept = (
        "sweep",
        "plan",
        "--algorithms",
        "ERM",
        "--datasets",
        given[1],
        *given[2:],
        "--trials",
        "1",
        "--single-test-envs",
    )
    assert "'1' is two domains" in cli(*swept, "--test-envs", "1").err
    assert cli(*swept, "--test-envs", "name:1", "--n-hparams", "1").out.count("1 runs share") == 1
