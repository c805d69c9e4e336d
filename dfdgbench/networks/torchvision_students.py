"""More of torchvision's networks: the students of dataset distillation for domain generalisation (Table 3)."""

from __future__ import annotations

from typing import Any

from torch import nn

from dfdgbench.networks.base import NETWORKS, NetworkSpec
from dfdgbench.networks.torchvision_nets import TorchvisionArchitecture, for_channels


class HeadedArchitecture(TorchvisionArchitecture):
    """A network whose last linear layer is called ``head`` and is taken off; dropout before it stays, as the library has it."""

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights. Images of other than three channels get a first convolution of their own."""
        from torchvision.models import get_model

        network: Any = get_model(self.name, weights=None)
        if spec.channels != 3:
            name, first = next((name, each) for name, each in network.named_modules() if isinstance(each, nn.Conv2d))
            network.set_submodule(name, for_channels(first, spec.channels))
        parent, _, last = self.head.rpartition(".")
        holder = network.get_submodule(parent)
        n_features: int = getattr(holder, last).in_features
        setattr(holder, last, nn.Identity())
        return network, n_features


@NETWORKS.register("vgg16")
class VGG16(HeadedArchitecture):
    """Simonyan and Zisserman 2015, without batch normalisation."""

    description = "torchvision's VGG-16, ImageNet weights; no batch normalisation"
    head = "classifier.6"


@NETWORKS.register("mobilenet_v2")
class MobileNetV2(HeadedArchitecture):
    """Sandler et al. 2018."""

    description = "torchvision's MobileNetV2, ImageNet weights"
    head = "classifier.1"


@NETWORKS.register("efficientnet_b0")
class EfficientNetB0(HeadedArchitecture):
    """Tan and Le 2019."""

    description = "torchvision's EfficientNet-B0, ImageNet weights"
    head = "classifier.1"


@NETWORKS.register("convnext_tiny")
class ConvNeXtTiny(HeadedArchitecture):
    """Liu et al. 2022; layer normalisation."""

    description = "torchvision's ConvNeXt-Tiny, ImageNet weights; no batch normalisation"
    head = "classifier.2"


@NETWORKS.register("swin_t")
class SwinTiny(HeadedArchitecture):
    """Liu et al. 2021; layer normalisation."""

    description = "torchvision's Swin-Tiny, ImageNet weights; no batch normalisation"
    head = "head"
