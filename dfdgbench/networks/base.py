"""What a network is, and how one is built: architecture, initial weights, head, normalisation.

An architecture is one file and one class::

    @NETWORKS.register("smallcnn")
    class SmallCNNArchitecture(Architecture):
        description = "..."

        def build(self, spec): return SmallCNN(spec.channels), 64

Libraries of networks register one family, ``"timm:NAME"``, and answer for every name behind the colon.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from dfdgbench.errors import ConfigError, WeightsError, unknown
from dfdgbench.networks.norm import BNPolicy, batch_norms
from dfdgbench.networks.weights import State, WeightsSource, digest, fit, is_file_name, read_state, split_head
from dfdgbench.registry import Registry, subclass_check

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FAMILY = ":NAME"
_unfilled = ContextVar("unfilled", default=False)


@dataclass(frozen=True)
class NetworkSpec:
    """What to build.

    Attributes:
        name: a registered network, ``timm:NAME``, or "auto" (by image size, see ``resolve``).
        num_classes: outputs K of the classifier.
        weights: "default" (the usual pretrained weights, random where there are none), "none" (random), a tag the
            network knows ("IMAGENET1K_V1"), or the path of a state dict (.safetensors, .pth, .pt).
        image_size: side of the input images, in pixels; of images that are not square, their height.
        dropout: probability of dropping a feature before the classifier.
        nonlinear: whether the classifier is DomainBed's three-layer one (``nonlinear_classifier``).
        channels: of the input images.
        image_width: where images are not square: segmentation.
    """

    name: str
    num_classes: int
    weights: str = "default"
    image_size: int = 224
    dropout: float = 0.0
    nonlinear: bool = False
    channels: int = 3
    image_width: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the input images."""
        return self.image_size, self.image_width or self.image_size

    def __post_init__(self) -> None:
        for field in ("num_classes", "image_size", "channels"):
            if getattr(self, field) < 1:
                raise ConfigError(f"{field} of network '{self.name}' is {getattr(self, field)}; give 1 or more.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout of network '{self.name}' is {self.dropout}; give a number from 0 to below 1.")


class Architecture(ABC):
    """One network, or one family of networks, that the registry knows.

    Attributes:
        description: one line for listings.
        pretrained: tag of the default weights, None where there are none.
        mean, std: per-channel normalisation of images in [0, 1].
        head: name of the classification layer in a bare state dict of this network ("fc"), "" where there is none.
        task: the kind of dataset it is for.
        network: what featurizer and classifier are put together as.
        name: the name it was asked for, for a family with what follows the colon.
    """

    description: ClassVar[str]
    example: ClassVar[str] = ""
    """For a family: a member that stands for it in tests and listings."""

    pretrained: str | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    head: str = ""
    task: ClassVar[str] = "classification"

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def network(self) -> type[Network]:
        return Network

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        """The classifier with random weights: from what the featurizer makes to scores."""
        return (Classifier if spec.nonlinear else nn.Linear)(n_features, spec.num_classes)

    @abstractmethod
    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """The featurizer with random weights drawn from torch's global generator, and its number F of features.

        The featurizer maps normalised images [B, channels, H, W] to features [B, F].
        """

    def tags(self) -> list[str]:
        """The tags of named weights this network can load."""
        return []

    def weights_source(self, tag: str) -> WeightsSource:
        """Where the weights called ``tag`` come from. Raises ``WeightsError`` for a tag it does not know."""
        known = f"It knows {', '.join(self.tags())}" if self.tags() else "It has no pretrained weights"
        raise WeightsError(
            f"The network '{self.name}' has no weights '{tag}'. {known}. Type `--weights none` for "
            f"random weights, or `--weights FILE` with a .safetensors, .pth or .pt file."
        )

    def read_pretrained(self, tag: str) -> State:
        """The state dict called ``tag``, in this network's own names, downloaded where it is not cached."""
        raise self.weights_source(tag).missing(self.name)

    def convert(self, state: State) -> State:
        """A bare state dict in the names of its origin, as this featurizer and its ``head`` name them."""
        return state

    def load_pretrained(self, featurizer: nn.Module, spec: NetworkSpec) -> None:
        """Copy the named weights of ``spec`` into ``featurizer``; their classification layer is dropped."""
        tag = self.tag(spec)
        if tag is not None:
            state, _ = split_head(self.convert(self.read_pretrained(tag)), self.head)
            fit(featurizer, state, spec.channels, f"The weights '{tag}'", f"the network '{self.name}'")

    def tag(self, spec: NetworkSpec) -> str | None:
        """The tag of the named weights that ``spec`` asks for, None for random weights."""
        if spec.weights == "none":
            return None
        return self.pretrained if spec.weights == "default" else spec.weights


