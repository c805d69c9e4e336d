"""Snapshots: what a killed stage goes on from.

A snapshot holds everything that a stage's :class:`State` names (modules, optimisers, tensors, generators, numbers), the
global generators, the step, and what the engine accumulates between records. It is one file with its own SHA-256,
replaced in one step, and read with ``weights_only=True``.
"""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dfdgbench.errors import ArtifactError
from dfdgbench.files import write_bytes

_MAGIC = b"dfdgbench snapshot 1\n"


class State:
    """What a stage's loop changes, by name. Names with a leading underscore are rebuilt by ``start`` and not saved."""

    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"this state has no '{name}'; it has {', '.join(self.__dict__)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self.__dict__[name] = value


def pack(part: Any) -> Any:
    """``part`` as tensors, numbers, texts, lists and dicts."""
    if isinstance(part, State):
        return {name: pack(value) for name, value in vars(part).items() if not name.startswith("_")}
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, torch.Tensor):
        return part.detach().cpu()
    if hasattr(part, "state_dict"):
        return part.state_dict()
    if isinstance(part, list):
        return [pack(item) for item in part]
    return part


def unpack(part: Any, saved: Any) -> Any:
    """``part`` with what was ``saved`` of it: filled in place where it is an object, else the saved value."""
    if isinstance(part, State):
        for name, value in list(vars(part).items()):
            if not name.startswith("_"):
                setattr(part, name, unpack(value, saved[name]))
        return part
    if isinstance(part, torch.Generator):
        part.set_state(saved)
        return part
    if isinstance(part, torch.Tensor):
        with torch.no_grad():
            if part.shape != saved.shape:
                return saved.to(part.device).requires_grad_(part.requires_grad)
            part.copy_(saved)
        return part
    if isinstance(part, nn.Module) or hasattr(part, "load_state_dict"):
        part.load_state_dict(saved)
        return part
    if isinstance(part, list) and len(part) == len(saved):
        return [unpack(item, kept) for item, kept in zip(part, saved, strict=True)]
    return saved


def global_generators() -> dict[str, Any]:
    """The states of Python's, NumPy's and PyTorch's global generators."""
    name, keys, *rest = np.random.get_state()
    states: dict[str, Any] = {
        "python": [list(part) if isinstance(part, tuple) else part for part in random.getstate()],
        "numpy": [str(name), torch.from_numpy(np.array(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_global_generators(states: dict[str, Any]) -> None:
    """Set what :func:`global_generators` returned."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a snapshot in one step."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    body = buffer.getvalue()
    write_bytes(path, _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body, "A snapshot")


def load(path: Path) -> dict[str, Any] | None:
    """A snapshot's content, None where there is none. A damaged one is an ``ArtifactError``."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    head, body = raw[: len(_MAGIC) + 65], raw[len(_MAGIC) + 65 :]
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n":
        raise ArtifactError(f"The snapshot {path} is damaged.")
    content: dict[str, Any] = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    return content
