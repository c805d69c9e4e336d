"""What post-hoc data homogenisation puts before a classifier (Willis and Oala 2021): the perturbation of its target images, and
the reconstruction network that undoes it. Both map normalised images [B, C, H, W] to normalised images of the same shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.networks.base import Network
from dfdgbench.networks.reflected import ReflectedConv

Corruption = Literal["blur", "brightness", "contrast", "gamma", "noise", "rotation", "sharpness", "solarise"]


class Perturbation(nn.Module):
    """Two random convolutions of the image plus a noise image (fact 3.1 of the reproduction: the released code)::

        delta(x) = conv2(conv1(x + kappa mu)),   kernel_j = I + kappa N,   bias_j = kappa N

    with mu one image of N(0, 1), the same for every input, I the kernel that changes nothing, and reflected borders. It is
    affine, holds no parameter and is never clamped.

    Args:
        kappa: strength; 0 changes nothing.
        biases: whether the convolutions have random biases (the code) or none (the text).
    """

    noise: Tensor
    kernels: Tensor
    biases: Tensor

    def __init__(
        self, channels: int, shape: Sequence[int], kappa: float, generator: torch.Generator, *, biases: bool = True
    ) -> None:
        super().__init__()
        same = torch.zeros(channels, channels, 3, 3)
        same[range(channels), range(channels), 1, 1] = 1.0
        self.register_buffer("noise", kappa * torch.randn(1, channels, *shape, generator=generator))
        kernels = [same + kappa * torch.randn(same.shape, generator=generator) for _ in range(2)]
        self.register_buffer("kernels", torch.stack(kernels))
        drawn = kappa * torch.randn(2, channels, generator=generator)
        self.register_buffer("biases", drawn if biases else torch.zeros_like(drawn))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The perturbed images; no gradient passes."""
        images = images + self.noise
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            images = functional.conv2d(functional.pad(images, (1, 1, 1, 1), mode="reflect"), kernel, bias)
        return images


class Corrupted(nn.Module):
    """An everyday corruption of torchvision's, at the strength that ``severity`` names; it acts on pixels in [0, 1].

    Args:
        network: whose normalisation the images have.
        severity: 1 to 5.
        generator: says whether what has a direction (brighter or darker, left or right) goes one way or the other.
    """

    mean: Tensor
    std: Tensor
    grain: Tensor

    def __init__(
        self, kind: Corruption, severity: int, network: Network, shape: Sequence[int], generator: torch.Generator
    ) -> None:
        super().__init__()
        self.kind, self.severity = kind, severity
        self.register_buffer("mean", network.mean.detach().cpu()[:, None, None].clone())
        self.register_buffer("std", network.std.detach().cpu()[:, None, None].clone())
        self.up = bool(torch.rand((), generator=generator) < 0.5)
        self.register_buffer("grain", torch.randn(len(self.mean), *shape, generator=generator))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """The corrupted images; no gradient passes."""
        pixels = (images * self.std + self.mean).clamp(0, 1)
        return (self._corrupted(pixels).clamp(0, 1) - self.mean) / self.std

    def _corrupted(self, pixels: Tensor) -> Tensor:
        from torchvision.transforms.v2 import functional as ways

        strength = self.severity / 5
        factor = 1 + 2 * strength if self.up else 1 - 0.8 * strength
        made: dict[str, Callable[[], Tensor]] = {
            "blur": lambda: ways.gaussian_blur(pixels, [7, 7], [0.4 + 2.6 * strength] * 2),
            "brightness": lambda: ways.adjust_brightness(pixels, factor),
            "contrast": lambda: _contrast(pixels, 1 - 0.8 * strength),
            "gamma": lambda: pixels**factor,
            "noise": lambda: pixels + 0.5 * strength * self.grain,
            "rotation": lambda: ways.rotate(pixels, (45 if self.up else -45) * strength),
            "sharpness": lambda: _sharpened(pixels, 1 + 9 * strength, ways.gaussian_blur),
            "solarise": lambda: torch.where(pixels > 1 - 0.8 * strength, 1 - pixels, pixels),
        }
        return made[self.kind]()


def _contrast(pixels: Tensor, factor: float) -> Tensor:
    mean = pixels.mean(dim=(-3, -2, -1), keepdim=True)
    return mean + factor * (pixels - mean)


