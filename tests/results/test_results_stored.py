"""The ledger that is kept beside a sweep: what refreshes it, and what it survives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_builders import TARGET as T
from result_builders import record, write_domainbed

from dfdgbench.errors import ArtifactError
from dfdgbench.results import stored
from dfdgbench.results.collect import collect
from dfdgbench.results.stored import NAME, read_ledger


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose records are read from their files."""
    names: list[str] = []
    read_content = stored.read_content

    def noted(folder: str, *rest: Any) -> Any:
        names.append(Path(folder).name)
        return read_content(folder, *rest)

    monkeypatch.setattr(stored, "read_content", noted)
    monkeypatch.setattr(stored, "FEWEST", 2)
    return names


@pytest.fixture(autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DFDGBENCH_CACHE", str(folder))
    return folder


def old(folder: Path, seconds: float = 100.0) -> None:
    """Make every file of a run look as if it had been left alone for some time."""
    for path in folder.iterdir():
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Four runs, one of which has other keys, with NaN, an integer and a key that the first record lacks."""
    root = tmp_path / "sweep"
    for seed in range(3):
        folder = write_domainbed(root / f"run{seed}", [record(0, seed, (0.1 * seed, 0.2, T), (0, float("nan")))])
        old(folder)
    odd = [record(0, 3, (0.5, 1, T), (0.0, 0.5)), {**record(1, 3, (0.5, 0.5, T), (0.0, 0.5)), "env0_in_acc@soup": 0.25}]
    old(write_domainbed(root / "run3", odd))
    return root


def same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    def plain(entry: Any) -> Any:
        content = entry.content
        return entry.name, content.state, content.keys, content.parts, content.steps.tolist(), content.notes

    bits = [
        (a.content.values.view(np.uint64).tolist(), b.content.values.view(np.uint64).tolist())
        for a, b in zip(one, other, strict=True)
    ]
    return list(map(plain, one)) == list(map(plain, other)) and all(a == b for a, b in bits)


def test_what_was_kept_is_what_was_read(sweep: Path, read: list[str]) -> None:
    before = read_ledger(sweep)
    assert read == ["run0", "run1", "run2", "run3"]
    after = read_ledger(sweep)
    assert len(read) == 4
    assert same(before.entries, after.entries)
    assert [after.record(row).get("env0_in_acc@soup") for row in range(5)] == [None, None, None, None, 0.25]


def test_only_what_has_changed_is_read_again(sweep: Path, read: list[str]) -> None:
    read_ledger(sweep)
    read.clear()
    with open(sweep / "run1" / "results.jsonl", "a") as file:
        file.write("\n")
    (sweep / "run2" / "done").unlink()
    shutil.rmtree(sweep / "run0")
    old(write_domainbed(sweep / "run9", [record(0, 9, (0.9, 0.2, T), (0, 0.9))]))
    ledger = read_ledger(sweep)
    assert read == ["run1", "run2", "run9"]
    assert [(entry.name, entry.done) for entry in ledger.entries] == [
        ("run1", True), ("run2", False), ("run3", True), ("run9", True),
    ]  # fmt: skip


def test_a_run_that_was_just_written_is_read_again(sweep: Path, read: list[str]) -> None:
    """A second change may fall within the same tick of the file system's clock."""
    write_domainbed(sweep / "run8", [record(0, 8, (0.1, 0.2, T), (0, 0.3))])
    read_ledger(sweep)
    read.clear()
    path = sweep / "run8" / "results.jsonl"
    stamp = path.stat()
    path.write_text(path.read_text().replace("0.3", "0.9"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert read_ledger(sweep).record(5)["env1_out_acc"] == 0.9
    assert read == ["run8"]


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty", "folder"])
def test_a_damaged_file_is_made_anew(sweep: Path, read: list[str], damage: str) -> None:
    expected = collect(sweep)
    path = sweep / NAME
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:middle], "flip": flipped, "other": b"{}", "empty": b""}[damage])
    read.clear()
    assert collect(sweep) == expected
    assert len(read) == 4
    read.clear()
    assert collect(sweep) == expected
    assert read == []


def test_no_object_is_loaded_from_it(sweep: Path, read: list[str]) -> None:
    read_ledger(sweep)
    np.savez(sweep / NAME, described=np.array([{"format": 1}], dtype=object))
    (sweep / f"{NAME}.npz").unlink(missing_ok=True)
    read.clear()
    assert len(read_ledger(sweep).entries) == 4
    assert len(read) == 4


def test_a_sweep_that_cannot_be_written_to_is_kept_elsewhere(
    sweep: Path, read: list[str], monkeypatch: pytest.MonkeyPatch, user_cache: Path
) -> None:
    write_bytes = stored.write_bytes

    def refused(path: Path, *rest: Any) -> None:
        if path.parent == sweep:
            raise ArtifactError("read-only")
        write_bytes(path, *rest)

    monkeypatch.setattr(stored, "write_bytes", refused)
    read_ledger(sweep)
    assert not (sweep / NAME).exists()
    assert len(list((user_cache / "frames").iterdir())) == 1
    read.clear()
    assert len(read_ledger(sweep).entries) == 4
    assert read == []


def test_without_any_place_it_is_read_all_the_same(
    sweep: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any) -> None:
        raise ArtifactError("read-only")

    monkeypatch.setattr(stored, "write_bytes", refused)
    expected = collect(sweep)
    assert collect(sweep) == expected
    assert len(read) == 8


def test_few_runs_leave_nothing_behind(sweep: Path) -> None:
    read_ledger(sweep)
    assert not (sweep / NAME).exists()
