"""Fixtures: a real scheduler of one's own, and a sweep on it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from private_slurm import SLOW, TABLE, NoSchedulerError, Scheduler, Sweep, private_scheduler, wait_for


def _cannot(reason: str) -> NoReturn:
    """Skip; fail where the group was asked for by name."""
    if os.environ.get("DFDGBENCH_REQUIRE_SLURM") == "1":
        pytest.fail(f"{reason}, and DFDGBENCH_REQUIRE_SLURM=1 asks for a real scheduler")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with contextlib.ExitStack() as stack:
        try:
            private = stack.enter_context(private_scheduler(tmp_path_factory.mktemp("slurm")))
        except NoSchedulerError as error:
            _cannot(str(error))
        yield private


@pytest.fixture
def sweep(
    scheduler: Scheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Sweep]:
    (tmp_path / "tiny.yaml").write_text(TABLE)
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("DFDGBENCH_SITE", str(tmp_path / "site.yaml"))
    (tmp_path / "site.yaml").write_text("partition: low\n")
    wait_for("idle node", scheduler.answers, 30)
    yield Sweep(tmp_path, capsys)
    sys.modules.pop("slow", None)
    for job in scheduler.jobs():
        scheduler.call("scancel", "--signal=KILL", job)
        scheduler.call("scancel", job)
    wait_for("empty queue", lambda: not scheduler.jobs(), 60)
