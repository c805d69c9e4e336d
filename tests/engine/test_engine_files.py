"""Files are replaced in one step or not at all, and a full disk is told as one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dfdgbench import files
from dfdgbench.errors import ArtifactError
from dfdgbench.files import explained, read_json, write_bytes, write_json


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_and_its_folder_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert _names(path.parent) == ["b"]


@pytest.mark.parametrize("crash", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, crash: type[BaseException]
) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*arguments: object) -> None:
        raise crash

    monkeypatch.setattr(os, moment, fail)
    with pytest.raises(crash):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["file"]


def test_a_file_is_synced_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("rename"), replace(*paths)))
    write_bytes(tmp_path / "file", b"x")
    assert order == ["sync", "rename"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_takes_no_more_is_an_error_that_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "file"
    with pytest.raises(ArtifactError) as caught:
        write_json(path, {}, "The run's status")
    assert f"The run's status could not be written to {path}: {os.strerror(number)}" in str(caught.value)
    assert "MiB free" in str(caught.value)
    assert "artifacts gc" in str(caught.value)
    assert _names(tmp_path) == []


def test_an_error_that_nobody_can_mend_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explained(tmp_path, "A file"):
        raise IsADirectoryError(errno.EISDIR, "is a directory")


def test_a_disk_that_is_really_full(full_disk: Path) -> None:
    write_bytes(full_disk / "small", b"x" * 1000)
    with pytest.raises(ArtifactError, match="could not be written"):
        write_bytes(full_disk / "large", b"x" * (2 << 20))
    assert _names(full_disk) == ["small"]
    write_bytes(full_disk / "small", b"y" * 1000)
    assert (full_disk / "small").read_bytes() == b"y" * 1000


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe\x00"])
def test_damaged_json_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")


def test_sha256_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
