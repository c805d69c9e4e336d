"""Mean and variance of what enters each batch normalisation, with gradients to the images.

Moment matching (Yin et al. 2020; DEKAN Eq. 4 and Eq. 1) compares these with the running statistics of a teacher::

    with Taps(network, groups=2) as taps:
        logits = network(images)
        for mean, var in taps.moments(): ...        # each [2, C], per layer in order of registration
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.hooks import RemovableHandle

from dfdgbench.errors import ConfigError, NoBatchNormError, listing
from dfdgbench.networks.hooked import Hooked
from dfdgbench.networks.norm import batch_norms

if TYPE_CHECKING:
    from typing_extensions import Self

Backend = Literal["var_mean", "matmul"]
Moments = tuple[Tensor, Tensor]


@dataclass
class _Tap:
    """One layer's input in the last forward and its moments."""

    entered: Tensor
    version: int
    moments: Moments


class Taps(Hooked):
    """Context manager that reads the tensor entering each batch normalisation of ``network``.

    Every forward of the network replaces what the last one left, a validation pass too: take the moments before the
    next forward. They are computed as the layers are reached, from the tensors themselves, neither detached nor
    copied, in float32 for narrower inputs. The hooks are removed on exit, after an exception as well.

    Args:
        network: with batch normalisation; without any, entering raises ``NoBatchNormError``.
        groups: G; the batch is read as [G, B / G] and every group has its own moments.
        unbiased: divide the variance by n - 1 instead of n.
        backend: "var_mean" (torch.var_mean) or "matmul" (products with ones, faster on a CPU); both agree to 1e-5.
            Default: matmul on a CPU, var_mean elsewhere.
    """

    def __init__(
        self, network: nn.Module, groups: int = 1, unbiased: bool = False, backend: Backend | None = None
    ) -> None:
        if backend is not None and backend not in get_args(Backend):
            raise ConfigError(f"There is no moments backend '{backend}'. Type one of: {listing(get_args(Backend))}.")
        super().__init__(network)
        self.groups, self.unbiased, self.backend = groups, unbiased, backend
        self._names: dict[nn.Module, str] = {layer: name for name, layer in batch_norms(network)}
        self._taps: dict[nn.Module, _Tap] = {}
        self._inside = False

    def _hooks(self) -> Iterator[RemovableHandle]:
        yield self.network.register_forward_pre_hook(self._start)
        yield self.network.register_forward_hook(self._end, always_call=True)
        yield from (layer.register_forward_pre_hook(self._read) for layer in self._names)
        featurizer = getattr(self.network, "featurizer", None)
        if isinstance(featurizer, nn.Module) and featurizer not in self._names:
            # network.features(x) does not pass through the network's own hooks.
            yield featurizer.register_forward_pre_hook(self._start_features)

    def _forget(self) -> None:
        self._taps = {}
        self._inside = False

    def __enter__(self) -> Self:
        if not self._names:
            raise NoBatchNormError(
                f"The network {type(self.network).__name__} has no batch normalisation to read. Type --network with "
                f"one that has: resnet18, resnet50, WRN-16-2, smallcnn."
            )
        return super().__enter__()

    def moments(self, groups: int | None = None) -> list[Moments]:
        """(mean, variance) of every layer in order of registration, each float32 [G, C] (float64 for float64 inputs).

        Args:
            groups: another G than the one the taps were made with; costs a second reading.

        Raises ``RuntimeError`` before the first forward, where a layer was not reached, or where an input was changed
        in place before another G was asked for.
        """
        taps = self._read_taps()
        if groups is None or groups == self.groups:
            return [tap.moments for tap in taps]
        if any(_version(tap.entered) != tap.version for tap in taps):
            raise RuntimeError("an input was changed in place after it was read: give groups to Taps, not to moments()")
        return [self._moments(tap.entered, groups) for tap in taps]

    def counts(self) -> list[int]:
        """Values per channel of every layer in the last forward, all groups together: n = B * H * W."""
        return [tap.entered[:, 0].numel() for tap in self._read_taps()]

    def _read_taps(self) -> list[_Tap]:
        absent = [name for layer, name in self._names.items() if layer not in self._taps]
        if absent:
            raise RuntimeError(f"nothing was read at {listing(absent, 3)}: call network(images) inside the context")
        return [self._taps[layer] for layer in self._names]

    def _start(self, module: nn.Module, inputs: Any) -> None:
        self._taps = {}
        self._inside = True

    def _end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._inside = False

    def _start_features(self, module: nn.Module, inputs: Any) -> None:
        if not self._inside:
            self._taps = {}

    def _read(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if layer in self._taps:
            raise NoBatchNormError(
                f"The batch normalisation '{self._names[layer]}' of {type(self.network).__name__} is used twice in one "
                f"forward, so its running statistics describe neither input. Give each use a layer of its own."
            )
        entered = inputs[0]
        self._taps[layer] = _Tap(entered, _version(entered), self._moments(entered, self.groups))

    def _moments(self, entered: Tensor, groups: int) -> Moments:
        return moments(entered, groups, self.unbiased, self.backend)


def moments(entered: Tensor, groups: int = 1, unbiased: bool = False, backend: Backend | None = None) -> Moments:
    """Mean and variance per channel over batch and positions: [B, C, ...] -> two tensors [G, C].

    The backend is chosen as by :class:`Taps` unless given.
    float16 and bfloat16 are widened to float32 first: a plane of a large batch has more values than they can sum.
    """
    if groups < 1 or entered.shape[0] % groups:
        raise ConfigError(f"A batch of {entered.shape[0]} images cannot be split into {groups} equal groups.")
    n = entered[:, 0].numel() // groups
    if n <= int(unbiased):
        raise ConfigError(
            f"The variance of {n} value(s) per channel is undefined; give more images, or unbiased=False."
        )
    if entered.dtype in (torch.float16, torch.bfloat16):
        entered = entered.float()
    if (backend or ("matmul" if entered.device.type == "cpu" else "var_mean")) == "matmul":
        # A matrix product is what autocast would narrow again.
        with torch.autocast(entered.device.type, enabled=False):
            mean, var = _MatmulMoments.apply(entered, groups, unbiased)
        return mean, var
    dims = (1, *range(3, entered.ndim + 1))
    var, mean = torch.var_mean(_grouped(entered, groups), dim=dims, correction=int(unbiased))
    return mean, var


class _MatmulMoments(torch.autograd.Function):
    """``moments`` by products with vectors of ones, which a CPU does faster than reductions.

    The variance is the mean of (x - mean)^2 and not E[x^2] - E[x]^2, which cancels where the mean is large.
    """

    @staticmethod
    def forward(ctx: Any, entered: Tensor, groups: int, unbiased: bool) -> tuple[Tensor, Tensor]:
        """[B, C, ...] -> mean and variance, each [G, C]."""
        rows = _rows(entered, groups)
        n = entered[:, 0].numel() // groups
        mean = _sums(rows, groups) / n
        centred = rows - _beside(mean, rows)
        var = _sums(centred.square_(), groups) / (n - int(unbiased))
        ctx.save_for_backward(entered, mean)
        ctx.groups, ctx.n, ctx.divisor = groups, n, n - int(unbiased)
        return mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor, grad_var: Tensor) -> tuple[Tensor, None, None]:
        """d mean / dx = 1 / n and d var / dx = 2 (x - mean) / divisor, hence one affine map of x per channel."""
        entered, mean = ctx.saved_tensors
        slope = grad_var * (2.0 / ctx.divisor)
        offset = grad_mean / ctx.n - slope * mean
        shape = (ctx.groups, 1, -1, *(1,) * (entered.ndim - 2))
        grad = torch.addcmul(offset.view(shape), _grouped(entered, ctx.groups), slope.view(shape))
        return grad.flatten(0, 1), None, None


