"""Copies of stores on a machine's own disk: made once, whole or not at all, and never in the way."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.feed import local, store
from dfdgbench.datasets.feed.local import Local
from dfdgbench.datasets.feed.readers import DataPath, StoreReader
from dfdgbench.datasets.feed.store import Shape, Store, open_store

SHAPE = Shape(12, 12)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(local, "SPARE", 0)
    local._told.clear()
    yield
    local._told.clear()


@pytest.fixture
def files(folder: Domain) -> FolderDomain:
    assert isinstance(folder, FolderDomain)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The machine's own disk, with a file that is somebody else's."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "theirs").write_text("theirs")
    return tmp_path / "disk"


def opened(files: FolderDomain, tmp_path: Path, disk: Path | str) -> Store:
    return open_store(files, SHAPE, [tmp_path / "stores"], local=Local(str(disk)))


def entries(disk: Path) -> list[str]:
    """What lies on the disk, but for the rest of names that differ from machine to machine."""
    return sorted(path.name for path in disk.glob("dfdgbench-stores-*/*"))


def test_a_store_is_copied_once_and_read_from_the_copy(
    files: FolderDomain, tmp_path: Path, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = open_store(files, SHAPE, [tmp_path / "stores"])
    with caplog.at_level(logging.INFO, "dfdgbench"):
        one, two = opened(files, tmp_path, disk), opened(files, tmp_path, disk)
    assert one.path == two.path
    assert one.path.is_relative_to(disk)
    assert np.array_equal(one.pixels, shared.pixels)
    assert np.array_equal(one.sizes, shared.sizes)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "copied to" in lines[0]
    assert "KiB in 0." in lines[0]
    assert entries(disk) == [one.path.name], "a lease or a half of a copy was left"
    assert (disk / "theirs").read_text() == "theirs"


def test_batches_are_the_same_to_the_bit(files: FolderDomain, tmp_path: Path, disk: Path) -> None:
    keys = np.arange(9)
    plain, copied = (
        StoreReader(files, 12, DataPath("fast", (tmp_path / "stores",), local=given))
        for given in (None, Local(str(disk)))
    )
    assert torch.equal(plain.start(keys, None)(), copied.start(keys, None)())
    assert copied.whole.path.is_relative_to(disk)


def test_variables_are_those_of_the_machine_that_reads(
    files: FolderDomain, tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_DISK", str(disk))
    assert opened(files, tmp_path, "${NODE_DISK}/deep").path.is_relative_to(disk / "deep")


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_is_not_set(
    files: FolderDomain,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    value: str | None,
) -> None:
    monkeypatch.delenv("NODE_DISK", raising=False)
    if value is not None:
        monkeypatch.setenv("NODE_DISK", value)
    for _ in range(2):
        assert opened(files, tmp_path, "$NODE_DISK/x").path.parent == tmp_path / "stores"
    assert caplog.text.count("$NODE_DISK is not set on this machine") == 1


def test_threads_share_one_copy(
    files: FolderDomain, tmp_path: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(files, SHAPE, [tmp_path / "stores"])
    copies, real = [], local._copy
    monkeypatch.setattr(local, "_copy", lambda *args: (copies.append(args), real(*args)))
    found: list[Store] = []
    threads = [threading.Thread(target=lambda: found.append(opened(files, tmp_path, disk))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copies) == 1
    assert len({each.path for each in found}) == 1
    assert len(found) == 4


OPENED = """
import sys
from pathlib import Path
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.datasets.feed import local, store
import logging, os, signal
local.SPARE = 0
local.BLOCK = 100
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
def progress(done, total):
    if sys.argv[4] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
