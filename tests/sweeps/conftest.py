"""Fixtures of sweeps' tests: a SLURM that is not one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_slurm import Fake

from dfdgbench.engine.config import Execution
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.launchers.base import LAUNCHERS
from dfdgbench.sweeps.launchers.resources import Resources
from dfdgbench.sweeps.plan import SweepPlan
from dfdgbench.sweeps.slurm import commands
from dfdgbench.tables.spec import load


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    programs = Fake(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DFDGBENCH_SITE", raising=False)
    monkeypatch.setattr(commands, "_PAUSES", (0.0, 0.0))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return programs


@pytest.fixture
def submit(fake: Fake) -> Callable[..., str]:
    """Submits a plan to a sweep folder `out`; returns what a person is told."""

    def call(plan: SweepPlan, **resources: object) -> str:
        sweep = SweepFolder("out")
        sweep.write(load("quickstart"), plan.runs, Execution().model_dump(mode="json"))
        launcher = LAUNCHERS.get("slurm")(None, Resources.make(resources))
        launcher.check(sweep, plan)
        outcome = launcher.submit(sweep, plan, Execution())
        assert not outcome.failed
        return str(outcome.handed_over)

    return call
