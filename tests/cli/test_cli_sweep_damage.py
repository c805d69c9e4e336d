"""Sweeps on a full disk, in a folder that cannot be written to, with damaged files: told in a message, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_sweep import TABLE as TWO_TRIALS

from dfdgbench.sweeps import merging
from dfdgbench.sweeps.launchers import debug

TABLE = TWO_TRIALS.replace("trials: 2", "trials: 1")
LAUNCH = ("sweep", "launch", "tiny.yaml", "--device", "cpu", "--launcher", "debug")
COMMANDS = {
    "plan": ("sweep", "plan", "tiny.yaml"),
    "launch": LAUNCH,
    "status": ("sweep", "status", "runs/tiny"),
    "logs": ("sweep", "logs", "runs/tiny", "1"),
    "retry": ("sweep", "retry", "runs/tiny", "--failed"),
    "cancel": ("sweep", "cancel", "runs/tiny"),
    "delete": ("sweep", "delete-incomplete", "runs/tiny", "--yes"),
    "merge": ("sweep", "merge", "runs/tiny", "copy"),
    "merge from": ("sweep", "merge", "copy", "runs/tiny"),
    "table": ("table", "runs/tiny"),
}


@pytest.fixture
def sweep(cli: Callable, tmp_path: Path) -> Path:
    """The folder of a sweep of two runs, the first of which failed; a copy of it lies in copy/."""
    (tmp_path / "tiny.yaml").write_text(TABLE)
    assert cli(*LAUNCH).code == 0
    folder = tmp_path / "runs" / "tiny"
    (first, _) = runs(folder)
    (first / "done").unlink()
    (first / "status.json").write_text(json.dumps({"state": "failed", "error": "RuntimeError: boom"}))
    shutil.copytree(folder, tmp_path / "copy")
    return folder


def runs(sweep: Path) -> list[Path]:
    """The runs' folders, in the order of their numbers."""
    return [sweep / "runs" / run["id"] for run in json.loads((sweep / "sweep.json").read_text())["runs"]]


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for heartbeats."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(content: dict, path: str, value: object) -> dict:
    """``content`` with another value at a dotted path."""
    *parents, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    inner: object = content
    for name in parents:
        inner = inner[name]  # type: ignore[index]
    inner[last] = value  # type: ignore[index]
    return content


DAMAGED = [
    ("spec", None), ("spec", {}), ("spec.rows", 3), ("spec.name", "../x"), ("runs", {}), ("runs", [1]), ("runs.0", {}),
    ("runs.0.config", []), ("runs.0.config.test_envs", []), ("runs.0.part", 7), ("runs.0.id", "../../outside"),
    ("execution", 3), ("launch", "x"), ("launch.launcher", 7), ("launchers", [{}]),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), DAMAGED, ids=[f"{path}={value}" for path, value in DAMAGED])
def test_a_sweep_file_that_no_launch_wrote_is_refused_by_every_command(
    cli: Callable, sweep: Path, tmp_path: Path, path: str, value: object
) -> None:
    file = sweep / "sweep.json"
    file.write_text(json.dumps(changed(json.loads(file.read_text()), path, value)))
    (tmp_path / "outside").mkdir()
    before = files(tmp_path)
    refused = {name: cli(*words) for name, words in COMMANDS.items()}
    only_of_specs = {"status", "logs", "retry", "cancel", "delete"} if path == "spec.name" else set()
    for name in refused.keys() - only_of_specs:
        assert refused[name].code == 1, name
        assert "runs/tiny/sweep.json" in refused[name].err, name
    if only_of_specs:
        return
    assert "runs that are done stay done" in refused["status"].err
    assert files(tmp_path) == before
    assert (tmp_path / "outside").exists()


def test_a_damaged_sweep_file_is_mended_by_launching_again(cli: Callable, sweep: Path) -> None:
    (sweep / "sweep.json").rename(sweep / "old.json")
    assert cli(*LAUNCH).code == 0
    assert cli("sweep", "status", "runs/tiny").out.splitlines()[-1] == "2 runs: 2 done"


def full(monkeypatch: pytest.MonkeyPatch, code: int, when: Callable[[str], bool]) -> None:
    """Have renames to some paths fail as on a full disk, or in a folder that cannot be written to."""
    replace, rename = os.replace, os.rename

    def checked(real: Callable) -> Callable:
        def act(source: object, target: object, **options: object) -> None:
            if when(str(target)):
                raise OSError(code, os.strerror(code), str(target))
            real(source, target, **options)

        return act

    monkeypatch.setattr(os, "replace", checked(replace))
    monkeypatch.setattr(os, "rename", checked(rename))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("name", ["launch", "retry", "delete", "merge", "merge from"])
def test_a_full_disk_and_a_folder_that_is_closed_lose_nothing(
    cli: Callable, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    before, kept = files(sweep), files(tmp_path / "copy")
    shutil.rmtree(runs(sweep)[1])  # so that each command has something to write
    before = files(sweep)
    with monkeypatch.context() as patch:
        full(patch, code, lambda path: "/runs/" in path or path.endswith("sweep.json"))
        refused = cli(*COMMANDS[name])
    assert refused.code == 1
    assert os.strerror(code) in refused.err
    assert "Traceback" not in refused.out + refused.err
    assert before.items() <= {**files(sweep), "runs": b""}.items() or name in ("launch", "retry")
    assert kept.items() <= files(tmp_path / "copy").items()
    assert cli(*LAUNCH).code == 0
    assert cli("sweep", "status", "runs/tiny").out.splitlines()[-1] == "2 runs: 2 done"


def test_a_move_whose_source_cannot_be_emptied_is_told_and_can_be_typed_again(
    cli: Callable, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def closed(path: Path, ignore_errors: bool = False) -> None:
        if "copy" in str(path) and not ignore_errors:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        remove(path, ignore_errors)

    with monkeypatch.context() as patch:
        patch.setattr(merging.shutil, "rmtree", closed)
        refused = cli("sweep", "merge", "runs/tiny", "copy", "--move")
    assert (refused.code, os.strerror(errno.EROFS) in refused.err) == (1, True)
    assert cli("sweep", "merge", "runs/tiny", "copy", "--move").code == 0
    assert not any((tmp_path / "copy" / "runs").iterdir())
    assert len(files(sweep / "runs")) > 8


def test_an_artifact_that_is_deleted_in_the_middle_is_made_again(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tiny.yaml").write_text(TABLE)
    perform, deleted = debug.perform, []

    def without(*given: object, **options: object) -> float:
        if not deleted and list((tmp_path / "artifacts").glob("teacher/*")):
            deleted.append(next((tmp_path / "artifacts").glob("teacher/*")))
            shutil.rmtree(deleted[0])
        return perform(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(debug, "perform", without)
    launched = cli(*LAUNCH)
    assert (launched.code, "2 of 2 runs are done" in launched.out) == (0, True)
    assert deleted[0].exists()


def test_commands_that_are_printed_can_be_typed_whatever_the_folder_is_called(
    cli: Callable, sweep: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "runs; touch $(x)"
    sweep.rename(odd)
    assert f"dfdgbench sweep retry '{odd.name}' --failed" in cli("sweep", "status", odd.name).out
    assert f"dfdgbench sweep retry '{odd.name}' --failed" in cli("sweep", "retry", odd.name).err
    assert f"dfdgbench sweep status '{odd.name}'" in cli("sweep", "logs", odd.name, "nothing").err
    assert f"dfdgbench table tiny.yaml '{odd.name}'" in cli(*LAUNCH, "--output-dir", odd.name).out
