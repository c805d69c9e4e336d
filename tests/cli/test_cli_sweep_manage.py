"""``dfdgbench sweep status --watch``, ``logs``, ``retry``, ``cancel`` and ``delete-incomplete`` on a tiny sweep."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sweep import TABLE

from dfdgbench.cli import sweep_manage, sweep_status
from dfdgbench.leases import Lease
from dfdgbench.sweeps import incomplete, processes
from dfdgbench.sweeps import status as reading
from dfdgbench.sweeps.launchers.base import Outcome

ELSEWHERE = "elsewhere 123 456 abcd\n{:020d}\n"
RAISED = 'Traceback (most recent call last):\n  File "x"\nRuntimeError: boom\n'


@pytest.fixture
def sweep(cli: Callable, tmp_path: Path) -> Callable:
    """Calls ``dfdgbench sweep ACTION runs/tiny`` on a sweep of four runs that are done."""
    (tmp_path / "tiny.yaml").write_text(TABLE)
    assert cli("sweep", "launch", "tiny.yaml", "--device", "cpu", "--launcher", "debug").code == 0
    return lambda action, *arguments: cli("sweep", action, "runs/tiny", *arguments)


@pytest.fixture
def folders(sweep: Callable, tmp_path: Path) -> list[Path]:
    """The runs' folders, in the order of their numbers."""
    content = json.loads((tmp_path / "runs" / "tiny" / "sweep.json").read_text())
    return [tmp_path / "runs" / "tiny" / "runs" / run["id"] for run in content["runs"]]


def unfinished(folder: Path, lease: str | None = None, **status: object) -> None:
    """Make the run of ``folder`` one that has not ended well."""
    (folder / "done").unlink()
    (folder / "status.json").write_text(json.dumps(status))
    if lease is not None:
        (folder / "lease").write_text(lease)


def failed(folder: Path) -> None:
    """Make the run of ``folder`` one that failed."""
    unfinished(folder, state="failed", error="RuntimeError: boom", traceback=RAISED)
    (folder / "err.txt").write_text(RAISED)


# Status ---------------------------------------------------------------------------------------------------------------


def test_status_says_what_failed_where_its_log_is_and_what_to_type(sweep: Callable, folders: list[Path]) -> None:
    failed(folders[0])
    unfinished(folders[1], state="running", stage="train", step=1, steps=2)
    shown = sweep("status").out
    assert f"RuntimeError: boom (runs/{folders[0].name}/err.txt)" in shown
    assert "dfdgbench sweep retry runs/tiny --failed" in shown
    assert "dfdgbench sweep retry runs/tiny --lost" in shown
    assert shown.splitlines()[-1] == "4 runs: 1 failed, 1 lost, 2 done"


def test_status_of_chosen_states_and_a_bounded_list(sweep: Callable, folders: list[Path]) -> None:
    for folder in folders[:3]:
        failed(folder)
    shown = sweep("status", "--most", "1").out
    assert [folder.name in shown for folder in folders] == [True, False, False, False]
    assert "... and 2 more (2 failed)" in shown
    assert folders[3].name in sweep("status", "--state", "done").out
    assert "No run is lost or queued." in sweep("status", "--state", "lost", "queued").out
    wrong = sweep("status", "--state", "broken")
    assert (wrong.code, "broken" in wrong.err) == (2, True)


def test_status_for_programs(sweep: Callable, folders: list[Path]) -> None:
    failed(folders[0])
    found = json.loads(sweep("status", "--json").out)
    assert found["states"] == {"failed": 1, "done": 3}
    assert [run["run"] for run in found["runs"]] == [folder.name for folder in folders]
    assert [run["number"] for run in json.loads(sweep("status", "--json", "--state", "failed").out)["runs"]] == [1]


