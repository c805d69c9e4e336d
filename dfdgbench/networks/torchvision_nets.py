"""torchvision's ResNets and AlexNet, with ImageNet weights."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec
from dfdgbench.networks.weights import State, WeightsSource


class TorchvisionArchitecture(Architecture):
    """A network of torchvision; ``name`` is torchvision's own, unless it is made of another one, its ``donor``."""

    pretrained = "IMAGENET1K_V1"

    @property
    def donor(self) -> str:
        """torchvision's name of the network whose weights it takes."""
        return self.name

    def tags(self) -> list[str]:
        """torchvision's names of the weights, without "DEFAULT"."""
        from torchvision.models import get_model_weights

        return [member.name for member in get_model_weights(self.donor)]

    def weights_source(self, tag: str) -> WeightsSource:
        """torch's hub cache, and torchvision's server."""
        if tag not in self.tags():
            return super().weights_source(tag)
        path = self._cache() / Path(self._url(tag)).name
        host = urlparse(self._url(tag)).hostname or ""
        tag = tag if tag != self.pretrained else ""
        return WeightsSource(f"torchvision:{path.name}", path.is_file(), str(path.parent), host, tag)

    def read_pretrained(self, tag: str) -> State:
        """The state dict, its digest checked against the one in its name when it is downloaded."""
        with self.weights_source(tag).reading(self.name):
            state: State = torch.hub.load_state_dict_from_url(
                self._url(tag),
                str(self._cache()),
                map_location="cpu",
                progress=sys.stderr.isatty(),
                check_hash=True,
                weights_only=True,
            )
        return state

    def _url(self, tag: str) -> str:
        from torchvision.models import get_model_weights

        url: str = get_model_weights(self.donor)[tag].url
        return url

    @staticmethod
    def _cache() -> Path:
        return Path(torch.hub.get_dir()) / "checkpoints"


class ResNetArchitecture(TorchvisionArchitecture):
    """A ResNet without its classification layer."""

    head = "fc"

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights. Images of other than three channels get a first convolution of their own."""
        from torchvision.models import get_model

        network = get_model(self.name, weights=None)
        n_features: int = network.fc.in_features
        network.fc = nn.Identity()
        if spec.channels != 3:
            network.conv1 = for_channels(network.conv1, spec.channels)
        return network, n_features


@NETWORKS.register("resnet18")
class ResNet18(ResNetArchitecture):
    """He et al. 2016."""

    description = "torchvision's ResNet-18, ImageNet weights"


@NETWORKS.register("resnet50")
class ResNet50(ResNetArchitecture):
    """He et al. 2016; weights V1, which DomainBed's published table used."""

    description = "torchvision's ResNet-50, ImageNet weights V1 (DomainBed's published table)"


@NETWORKS.register("alexnet")
class AlexNet(TorchvisionArchitecture):
    """Krizhevsky et al. 2012, without its last layer. It has no batch normalisation."""

    description = "torchvision's AlexNet, ImageNet weights; no batch normalisation"
    head = "classifier.6"

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights, 4096 features."""
        from torchvision.models import get_model

        network = get_model(self.name, weights=None)
        n_features: int = network.classifier[-1].in_features
        network.classifier[-1] = nn.Identity()
        if spec.channels != 3:
            network.features[0] = for_channels(network.features[0], spec.channels)
        return network, n_features


def for_channels(first: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A convolution like ``first``, on images of ``channels`` channels."""
    kernel, stride, padding = first.kernel_size, first.stride, first.padding
    assert not isinstance(padding, str)
    return nn.Conv2d(
        channels,
        first.out_channels,
        (kernel[0], kernel[1]),
        (stride[0], stride[1]),
        (padding[0], padding[1]),
        bias=first.bias is not None,
    )
