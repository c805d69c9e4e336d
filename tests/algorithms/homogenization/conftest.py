"""Data homogenisation on the domains of ``homogenization_rooms``: planned and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from homogenization_rooms import HPARAMS, Room, Rooms

from dfdgbench.datasets.base import DATASETS
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.planning import Plan, plan
from dfdgbench.posing import open_dataset


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    DATASETS.names()
    for dataset in (Rooms, Room):
        monkeypatch.setitem(DATASETS._found, dataset.metadata.name, dataset)
        monkeypatch.setattr(dataset, "gone", ())
        monkeypatch.setattr(dataset, "relabelled", None)
    open_dataset.cache_clear()
    yield
    open_dataset.cache_clear()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts: released once for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def planned(shared: Path) -> Callable[..., Plan]:
    def make(
        dataset: str = "Room", hparams: dict[str, Any] | None = None, artifacts: Path = shared, **options: Any
    ) -> Plan:
        config = RunConfig.make(
            algorithm="Homogenization",
            dataset=dataset,
            **{"test_envs": [0], "hparams": HPARAMS | (hparams or {}), **options},
        )
        return plan(config, Execution(device="cpu", artifacts=artifacts))

    return make


@pytest.fixture
def run(planned: Callable[..., Plan], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run it; the last record, and under ``model`` the default predictor's tensors."""
    count = iter(range(100))

    def execute(*args: Any, **options: Any) -> dict[str, Any]:
        folder = planned(*args, **options).execute(tmp_path / f"run{next(count)}")
        return records.read(folder.results)[-1] | {"model": read_tensors(folder.model), "folder": folder}

    return execute
