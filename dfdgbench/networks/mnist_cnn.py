"""DomainBed's network for 28x28 images (Gulrajani and Lopez-Paz 2021, appendix D.1)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.networks.base import NETWORKS, Architecture, NetworkSpec

N_FEATURES = 128


class MNISTCNN(nn.Module):
    """Four 3x3 convolutions, each with ReLU and then group normalisation: [B, C, H, W] -> [B, 128].

    The layers bn0..bn3 carry DomainBed's names and are group, not batch, normalisation.
    """

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 128, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(128, 128, 3, padding=1)
        self.conv4 = nn.Conv2d(128, 128, 3, padding=1)
        self.bn0 = nn.GroupNorm(8, 64)
        self.bn1 = nn.GroupNorm(8, 128)
        self.bn2 = nn.GroupNorm(8, 128)
        self.bn3 = nn.GroupNorm(8, 128)

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, 128]: the mean over all positions of the last map."""
        maps = self.bn0(functional.relu(self.conv1(images)))
        maps = self.bn1(functional.relu(self.conv2(maps)))
        maps = self.bn2(functional.relu(self.conv3(maps)))
        maps = self.bn3(functional.relu(self.conv4(maps)))
        features: Tensor = maps.mean(dim=(2, 3))
        return features


@NETWORKS.register("MNIST_CNN")
class MNISTCNNArchitecture(Architecture):
    """``MNISTCNN`` on images as they are: DomainBed does not normalise its MNIST sets."""

    description = "DomainBed's network for 28x28 images; group normalisation"
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def build(self, spec: NetworkSpec) -> tuple[nn.Module, int]:
        """Random weights, 128 features."""
        return MNISTCNN(spec.channels), N_FEATURES