def _sharpened(pixels: Tensor, factor: float, blur: Callable[..., Tensor]) -> Tensor:
    soft = blur(pixels, [3, 3], [1.0, 1.0])
    return soft + factor * (pixels - soft)


class Reconstruction(nn.Module):
    """The reconstruction network rho (fact 3.2): blocks on a trunk as narrow as the image, between a 1x1 convolution that starts
    as the identity and a last batch normalisation.

    A block is conv3x3 to ``width`` - BN - ReLU - conv3x3 back - BN, plus what entered it, rectified in all blocks but the last.

    Args:
        width, depth: 8 and 8 in the paper's table of settings, 16 and 4 in its text.
    """

    def __init__(self, channels: int, width: int, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        self.entry = nn.Conv2d(channels, channels, 1)
        blocks = [_Block(channels, width, n == depth - 1) for n in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.exit = nn.BatchNorm2d(channels)
        self._draw(channels, blocks, generator)

    @torch.no_grad()
    def _draw(self, channels: int, blocks: Sequence[_Block], generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(channels)
        self.entry.weight.copy_(torch.eye(channels)[:, :, None, None])
        self.entry.bias.uniform_(-bound, bound, generator=generator)  # type: ignore[union-attr]
        for n, block in enumerate(blocks):
            for layer in (block.conv1, block.conv2):
                bound = 1 / math.sqrt(layer.weight[0].numel())  # PyTorch's default
                layer.weight.uniform_(-bound, bound, generator=generator).div_(math.sqrt(n + 1))
                layer.bias.zero_()  # type: ignore[union-attr]

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructed images."""
        if images.device.type != "cpu":
            reconstructed: Tensor = self.exit(self.blocks(self.entry(images)))
            return reconstructed
        maps = images.transpose(0, 1)
        maps = torch.addmm(self.entry.bias[:, None], self.entry.weight[:, :, 0, 0], maps.flatten(1)).view(maps.shape)  # type: ignore[index]
        for block in self.blocks:
            maps = block.channels_first(maps)  # type: ignore[operator]
        # A gradient with channels last, as a classifier's first layer gives it, is wrong behind batch normalisation of [1, C, ...].
        normed: Tensor = self.exit(maps.transpose(0, 1).contiguous())
        return normed


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, last: bool) -> None:
        super().__init__()
        self.conv1 = ReflectedConv(channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = ReflectedConv(width, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.last = last

    def forward(self, maps: Tensor) -> Tensor:
        total: Tensor = maps + self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(maps)))))
        return total if self.last else functional.relu(total)

    def channels_first(self, maps: Tensor) -> Tensor:
        """The same on maps [C, B, H, W]."""
        inner = _across(self.bn1, self.conv1.channels_first(maps), rectified=True)
        total = maps + _across(self.bn2, self.conv2.channels_first(inner))
        return total if self.last else functional.relu_(total)


def _across(norm: nn.BatchNorm2d, maps: Tensor, rectified: bool = False) -> Tensor:
    """Normalise maps [C, B, H, W] over all but the first dimension, and take ReLU of them."""
    normed: Tensor = norm(maps.reshape(1, len(maps), -1, maps.shape[-1]))
    if rectified:
        functional.relu_(normed)  # of a view, its gradient would take three copies
    return normed.view(maps.shape)


class Homogenized(nn.Module):
    """A classifier behind what is done to its images: pixels in [0, 1] -> scores [B, K].

    Args:
        before: modules on normalised images, in order.
    """

    def __init__(self, network: Network, before: Sequence[nn.Module]) -> None:
        super().__init__()
        self.network, self.before = network, nn.Sequential(*before)

    def forward(self, images: Tensor) -> Tensor:
        return scores(self.network, self.before(normalised(self.network, images)))

    def train(self, mode: bool = True) -> Homogenized:
        """The classifier stays in eval mode: it is fixed."""
        super().train(mode)
        self.network.eval()
        return self


def normalised(network: Network, images: Tensor) -> Tensor:
    """Pixels in [0, 1] as the network's featurizer wants them."""
    return (images - network.mean[:, None, None]) / network.std[:, None, None]


def scores(network: Network, images: Tensor) -> Tensor:
    """Scores [B, K] of normalised images."""
    found: Tensor = network.classifier(network.dropout(network.featurizer(images)))
    return found
