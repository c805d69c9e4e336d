"""A tiny problem (Debug28, the small network) and an engine to make its stages with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.execute import Engine
from dfdgbench.planning import Plan, plan

TINY = {
    "teacher.steps": 4,
    "teacher.batch_size": 8,
    "inversion.steps": 4,
    "inversion.images": 8,
    "inversion.group": 4,
    "inversion.required_accuracy": 0,
    "fusion.steps": 3,
    "fusion.images": 4,
    "fusion.group": 4,
    "fusion.required_accuracy": 0,
    "distillation.batch_size": 8,
    "distillation.epochs": 1,
}


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    return Execution(device="cpu", artifacts=tmp_path / "artifacts")


@pytest.fixture
def make_plan(execution: Execution) -> Callable[..., Plan]:
    def make(algorithm: str = "DEKAN", options: dict[str, Any] | None = None, **hparams: Any) -> Plan:
        from dfdgbench.algorithms.base import ALGORITHMS

        names = ALGORITHMS.get(algorithm).Hparams.names()
        tiny = {name: value for name, value in TINY.items() if name in names}
        given = {"dataset": "Debug28", "network": "smallcnn", "test_envs": [0], "checkpoint_freq": 0, **(options or {})}
        dotted = {name.replace("__", "."): value for name, value in hparams.items()}
        return plan(RunConfig.make(algorithm=algorithm, hparams=tiny | dotted, **given), execution)

    return make


@pytest.fixture
def engine(make_plan: Callable[..., Plan]) -> Engine:
    return make_plan("AvgPred").engine()
