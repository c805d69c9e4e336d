"""What stands behind a featurizer: classifiers, and discriminators of features."""

from __future__ import annotations

from torch import nn

from dfdgbench.networks.base import Classifier


def classifier(n_features: int, num_classes: int, nonlinear: bool = False) -> nn.Module:
    """Features [B, F] to scores [B, K]: a linear layer, or DomainBed's of three layers."""
    return Classifier(n_features, num_classes) if nonlinear else nn.Linear(n_features, num_classes)


class MLP(nn.Sequential):
    """Features [B, F] to scores [B, K] by ``depth`` linear layers of ``width``; each but the last is followed by dropout
    and ReLU (DomainBed's discriminator)."""

    def __init__(self, n_features: int, outputs: int, width: int, depth: int, dropout: float) -> None:
        layers: list[nn.Module] = []
        size = n_features
        for _ in range(depth - 1):
            layers += [nn.Linear(size, width), nn.Dropout(dropout), nn.ReLU()]
            size = width
        super().__init__(*layers, nn.Linear(size, outputs))
