"""A small batch-normalised network for 32x32 images, cheap enough for a laptop's CPU."""

from __future__ import annotations

from torch import nn

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec

WIDTHS = (16, 32, 64, 64)


def _block(channels: int, width: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class SmallCNN(nn.Sequential):
    """Four convolutions with batch normalisation and ReLU: images [B, C, H, W] -> features [B, 64].

    The stem is 5x5 with stride 2, the second and third convolution are followed by a 2x2 max-pool, and the last map is
    averaged: 32 pixels become 16, 8, 4, 1. Any size from 8 pixels works.
    """

    def __init__(self, channels: int = 3) -> None:
        stem, second, third, last = WIDTHS
        super().__init__(
            *_block(channels, stem, kernel=5, stride=2),
            *_block(stem, second),
            nn.MaxPool2d(2),
            *_block(second, third),
            nn.MaxPool2d(2),
            *_block(third, last),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


@NETWORKS.register("smallcnn")
class SmallCNNArchitecture(Architecture):
    """``SmallCNN``."""

    description = "4 convolutions (16-32-64-64) with batch normalisation, for 28x28 to 64x64 images"
    mean, std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights, 64 features."""
        return SmallCNN(spec.channels), WIDTHS[-1]
