"""The user's cache folder: what is there may be deleted at any time and is made anew."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$DFDGBENCH_CACHE``, or ``dfdgbench`` in the folder where this user's programs keep their caches."""
    given = os.environ.get("DFDGBENCH_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dfdgbench"