domain = folder_domain("art", Path(sys.argv[1]), ("cat", "dog", "emu"))
made = store.open_store(domain, store.Shape(12, 12), [Path(sys.argv[2])], local=local.Local(sys.argv[3], progress))
print("sum", int(made.pixels.sum()), made.path)
"""


def process(files: FolderDomain, tmp_path: Path, disk: Path, how: str = "live") -> subprocess.Popen[str]:
    arguments = [str(files.root), str(tmp_path / "stores"), str(disk), how]
    return subprocess.Popen([sys.executable, "-c", OPENED, *arguments], stdout=subprocess.PIPE, text=True)


def test_processes_share_one_copy(files: FolderDomain, tmp_path: Path, disk: Path) -> None:
    shared = open_store(files, SHAPE, [tmp_path / "stores"])
    texts = [each.communicate(timeout=120)[0] for each in [process(files, tmp_path, disk) for _ in range(2)]]
    assert "".join(texts).count("copied to") == 1
    assert all(f"sum {int(shared.pixels.sum())} {disk}" in text for text in texts)


def test_a_copy_that_was_killed_half_way_is_not_used_and_cleared_away(
    files: FolderDomain, tmp_path: Path, disk: Path
) -> None:
    shared = open_store(files, SHAPE, [tmp_path / "stores"])
    killed = process(files, tmp_path, disk, "die")
    assert killed.wait(timeout=120) == -signal.SIGKILL
    assert killed.stdout is not None
    killed.stdout.close()
    assert any(".part-" in name for name in entries(disk)), "it was not killed half-way"
    made = opened(files, tmp_path, disk)
    assert made.path.is_relative_to(disk)
    assert np.array_equal(made.pixels, shared.pixels)
    assert entries(disk) == [made.path.name]


@pytest.mark.parametrize("damage", ["cut", "another", "no list"])
def test_what_is_stale_is_replaced(files: FolderDomain, tmp_path: Path, disk: Path, damage: str) -> None:
    made = opened(files, tmp_path, disk)
    wanted = made.pixels.copy()
    if damage == "cut":
        os.truncate(made.path / "pixels", 100)
    elif damage == "no list":
        (made.path / "copy.json").unlink()
    else:  # the store was removed and built again from files of the same names and sizes
        again = json.loads((made.path / "copy.json").read_text())
        (made.path / "copy.json").write_text(json.dumps(again | {"built": 1}))
        with open(made.path / "pixels", "r+b") as file:
            file.write(b"\1\2\3")
    assert np.array_equal(opened(files, tmp_path, disk).pixels, wanted)
    assert entries(disk) == [made.path.name]


def test_a_store_that_was_built_again_is_copied_again(files: FolderDomain, tmp_path: Path, disk: Path) -> None:
    first = opened(files, tmp_path, disk)
    shutil.rmtree(tmp_path / "stores")
    before = first.pixels.copy()
    picture = files.root / files.files[0]
    content = picture.read_bytes()
    picture.write_bytes((files.root / files.files[1]).read_bytes()[: len(content)].ljust(len(content), b"\0"))
    second = opened(folder_domain("art", files.root, ("cat", "dog", "emu")), tmp_path, disk)
    assert second.path == first.path, "other files are to be of the same sizes"
    assert not np.array_equal(second.pixels, before)
    assert np.array_equal(first.pixels, before), "whoever read the old copy goes on with it"


def test_stores_of_the_same_name_in_two_places_do_not_replace_each_other(
    files: FolderDomain, tmp_path: Path, disk: Path
) -> None:
    paths = {
        open_store(files, SHAPE, [tmp_path / place], local=Local(str(disk))).path for place in ("one", "two", "one")
    }
    assert len(paths) == 2


# Where there can be no copy -------------------------------------------------------------------------------------------


def reads_the_shared_one(files: FolderDomain, tmp_path: Path, disk: Path) -> None:
    for _ in range(2):
        assert opened(files, tmp_path, disk).path.parent == tmp_path / "stores"
    assert entries(disk) == []


def test_no_room(
    files: FolderDomain,
    tmp_path: Path,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(local, "free", lambda path: 10)
    reads_the_shared_one(files, tmp_path, disk)
    assert caplog.text.count("needs 4.") == 1
    assert "of 10 B that are free" in caplog.text


@pytest.mark.parametrize("call", ["posix_fallocate", "mkdir", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_a_disk_that_refuses(
    files: FolderDomain,
    tmp_path: Path,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    number: int,
) -> None:
    open_store(files, SHAPE, [tmp_path / "stores"])
    real = getattr(os, call)

    def refuse(path: object, *args: object, **options: object) -> object:
        if call == "posix_fallocate" or str(disk) in str(path):
            raise OSError(number, os.strerror(number))
        return real(path, *args, **options)

    monkeypatch.setattr(os, call, refuse)
    reads_the_shared_one(files, tmp_path, disk)
    assert caplog.text.count("Stores are read where they lie") == 1
    assert os.strerror(number) in caplog.text


def test_a_file_in_the_folders_place(
    files: FolderDomain, tmp_path: Path, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert opened(files, tmp_path, disk / "theirs").path.parent == tmp_path / "stores"
    assert "Not a directory" in caplog.text or "File exists" in caplog.text
    assert (disk / "theirs").read_text() == "theirs"


def test_another_users_folder(
    files: FolderDomain,
    tmp_path: Path,
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (disk / "dfdgbench-stores-4711").mkdir()
    os_uid = os.getuid()
    assert os_uid != 4711
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    reads_the_shared_one(files, tmp_path, disk)
    assert "is another user's" in caplog.text


def test_a_store_that_is_replaced_while_it_is_copied(
    files: FolderDomain, tmp_path: Path, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = open_store(files, SHAPE, [tmp_path / "stores"])

    def touch(done: int, total: int) -> None:
        os.utime(shared.path / "store.json", (1, 1))

    made = open_store(files, SHAPE, [tmp_path / "stores"], local=Local(str(disk), touch))
    assert made.path == shared.path
    assert "was replaced while it was copied" in caplog.text


def test_a_stopped_copy_leaves_nothing(files: FolderDomain, tmp_path: Path, disk: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(files, SHAPE, [tmp_path / "stores"], local=Local(str(disk), stop))
    assert entries(disk) == []
    assert store.find_store(files, SHAPE, [tmp_path / "stores"])