def _version(tensor: Tensor) -> int:
    """Counts changes in place; tensors of inference mode keep no count."""
    return -1 if tensor.is_inference() else tensor._version


def _grouped(entered: Tensor, groups: int) -> Tensor:
    """[B, ...] as [G, B / G, ...], a view."""
    return entered.view(groups, entered.shape[0] // groups, *entered.shape[1:])


def _rows(entered: Tensor, groups: int) -> Tensor:
    """``entered`` as [G, n, C] where channels lie last in memory, else as [G, B / G, C, positions]; mostly a view."""
    if entered.ndim == 2:
        return _grouped(entered, groups)
    last = entered.movedim(1, -1)
    if last.is_contiguous():
        return last.reshape(groups, -1, entered.shape[1])
    return entered.reshape(groups, -1, entered.shape[1], entered[0, 0].numel())


def _sums(rows: Tensor, groups: int) -> Tensor:
    """Sums per group and channel [G, C] of what ``_rows`` returns."""
    if rows.ndim == 3:
        return torch.matmul(rows.new_ones(1, rows.shape[1]), rows).squeeze(1)
    return torch.matmul(rows, rows.new_ones(rows.shape[-1])).sum(dim=1)


def _beside(values: Tensor, rows: Tensor) -> Tensor:
    """[G, C] shaped to broadcast against ``rows``."""
    return values[:, None] if rows.ndim == 3 else values[:, None, :, None]


def pooled_moments(network: nn.Module, batches: Iterable[Tensor], unbiased: bool = False) -> list[Moments]:
    """Moments at every batch normalisation over all images of ``batches`` together: per layer (mean [C], var [C]).

    Chunks are read one after the other and combined exactly, in float64 (Chan et al. 1979): with n values of mean m and
    biased variance v a chunk, M = sum(n m) / sum(n) and V = sum(n (v + (m - M)^2)) / sum(n). These are the targets of
    DEKAN's Eq. 1. No buffer changes. ``RuntimeError`` where the network or a layer is in train mode (each layer would
    normalise by its own batch, and all deeper inputs change), ``ConfigError`` without any batch.
    """
    if network.training or any(layer.training for _, layer in batch_norms(network)):
        raise RuntimeError("pooled moments need the network in eval mode: call network.eval() first")
    totals: list[tuple[int, Tensor, Tensor]] = []
    with torch.no_grad(), Taps(network) as taps:
        for images in batches:
            network(images)
            chunk = [
                (n, mean[0].double(), n * var[0].double())
                for n, (mean, var) in zip(taps.counts(), taps.moments(), strict=True)
            ]
            totals = [_combined(*pair) for pair in zip(totals, chunk, strict=True)] if totals else chunk
    if not totals:
        raise ConfigError("Pooled moments of no images do not exist; give at least one batch.")
    return [(mean, squares / (n - int(unbiased))) for n, mean, squares in totals]


def _combined(one: tuple[int, Tensor, Tensor], two: tuple[int, Tensor, Tensor]) -> tuple[int, Tensor, Tensor]:
    """Count, mean and sum of squared distances from the mean, of two disjoint sets together."""
    (n, mean, squares), (m, other, more) = one, two
    gap = other - mean
    return n + m, mean + gap * (m / (n + m)), squares + more + gap.square() * (n * m / (n + m))
