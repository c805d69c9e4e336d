"""Fixtures of the engine's tests."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.datasets.base import DATASETS
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.planning import Plan, plan
from dfdgbench.posing import open_dataset


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


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    """Artifacts of this test alone."""
    return Execution(device="cpu", artifacts=tmp_path / "artifacts")


@pytest.fixture
def planned(execution: Execution) -> Callable[..., Plan]:
    """Plans a tiny run of a distillation method; hyper-parameters are typed ``recover__steps=3``."""

    def make(algorithm: str, options: dict[str, Any] | None = None, **hparams: Any) -> Plan:
        given = {"dataset": "Debug28", "network": "smallcnn", "test_envs": [0], "checkpoint_freq": 0, **(options or {})}
        dotted = {name.replace("__", "."): value for name, value in hparams.items()}
        small = {**ALGORITHMS.get(algorithm).tiny, **dotted}
        if algorithm == "G-VBSM":
            small.setdefault("recover.networks", ("smallcnn",))
        return plan(RunConfig.make(algorithm=algorithm, hparams=small, **given), execution)

    return make
