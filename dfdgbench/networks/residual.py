"""Residual networks for small images: MNIST's ResNet-9 and ResNet-20, and CIFAR-10's ResNet-18 and ResNet-34.

They are the classifiers of post-hoc data homogenisation (Willis and Oala 2021), whose feature maps are counted by their
convolutions, so that the order in which layers are registered is part of what they are: a block's two convolutions, then its
shortcut's.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec


class BasicBlock(nn.Module):
    """Convolve, normalise, ReLU, convolve, normalise, beside a shortcut, ReLU: [B, C, H, W] -> [B, width, H/stride, W/stride]."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """The block's maps plus the shortcut's, rectified."""
        inner = functional.relu_(self.bn1(self.conv1(maps)))
        return functional.relu_(self.bn2(self.conv2(inner)) + self.shortcut(maps))


class SmallResNet(nn.Module):
    """A 3x3 stem and stages of basic blocks, averaged over positions: [B, C, H, W] -> [B, last width].

    Args:
        stem: width of the first convolution.
        stages: width and number of blocks of each stage; every stage but the first halves the map. One of no blocks is left out.
        pool: whether a 3x3 max-pool of stride 2 follows the stem.
    """

    def __init__(self, channels: int, stem: int, stages: Sequence[tuple[int, int]], pool: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.pool: nn.Module = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        blocks, entering = [], stem
        for number, (width, count) in enumerate(stages):
            for position in range(count):
                blocks.append(BasicBlock(entering, width, 2 if number and not position else 1))
                entering = width
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, last width]."""
        maps: Tensor = self.blocks(self.pool(functional.relu_(self.bn1(self.conv1(images)))))
        return maps.mean(dim=(2, 3))


class _Residual(Architecture):
    """Base: widths and depths of the stages."""

    stem: int
    stages: tuple[tuple[int, int], ...]
    pool = False

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights."""
        width = [width for width, count in self.stages if count][-1]
        return SmallResNet(spec.channels, self.stem, self.stages, self.pool), width


class _MNISTResidual(_Residual):
    mean, std = (0.1307,), (0.3081,)
    stem = 16


@NETWORKS.register("mnist_resnet20")
class MNISTResNet20(_MNISTResidual):
    """272,186 parameters in 21 convolutions (one channel, ten classes)."""

    description = "ResNet-20 of widths 16-32-64 for 28x28 images"
    stages = ((16, 3), (32, 3), (64, 3))


@NETWORKS.register("mnist_resnet9")
class MNISTResNet9(_MNISTResidual):
    """42,938 parameters in 10 convolutions (one channel, ten classes)."""

    description = "ResNet-9 of widths 16-32 for 28x28 images"
    stages = ((16, 2), (32, 2), (64, 0))


class _CIFARResidual(_Residual):
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    stem = 64
    pool = True


@NETWORKS.register("cifar_resnet18")
class CIFARResNet18(_CIFARResidual):
    """11,173,962 parameters in 20 convolutions (ten classes); the max-pool is kept, as in the published networks."""

    description = "ResNet-18 with a 3x3 stem of stride 1, for 32x32 images"
    stages = ((64, 2), (128, 2), (256, 2), (512, 2))


@NETWORKS.register("cifar_resnet34")
class CIFARResNet34(_CIFARResidual):
    """21,282,122 parameters in 36 convolutions (ten classes); the max-pool is kept, as in the published networks."""

    description = "ResNet-34 with a 3x3 stem of stride 1, for 32x32 images"
    stages = ((64, 3), (128, 4), (256, 6), (512, 3))
