"""What computed a run, as its config.json says: the device, and the precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MARKS = ("channels_last", "compile")


def device(config: Mapping[str, Any]) -> str:
    """The device's model; "" where ``config`` does not say."""
    return str(config.get("device") or "")


def precision(config: Mapping[str, Any]) -> str:
    """``bfloat16 channels last``: what the run's bits depend on, besides the device; "" where ``config`` does not say."""
    noted = config.get("precision")
    if not isinstance(noted, Mapping) or not noted:
        return ""
    marks = [name.replace("_", " ") for name in _MARKS if noted.get(name)]
    return " ".join([str(noted.get("dtype", "float32")), *marks])
