"""A run's folder tells the truth about the run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dfdgbench.engine.interrupt import Interrupted
from dfdgbench.engine.progress import Progress
from dfdgbench.engine.runfolder import RunFolder
from dfdgbench.errors import ArtifactError, ConfigError
from dfdgbench.leases import Lease

CONFIG = {"run": {"seed": 0, "steps": 5}, "versions": {"torch": "2"}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.open(CONFIG)
    return folder


def test_a_folder_belongs_to_one_run(run: RunFolder) -> None:
    run.open(CONFIG | {"versions": {"torch": "3"}})
    with pytest.raises(ConfigError, match=rf"folder {run.path} holds another run: it differs in seed, steps\."):
        run.open({"run": {"seed": 1, "steps": 6}})
    assert run.read_config()["run"] == CONFIG["run"]


def test_an_option_that_only_the_other_run_has_is_no_excuse(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="holds another run"):
        run.open({"run": {"seed": 0}})


def test_a_damaged_config_is_written_anew(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    run.config.write_text("{")
    with pytest.raises(ArtifactError, match=r"config\.json is damaged"):
        run.read_config()
    run.open(CONFIG)
    assert run.read_config() == CONFIG
    assert "was damaged" in caplog.text


def test_a_folder_without_a_config_is_no_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no run's folder"):
        RunFolder(tmp_path).read_config()


def test_states_from_absent_to_done(run: RunFolder) -> None:
    assert RunFolder(run.path / "none").state() == "absent"
    assert run.state() == "waiting"
    with run.under_way():
        assert run.state() == "running"
        run.snapshot.write_bytes(b"x")
        run.finish(1.5)
    assert run.state() == "done"
    assert run.status()["seconds"] == 1.5
    assert (run.path / "done").read_bytes() == b"done"
    assert not run.snapshot.exists()
    assert not (run.path / "lease").exists()


def test_a_run_killed_while_it_ends_keeps_its_snapshot_or_is_done(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.snapshot.write_bytes(b"x")

    def kill(path: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", kill)
    with pytest.raises(KeyboardInterrupt):
        run.finish(1.0)
    assert run.done or run.snapshot.exists()
    assert run.done


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ZeroDivisionError("by what?"), "failed"),
        (Interrupted("at step 3", 15), "stopped"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
def test_what_ended_it_is_kept(run: RunFolder, error: BaseException, state: str) -> None:
    with pytest.raises(type(error)), run.under_way():
        raise error
    assert run.state() == state
    failed = state == "failed"
    assert (run.path / "err.txt").exists() == failed
    if failed:
        assert "ZeroDivisionError: by what?" in (run.path / "err.txt").read_text()
        assert run.status()["error"] == "ZeroDivisionError: by what?"
        assert "Traceback" in run.status()["traceback"]
    assert not (run.path / "lease").exists()


def test_the_log_is_in_the_folder_while_the_run_is_under_way(run: RunFolder) -> None:
    log = logging.getLogger("dfdgbench")
    log.setLevel(logging.INFO)
    with run.under_way():
        log.info("within")
    log.info("after")
    log.setLevel(logging.NOTSET)
    assert (run.path / "out.txt").read_text() == "within\n"


def test_a_run_is_alone_in_its_folder(run: RunFolder) -> None:
    with run.under_way():
        assert not Lease(run.path / "lease").try_acquire()


def test_progress_is_told_at_most_every_two_seconds(run: RunFolder) -> None:
    progress = Progress("student", 10)
    for _ in range(3):
        progress.advance()
        run.tick(progress)
    status = run.status()
    assert (status["state"], status["stage"], status["step"], status["steps"]) == ("running", "student", 1, 10)


def test_a_damaged_status_is_no_status(run: RunFolder) -> None:
    (run.path / "status.json").write_text("{")
    assert run.status() == {}
    assert run.state() == "waiting"
