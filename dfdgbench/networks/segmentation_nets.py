"""The networks for segmentation: DeepLabV3, SegNet, and a small sibling of each for two cores."""

from __future__ import annotations

import re
from typing import ClassVar

from torch import nn

from dfdgbench.networks.base import NETWORKS, NetworkSpec
from dfdgbench.networks.segmentation.levels import TappedSequential, TwoHeads
from dfdgbench.networks.segmentation.maps import SegmentationArchitecture
from dfdgbench.networks.segmentation.segnet import SMALL, VGG16, Decoder, Encoder, Widths
from dfdgbench.networks.torchvision_nets import TorchvisionArchitecture, for_channels
from dfdgbench.networks.weights import State


@NETWORKS.register("deeplabv3_resnet50")
class DeepLabV3ResNet50(SegmentationArchitecture, TorchvisionArchitecture):
    """Chen et al. 2017; torchvision's layout at output stride 8: dilated ResNet-50, pyramid of rates 12, 24 and 36, no second head.

    A file of weights may hold torchvision's whole network, or its ResNet-50 alone.
    """

    description = "torchvision's DeepLabV3 on ResNet-50 at output stride 8, ImageNet weights of the backbone"
    donor = "resnet50"
    head = "classifier"
    dilated: ClassVar[tuple[bool, bool, bool]] = (False, True, True)
    rates: ClassVar[tuple[int, int, int]] = (12, 24, 36)

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """The backbone up to layer4, 2048 channels."""
        from torchvision.models import resnet50

        network = resnet50(weights=None, replace_stride_with_dilation=list(self.dilated))
        if spec.channels != 3:
            network.conv1 = for_channels(network.conv1, spec.channels)
        body = nn.Sequential()
        for name, layer in network.named_children():
            if name not in ("avgpool", "fc"):
                body.add_module(name, layer)
        n_features: int = network.fc.in_features
        return body, n_features

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        from torchvision.models.segmentation.deeplabv3 import DeepLabHead

        head: nn.Module = DeepLabHead(n_features, spec.num_classes, self.rates)
        return head

    def convert(self, state: State) -> State:
        """Without the second head and ImageNet's classification layer."""
        dropped = ("aux_classifier.", "fc.")
        return {name.removeprefix("backbone."): value for name, value in state.items() if not name.startswith(dropped)}


@NETWORKS.register("deeplabv3_resnet50_os16")
class DeepLabV3ResNet50Stride16(DeepLabV3ResNet50):
    """At output stride 16, with the rates 6, 12 and 18 of the paper: maps of a quarter of the positions."""

    description = "the same at output stride 16: cheaper, coarser"
    dilated = (False, False, True)
    rates = (6, 12, 18)


@NETWORKS.register("deeplabv3_resnet50_aux")
class DeepLabV3ResNet50Auxiliary(DeepLabV3ResNet50):
    """With torchvision's second head on layer3, for methods of two levels; a file of torchvision's brings its weights."""

    description = "the same at output stride 8 with a second head on layer3, for levels=2"
    levels = 2

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        body, n_features = super().build(spec)
        return TappedSequential(body.named_children(), "layer3"), n_features

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        return TwoHeads(super().classifier(spec, n_features), _auxiliary(n_features // 2, spec))

    def convert(self, state: State) -> State:
        """Both heads as :class:`TwoHeads` names them."""
        named = {"classifier.": "classifier.main.", "aux_classifier.": "classifier.auxiliary.", "backbone.": ""}
        found = {}
        for name, value in state.items():
            theirs = next((prefix for prefix in named if name.startswith(prefix)), "")
            if not name.startswith("fc."):
                found[named.get(theirs, "") + name.removeprefix(theirs)] = value
        return found


@NETWORKS.register("deeplab_small")
class DeepLabSmall(SegmentationArchitecture):
    """Four convolutions to output stride 4, then DeepLab's pyramid of rates 2 and 4 with 32 channels a branch."""

    description = "a small DeepLab: 4 convolutions, output stride 4, a pyramid of 32 channels a branch"

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """48 channels."""
        rows = ((spec.channels, 16, 2, 1), (16, 32, 2, 1), (32, 48, 1, 1), (48, 48, 1, 2))
        return nn.Sequential(*(_normalised(*row) for row in rows)), 48

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        from torchvision.models.segmentation.deeplabv3 import ASPP

        pyramid = ASPP(n_features, (2, 4), 32)
        return nn.Sequential(pyramid, _normalised(32, 32), nn.Conv2d(32, spec.num_classes, 1))


@NETWORKS.register("deeplab_small_aux")
class DeepLabSmallAuxiliary(DeepLabSmall):
    """With a second head on the third convolution, for methods of two levels."""

    description = "the small DeepLab with a second head on its third convolution, for levels=2"
    levels = 2

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        body, n_features = super().build(spec)
        return TappedSequential(body.named_children(), "2"), n_features

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        return TwoHeads(super().classifier(spec, n_features), _auxiliary(n_features, spec))


@NETWORKS.register("segnet_vgg16")
class SegNetVGG16(SegmentationArchitecture, TorchvisionArchitecture):
    """Badrinarayanan et al. 2017, with pooling indices; the encoder begins as VGG-16 with batch normalisation, whose
    statistics adaptation reads."""

    description = "SegNet on VGG-16 with batch normalisation, pooling indices, ImageNet weights of the encoder"
    donor = "vgg16_bn"
    widths: ClassVar[Widths] = VGG16

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        return Encoder(self.widths, spec.channels), self.widths[-1][-1]

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        return Decoder(spec.num_classes, self.widths)

    def convert(self, state: State) -> State:
        """VGG's convolutions, counted by block."""
        places: dict[int, str] = {}
        first = 0
        for block, widths in enumerate(self.widths):
            places |= {first + layer: f"blocks.{block}.{layer}" for layer in range(3 * len(widths))}
            first += 3 * len(widths) + 1  # the pooling
        named = ((re.fullmatch(r"features\.(\d+)\.(\w+)", name), value) for name, value in state.items())
        return {f"{places[int(found[1])]}.{found[2]}": value for found, value in named if found}


@NETWORKS.register("segnet_small")
class SegNetSmall(SegmentationArchitecture):
    """SegNet of five convolutions a side and three poolings."""

    description = "a small SegNet: widths 16, 24, 32, three poolings with indices"

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        return Encoder(SMALL, spec.channels), SMALL[-1][-1]

    def classifier(self, spec: NetworkSpec, n_features: int) -> nn.Module:
        return Decoder(spec.num_classes, SMALL)


def _auxiliary(channels: int, spec: NetworkSpec) -> nn.Module:
    from torchvision.models.segmentation.fcn import FCNHead

    head: nn.Module = FCNHead(channels, spec.num_classes)
    return head


def _normalised(channels: int, width: int, stride: int = 1, rate: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 3, stride, padding=rate, dilation=rate, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