NETWORKS: Registry[type[Architecture]] = Registry(
    "network", "dfdgbench.networks", "dfdgbench.networks", subclass_check("network", Architecture)
)


class Classifier(nn.Sequential):
    """DomainBed's nonlinear classifier: features F -> F//2 -> F//4 -> K with ReLUs between."""

    def __init__(self, n_features: int, num_classes: int) -> None:
        half, quarter = n_features // 2, n_features // 4
        super().__init__(
            nn.Linear(n_features, half), nn.ReLU(), nn.Linear(half, quarter), nn.ReLU(), nn.Linear(quarter, num_classes)
        )


class Network(nn.Module):
    """A featurizer and a classifier on images float [B, C, H, W] in [0, 1].

    Normalisation belongs to the network: the buffers ``mean`` and ``std`` [C] are applied first and travel with its
    state dict, so that networks of different normalisation can look at the same image.

    Attributes:
        featurizer: normalised images -> features [B, n_features].
        dropout: applied to the features.
        classifier: features -> logits [B, K].
        bn_policy: see ``norm.apply_bn_policy``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        featurizer: nn.Module,
        n_features: int,
        classifier: nn.Module,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.featurizer = featurizer
        self.n_features = n_features
        self.dropout = nn.Dropout(dropout)
        self.classifier = classifier
        self.bn_policy: BNPolicy = "live"
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Features [B, n_features], after dropout."""
        features: Tensor = self.dropout(self.featurizer(self.normalised(images)))
        return features

    def normalised(self, images: Tensor) -> Tensor:
        """Images as the featurizer takes them."""
        return (images - self.mean[:, None, None]) / self.std[:, None, None]

    def train(self, mode: bool = True) -> Network:
        """Switch to train or eval mode; batch normalisation stays in eval mode where ``bn_policy`` is "frozen"."""
        super().train(mode)
        if self.bn_policy == "frozen":
            for _, layer in batch_norms(self):
                layer.eval()
        return self


def resolve(name: str, image_size: int, task: str = "classification") -> str:
    """The network that "auto" stands for, as DomainBed picks it by image size; any other ``name`` unchanged."""
    if name != "auto":
        return name
    if task == "segmentation":
        return "deeplabv3_resnet50"
    return {28: "MNIST_CNN", 32: "WRN-16-2"}.get(image_size, "resnet50")


def architecture(name: str) -> Architecture:
    """The architecture called ``name``; raises ``UnknownNameError`` with near names."""
    family = name.partition(":")[0] + FAMILY
    if name.endswith(FAMILY) or (":" not in name and name + FAMILY in NETWORKS):
        members = NETWORKS.get(name.partition(":")[0] + FAMILY)
        hint = f"NAME stands for a network of that library: {members.example}."
        raise unknown("network", name, NETWORKS.names(), hint)
    return NETWORKS.get(family if ":" in name and family in NETWORKS else name)(name)


def build(spec: NetworkSpec, seed: int) -> Network:
    """The network that ``spec`` describes, with every random weight decided by ``seed``.

    No global generator is read or changed. Pretrained weights replace the featurizer's random ones; the classifier
    stays random, except where a weights file brings one of the same shape. Raises ``WeightsError`` (weights that
    cannot be had or do not fit) and ``UnknownNameError``.
    """
    chosen = architecture(resolve(spec.name, spec.image_size))
    if _unfilled.get():
        return _random(chosen, spec, seed)
    file = weights_file(spec)
    source = None if file is not None else _source(chosen, spec)
    if source is not None:
        source.require(chosen.name)
    network = _random(chosen, spec, seed)
    if file is not None:
        _load_file(network, chosen, spec, file)
    elif source is not None:
        with torch.random.fork_rng(devices=[]):  # reading may build a second, random network
            chosen.load_pretrained(network.featurizer, spec)
    return network


@contextmanager
def unfilled(yes: bool = True) -> Iterator[None]:
    """Inside, networks are built without their pretrained weights, which need not be there: others will be loaded. With False
    they have them again."""
    before = _unfilled.set(yes)
    try:
        yield
    finally:
        _unfilled.reset(before)


