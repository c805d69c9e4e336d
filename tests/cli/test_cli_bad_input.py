"""What is wrong ends in one message that says so: no traceback, exit code 1, or 2 for wrong usage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet

DEKAN = ("train", "--algorithm", "DEKAN", "--dataset", "Debug28", "--network", "smallcnn")
TRAIN = ("train", "--dataset", "Debug28", "--network", "smallcnn")
SRE2L = ("train", "--algorithm", "SRe2L", "--dataset", "Debug28", "--network", "smallcnn", "--preset", "mini")
GVBSM = ("train", "--algorithm", "G-VBSM", *SRE2L[3:])
PACS = ("train", "--dataset", "PACS", "--network", "smallcnn", "--image-size", "32", "--steps", "1")

NAMES = [
    (("train", "--algorithm", "ERMM"), ["algorithm 'ERMM'", "Did you mean ERM?"]),
    (("train", "--algorithm", "dekan"), ["Did you mean DEKAN?"]),
    (("train", "--algorithm", "nowhere:Mine"), ["algorithm 'nowhere:Mine'", "No module named 'nowhere'"]),
    (("train", "--algorithm", "json:JSONDecoder"), ["must be a class derived from"]),
    (("train", "--dataset", "PACSS"), ["dataset 'PACSS'", "Did you mean PACS?"]),
    (("train", "--dataset", "Debug28", "--network", "smalcnn"), ["network 'smalcnn'", "Did you mean smallcnn?"]),
    (("train", "--network", "timm:nosuchnet"), ["nosuchnet"]),
    (("train", "--protocol", "oficial"), ["protocol 'oficial'", "Did you mean official?"]),
    ((*DEKAN, "--preset", "papr"), ["preset of DEKAN 'papr'", "Did you mean paper?"]),
    ((*TRAIN, "--preset", "paper"), ["ERM has no presets", "Leave --preset out"]),
    (("sweep", "plan", "quikstart"), ["table 'quikstart'", "Did you mean quickstart?"]),
    (("sweep", "plan", "mine.yaml"), ["table 'mine.yaml'", "A path to a YAML file works too"]),
    (("sweep", "launch", "quickstart", "--launcher", "locl"), ["launcher 'locl'", "Did you mean local?"]),
    (("table", "dekan-table"), ["table 'dekan-table'", "Did you mean dekan-table1?"]),
    (("list", "hparams", "ERMM"), ["algorithm 'ERMM'", "Did you mean ERM?"]),
    (("list", "hparams"), ["Of which algorithm?"]),
    (("data", "status", "PACSS"), ["dataset 'PACSS'"]),
    (("check", "ERMM"), ["algorithm 'ERMM'", "Did you mean ERM?"]),
    (("new", "algorithm", "My-Method"), ["cannot be a class's name"]),
    (("new", "algorithm", "Class"), ["Python cannot import by that name"]),
    (("new", "algorithm", "Torch"), ["Python cannot import by that name"]),
]

HPARAMS = [
    ((*TRAIN, "--hparam", "lrr=1"), ["hyper-parameter of ERM 'lrr'", "Did you mean lr?"]),
    ((*DEKAN, "--hparam", "epsilon=1"), ["Did you mean inversion.epsilon or fusion.epsilon?"]),
    ((*TRAIN, "--hparam", "resnet18=true"), ["Type --network resnet18"]),
    ((*TRAIN, "--hparam", "lr=fast"), ["'lr' = 'fast'", "valid number"]),
    ((*TRAIN, "--hparam", "lr=-1", "--hparam", "batch_size=0"), ["'lr' = -1", "'batch_size' = 0"]),
    ((*TRAIN, "--hparam", "lr"), ["lr is not NAME=VALUE", "--hparam lr=1e-4"]),
    ((*TRAIN, "--hparams", '{"lr": '), ["--hparams is no JSON", '{"lr": 1e-4}']),
    ((*TRAIN, "--hparams", "[1]"), ["must be a JSON object", '{"lr": 1e-4}']),
    ((*DEKAN, "--hparam", "inversion=3"), ["inversion"]),
    ((*DEKAN, "--hparam", "inversion.images=10", "--hparam", "inversion.group=4"), ["10 images", "multiple of 4"]),
    ((*DEKAN, "--hparam", "teacher.steps=0"), ["'teacher.steps' = 0", "greater than 0"]),
    ((*SRE2L, "--hparam", "ipc=0"), ["'ipc' = 0", "greater than 0"]),
    ((*GVBSM, "--hparam", "recover.networks=resnet18"), ["recover.networks", """'recover.networks=["resnet18"]'"""]),
]

PROBLEMS = [
    ((*TRAIN, "--test-envs", "7"), ["domain '7'", "0 0, 1 1, 2 2"]),
    ((*TRAIN, "--test-envs", "-1"), ["domain '-1'"]),
    (("train", "--test-envs", "photo"), ["domain", "'photo'", "0 handwritten"]),
    ((*TRAIN, "--test-envs", "0", "1", "2"), ["No source domain is left"]),
    ((*TRAIN, "--test-envs", "0", "--train-envs", "0", "1"), ["Both trained on and held out", "--train-envs"]),
    ((*TRAIN, "--holdout-fraction", "1"), ["--holdout-fraction is 1.0", "at least 0 and below 1"]),
    ((*TRAIN, "--uda-holdout-fraction", "-0.1"), ["--uda-holdout-fraction is -0.1"]),
    ((*TRAIN, "--task", "domain_adaptation"), ["--uda-holdout-fraction 0.5", "--transductive"]),
    (
        (*TRAIN, "--protocol", "official"),
        ["Debug28 has no splits for the protocol 'official'. Its protocols: domainbed."],
    ),
    ((*TRAIN, "--dataset", "CamVid"), ["ERM is for classification", "CamVid is a dataset for segmentation"]),
    ((*TRAIN, "--algorithm", "DEKAN", "--dataset", "RotatedMNIST"), ["images of 3 channels", "RotatedMNIST have 1"]),
    ((*TRAIN, "--steps", "0"), ["--steps", "greater than 0"]),
    ((*TRAIN, "--trial-seed", "-1"), ["--trial-seed", "greater than or equal to 0"]),
    ((*TRAIN, "--image-size", "0"), ["--image-size", "greater than 0"]),
    ((*TRAIN, "--threads", "0"), ["--threads", "greater than 0"]),
    ((*TRAIN, "--device", "cuda:99"), ["--device cuda:99:", "visible"]),
    (PACS, ["no data folder was given", "--data-dir DIR"]),
    ((*PACS, "--data-dir", "nowhere"), ["The data folder nowhere does not exist"]),
    ((*PACS, "--data-dir", "."), ["PACS", "does not exist", "Put the dataset there"]),
    (
        ("train", "--dataset", "PACS", "--protocol", "authors", *TRAIN[3:]),
        ["PACS has no splits for the protocol 'authors'", "Its protocols: domainbed, official."],
    ),
    ((*DEKAN, "--network", "MNIST_CNN"), ["no batch normalisation", "Type --network with one that has: resnet18"]),
    ((*DEKAN, "--network", "alexnet"), ["no batch normalisation", "Type --network with one that has: resnet18"]),
    (
        (*SRE2L, "--hparam", "squeeze.network=alexnet"),
        ["'alexnet'", "no batch normalisation", "squeeze.network=resnet18"],
    ),
    ((*SRE2L, "--network", "resnet81"), ["network 'resnet81'", "Did you mean resnet18"]),
    ((*TRAIN, "--weights", "nowhere.pt"), ["The weights file nowhere.pt", "does not exist"]),
    ((*TRAIN, "--weights", "IMAGENET1K_V1"), ["no weights 'IMAGENET1K_V1'", "--weights none"]),
    (("evaluate", "nowhere"), ["nowhere is no run's folder"]),
    (("sweep", "status", "nowhere"), ["nowhere is no sweep's folder", "dfdgbench sweep launch"]),
    (("collect", "nowhere"), ["There is no folder nowhere"]),
    (("table", "quickstart", "nowhere"), ["nowhere"]),
]

USAGE = [
    (("trian",), ["invalid choice: 'trian'"]),
    (("train", "--algoritm", "ERM"), ["unrecognized arguments: --algoritm"]),
    (("train", "--trial-seed", "x"), ["--trial-seed", "'x'"]),
    (("train", "--task", "regression"), ["--task", "regression"]),
    (("train", "--dtype", "float8"), ["--dtype", "float8"]),
    ((*TRAIN, "--device", "gpu0"), ["--device", "gpu0 is not a device", "cuda:N"]),
    (("sweep", "launch", "quickstart", "--device", "cuda:x"), ["cuda:x is not a device", "cuda:N"]),
    (("list", "algorithm"), ["algorithm"]),
    (("sweep",), ["ACTION"]),
    (("sweep", "launch", "quickstart", "--jobs", "0"), ["--jobs", "whole number from 1"]),
    (("sweep", "plan", "quickstart", "--trials", "0"), ["--trials", "whole number from 1"]),
    (("artifacts", "gc"), ["--runs"]),
    (("table", "quickstart", "--format", "word"), ["word"]),
]


def told_in_one_message(cli: Callable, arguments: tuple[str, ...], fragments: list[str], code: int) -> None:
    ended = cli(*arguments)
    assert ended.code == code
    assert "Traceback" not in ended.out + ended.err
    assert ended.err.startswith("dfdgbench")
    assert [fragment for fragment in fragments if fragment not in ended.err] == []


def cases(given: list[tuple[tuple[str, ...], list[str]]]) -> list[ParameterSet]:
    """Arguments and what the message must say, called by the arguments."""
    return [pytest.param(arguments, fragments, id=" ".join(arguments)) for arguments, fragments in given]


@pytest.mark.parametrize(("arguments", "fragments"), cases([*NAMES, *HPARAMS, *PROBLEMS]))
def test_what_cannot_be_done_is_told(cli: Callable, arguments: tuple[str, ...], fragments: list[str]) -> None:
    told_in_one_message(cli, arguments, fragments, 1)


@pytest.mark.parametrize(("arguments", "fragments"), cases(USAGE))
def test_wrong_usage_is_told(cli: Callable, arguments: tuple[str, ...], fragments: list[str]) -> None:
    told_in_one_message(cli, arguments, fragments, 2)


# Files ----------------------------------------------------------------------------------------------------------------


def test_a_stray_class_folder_is_named(cli: Callable, pacs: Path) -> None:
    (pacs / "PACS" / "photo" / "cat").mkdir()
    refused = cli(*PACS, "--data-dir", pacs)
    assert refused.code == 1
    assert "cat" in refused.err


def test_a_truncated_image_ends_the_run_as_failed(cli: Callable, pacs: Path, tmp_path: Path) -> None:
    for path in (pacs / "PACS" / "photo").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:200])
    arguments = ("--hparam", "batch_size=8", "--data-dir", pacs, "--output-dir", "run")
    refused = cli(*PACS, *arguments)
    assert refused.code == 1
    assert str(pacs / "PACS" / "photo") in refused.err
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert str(pacs / "PACS" / "photo") in status["error"]
    assert "Traceback" in (tmp_path / "run" / "err.txt").read_text()
    assert not (tmp_path / "run" / "done").exists()


@pytest.fixture
def weights(tmp_path: Path) -> Callable[[str], Path]:
    """Writes random weights of the network called so."""
    from dfdgbench.networks.base import NetworkSpec, build

    def write(network: str) -> Path:
        built = build(NetworkSpec(network, 2, weights="none", image_size=28), seed=0)
        torch.save(built.state_dict(), tmp_path / f"{network}.pt")
        return tmp_path / f"{network}.pt"

    return write


def test_weights_from_a_file(train: Callable, weights: Callable) -> None:
    assert train("--weights", weights("smallcnn")).code == 0


def test_weights_of_another_network(train: Callable, weights: Callable) -> None:
    refused = train("--weights", weights("MNIST_CNN"))
    assert refused.code == 1
    assert "do not fit the network 'smallcnn'" in refused.err


def test_weights_that_are_no_weights(train: Callable, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("hello")
    refused = train("--weights", "text.pt")
    assert refused.code == 1
    assert "The weights file text.pt cannot be read" in refused.err


def test_dekan_on_teachers_that_never_saw_data_through_their_batch_normalisation(cli: Callable) -> None:
    size = ("--hparam", "teacher.steps=2", "--hparam", "teacher.batch_size=4", "--device", "cpu")
    refused = cli(*DEKAN, *size, "--hparam", "teacher.freeze_bn=true")
    assert refused.code == 1
    assert "batch normalisation that never saw data" in refused.err


@pytest.mark.parametrize("flag", ["--output-dir", "--artifacts"])
@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_is_no_folder_to_write_to(train: Callable, tmp_path: Path, flag: str, place: str) -> None:
    (tmp_path / "file").write_text("")
    refused = train(flag, place)
    assert refused.code == 2
    assert "is a file, not a folder" in refused.err


def test_a_folder_that_cannot_be_written_to(train: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    refused = train("--output-dir", "run")
    assert refused.code == 1
    assert "Permission denied" in refused.err
    assert "choose another folder" in refused.err


def test_new_never_overwrites(cli: Callable) -> None:
    assert cli("new", "algorithm", "MyMethod").code == 0
    refused = cli("new", "algorithm", "MyMethod")
    assert refused.code == 1
    assert "exists already" in refused.err
