"""Every state of a run, told from its folder; clocks of other machines decide nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_slurm import Fake, plan_of, tasks_of

from dfdgbench.engine.config import RunConfig
from dfdgbench.errors import ArtifactError, ConfigError, UnknownNameError
from dfdgbench.leases import Lease
from dfdgbench.sweeps import status as module
from dfdgbench.sweeps.folder import SweepFolder
from dfdgbench.sweeps.processes import ask_to_stop
from dfdgbench.sweeps.run import SweepRun
from dfdgbench.sweeps.slurm.ledger import Ledger
from dfdgbench.sweeps.status import Watcher, find_run, read_sweep, settle
from dfdgbench.tables.spec import load

ELSEWHERE = "elsewhere 123 456 abcd\n{:020d}\n"


class Sweep:
    """A sweep of ten planned runs."""

    def __init__(self, path: Path) -> None:
        self.folder = SweepFolder(path)
        algorithms = ("ERM", "AvgPred")
        self.runs = [
            SweepRun(0, number % 2, "blended", RunConfig.make(algorithm=algorithms[number % 2], trial_seed=number))
            for number in range(10)
        ]
        self.folder.write(load("quickstart"), self.runs, {})

    def write(self, number: int, lease: str | None = None, **status: object) -> Path:
        """Give a run's folder a status and a lease."""
        folder = self.folder.folder(self.runs[number]).path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "status.json").write_text(json.dumps(status))
        if lease is not None:
            (folder / "lease").write_text(lease)
        return folder

    def state(self, number: int, **options: object) -> str:
        """The state of one run."""
        return read_sweep(self.folder.path, **options).runs[number].state  # type: ignore[arg-type]


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "sweep")


