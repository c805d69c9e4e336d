"""DomainBed's algorithms under our harness: a stand-in for its package here, the real one where a person names a checkout."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dfdgbench.algorithms import domainbed
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.contract import checks_of
from dfdgbench.datasets.base import DATASETS
from dfdgbench.errors import ConfigError, UnknownNameError
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.seeds import seed_hash

REAL = os.environ.get(domainbed.VARIABLE, "")

PACKAGE = {
    "__init__.py": "",
    "networks.py": """
class ResNet: pass
def Featurizer(input_shape, hparams): raise AssertionError("DomainBed's own network was asked for")
def Classifier(n, k, nonlinear):
    import torch
    return torch.nn.Linear(n, k)
""",
    "hparams_registry.py": """
import numpy as np
def _values(dataset, seed):
    small = dataset in ("Debug28", "RotatedMNIST")
    draw = np.random.RandomState(seed)
    lr = 10 ** draw.uniform(-5, -3) if seed else (1e-3 if small else 5e-5)
    return {"lr": lr, "batch_size": 4, "lambda": 1.0, "resnet18": False, "resnet_dropout": np.float64(0.0), "freeze_bn": False}
def default_hparams(algorithm, dataset): return _values(dataset, 0)
def random_hparams(algorithm, dataset, seed): return _values(dataset, seed)
""",
    "algorithms.py": '''
import torch
from domainbed import networks
ALGORITHMS = ["Plain", "Growing", "Broken"]
def get_algorithm_class(name): return globals()[name]

class Plain(torch.nn.Module):
    """Plain risk minimisation."""
    def __init__(self, input_shape, num_classes, num_domains, hparams):
        super().__init__()
        assert hparams["resnet18"] is False
        print("noise on standard output")
        self.hparams = hparams
        self.featurizer = networks.Featurizer(input_shape, hparams)
        assert type(self.featurizer) is networks.ResNet
        self.classifier = networks.Classifier(self.featurizer.n_outputs, num_classes, False)
        self.network = torch.nn.Sequential(self.featurizer, self.classifier)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=hparams["lr"])
    def update(self, minibatches, unlabeled=None):
        x, y = torch.cat([x for x, _ in minibatches]), torch.cat([y for _, y in minibatches])
        loss = torch.nn.functional.cross_entropy(self.predict(x), y)
        self.optimizer.zero_grad(); loss.backward(); self.optimizer.step()
        return {"loss": loss.item()}
    def predict(self, x): return self.network(x)

class Growing(Plain):
    """Its buffer grows, and each step makes a network."""
    def __init__(self, *args):
        super().__init__(*args)
        self.register_buffer("q", torch.Tensor())
    def update(self, minibatches, unlabeled=None):
        if not len(self.q): self.q = torch.ones(len(minibatches))
        self.inner = networks.Featurizer((3, 28, 28), self.hparams)
        return super().update(minibatches)

class Broken(Plain):
    """Cannot be built."""
    def __init__(self, *args):
        super().__init__(*args)
        raise RuntimeError("no GPU")
''',
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with the stand-in, and no DomainBed imported before or after."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "domainbed"]:
            del sys.modules[name]
        domainbed._adapted.cache_clear()

    (tmp_path / "checkout" / "domainbed").mkdir(parents=True)
    for name, text in PACKAGE.items():
        (tmp_path / "checkout" / "domainbed" / name).write_text(text)
    monkeypatch.setenv(domainbed.VARIABLE, str(tmp_path / "checkout"))
    forget()
    yield tmp_path / "checkout"
    forget()


@pytest.mark.parametrize("name", ["Plain", "Growing"])
def test_what_domainbed_has_keeps_the_contract(package: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _, check in checks_of(f"domainbed:{name}"):
        check()
    assert "noise" not in capsys.readouterr().out


def test_its_networks_are_ours(package: Path) -> None:
    theirs = ALGORITHMS.get("domainbed:Plain")
    spec = NetworkSpec("smallcnn", 2, image_size=28)
    hparams = theirs.Hparams.build({}, "Plain")
    made = theirs((3, 28, 28), 2, 2, hparams, network=spec, seed=7, place=lambda module: module)  # type: ignore[call-arg]
    ours = build(spec, 7)
    images = torch.rand(3, 3, 28, 28)
    made.eval(), ours.eval()  # type: ignore[attr-defined]
    assert torch.equal(made.featurizer(images), ours.features(images))  # type: ignore[attr-defined]


def test_its_hyper_parameters_are_declared_and_drawn_by_domainbed(package: Path) -> None:
    hparams = ALGORITHMS.get("domainbed:Plain").Hparams
    assert hparams.names() == ["lr", "batch_size", "lambda", "resnet_dropout", "freeze_bn"]
    pacs, debug = (DATASETS.get(name).metadata for name in ("PACS", "Debug28"))
    assert (hparams.defaults(pacs)["lr"], hparams.defaults(debug)["lr"]) == (5e-5, 1e-3)
    registry = importlib.import_module("domainbed.hparams_registry")
    drawn = registry.random_hparams("Plain", "PACS", seed_hash(3, 1))["lr"]
    assert hparams.draws(pacs, 3, 1)["lr"] == drawn
    assert hparams.searched(pacs) == 1
    assert type(hparams.defaults(pacs)["resnet_dropout"]) is float


def test_other_code_of_the_same_name_has_another_key(package: Path) -> None:
    first = ALGORITHMS.get("domainbed:Plain").__qualname__
    file = package / "domainbed" / "algorithms.py"
    file.write_text(file.read_text() + "\n# changed\n")
    domainbed._adapted.cache_clear()
    importlib.reload(sys.modules["domainbed.algorithms"])
    assert ALGORITHMS.get("domainbed:Plain").__qualname__ != first


def test_what_is_wrong_is_told(package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"algorithm of DomainBed 'Plian'. Did you mean Plain\?"):
        ALGORITHMS.get("domainbed:Plian")
    with pytest.raises(ConfigError, match=r"Broken cannot be built on the network 'smallcnn': RuntimeError: no GPU"):
        checks_of("domainbed:Broken")[2][1]()
    monkeypatch.setenv(domainbed.VARIABLE, str(tmp_path))
    with pytest.raises(ConfigError, match=r"holds no domainbed/algorithms.py"):
        domainbed.adapted("Plain")


def test_without_domainbed_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(domainbed.VARIABLE, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Nowhere(), *sys.meta_path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "domainbed"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(
        ConfigError, match=r"which is not installed. Clone it and type export DFDGBENCH_DOMAINBED=FOLDER"
    ):
        domainbed.adapted("ERM")


class _Nowhere:
    """A finder that finds no DomainBed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "domainbed":
            raise ModuleNotFoundError(f"No module named {name!r}", name="domainbed")


@pytest.mark.skipif(not REAL, reason=f"${domainbed.VARIABLE} names no checkout of DomainBed")
@pytest.mark.parametrize("name", ["ERM", "GroupDRO", "ARM", "URM", "DANN"])
def test_the_real_ones_keep_the_contract(name: str) -> None:
    for _, check in checks_of(f"domainbed:{name}"):
        check()
