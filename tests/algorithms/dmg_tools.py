"""A masked network whose every number can be worked out by hand, and batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfdgbench.algorithms.dmg import DMG, MaskedNetwork
from dfdgbench.networks.base import Network, NetworkSpec
from dfdgbench.networks.sites import Sites

SMALL = NetworkSpec("smallcnn", 3, image_size=28)
PROBABILITY = {0.5: 0.0, 0.75: 1.0986122886681098, 1.0: 40.0, 0.0: -200.0}
"""Logits of some probabilities, to the last bit of a float32."""


def batches(
    sizes: Sequence[int] = (4, 3, 5), classes: int = 3, size: int = 28, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """A minibatch of each of some domains."""
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.rand(count, 3, size, size, generator=random), torch.randint(classes, (count,), generator=random))
        for count in sizes
    ]


def dmg(domains: int = 3, network: NetworkSpec = SMALL, **hparams: Any) -> DMG:
    """DMG on a small network, with logits that differ between domains."""
    made = DMG((3, network.image_size, network.image_size), 3, domains, hparams, network=network)
    for index, logits in enumerate(made.body.logits):
        with torch.no_grad():
            logits.copy_(torch.randn(logits.shape, generator=torch.Generator().manual_seed(index)))
    return made


def set_logits(body: MaskedNetwork, value: float) -> None:
    """All mask logits to one value."""
    for logits in body.logits:
        with torch.no_grad():
            logits.fill_(value)


class Vector(nn.Module):
    """A line of linear layers without bias and with ReLU between, on images of one row."""

    def __init__(self, *weights: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights])
        for layer, weight in zip(self.layers, weights, strict=True):
            layer.weight = nn.Parameter(weight)

    def forward(self, images: Tensor) -> Tensor:
        values = images[:, 0, 0]
        for layer in self.layers:
            values = torch.relu(layer(values))
        return values


def by_hand(
    layers: Sequence[Tensor], head: Tensor, sites: Sequence[str], masks: Sequence[Sequence[Sequence[float]]]
) -> MaskedNetwork:
    """A masked :class:`Vector`.

    Args:
        layers, head: weights; without layers the head sees the image's row itself.
        masks: a site's probabilities, one row a domain, of those that ``PROBABILITY`` has.
    """
    classifier = nn.Linear(head.shape[1], head.shape[0], bias=False)
    classifier.weight = nn.Parameter(head)
    network = Network(Vector(*layers), head.shape[1], classifier, mean=(0.0,), std=(1.0,))
    side = layers[0].shape[1] if layers else head.shape[1]
    found = Sites(network, sites, side, channels=1)
    body = MaskedNetwork(network, found, len(masks[0]), 0.0, torch.Generator())
    for logits, rows in zip(body.logits, masks, strict=True):
        with torch.no_grad():
            logits.copy_(torch.tensor([[PROBABILITY[p] for p in row] for row in rows]))
    return body.eval()
