"""Fixtures: a real scheduler of one's own, and a sweep on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from private_slurm import CONFIGURATION, PROGRAMS, SLOW, TABLE, Scheduler, Sweep, free_port, wait_for


def _cannot(reason: str) -> None:
    """Skip; fail where the group was asked for by name."""
    if os.environ.get("DFDGBENCH_REQUIRE_SLURM") == "1":
        pytest.fail(f"{reason}, and DFDGBENCH_REQUIRE_SLURM=1 asks for a real scheduler")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        _cannot(f"not installed: {', '.join(missing)} (Debian packages slurm-wlm and munge)")
    if os.geteuid() != 0:
        _cannot("a private slurmd needs root")
    state = tmp_path_factory.mktemp("slurm")
    for folder in ("state", "spool"):
        (state / folder).mkdir()
    facts = {"host": socket.gethostname(), "user": "root", "state": state}
    (state / "slurm.conf").write_text(CONFIGURATION.format(controller=free_port(), worker=free_port(), **facts))
    private = Scheduler(state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_"))]:
            if name != "SLURM_CONF":
                patch.delenv(name)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        try:
            _start(private)
            yield private
        finally:
            for daemon in ("slurmd", "slurmctld", "munged"):
                private.stop(daemon)


def _start(private: Scheduler) -> None:
    state = private.state
    key = state / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    munged = [
        "munged",
        "--force",
        f"--socket={state}/munge.socket",
        f"--key-file={key}",
        f"--pid-file={state}/munged.pid",
    ]
    munged += [f"--log-file={state}/munged.log", f"--seed-file={state}/munged.seed"]
    started = subprocess.run(munged, capture_output=True, text=True, check=False)
    if started.returncode:
        _cannot(f"munged does not start: {started.stderr.strip()}")
    for daemon in ("slurmctld", "slurmd"):
        private.start(daemon)
    until = time.monotonic() + 30
    while not private.answers():
        if time.monotonic() > until:
            _cannot(f"the scheduler does not get ready: {private.logs()}")
        time.sleep(0.1)


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
