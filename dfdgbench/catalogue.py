"""The catalogue that ``dfdgbench list`` shows. Making it imports everything, so it is cached by what is installed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from dfdgbench.cache import cache_folder
from dfdgbench.docstrings import first_sentence

Rows = list[dict[str, str]]
_GROUPS = ("dfdgbench.algorithms", "dfdgbench.datasets", "dfdgbench.networks", "dfdgbench.launchers", "dfdgbench.rules")


def catalogue() -> dict[str, Rows]:
    """What there is, by kind: algorithms, datasets, networks, launchers, rules, settings, tables."""
    path = cache_folder() / f"catalogue-{_state()}.json"
    try:
        cached: dict[str, Rows] = json.loads(path.read_text(encoding="utf-8"))
        return cached
    except (OSError, ValueError):
        made = {kind: make() for kind, make in _MAKERS.items()}
        _keep(path, made)
        return made


def _keep(path: Path, made: dict[str, Rows]) -> None:
    from dfdgbench.errors import DfdgbenchError
    from dfdgbench.files import write_bytes

    try:
        write_bytes(path, json.dumps(made).encode())
    except (OSError, DfdgbenchError):
        return  # a cache that cannot be written is no cache


def _state() -> str:
    """Changes when a file of the package, or an entry point of another, does."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.yaml")]):
        found = path.stat()
        digest.update(f"{path.relative_to(root)} {found.st_mtime_ns} {found.st_size}\n".encode())
    for group in _GROUPS:
        digest.update(repr(sorted((point.name, point.value) for point in entry_points(group=group))).encode())
    return digest.hexdigest()[:16]


def _algorithms() -> Rows:
    from dfdgbench.algorithms.base import ALGORITHMS

    return [
        {"name": name, "setting": found.setting.name, "paper": str(found.paper), "what": found.summary()}
        for name, found in ALGORITHMS.items()
    ]


def _datasets() -> Rows:
    from dfdgbench.datasets.base import DATASETS

    rows = []
    for name, found in DATASETS.items():
        metadata = found.metadata
        height, width = metadata.shape
        rows.append(
            {
                "name": name,
                "task": metadata.task,
                "domains": ", ".join(metadata.domains),
                "classes": str(len(metadata.classes)),
                "images": f"{sum(metadata.counts):,}" if metadata.counts else "-",
                "size": f"{width}x{height}",
                "protocols": ", ".join(metadata.protocols),
                "licence": metadata.licence or "-",
                "what": metadata.description,
            }
        )
    return rows


def _networks() -> Rows:
    from dfdgbench.networks.base import NETWORKS

    return [
        {"name": name, "pretrained": str(found.pretrained or "-"), "what": found.description}
        for name, found in NETWORKS.items()
    ]


def _launchers() -> Rows:
    from dfdgbench.sweeps.launchers.base import LAUNCHERS

    return [{"name": name, "what": first_sentence(found.__doc__)} for name, found in LAUNCHERS.items()]


def _rules() -> Rows:
    from dfdgbench.results.selection import RULES

    return [
        {
            "name": name,
            "uses": ", ".join(sorted(found.uses)) or "nothing",
            "what": first_sentence(found.__doc__),
        }
        for name, found in RULES.items()
    ]


def _settings() -> Rows:
    from dfdgbench.settings import SETTINGS

    return [
        {
            "name": setting.name,
            "a user stage may read": setting.granted(),
            "selection may use": ", ".join(sorted(setting.selection)) or "nothing",
        }
        for setting in SETTINGS.values()
    ]


def _tables() -> Rows:
    from dfdgbench.tables import spec

    tables = [spec.load(name) for name in spec.names()]
    return [{"name": found.name, "paper": found.paper or "-", "what": found.title} for found in tables]


def hparams_of(name: str) -> Rows:
    """Every hyper-parameter of an algorithm: default, search, meaning."""
    from dfdgbench.algorithms.base import ALGORITHMS

    rows = []
    for full, info, spec, searched in ALGORITHMS.get(name).Hparams.entries():
        search = spec.general.search
        default = str(spec.general.default) + (f" (small images: {spec.small.default})" if spec.small else "")
        rows.append(
            {
                "name": full,
                "default": default,
                "search": search.text if searched and search else "-",
                "what": info.description or "",
            }
        )
    return rows


_MAKERS: dict[str, Callable[[], Rows]] = {
    "algorithms": _algorithms,
    "datasets": _datasets,
    "networks": _networks,
    "launchers": _launchers,
    "rules": _rules,
    "settings": _settings,
    "tables": _tables,
}
KINDS = tuple(_MAKERS)
