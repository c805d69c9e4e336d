"""Where and how tensors are computed: device, threads, precision."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from dfdgbench.errors import ConfigError

M = TypeVar("M", bound=nn.Module)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True)
class Precision:
    """Options that change speed and, in the last digits, results; so they are part of every key.

    Attributes:
        dtype: "bfloat16" runs networks under autocast; parameters, statistics and losses stay in float32.
        channels_last: memory format of images and convolutions.
        compile: ``torch.compile`` of networks.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    compile: bool = False

    def identity(self) -> dict[str, Any]:
        """What enters a key."""
        return asdict(self)


@dataclass(frozen=True)
class Runtime:
    """A device and a precision."""

    device: torch.device
    precision: Precision = Precision()

    def place(self, network: M) -> M:
        """``network`` on the device in the memory format asked for, compiled and under autocast if asked for.

        Under autocast the network's outputs come back in float32.
        """
        network = network.to(self.device)
        if self.precision.channels_last:
            network = network.to(memory_format=torch.channels_last)
        if self.precision.compile:
            network.compile()
        if self.precision.dtype == "bfloat16":
            network.forward = self._autocast(network.forward)
        return network

    def _autocast(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self.device.type, dtype=torch.bfloat16):
                made = forward(*args, **kwargs)
                return tuple(each.float() for each in made) if isinstance(made, tuple) else made.float()

        return run

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """A batch [B, C, H, W] on the device in the memory format asked for."""
        batch = batch.to(self.device, non_blocking=True)
        return batch.contiguous(memory_format=torch.channels_last) if self.precision.channels_last else batch

    def memory_gb(self) -> float:
        """DomainBed's ``mem_gb``: the most GPU memory allocated so far, in GiB; 0.0 on a CPU."""
        return torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``name``: "auto" takes a GPU where there is one. Raises ``ConfigError`` where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name} is not a device. Allowed: auto, cpu, cuda, cuda:N, mps.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: no CUDA device is visible. Type --device cpu, or --device auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: only {torch.cuda.device_count()} CUDA devices are visible.")
    return device


def set_threads(device: torch.device, threads: int | None) -> int:
    """One thread on a CPU unless ``threads`` says otherwise: results then do not depend on the machine's cores."""
    if threads is not None or device.type == "cpu":
        torch.set_num_threads(threads or 1)
    if device.type == "cpu":
        _keep_freed_memory()
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    return torch.get_num_threads()


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next tensor: by default it gives large blocks back to the kernel, which zeroes each of
    their pages anew in every step. Any other C library is left as it is."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.libc_ver()[0] == "glibc" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest that every version takes
        mallopt(_M_TRIM_THRESHOLD, 2**30)


def device_model(device: torch.device) -> str:
    """What computed a run, as its config records it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
