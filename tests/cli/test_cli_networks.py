"""``dfdgbench networks`` and ``sweep prefetch``: pretrained weights for machines without internet."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from dfdgbench.networks import weights

DOWNLOAD = "dfdgbench networks download resnet18"
TABLE = """
algorithms: [ERM]
datasets: [Debug224]
n_hparams: 1
n_trials: 1
network: resnet18
steps: 1
checkpoint_freq: 0
"""


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty caches and no connection."""
    for name in (*weights.OFFLINE_VARIABLES, "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError("no network here")

    monkeypatch.setattr(socket, "create_connection", refuse)
    weights.reachable.cache_clear()
    yield
    weights.reachable.cache_clear()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A network with a server that has torchvision's ResNet-18; returns the addresses that were asked for."""
    from torchvision.models import resnet18

    urls: list[str] = []

    def load(url: str, folder: str, **_: object) -> object:
        urls.append(url)
        Path(folder).mkdir(parents=True, exist_ok=True)
        torch.save(resnet18(weights=None).state_dict(), Path(folder) / Path(url).name)
        return torch.load(Path(folder) / Path(url).name, weights_only=True)

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)
    return urls


def here(tmp_path: Path) -> bool:
    return (tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth").is_file()


def test_status_and_download(cli: Callable, server: list[str], tmp_path: Path) -> None:
    before = cli("networks", "status", "resnet18", "smallcnn")
    assert before.code == 1
    assert DOWNLOAD in before.out
    assert "random" in before.out
    got = cli("networks", "download", "resnet18", "smallcnn")
    assert got.code == 0
    assert "downloading the weights 'torchvision:resnet18-f37072fd.pth' from download.pytorch.org" in got.out
    assert "resnet18: torchvision:resnet18-f37072fd.pth is now in" in got.out
    assert "smallcnn: nothing to get" in got.out
    assert here(tmp_path)
    assert "was already in" in cli("networks", "download", "resnet18").out
    assert len(server) == 1
    assert cli("networks", "status", "resnet18").code == 0
    every = cli("networks", "status")
    assert every.code == 0
    assert f"{DOWNLOAD}\n" not in every.out
    assert "dfdgbench networks download resnet50_augmix" in every.out


def test_without_internet_every_message_says_what_to_type(cli: Callable) -> None:
    refused = cli("networks", "download", "resnet18", "timm:resnet18", "smallcnn")
    assert refused.code == 1
    assert refused.err.count("no connection to") == 2
    assert "Traceback" not in refused.err
    assert "smallcnn: nothing to get" in refused.out


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("resnet18x",), "Did you mean resnet18"),
        (("resnet18", "--weights", "IMAGENET1K_V9"), "It knows IMAGENET1K_V1"),
        (("resnet18", "--weights", "my.pth"), "is a file, which is read where it lies"),
    ],
)
def test_mistakes(cli: Callable, names: tuple[str, ...], said: str) -> None:
    refused = cli("networks", "download", *names)
    assert refused.code == 1
    assert said in refused.err


def test_a_run_without_internet_ends_before_it_begins(cli: Callable, tmp_path: Path) -> None:
    refused = cli("train", "--dataset", "Debug224", "--network", "resnet18", "--steps", "1", "--output-dir", "run")
    assert refused.code == 1
    assert f"type: {DOWNLOAD}\n" in refused.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("algorithm", ["ERM", "AvgPred"])
def test_a_finished_run_needs_its_first_weights_no_more(
    cli: Callable, server: list[str], tmp_path: Path, algorithm: str
) -> None:
    options = ("--dataset", "Debug224", "--network", "resnet18", "--image-size", "32", "--steps", "1")
    few = () if algorithm == "ERM" else ("--hparam", "teacher.steps=1")
    assert cli("train", "--algorithm", algorithm, *options, *few, "--device", "cpu", "--output-dir", "run").code == 0
    (tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth").unlink()
    server.clear()
    assert cli("evaluate", "run").code == 0
    assert not server


def test_shared_stages_that_are_made_need_their_weights_no_more(
    cli: Callable, server: list[str], tmp_path: Path
) -> None:
    few = ("--hparam", "ipc=1", "--hparam", "squeeze.steps=1", "--hparam", "student.epochs=1", "--preset", "mini")
    options = ("--dataset", "Debug224", "--network", "smallcnn", "--image-size", "32", *few)
    chain = ("train", "--algorithm", "Random-real", *options, "--hparam", "squeeze.network=resnet18")
    assert cli(*chain, "--device", "cpu", "--output-dir", "run").code == 0
    (tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth").unlink()
    server.clear()
    assert cli(*chain, "--device", "cpu", "--output-dir", "again", "--hparam", "student.lr=0.01").code == 0
    assert not server


def test_a_sweeps_plan_names_what_prefetch_gets(cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE)
    plan = cli("sweep", "plan", "mine.yaml", "--device", "cpu")
    assert plan.code == 1
    assert f"type: {DOWNLOAD}\n" in plan.out
    refused = cli("sweep", "prefetch", "mine.yaml")
    assert refused.code == 1
    assert "no connection to download.pytorch.org" in refused.err


def test_a_launch_gets_them_before_it_hands_anything_over(cli: Callable, server: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE)
    launched = cli("sweep", "launch", "mine.yaml", "--device", "cpu", "--launcher", "commands")
    assert launched.code == 0
    assert here(tmp_path)
    assert len(server) == 1


def test_prefetch_gets_what_a_sweep_needs_once(cli: Callable, server: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(TABLE)
    assert cli("sweep", "prefetch", "mine.yaml").code == 0
    assert here(tmp_path)
    assert len(server) == 1
    own = cli("sweep", "prefetch", "mine.yaml", "--network", "smallcnn")
    assert own.out == "smallcnn: nothing to get, its weights are random.\n"
    assert cli("sweep", "plan", "mine.yaml", "--device", "cpu").code == 0


def test_prefetch_gets_the_networks_of_other_roles_too(cli: Callable, server: list[str], tmp_path: Path) -> None:
    of_squeeze = ("sweep", "prefetch", "--algorithms", "SRe2L", "--datasets", "Debug224", "--network", "smallcnn")
    assert "smallcnn: nothing to get" in cli(*of_squeeze).out
    assert here(tmp_path)
    assert len(server) == 1


def test_prefetch_gets_the_verifiers_and_tells_where_data_does_not_do(
    cli: Callable, server: list[str], tmp_path: Path
) -> None:
    asked = ("--algorithms", "Homogenization", "--datasets", "MiniDigits", "--hparams", '{"verifier": "resnet18"}')
    assert cli("sweep", "prefetch", *asked, "--network", "smallcnn").code == 0
    assert here(tmp_path)
    too_few = cli(
        "sweep", "prefetch", "--algorithms", "Homogenization", "--datasets", "Debug28", "--network", "smallcnn"
    )
    assert too_few.code == 0
    assert "smallcnn: nothing to get" in too_few.out
    assert "has 5 images" in too_few.out and "--network alone is looked for" in too_few.out


def test_a_run_needs_the_weights_of_what_it_is_distilled_from(cli: Callable, tmp_path: Path) -> None:
    options = ("--algorithm", "SRe2L", "--dataset", "Debug224", "--network", "smallcnn", "--output-dir", "run")
    refused = cli("train", *options)
    assert refused.code == 1
    assert f"type: {DOWNLOAD}\n" in refused.err
    assert not (tmp_path / "run").exists()