def weights_file(spec: NetworkSpec) -> Path | None:
    """The file that ``spec.weights`` names, None where it names none. A missing file is a ``WeightsError``."""
    if not is_file_name(spec.weights):
        return None
    path = Path(spec.weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"The weights file {path} of network '{spec.name}' does not exist. Give a .safetensors, .pth or .pt file, "
            f"or type `--weights none` for random weights."
        )
    return path


def weights_id(spec: NetworkSpec) -> str:
    """A stable text that identifies the initial weights; nothing is built or downloaded.

    "random", "torchvision:<file>", "timm:<hub id>" or "sha256:<digest of the file>".
    """
    file = weights_file(spec)
    if file is not None:
        return f"sha256:{digest(file)}"
    source = _source(architecture(resolve(spec.name, spec.image_size)), spec)
    return "random" if source is None else source.id


def weights_source(spec: NetworkSpec) -> WeightsSource | None:
    """Where the weights of ``spec`` come from; None for random ones and for those of a file of one's own."""
    return None if is_file_name(spec.weights) else _source(architecture(resolve(spec.name, spec.image_size)), spec)


def download_weights(spec: NetworkSpec) -> bool:
    """Have the weights of ``spec`` in the cache that a run will find them in; whether they had to be downloaded.

    They are read once, as a run reads them. ``WeightsError`` where they cannot be had or do not fit.
    """
    source = weights_source(spec)
    if source is None or source.cached:
        return False
    build(spec, seed=0)
    after = weights_source(spec)
    if after is None or not after.cached:
        raise WeightsError(
            f"The weights '{source.id}' of network '{spec.name}' were downloaded and are not in {source.looked_in}, where runs "
            "look for them. Is that folder changed by TORCH_HOME, HF_HOME or HF_HUB_CACHE while this ran?"
        )
    return True


def check_weights(spec: NetworkSpec) -> None:
    """Raise ``WeightsError`` where the weights of ``spec`` cannot be had on this machine now, or do not fit."""
    chosen = architecture(resolve(spec.name, spec.image_size))
    file = weights_file(spec)
    if file is not None:
        _load_file(_random(chosen, spec, seed=0), chosen, spec, file)
        return
    source = _source(chosen, spec)
    if source is not None:
        source.require(chosen.name)


def _source(chosen: Architecture, spec: NetworkSpec) -> WeightsSource | None:
    tag = chosen.tag(spec)
    return None if tag is None else chosen.weights_source(tag)


def _random(chosen: Architecture, spec: NetworkSpec, seed: int) -> Network:
    """The network with random weights."""
    # torch.manual_seed would also seed the generators of accelerators, which fork_rng is not asked to restore.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed)
        featurizer, n_features = chosen.build(spec)
        classifier = chosen.classifier(spec, n_features)
    mean, std = (tuple(islice(cycle(values), spec.channels)) for values in (chosen.mean, chosen.std))
    return chosen.network(featurizer, n_features, classifier, mean, std, spec.dropout)


def _load_file(network: Network, chosen: Architecture, spec: NetworkSpec, path: Path) -> None:
    """Copy a state dict file, either of a ``Network`` or a bare one in the names of its origin, into ``network``."""
    state, label = read_state(path), f"The weights file {path}"
    if any(name.startswith("featurizer.") for name in state):
        state, head = split_head(state, "classifier")
    else:
        bare, head = split_head(chosen.convert(state), chosen.head)
        state = {f"featurizer.{name}": tensor for name, tensor in bare.items()}
    expected = network.classifier.state_dict()
    fits = _shapes(head) == _shapes(expected)
    if fits:
        state |= {f"classifier.{name}": tensor for name, tensor in head.items()}
    optional = {"mean", "std", *(f"classifier.{name}" for name in expected)}
    fit(network, state, spec.channels, label, f"the network '{chosen.name}'", optional)
    if head and not fits:
        warnings.warn(
            f"{label}: its classifier ({_size(head)}) is not the one asked for ({_size(expected)}) and was ignored; "
            f"the new one starts random.",
            stacklevel=3,
        )


def _shapes(state: State) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _size(head: State) -> str:
    """Classes and tensors of a classifier's state dict, as messages give them."""
    return f"{list(head.values())[-1].shape[0]} classes, {len(head)} tensors"
