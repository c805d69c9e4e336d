"""dfdgbench: methods for generalising to unseen domains, trained, swept, selected and tabulated in one harness.

``dfdgbench.train(...)``, ``dfdgbench.load(RUN)`` and ``dfdgbench.frame(SWEEP)`` are the command line from Python. They
are looked up when they are asked for: importing this package imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dfdgbench.api import Run, load, train
    from dfdgbench.results.frame import records as frame

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "frame", "load", "train"]

_LAZY = {
    "Run": ("dfdgbench.api", "Run"),
    "load": ("dfdgbench.api", "load"),
    "train": ("dfdgbench.api", "train"),
    "frame": ("dfdgbench.results.frame", "records"),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'dfdgbench' has no attribute '{name}'")
    import importlib

    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
