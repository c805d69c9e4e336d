"""The style-transfer network of Dumoulin et al. 2017 (arXiv 1610.07629), as Magenta's image_stylization sizes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm, interpolate, pad

WIDTH = 32
SMALLEST = 17  # side of the images: mirror padding must be smaller than the map


class ConditionalNorm(nn.Module):
    """Instance normalisation (biased variance, eps 1e-5), scaled and shifted by a mixture of the styles' own numbers."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(styles, channels))
        self.beta = nn.Parameter(torch.zeros(styles, channels))

    def forward(self, maps: Tensor, mixture: Tensor) -> Tensor:
        """maps [B, C, H, W] in the mixture [B, styles] of styles."""
        gamma, beta = (self._mixed(each, mixture) for each in (self.gamma, self.beta))
        return instance_norm(maps, eps=1e-5) * gamma + beta

    @staticmethod
    def _mixed(numbers: Tensor, mixture: Tensor) -> Tensor:
        # A sum of products, and no matrix product: a pure style must give its numbers to the bit.
        return (mixture[:, :, None] * numbers).sum(1)[:, :, None, None]


class ConvolutionBlock(nn.Module):
    """Mirror padding, convolution without bias, conditional normalisation."""

    def __init__(
        self, styles: int, inputs: int, outputs: int, kernel: int, stride: int = 1, enlarge: bool = False
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, bias=False)
        nn.init.normal_(self.convolution.weight, std=0.01)
        self.norm: ConditionalNorm | None = ConditionalNorm(styles, outputs)
        self.margin, self.enlarge = kernel // 2, enlarge

    def forward(self, maps: Tensor, mixture: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, ...], before any activation."""
        if self.enlarge:
            maps = interpolate(maps, scale_factor=2, mode="nearest")
        made: Tensor = self.convolution(pad(maps, (self.margin,) * 4, mode="reflect"))
        return made if self.norm is None else self.norm(made, mixture)


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3 whose result is added to their input; ReLU after the first alone."""

    def __init__(self, styles: int, channels: int) -> None:
        super().__init__()
        self.one = ConvolutionBlock(styles, channels, channels, 3)
        self.two = ConvolutionBlock(styles, channels, channels, 3)

    def forward(self, maps: Tensor, mixture: Tensor) -> Tensor:
        """[B, channels, H, W] -> the same shape."""
        added: Tensor = maps + self.two(self.one(maps, mixture).relu(), mixture)
        return added


class TransferNetwork(nn.Module):
    """psi: images [B, 3, H, W] in [0, 1] and a mixture of styles, to images in (0, 1) of side 4 * ceil(side / 4).

    Three contracting convolutions, five residual blocks, three expanding ones; every one of the 16 convolutions has scales
    and shifts of its own for each style. 1,684,050 parameters for three styles at the published width.

    Args:
        styles: E.
        width: channels after the first convolution.
        final_norm: whether the last convolution is normalised too, which pins the means and deviations of the colours of
            every image of a style (Magenta does).
    """

    def __init__(self, styles: int, width: int = WIDTH, final_norm: bool = True) -> None:
        super().__init__()
        broad = 4 * width
        self.styles = styles
        self.contract = nn.ModuleList(
            [
                ConvolutionBlock(styles, 3, width, 9),
                ConvolutionBlock(styles, width, 2 * width, 3, stride=2),
                ConvolutionBlock(styles, 2 * width, broad, 3, stride=2),
            ]
        )
        self.residual = nn.ModuleList(ResidualBlock(styles, broad) for _ in range(5))
        self.expand = nn.ModuleList(
            [
                ConvolutionBlock(styles, broad, 2 * width, 3, enlarge=True),
                ConvolutionBlock(styles, 2 * width, width, 3, enlarge=True),
            ]
        )
        self.last = ConvolutionBlock(styles, width, 3, 9)
        if not final_norm:
            self.last.norm = None

    def forward(self, images: Tensor, mixture: Tensor) -> Tensor:
        """Render.

        Args:
            images: [B, 3, H, W] in [0, 1].
            mixture: [B, styles], weights of the styles' scales and shifts; see :meth:`mixture`.
        """
        return self.before_sigmoid(images, mixture).sigmoid()

    def before_sigmoid(self, images: Tensor, mixture: Tensor) -> Tensor:
        """What the last layer gives, [B, 3, H, W]."""
        maps = images
        for block in self.contract:
            maps = block(maps, mixture).relu()
        for block in self.residual:
            maps = block(maps, mixture)
        for block in self.expand:
            maps = block(maps, mixture).relu()
        rendered: Tensor = self.last(maps, mixture)
        return rendered

    def mixture(self, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """Weights [B, styles] of ``share * first + (1 - share) * second`` (MixStyle on the styles' numbers, in all layers alike).

        Args:
            first, second: style indices [B].
            share: of the first, [B] in [0, 1].
        """
        rows = torch.zeros(len(first), self.styles, dtype=share.dtype, device=share.device)
        rows = rows.scatter_add(1, first[:, None], share[:, None])
        return rows.scatter_add(1, second[:, None], 1 - share[:, None])
