"""Which code computes: the versions of the packages that decide bits, and the commit; what differs between two such."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dfdgbench import __version__
from dfdgbench.errors import listing

PACKAGES = ("torch", "torchvision", "timm", "numpy")
_NONE = "no commit known"


def versions() -> dict[str, str]:
    """Versions of this package, Python, and the packages whose code decides bits. Imports none of them."""
    found = {"dfdgbench": __version__, "python": sys.version.split()[0]}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError, ValueError):
            found[name] = _built(name) or version(name)
    return found


def _built(name: str) -> str:
    """The version that the package says itself, which tells builds apart (``2.6.0+cu124``); its metadata often does not."""
    spec = find_spec(name)
    with contextlib.suppress(OSError):
        text = (Path(str(spec.origin)).parent / "version.py").read_text(encoding="utf-8") if spec else ""
        told = re.search(r"""^__version__\s*=\s*["']([^"']+)["']""", text, re.MULTILINE)
        return told[1] if told else ""
    return ""


@lru_cache(maxsize=1)
def git_revision() -> str:
    """The commit of this package's checkout, "" for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        found = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def code() -> dict[str, Any]:
    """What sweep.json notes of a launch, under the names that a run's config.json has: ``versions`` and ``git``."""
    return {"versions": versions(), "git": git_revision()}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``torch 2.5.0, now 2.6.0`` for each version, and the commit, that both know and that differ."""
    old, new = _flat(before), _flat(now)
    return [f"{name} {old[name]}, now {new[name]}" for name in old if name in new and old[name] != new[name]]


def mixed(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """``torch 2.5.0 (12 runs), 2.6.0 (3 runs)`` for each version, and the commit, in which runs differ.

    Args:
        configs: contents of config.json; those that know no versions (DomainBed's) do not count.
    """
    found: dict[str, Counter[str]] = {}
    for config in configs:
        for name, value in _flat(config).items():
            found.setdefault(name, Counter())[value] += 1
    return [
        f"{name} {listing((_counted(value, count) for value, count in sorted(values.items())), 4)}"
        for name, values in found.items()
        if len(values) > 1
    ]


def _counted(value: str, count: int) -> str:
    return f"{value} ({count} run{'s' * (count > 1)})"


def _flat(content: Mapping[str, Any]) -> dict[str, str]:
    known = content.get("versions")
    if not isinstance(known, Mapping):
        return {}
    found = {str(name): str(value) for name, value in known.items()}
    return found | {"commit": str(content.get("git") or _NONE)[:12]}
