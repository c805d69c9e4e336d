"""DomainBed's network for 32x32 images: a Wide ResNet (Zagoruyko and Komodakis 2016) of depth 16 and width 2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec

STEM, WIDTHS, STRIDES = 16, (32, 64, 128), (1, 2, 2)
BLOCKS_PER_STAGE = 2


class PreActivationBlock(nn.Module):
    """Normalise, ReLU, convolve, twice, beside a shortcut: [B, C, H, W] -> [B, width, H/stride, W/stride].

    The convolutions have biases and the second one strides, as in DomainBed.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1)
        changes = stride != 1 or channels != width
        self.shortcut: nn.Module = nn.Conv2d(channels, width, 1, stride=stride) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """The block's maps plus the shortcut's."""
        inner = self.conv1(functional.relu(self.bn1(maps)))
        inner = self.conv2(functional.relu(self.bn2(inner)))
        total: Tensor = inner + self.shortcut(maps)
        return total


class WideResNet(nn.Module):
    """Three stages of two blocks: [B, C, H, W] -> [B, 128].

    The average pool covers the whole last map; at 32 pixels that is DomainBed's pool of 8.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STEM, 3, padding=1)
        blocks, width_in = [], STEM
        for width, stride in zip(WIDTHS, STRIDES, strict=True):
            for first in (True, *(False,) * (BLOCKS_PER_STAGE - 1)):
                blocks.append(PreActivationBlock(width_in, width, stride if first else 1))
                width_in = width
        self.blocks = nn.Sequential(*blocks)
        self.bn1 = nn.BatchNorm2d(width_in)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, 128]."""
        maps = functional.relu(self.bn1(self.blocks(self.conv1(images))))
        return maps.mean(dim=(2, 3))


@NETWORKS.register("WRN-16-2")
class WideResNetArchitecture(Architecture):
    """``WideResNet``."""

    description = "DomainBed's Wide ResNet 16-2 for 32x32 images"

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights, 128 features."""
        return WideResNet(spec.channels), WIDTHS[-1]
