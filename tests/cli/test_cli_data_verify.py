"""``dfdgbench data verify``, ``data status`` and ``--dataset folder:PATH``, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dfdgbench.datasets.check import verify as verifying
from dfdgbench.datasets.check.status import status_of_all
from dfdgbench.datasets.pacs import PACS

DOMAINS, CLASSES = ("clip", "photo", "sketch"), ("cat", "dog")
ONE_JOB = ("--jobs", 1)


def words(text: str) -> str:
    """``text`` with its lines joined and its columns drawn together."""
    return " ".join(text.split())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one's own of five 16x16 pictures a class and domain, in the folder that commands run in."""
    for number, domain in enumerate(DOMAINS):
        for label, name in enumerate(CLASSES):
            folder = tmp_path / "tree" / domain / name
            folder.mkdir(parents=True)
            for index in range(5):
                draw = np.random.RandomState(100 * number + 10 * label + index)
                Image.fromarray(draw.randint(0, 256, (16, 16, 3)).astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "tree"


@pytest.fixture
def whole_pacs(pacs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a PACS whose files have the size that is expected."""
    monkeypatch.setattr(PACS, "metadata", PACS.metadata.model_copy(update={"native_size": 32}))
    return pacs


# data verify ----------------------------------------------------------------------------------------------------------


def test_a_whole_dataset(cli: Callable, whole_pacs: Path) -> None:
    shown = cli("data", "verify", "PACS", "--data-dir", whole_pacs, *ONE_JOB)
    assert (shown.code, shown.err) == (0, "")
    assert [line.split() for line in shown.out.splitlines()[2:6]] == [
        [name, "14", "14", "7", "0", "14", "ok"] for name in PACS.metadata.domains
    ]
    assert "giraffe 2 2 2 2" in words(shown.out)
    assert "PACS is whole: 56 images in 4 domains, all of them readable." in shown.out
    assert "wrong:" not in shown.out


def test_a_damaged_dataset(cli: Callable, whole_pacs: Path) -> None:
    path = whole_pacs / "PACS" / "photo" / "dog" / "0.png"
    path.write_bytes(path.read_bytes()[:100])
    shown = cli("data", "verify", "PACS", "--data-dir", whole_pacs, *ONE_JOB)
    assert (shown.code, shown.err) == (1, "")
    assert "wrong: The image" in shown.out
    assert "PACS/photo/dog/0.png cannot be decoded" in words(shown.out)
    assert shown.out.endswith("PACS is not as it should be.\n")
    assert [line.split()[-1] for line in shown.out.splitlines()[2:6]] == ["ok", "ok", "wrong", "ok"]


def test_verified_for_programs(cli: Callable, whole_pacs: Path) -> None:
    shown = cli("data", "verify", "PACS", "--data-dir", whole_pacs, "--json", *ONE_JOB)
    content = json.loads(shown.out)
    assert (shown.code, content["ok"], content["name"]) == (0, True, "PACS")
    assert [len(row["fingerprint"]) for row in content["domains"]] == [64] * 4
    assert content["findings"][0]["wrong"] is False


def test_a_tree_of_ones_own(cli: Callable, tree: Path) -> None:
    assert cli("data", "verify", "folder:tree", *ONE_JOB).code == 0
    (tree / "photo" / "cat" / "0.png").write_bytes(b"")
    shown = cli("data", "verify", "folder:tree", *ONE_JOB)
    assert shown.code == 1
    assert "(the file is empty)" in words(shown.out)


def test_a_dataset_that_is_not_there(cli: Callable, tmp_path: Path) -> None:
    shown = cli("data", "verify", "PACS", "--data-dir", tmp_path)
    assert shown.code == 1
    assert "wrong: No domain of PACS is there." in shown.out


def test_many_classes_are_cut_short(cli: Callable, tmp_path: Path) -> None:
    for shade, domain in enumerate(("one", "two")):
        for number in range(45):
            folder = tmp_path / "many" / domain / f"class_{number:02d}"
            folder.mkdir(parents=True)
            for copy in range(1 + (number > 4)):
                Image.new("RGB", (4, 4), (number, copy, shade)).save(folder / f"{domain}_{copy}.png")
    shown = cli("data", "verify", "folder:many", *ONE_JOB)
    assert sum(line.startswith("class_") for line in shown.out.splitlines()) == 40
    assert "(45 classes: the 40 with the fewest images in a domain are shown, all with --json)" in shown.out


def test_a_stopped_check_says_so(cli: Callable, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verifying, "examine_images", stop)
    shown = cli("data", "verify", "folder:tree", *ONE_JOB)
    assert (shown.code, shown.out) == (130, "")
    assert shown.err == "dfdgbench: Stopped. Nothing was changed, and nothing is kept of what was read.\n"


@pytest.mark.parametrize(
    ("arguments", "fragment", "code"),
    [
        (("PACSS",), "Did you mean PACS? ", 1),
        (("folder:nowhere",), "nowhere does not exist", 1),
        (("PACS", "--jobs", "0"), "'0' is no whole number from 1", 2),
        ((), "NAME", 2),
    ],
)
def test_wrong_words_are_told(cli: Callable, arguments: tuple[str, ...], fragment: str, code: int) -> None:
    shown = cli("data", "verify", *arguments)
    assert (shown.code, shown.out) == (code, "")
    assert fragment in shown.err


# data status ----------------------------------------------------------------------------------------------------------


def rows_of(text: str, dataset: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"{dataset} ")]


def test_an_empty_folder_is_one_row_a_dataset(cli: Callable, tmp_path: Path) -> None:
    shown = cli("data", "status", "--data-dir", tmp_path)
    assert shown.code == 0
    assert [line.split()[:6] for line in rows_of(shown.out, "PACS")] == [["PACS", "all", "4", "missing", "-", "9,991"]]
    assert len(rows_of(shown.out, "MiniDigits")) == 1
    assert f"`dfdgbench data download NAME --data-dir {tmp_path}` gets it" in words(shown.out)


def test_what_is_there_comes_first_a_row_a_domain(cli: Callable, pacs: Path) -> None:
    lines = cli("data", "status", "--data-dir", pacs).out.splitlines()
    states = ["missing" in line.split() for line in lines[2 : 2 + len(status_of_all(pacs)) + 3]]
    assert states == sorted(states)
    assert [line.split()[1] for line in lines if line.startswith("PACS ")] == list(PACS.metadata.domains)


def test_a_named_dataset_is_shown_with_its_layout_and_strays(cli: Callable, pacs: Path) -> None:
    (pacs / "PACS" / "photo").rename(pacs / "PACS" / "photos")
    shown = cli("data", "status", "PACS", "--data-dir", pacs)
    text = words(shown.out)
    assert shown.code == 1
    assert "Rename 'photos' to 'photo'" in text
    assert (
        "PACS: The folders photos in PACS belong to no domain and are not read ('photos' may be 'photo', renamed)"
        in text
    )
    assert f"PACS: expected layout: {PACS.metadata.layout}" in text


def test_status_for_programs(cli: Callable, pacs: Path) -> None:
    content = {row["name"]: row for row in json.loads(cli("data", "status", "--data-dir", pacs, "--json").out)}
    assert [row["found"] for row in content["PACS"]["domains"]] == [14] * 4
    assert (content["PACS"]["state"], content["MiniDigits"]["state"]) == ("ok", "embedded")


# folder:PATH ----------------------------------------------------------------------------------------------------------


def test_a_run_on_a_tree_of_ones_own(
    cli: Callable, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ("--network", "smallcnn", "--weights", "none", "--image-size", 16, "--device", "cpu")
    shown = cli(
        "train", "--dataset", "folder:tree", "--test-envs", "sketch", "--steps", 2, *network, "--hparam", "batch_size=4"
    )
    assert (shown.code, shown.err) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("ERM-tree-env2-")
    config = json.loads((run / "config.json").read_text())
    assert (config["config"]["dataset"], config["domains"]) == (f"folder:{tree}", list(DOMAINS)), (
        "found from any folder"
    )
    record = json.loads((run / "results.jsonl").read_text().splitlines()[-1])
    assert {"env0_in_acc", "env2_out_acc"} <= set(record)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("evaluate", run).code == 0


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("tree/photo", "the level of domains is missing. Did you mean folder:"),
        ("tre", "Did you mean folder:"),
        ("", "PATH"),
    ],
)
def test_a_run_on_what_is_no_tree_is_told(cli: Callable, tree: Path, path: str, fragment: str) -> None:
    shown = cli("train", "--dataset", f"folder:{path}", "--network", "smallcnn")
    assert shown.code == 1
    assert shown.err.startswith("dfdgbench: ")
    assert fragment in shown.err
