"""Which stores are on disk, who reads them, and removing those that nobody does."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import FolderDomain, folder_domain
from dfdgbench.datasets.feed import marks, store
from dfdgbench.datasets.feed.inventory import remove, stored, stores_in, stores_of
from dfdgbench.datasets.feed.marks import Mark, last_used, readers
from dfdgbench.datasets.feed.store import Shape, open_store
from dfdgbench.errors import DataError
from dfdgbench.leases import Lease, _started

SHAPE = Shape(12, 12)
ANOTHER = os.getppid()


@pytest.fixture
def files(folder: Domain) -> FolderDomain:
    assert isinstance(folder, FolderDomain)
    return folder


def left_by(path: Path, owner: str) -> Path:
    """A reader's mark in the store at ``path``."""
    (path / "readers").mkdir(exist_ok=True)
    (path / "readers" / "mark").write_text(owner + "\n")
    return path / "readers" / "mark"


def here(pid: int) -> str:
    return f"{socket.gethostname()} {pid} {_started(pid)} 0"


def test_every_size_is_found(files: FolderDomain, tmp_path: Path) -> None:
    (tmp_path / "stores" / "notes").mkdir(parents=True)
    for side in (12, 7):
        open_store(files, Shape(side, side), [tmp_path / "stores"], dataset="PACS")
    found = list(stores_in([tmp_path / "stores", tmp_path / "nowhere"]))
    assert [(each.dataset, each.domain, each.shape, each.images, each.bytes) for each in found] == [
        ("PACS", "art", SHAPE, 9, 9 * (12 * 12 * 3 + 8)),
        ("PACS", "art", Shape(7, 7), 9, 9 * (7 * 7 * 3 + 8)),
    ]
    assert stores_of(files, [tmp_path / "stores"]) == found
    (files.root / files.files[0]).unlink()
    assert stores_of(folder_domain("art", files.root, ("cat", "dog", "emu")), [tmp_path / "stores"]) == []


def test_a_store_of_an_earlier_version_and_a_half_built_one_are_listed(files: FolderDomain, tmp_path: Path) -> None:
    path = open_store(files, SHAPE, [tmp_path], dataset="PACS").path
    (path / "store.json").write_text('{"images": 9, "format": 1}')
    found = stored(path)
    assert found is not None
    assert (found.dataset, found.domain, found.whole) == ("", "art", True)
    (path / "store.json").unlink()
    found = stored(path)
    assert found is not None
    assert not found.whole
    remove(path)
    assert not path.exists()


def test_a_removed_store_is_gone_and_built_anew(files: FolderDomain, tmp_path: Path) -> None:
    made = open_store(files, SHAPE, [tmp_path])
    content = made.pixels.copy()
    remove(made.path)  # this process reads it, and knows what it does
    assert [path.name for path in tmp_path.iterdir() if "image" in path.name] == []
    assert np.array_equal(open_store(files, SHAPE, [tmp_path]).pixels, content)


READING = """
import sys
from pathlib import Path
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.datasets.feed import store
domain = folder_domain("art", Path(sys.argv[1]), ("cat", "dog", "emu"))
made = store.open_store(domain, store.Shape(12, 12), [Path(sys.argv[2])])
print("open", flush=True)
sys.stdin.readline()
"""


def test_a_store_that_another_process_reads_is_not_removed(files: FolderDomain, tmp_path: Path) -> None:
    path = open_store(files, SHAPE, [tmp_path]).path
    reading = subprocess.Popen(
        [sys.executable, "-c", READING, str(files.root), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reading.stdout is not None
    assert reading.stdout.readline() == "open\n"
    with pytest.raises(DataError, match=rf"is in use: process {reading.pid} on {socket.gethostname()}\. Type the same"):
        remove(path)
    assert (path / "store.json").is_file()
    reading.communicate("\n", timeout=60)
    assert readers(path) == []
    remove(path)
    assert not path.exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_reader_that_comes_while_a_store_is_removed(
    files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It either marks the store before the removal looks again, or finds it unfit and builds another."""
    path = open_store(files, SHAPE, [tmp_path]).path
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if moment == "before":
            left_by(path, here(ANOTHER))
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    if moment == "before":
        with pytest.raises(DataError, match="is in use"):
            remove(path)
        assert stored(path).whole  # type: ignore[union-attr]
        return
    looked: list[Path] = []

    def find(*args: object) -> Path | None:
        looked.append(path)
        return path if len(looked) == 1 else None

    monkeypatch.setattr(store, "find_store", find)
    remove(path)
    assert open_store(files, SHAPE, [tmp_path]).path == path
    assert len(looked) == 2


def test_marks_of_the_dead_count_for_nothing(files: FolderDomain, tmp_path: Path) -> None:
    path = open_store(files, SHAPE, [tmp_path]).path
    ended = subprocess.Popen(["true"])
    ended.wait()
    for owner in (here(ended.pid), "elsewhere 1 1 0"):
        mark = left_by(path, owner)
        old = time.time() - marks.STALE - 5
        os.utime(mark, (old, old))
        assert readers(path) == []
        assert not mark.exists()


def test_a_mark_from_another_machine_holds_while_it_is_touched(files: FolderDomain, tmp_path: Path) -> None:
    path = open_store(files, SHAPE, [tmp_path]).path
    left_by(path, "elsewhere 17 1 0")
    with pytest.raises(DataError, match="is in use: process 17 on elsewhere"):
        remove(path)


def test_a_mark_is_touched_and_taken_away(files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "BEAT", 0.01)
    monkeypatch.setattr(marks, "_beating", [])
    monkeypatch.setattr(marks, "_held", set())
    made = open_store(files, SHAPE, [tmp_path])
    (mark,) = (made.path / "readers").iterdir()
    os.utime(mark, (1, 1))
    ends = time.monotonic() + 10
    while mark.stat().st_mtime == 1 and time.monotonic() < ends:
        time.sleep(0.01)
    assert mark.stat().st_mtime > 1
    path = made.path
    del made
    gc.collect()
    assert list((path / "readers").iterdir()) == []
    assert last_used(path) > time.time() - 60


def test_a_store_that_may_not_be_written_is_read_without_a_mark(tmp_path: Path) -> None:
    Mark(tmp_path / "nowhere").release()
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_is_being_built_is_not_removed(
    files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / store.store_name(files, SHAPE)
    path.mkdir()
    lease = Lease(path.with_suffix(".lease"), beat=0.05)
    assert lease.try_acquire()
    try:
        with pytest.raises(DataError, match=rf"is being built \(process {os.getpid()} on"):
            remove(path)
    finally:
        lease.release()
    assert path.is_dir()
    remove(path)
    assert not path.exists()


def test_many_threads_open_and_close(files: FolderDomain, tmp_path: Path) -> None:
    path = open_store(files, SHAPE, [tmp_path]).path
    threads = [threading.Thread(target=lambda: open_store(files, SHAPE, [tmp_path])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert list((path / "readers").iterdir()) == []