def test_watching_prints_changes_and_ends_when_all_is_done(
    sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished(folders[0], state="stopped")
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            (folders[0] / "done").write_text("done")

    monkeypatch.setattr(sweep_status.time, "sleep", sleep)
    shown = sweep("status", "--watch", "7")
    assert (shown.code, slept) == (0, [7, 7, 7])
    assert [line.split("  ")[1] for line in shown.out.splitlines()[:2]] == [
        "4 runs: 1 stopped, 3 done",
        "4 runs: 4 done",
    ]
    assert shown.out.splitlines()[-1] == "4 runs: 4 done"


def test_watching_ends_with_an_exit_code_where_runs_failed(sweep: Callable, folders: list[Path]) -> None:
    failed(folders[0])
    shown = sweep("status", "--watch", "7")
    assert (shown.code, "RuntimeError: boom" in shown.out) == (1, True)


def test_ctrl_c_ends_watching_quietly(sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(folders[0], state="stopped")
    monkeypatch.setattr(sweep_status.time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a suite in the background may have been told to ignore it
    try:
        shown = sweep("status", "--watch", "7")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (shown.code, shown.err) == (0, "")


def test_a_terminal_has_a_live_view(sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(folders[0], state="stopped")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sweep_status.time, "sleep", lambda seconds: (folders[0] / "done").write_text("done"))
    shown = sweep("status", "--watch", "7").out
    assert "1 stopped" in shown
    assert "4 runs: 4 done" in shown
    assert "\x1b[" in shown, "drawn anew, not written below"


def test_a_scheduler_that_cannot_be_asked_is_told(
    sweep: Callable, tmp_path: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs" / "tiny" / "sweep.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "launchers": ["slurmm", "debug"]}))
    failed(folders[0])
    shown = sweep("status")
    assert "the scheduler could not be asked" in shown.err
    assert shown.out.splitlines()[-1] == "4 runs: 1 failed, 3 done"
    assert sweep("delete-incomplete", "--yes").code == 1
    assert folders[0].exists()


# Logs -----------------------------------------------------------------------------------------------------------------


def test_logs_of_a_run_by_number_and_beginning(sweep: Callable, folders: list[Path]) -> None:
    failed(folders[0])
    by_number = sweep("logs", "1")
    assert by_number.code == 0
    assert (folders[0] / "out.txt").read_text() in by_number.out
    assert sweep("logs", folders[0].name[:-3]).out == by_number.out
    assert "RuntimeError: boom" in sweep("logs", "1", "--err").out
    assert "RuntimeError: boom" not in by_number.out


def test_logs_that_are_not_there(sweep: Callable, folders: list[Path]) -> None:
    none = sweep("logs", "2", "--err")
    assert (none.code, "has left no traceback" in none.err) == (1, True)
    unknown = sweep("logs", "EMR-Debug28")
    assert (unknown.code, "Near it: ERM-Debug28" in unknown.err) == (1, True)


def test_the_launchers_log_where_a_run_has_none(sweep: Callable, folders: list[Path], tmp_path: Path) -> None:
    (folders[0] / "out.txt").unlink()
    log = tmp_path / "runs" / "tiny" / "launcher" / "array" / "17_0.out"
    log.parent.mkdir(parents=True)
    log.write_text(f"slurmstepd: {folders[0].name} was killed\n")
    shown = sweep("logs", "1")
    assert "was killed" in shown.out
    assert "17_0.out" in shown.out


def test_following_goes_on_until_the_run_has_ended(
    sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "done").unlink()
    with Lease(folders[0] / "lease").waiting():
        (folders[0] / "status.json").write_text('{"state": "running"}')

        def sleep(seconds: float) -> None:
            with open(folders[0] / "out.txt", "a") as file:
                file.write("the last line\n")
            (folders[0] / "done").write_text("done")

        monkeypatch.setattr(sweep_manage.time, "sleep", sleep)
        assert sweep("logs", "1", "--follow").out.endswith("the last line\n")


# Retry ----------------------------------------------------------------------------------------------------------------


def test_retrying_runs_what_failed_with_the_options_of_the_last_launch(
    sweep: Callable, folders: list[Path], tmp_path: Path
) -> None:
    before = (folders[2] / "results.jsonl").stat().st_mtime_ns
    failed(folders[1])
    unfinished(folders[3], state="stopped")
    retried = sweep("retry", "--failed")
    assert (retried.code, retried.err) == (0, "")
    assert "To do: 1 tasks" in retried.out
    assert [(folder / "done").exists() for folder in folders] == [True, True, True, False]
    assert (folders[2] / "results.jsonl").stat().st_mtime_ns == before
    content = json.loads((tmp_path / "runs" / "tiny" / "sweep.json").read_text())
    assert [run["id"] for run in content["runs"]] == [folder.name for folder in folders], "numbers stay"
    assert (content["launch"]["launcher"], content["launch"]["device"]) == ("debug", "cpu")
    assert "4 of 4 runs are done" in sweep("retry", "--failed", "--stopped").out


def test_a_retry_needs_no_table_and_may_name_another_launcher(
    sweep: Callable, folders: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").unlink()
    failed(folders[0])
    assert "4 of 4 runs are done" in sweep("retry", "--failed", "--launcher", "local", "--jobs", "1").out
    content = json.loads((tmp_path / "runs" / "tiny" / "sweep.json").read_text())
    assert content["launch"]["launcher"] == "local"


def test_a_sweep_of_an_earlier_release_is_retried_with_its_execution_options(
    sweep: Callable, folders: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "runs" / "tiny" / "sweep.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({name: content[name] for name in ("spec", "runs", "execution", "command")}))
    failed(folders[0])
    assert "4 of 4 runs are done" in sweep("retry", "--failed", "--launcher", "debug").out


def test_the_failure_is_forgotten_before_the_run_begins(
    sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfdgbench.sweeps.launchers.debug import Debug

    failed(folders[0])
    (folders[0] / "snapshot").write_text("kept")
    monkeypatch.setattr(Debug, "submit", lambda *_: Outcome({}))
    sweep("retry", "--failed")
    assert "3 done" in sweep("status").out
    assert "failed" not in sweep("status").out
    assert (folders[0] / "snapshot").read_text() == "kept"
    assert (folders[0] / "err.txt").exists()


def test_a_retry_without_a_choice_or_without_anything_to_do(sweep: Callable) -> None:
    which = sweep("retry")
    assert (which.code, "--failed, --lost or --stopped" in which.err) == (1, True)
    assert sweep("retry", "--failed", "--lost").out == "No run is failed or lost.\n"


def test_other_code_than_at_the_last_launch_is_one_warning(
    sweep: Callable, folders: list[Path], tmp_path: Path
) -> None:
    file = tmp_path / "runs" / "tiny" / "sweep.json"
    content = json.loads(file.read_text())
    assert {"torch", "torchvision", "timm", "numpy", "dfdgbench"} <= content["versions"].keys()
    file.write_text(json.dumps({**content, "versions": {**content["versions"], "torch": "1.0", "timm": "0.1"}}))
    failed(folders[0])
    retried = sweep("retry", "--failed").out
    (warning,) = [line for line in retried.splitlines() if line.startswith("warning: ")]
    assert "torch 1.0, now " in warning
    assert "timm 0.1, now " in warning
    assert "numpy" not in warning
    failed(folders[0])
    assert "warning" not in sweep("retry", "--failed").out


def test_a_sweep_that_mixes_versions_says_so(sweep: Callable, cli: Callable, folders: list[Path]) -> None:
    assert "mix" not in sweep("status").out + cli("collect", "runs/tiny").out
    config = json.loads((folders[0] / "config.json").read_text())
    (folders[0] / "config.json").write_text(json.dumps({**config, "git": "0" * 40}))
    assert "This sweep mixes versions: commit 000000000000 (1 run)" in sweep("status").out
    assert "mix versions: commit 000000000000 (1 run)" in cli("collect", "runs/tiny").out


# Cancel ---------------------------------------------------------------------------------------------------------------

HOLDS = """
import sys, time, pathlib, signal
from dfdgbench.leases import Lease
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with Lease(pathlib.Path(sys.argv[1])).waiting():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("place", ["run", "front"])
def test_cancelling_asks_who_holds_a_lease(sweep: Callable, folders: list[Path], tmp_path: Path, place: str) -> None:
    lease = folders[0] / "lease" if place == "run" else tmp_path / "runs" / "tiny" / "launching" / "x"
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(lease)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        shown = sweep("cancel")
        assert process.wait(timeout=30) == 7
    assert (shown.code, shown.out) == (0, "Asked 1 process on this machine to stop after a snapshot.\n")
    assert sweep("cancel").out == "Nothing is under way.\n"


def test_what_killed_launches_left_is_cleared_by_the_next(sweep: Callable, folders: list[Path], tmp_path: Path) -> None:
    launching = tmp_path / "runs" / "tiny" / "launching"
    launching.mkdir()
    (launching / "x").write_text(f"{socket.gethostname()} {os.getpid()} 1 abcd\n0\n")
    failed(folders[0])
    assert sweep("retry", "--failed").code == 0
    assert not launching.exists()


def test_cancelling_leaves_alone_who_got_an_old_id(sweep: Callable, folders: list[Path]) -> None:
    unfinished(folders[0], f"{socket.gethostname()} {os.getpid()} 1 abcd\n0\n", state="running", pid=os.getpid())
    unfinished(folders[1], ELSEWHERE.format(0), state="running")
    assert sweep("cancel").out == "1 run is held on elsewhere: type the same command there.\n"


def test_workers_whose_front_process_is_alive_are_asked_by_it_alone(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(processes.os, "kill", lambda pid, number: asked.append(pid))
    monkeypatch.setattr(processes, "gone", lambda owner: False)
    monkeypatch.setattr(processes, "_parent", {11: 10, 12: 1}.get)
    sweep = tmp_path / "runs" / "tiny"
    (sweep / "launching").mkdir()
    for path, pid in ((sweep / "launching" / "x", 10), (folders[0] / "lease", 11), (folders[1] / "lease", 12)):
        path.write_text(f"{socket.gethostname()} {pid} 1 abcd\n0\n")
    assert processes.ask_to_stop(sweep) == 2
    assert sorted(asked) == [10, 12]


def test_cancelling_asks_the_scheduler(sweep: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dfdgbench.sweeps.launchers.base import LAUNCHERS
    from dfdgbench.sweeps.launchers.debug import Debug

    class Scheduler(Debug):
        def cancel(self, sweep: object) -> int:
            return 5

    monkeypatch.setitem(LAUNCHERS._found, "debug", Scheduler)
    assert "Asked 5 jobs of the launcher debug to stop." in sweep("cancel").out


def test_every_launcher_that_had_the_sweep_is_asked_and_none_keeps_the_others_from_it(
    sweep: Callable, folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfdgbench.errors import ConfigError
    from dfdgbench.sweeps.launchers.base import LAUNCHERS
    from dfdgbench.sweeps.launchers.debug import Debug

    class Cluster(Debug):
        def cancel(self, sweep: object) -> int:
            return 2

        def status(self, sweep: object) -> dict[str, str]:
            return {folders[0].name: "queued", folders[1].name: "stopped"}

    class Silent(Debug):
        def cancel(self, sweep: object) -> int:
            raise ConfigError("nobody answers")

        def status(self, sweep: object) -> dict[str, str]:
            raise ConfigError("nobody answers")

    LAUNCHERS.names()  # which registers the package's own
    monkeypatch.setitem(LAUNCHERS._found, "cluster", Cluster)
    monkeypatch.setitem(LAUNCHERS._found, "silent", Silent)
    unfinished(folders[0], state="stopped")
    unfinished(folders[1], ELSEWHERE.format(1), state="running")
    monkeypatch.setattr(Debug, "submit", lambda *_: Outcome({}))
    (folders[2] / "done").unlink()
    for launcher in ("cluster", "silent", "debug"):
        (folders[2] / "status.json").write_text('{"state": "failed"}')
        sweep("retry", "--failed", "--launcher", launcher)
    content = json.loads((tmp_path / "runs" / "tiny" / "sweep.json").read_text())
    assert content["launchers"] == ["cluster", "silent", "debug"]
    shown = sweep("cancel")
    assert (shown.code, shown.out) == (1, "Asked 2 jobs of the launcher cluster to stop.\n")
    assert "jobs of the launcher silent could not be asked to stop: nobody answers" in shown.err
    # The cluster has the first run. That it has the second no more says nothing: it was not the last to be given it.
    states = {run["run"]: run["state"] for run in json.loads(sweep("status", "--json").out)["runs"]}
    assert (states[folders[0].name], states[folders[1].name]) == ("queued", "running")


# Delete ---------------------------------------------------------------------------------------------------------------


def test_deleting_shows_and_asks_first(sweep: Callable, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    failed(folders[0])
    shown = sweep("delete-incomplete")
    assert shown.code == 1
    assert folders[0].name in shown.out
    assert "--yes" in shown.out
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "no")
    assert "Nothing was deleted." in sweep("delete-incomplete").out
    assert folders[0].exists()
    monkeypatch.setattr("builtins.input", lambda question: "yes")
    assert "Deleted 1 folder" in sweep("delete-incomplete").out
    assert [folder.exists() for folder in folders] == [False, True, True, True]


def test_deleting_leaves_what_is_done_running_or_elsewhere(
    sweep: Callable, folders: list[Path], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    folders[0].rename(outside)
    (outside / "done").unlink()
    folders[0].symlink_to(outside)
    unfinished(folders[1], ELSEWHERE.format(1), state="running")
    unfinished(folders[2], state="running")
    (tmp_path / "runs" / "tiny" / "runs" / "notes").mkdir()
    with Lease(folders[2] / "lease").waiting():
        assert "Nothing to delete" in sweep("delete-incomplete", "--yes").out
    assert all(folder.exists() for folder in folders)
    assert "Deleted 1 folder" in sweep("delete-incomplete", "--yes").out  # its holder is gone without a word
    assert [folder.exists() for folder in folders] == [True, True, False, True]
    assert (tmp_path / "runs" / "tiny" / "runs" / "notes").exists()
    assert outside.exists()


def test_a_run_that_somebody_begins_with_meanwhile_is_left(sweep: Callable, folders: list[Path]) -> None:
    failed(folders[0])
    found = incomplete.incomplete(reading.read_sweep(folders[0].parent.parent))
    with Lease(folders[0] / "lease").waiting():
        assert incomplete.delete(found) == (0, [folders[0]])
    assert (folders[0] / "err.txt").exists()
    (folders[0] / "done").write_text("done")
    assert incomplete.delete(found) == (0, [folders[0]])


def test_a_run_that_another_machine_lost_is_deleted(folders: list[Path]) -> None:
    unfinished(folders[0], ELSEWHERE.format(1), state="running")
    status = reading.read_sweep(folders[0].parent.parent)
    status.runs[0].state = "lost"  # as a watcher says that has waited for long enough
    assert incomplete.delete(incomplete.incomplete(status)) == (1, [])
    assert not folders[0].exists()


def test_nothing_is_deleted_while_a_launch_is_under_way(sweep: Callable, folders: list[Path], tmp_path: Path) -> None:
    failed(folders[0])
    with Lease(tmp_path / "runs" / "tiny" / "launching" / "x").waiting():
        refused = sweep("delete-incomplete", "--yes")
    assert (refused.code, "A launch of runs/tiny is under way" in refused.err) == (1, True)
    assert folders[0].exists()


@pytest.mark.parametrize("words", [["logs", "1"], ["retry", "--failed"], ["cancel"], ["delete-incomplete", "--yes"]])
def test_a_folder_that_is_no_sweep(cli: Callable, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "other" / "runs" / "mine").mkdir(parents=True)
    refused = cli("sweep", words[0], "other", *words[1:])
    assert (refused.code, "has no sweep.json" in refused.err) == (1, True)
    assert (tmp_path / "other" / "runs" / "mine").exists()