@pytest.fixture
def ended() -> str:
    """The lease of a process of this machine that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return f"{socket.gethostname()} {process.pid} 17 abcd\n{0:020d}\n"


@pytest.fixture
def held(sweep: Sweep) -> Iterator[Lease]:
    """The lease of the first run, held by this process."""
    lease = Lease(sweep.folder.folder(sweep.runs[0]).path / "lease")
    with lease.waiting():
        yield lease


def test_the_states_of_a_sweep(sweep: Sweep, held: Lease, ended: str) -> None:
    sweep.write(0, state="running", stage="train", step=3, steps=9, rate=1.5, left=4.0, host="here")
    sweep.write(1, ended, state="running", stage="train")
    failed = sweep.write(2, state="failed", error="KeyError: 1", traceback="Traceback\n  File x\nKeyError: 1\n\n")
    (failed / "err.txt").write_text("Traceback")
    sweep.write(3, state="stopped", error="Stopped.")
    (sweep.write(4, state="done", seconds=2.0) / "done").write_text("done")
    trained = sweep.write(5, state="done", seconds=8.0)
    (trained / "done").write_text("done")
    (trained / "pending").mkdir()
    sweep.folder.folder(sweep.runs[6]).path.mkdir()
    found = read_sweep(sweep.folder.path)
    expected = ["running", "lost", "failed", "stopped", "done", "trained", *["planned"] * 4]
    assert [run.state for run in found.runs] == expected
    assert found.states() == {
        "failed": 1, "lost": 1, "running": 1, "stopped": 1, "trained": 1, "planned": 4, "done": 1
    }  # fmt: skip
    running, failure = found.runs[0], found.runs[2]
    assert (running.stage, running.step, running.steps, running.rate, running.left) == ("train", 3, 9, 1.5, 4.0)
    assert (failure.error, failure.log) == ("KeyError: 1", str(failed / "err.txt"))


def test_what_a_scheduler_has_is_queued_and_what_it_lost_is_lost(sweep: Sweep) -> None:
    sweep.write(1, state="stopped")
    sweep.write(2, ELSEWHERE.format(1), state="running")
    (sweep.write(3, state="done") / "done").write_text("done")
    ids = [run.run_id for run in sweep.runs]
    told = dict(zip(ids, ["queued", "preempted", "stopped", "queued", "running", "planned"], strict=False))
    found = read_sweep(sweep.folder.path, told)
    assert [run.state for run in found.runs[:7]] == [
        "queued", "preempted", "lost", "done", "running", "planned", "planned"
    ]  # fmt: skip


def test_what_a_process_here_holds_is_running_whatever_a_scheduler_says(sweep: Sweep, held: Lease) -> None:
    sweep.write(0, state="running")
    for told in ("queued", "preempted", "stopped"):
        assert sweep.state(0, scheduler={sweep.runs[0].run_id: told}) == "running"


@pytest.mark.parametrize("jump", [-86400.0, 0.0, 86400.0])
def test_another_machines_clock_makes_no_run_lost(sweep: Sweep, jump: float) -> None:
    folder = sweep.write(0, ELSEWHERE.format(1), state="running", updated=time.time() + jump)
    os.utime(folder / "lease", (time.time() + jump,) * 2)
    assert sweep.state(0) == "running"


def test_only_heartbeats_that_stay_away_make_a_run_of_another_machine_lost(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    watcher = Watcher()
    sweep.write(0, ELSEWHERE.format(1), state="running")
    assert sweep.state(0, watcher=watcher) == "running"
    now[0] += 59
    assert sweep.state(0, watcher=watcher) == "running"
    sweep.write(0, ELSEWHERE.format(2), state="running")
    now[0] += 59
    assert sweep.state(0, watcher=watcher) == "running"
    now[0] += 61
    assert sweep.state(0, watcher=watcher) == "lost"


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
@pytest.mark.parametrize(("beats", "state"), [(True, "running"), (False, "lost")])
def test_a_lease_that_looks_old_or_comes_from_the_future_is_watched_before_it_is_called_lost(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, beats: bool, state: str, jump: float
) -> None:
    folder = sweep.write(0, ELSEWHERE.format(1), state="running")
    os.utime(folder / "lease", (time.time() + jump,) * 2)
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if beats:
            (folder / "lease").write_text(ELSEWHERE.format(2))

    monkeypatch.setattr(module.time, "sleep", sleep)
    watcher = Watcher()
    first = read_sweep(sweep.folder.path, watcher=watcher)
    assert first.runs[0].state == "running"
    assert settle(sweep.folder.path, first, watcher, patience=11.0)
    assert sweep.state(0, watcher=watcher) == state


def test_fresh_leases_are_not_waited_for(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep.write(0, ELSEWHERE.format(1), state="running")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: pytest.fail("it slept"))
    watcher = Watcher()
    assert not settle(sweep.folder.path, read_sweep(sweep.folder.path, watcher=watcher), watcher, patience=11.0)


def test_a_run_that_ends_between_two_looks_is_not_lost(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sweep.write(0, state="running")

    def dead(self: Watcher, lease: Path) -> bool:
        (folder / "status.json").write_text('{"state": "failed", "error": "no"}')
        return True

    monkeypatch.setattr(Watcher, "dead", dead)
    assert sweep.state(0) == "failed"


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"state": 3}', '{"state": "running", "rate": "x", "step": null}'])
def test_damaged_status_files_are_read_as_far_as_they_go(sweep: Sweep, text: str) -> None:
    folder = sweep.write(0)
    (folder / "status.json").write_text(text)
    assert sweep.state(0) == ("lost" if "running" in text else "planned")


def test_work_left_is_estimated_by_algorithm(sweep: Sweep, held: Lease) -> None:
    sweep.write(0, state="running", stage="train", left=4.0)
    assert read_sweep(sweep.folder.path).work_left() == (4.0, 9)
    for number, seconds in ((1, 10.0), (3, 30.0)):
        (sweep.write(number, state="done", seconds=seconds) / "done").write_text("done")
    sweep.write(5, state="failed", error="no")
    # The running ERM, two planned AvgPred (7, 9) of 20 s, four planned ERM of which nothing is known.
    assert read_sweep(sweep.folder.path).work_left() == (44.0, 4)


def test_numbers_that_are_none_are_not_known(sweep: Sweep, held: Lease) -> None:
    for wrong in (float("inf"), float("nan"), -3.0, "x"):
        sweep.write(0, state="running", rate=wrong, left=wrong)
        (sweep.write(1, state="done", seconds=wrong) / "done").write_text("done")
        found = read_sweep(sweep.folder.path)
        assert (found.runs[0].rate, found.runs[0].left, found.runs[1].seconds) == (None, None, None)
        assert found.work_left() == (0.0, 9)


@pytest.mark.parametrize("text", ["", "\xff\xfe", f"{socket.gethostname()} x y z\n", f"{socket.gethostname()}\n"])
def test_damaged_leases_are_watched_like_those_of_other_machines(sweep: Sweep, text: str) -> None:
    folder = sweep.write(0, state="running")
    (folder / "lease").write_bytes(text.encode("latin-1"))
    assert sweep.state(0) == "running"
    assert sweep.state(0, scheduler={sweep.runs[0].run_id: "stopped"}) == "lost"
    assert ask_to_stop(sweep.folder.path) == 0


def test_a_mixture_of_versions_is_told(sweep: Sweep) -> None:
    for number, torch in enumerate(("2.5.0", "2.6.0", "2.6.0")):
        folder = sweep.write(number, state="stopped")
        (folder / "config.json").write_text(json.dumps({"versions": {"torch": torch, "numpy": "2.0"}, "git": "abc"}))
    assert read_sweep(sweep.folder.path).mixed == ["torch 2.5.0 (1 run), 2.6.0 (2 runs)"]


def test_finding_a_run(sweep: Sweep) -> None:
    status, ids = read_sweep(sweep.folder.path), [run.run_id for run in sweep.runs]
    assert find_run(status, "3").run == ids[2]
    assert find_run(status, ids[4]).run == ids[4]
    assert find_run(status, "ERM-MiniDigits-env0-t4").run == ids[4]
    with pytest.raises(ConfigError, match="5 runs begin with 'ERM'"):
        find_run(status, "ERM")
    with pytest.raises(UnknownNameError, match=r"no run of the sweep 'EMR-MiniDigits-env0-t4'. Near it: ERM-"):
        find_run(status, "EMR-MiniDigits-env0-t4")
    with pytest.raises(UnknownNameError, match="no run of the sweep '11'"):
        find_run(status, "11")


def test_folders_that_are_no_sweeps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no sweep\.json"):
        read_sweep(tmp_path)
    for text in ("", "{", "[]", "{}", "[" * 100_000):
        (tmp_path / "sweep.json").write_text(text)
        with pytest.raises(ArtifactError, match=r"sweep\.json is damaged"):
            read_sweep(tmp_path)


def test_reading_a_sweep_imports_nothing_heavy() -> None:
    code = "import dfdgbench.sweeps.status, sys; print({'torch', 'pydantic', 'numpy', 'pandas'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "set()\n"


@pytest.mark.parametrize("launcher", ["local", "debug", "commands", "slurm"])
def test_status_and_cancel_import_no_torch_whatever_the_launcher(
    sweep: Sweep, launcher: str, fake: Fake, submit: Callable[..., str]
) -> None:
    tasks = tasks_of(2)
    submit(plan_of(tasks))
    (name,) = (line.name for line in Ledger(Path("out/launcher")).submissions())
    fake.says("squeue", f"101_0|0|PENDING|Priority|{name}\n")
    file = Path("out/sweep.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "launchers": [launcher]}))
    code = """
import sys
from dfdgbench.cli.main import main
main(["sweep", "status", "out"])
main(["sweep", "cancel", "out"])
sys.exit("torch" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    asked = launcher == "slurm"
    assert ("2 runs: 1 queued, 1 planned" in ended.stdout, bool(fake.calls("scancel"))) == (asked, asked)


def test_two_people_who_launch_parts_of_a_sweep_at_once_lose_no_run(sweep: Sweep) -> None:
    more = [SweepRun(0, 0, "blended", RunConfig.make(algorithm="ERM", trial_seed=number)) for number in range(20, 28)]
    writers = [
        threading.Thread(target=SweepFolder(sweep.folder.path).write, args=(load("quickstart"), [run], {}))
        for run in more
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {run.run_id for run in sweep.folder.runs()} == {run.run_id for run in [*sweep.runs, *more]}
    assert not list(sweep.folder.path.glob("*lease*"))
