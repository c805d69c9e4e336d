"""Fixtures of the engine's tests."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from dfdgbench.datasets.base import DATASETS
from dfdgbench.planning import open_dataset


@pytest.fixture
def compass(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[tiny.Compass]]:
    """A registered dataset of four tiny domains."""
    DATASETS.names()
    monkeypatch.setitem(DATASETS._found, "Compass", tiny.Compass)
    open_dataset.cache_clear()
    yield tiny.Compass
    open_dataset.cache_clear()


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder into which not a MiB can be written: a file system of that size, or else a limit on the size of files."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
