"""Stores: built once, resumed, shared, found again when the tree moves, and never half-built taken for whole."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.disk.masks import read_indexed, table
from dfdgbench.datasets.domains import FolderDomain, MaskedDomain, folder_domain
from dfdgbench.datasets.feed import pool, store
from dfdgbench.datasets.feed.pixels import plain
from dfdgbench.datasets.feed.readers import DataPath, StoreReader
from dfdgbench.datasets.feed.shapes import train_side
from dfdgbench.datasets.feed.store import Shape, Store, find_store, open_store
from dfdgbench.errors import DataError

SHAPE = Shape(12, 12)


@pytest.fixture
def files(folder: Domain) -> FolderDomain:
    assert isinstance(folder, FolderDomain)
    return folder


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHUNK", 2)
    monkeypatch.setattr(store, "SYNCED", 1)


def content(files: FolderDomain) -> np.ndarray:
    return np.stack([plain(files.image(index), 12, 12) for index in range(len(files))])


def test_a_store_holds_plain_images_and_the_sizes_of_files(files: FolderDomain, tmp_path: Path) -> None:
    made = open_store(files, SHAPE, [tmp_path / "stores"])
    assert np.array_equal(made.pixels, content(files))
    assert made.sizes.tolist() == [[16, 20]] * 9
    assert not made.lossless
    assert open_store(files, Shape(16, 20), [tmp_path / "stores"]).lossless
    assert not (made.path / "progress").exists()


def test_processes_change_nothing(files: FolderDomain, tmp_path: Path, small_chunks: None) -> None:
    alone, together = (open_store(files, SHAPE, [tmp_path / str(jobs)], jobs=jobs) for jobs in (1, 2))
    assert np.array_equal(alone.pixels, together.pixels)


def test_a_store_is_built_once_and_found_when_the_tree_moves(
    files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(files, SHAPE, [tmp_path / "stores"])
    shutil.move(files.root, tmp_path / "moved")
    monkeypatch.setattr(store, "_build", lambda *args: pytest.fail("built again"))
    moved = folder_domain("art", tmp_path / "moved", ("cat", "dog", "emu"))
    assert open_store(moved, SHAPE, [tmp_path / "elsewhere", tmp_path / "stores"]).path == first.path
    assert find_store(moved, SHAPE, [tmp_path / "stores"])
    assert not find_store(moved, Shape(13, 13), [tmp_path / "stores"])


def test_changed_files_make_another_store(files: FolderDomain, tmp_path: Path) -> None:
    first = open_store(files, SHAPE, [tmp_path / "stores"])
    (files.root / files.files[0]).unlink()
    fewer = folder_domain("art", files.root, ("cat", "dog", "emu"))
    assert open_store(fewer, SHAPE, [tmp_path / "stores"]).path != first.path


def test_a_stopped_build_goes_on(
    files: FolderDomain, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, real = [], store.write_rows

    def counted(part: FolderDomain, start: int, shape: Shape, path: str) -> None:
        if len(rows) == 3:
            raise KeyboardInterrupt
        rows.append(start)
        real(part, start, shape, path)

    monkeypatch.setattr(store, "write_rows", counted)
    with pytest.raises(KeyboardInterrupt):
        open_store(files, SHAPE, [tmp_path])
    assert not find_store(files, SHAPE, [tmp_path])
    monkeypatch.setattr(store, "write_rows", lambda *args: real(*args) or rows.append(args[1]))
    assert np.array_equal(open_store(files, SHAPE, [tmp_path]).pixels, content(files))
    assert rows == [0, 2, 4, 6, 8]


KILLED = """
import os, signal, sys
from dfdgbench.datasets.domains import folder_domain
from dfdgbench.datasets.disk.masks import read_indexed, table
from dfdgbench.datasets.feed import pool, store
from pathlib import Path
store.CHUNK, store.SYNCED = 2, 1
def die(done, total):
    if done >= 4:
        os.kill(os.getpid(), signal.SIGKILL)
domain = folder_domain("art", Path(sys.argv[1]), ("cat", "dog", "emu"))
store.open_store(domain, store.Shape(12, 12), [Path(sys.argv[2])], progress=die)
"""


def test_a_killed_build_is_not_taken_for_whole_and_goes_on(
    files: FolderDomain, tmp_path: Path, small_chunks: None
) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(files.root), str(tmp_path)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert not find_store(files, SHAPE, [tmp_path])
    done: list[int] = []
    made = open_store(files, SHAPE, [tmp_path], progress=lambda count, total: done.append(count))
    assert done == [6, 8, 9], "what had been written was decoded again"
    assert np.array_equal(made.pixels, content(files))


def test_what_a_half_built_store_has_lost_is_decoded_again(
    files: FolderDomain, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(files, SHAPE, [tmp_path], progress=stop)
    (half,) = (path for path in tmp_path.iterdir() if (path / "progress").is_file())
    os.truncate(half / "pixels", 0)
    assert np.array_equal(open_store(files, SHAPE, [tmp_path]).pixels, content(files))


def test_a_store_that_is_removed_while_it_is_built(files: FolderDomain, tmp_path: Path, small_chunks: None) -> None:
    def remove(done: int, total: int) -> None:
        shutil.rmtree(tmp_path / store.store_name(files, SHAPE), ignore_errors=True)

    with pytest.raises(DataError, match=r"cannot be written .* was removed .* Type the same command again"):
        open_store(files, SHAPE, [tmp_path], progress=remove)
    assert np.array_equal(open_store(files, SHAPE, [tmp_path]).pixels, content(files))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk(
    files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, late: bool
) -> None:
    def full(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite" if late else "posix_fallocate", full)
    with pytest.raises(DataError, match=r"has no room .* Make room, type --store-dir DIR .* --data-path exact"):
        open_store(files, SHAPE, [tmp_path / "stores"])
    monkeypatch.undo()
    left = [path for path in (tmp_path / "stores").iterdir() if path.suffix != ".lease"]
    assert left == []
    assert np.array_equal(open_store(files, SHAPE, [tmp_path / "stores"]).pixels, content(files))


def test_a_folder_that_cannot_be_written(files: FolderDomain, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "dfdgbench"):
        made = open_store(files, SHAPE, [tmp_path / "file" / "stores", tmp_path / "cache"])
    assert made.path.parent == tmp_path / "cache"
    said = f"{tmp_path / 'file' / 'stores'} (Not a directory) cannot be written; decoded images are kept in {tmp_path / 'cache'}"
    assert said in caplog.text
    with pytest.raises(DataError, match="--store-dir DIR"):
        open_store(files, Shape(5, 5), [tmp_path / "file" / "stores"])


def test_where_stores_are_is_said_once(files: FolderDomain, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    for side in (4, 5, 6):
        open_store(files, Shape(side, side), [tmp_path / "file", tmp_path / "cache"])
    assert caplog.text.count("cannot be written") == 1


def test_a_disk_too_full_for_a_byte_is_passed_over(
    files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        path.touch()
        if path.parent.name == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    assert open_store(files, SHAPE, [tmp_path / "full", tmp_path / "cache"]).path.parent == tmp_path / "cache"
    assert list((tmp_path / "full").iterdir()) == []
    with pytest.raises(DataError, match=r"full \(No space left on device\) can be written"):
        open_store(files, Shape(5, 5), [tmp_path / "full"])


def test_a_store_that_may_not_be_read(files: FolderDomain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    open_store(files, SHAPE, [tmp_path])
    monkeypatch.setattr(np, "memmap", refused)
    with pytest.raises(DataError, match=r"may not be read \(Permission denied\)\. .* chmod -R a\+rX"):
        open_store(files, SHAPE, [tmp_path])


def test_a_domain_of_a_long_name(files: FolderDomain, tmp_path: Path) -> None:
    named = FolderDomain("long " * 51, files.root, files.files, files.labels)
    assert np.array_equal(open_store(named, SHAPE, [tmp_path]).pixels, content(files))


def test_a_damaged_file_is_named_and_leaves_no_store(files: FolderDomain, tmp_path: Path) -> None:
    (files.root / files.files[4]).write_bytes(b"")
    with pytest.raises(DataError, match=r"^The image .*pic_001.png cannot be decoded \(the file is empty\)"):
        open_store(files, SHAPE, [tmp_path / "stores"])
    assert not find_store(files, SHAPE, [tmp_path / "stores"])


def test_a_cut_store_is_told(files: FolderDomain, tmp_path: Path) -> None:
    made = open_store(files, SHAPE, [tmp_path / "stores"])
    os.truncate(made.path / "pixels", 100)
    with pytest.raises(DataError, match=r"is damaged .* Remove the folder"):
        open_store(files, SHAPE, [tmp_path / "stores"])


def test_masks_are_nearest_and_unlabelled_ones_are_ignored(files: FolderDomain, tmp_path: Path) -> None:
    def read(path: str) -> np.ndarray:
        return np.arange(6, dtype=np.uint8).reshape(2, 3)

    masked = MaskedDomain("scenes", files.root, files.files[:2], [files.files[0], ""], read)
    made = open_store(masked, Shape(4, 6, "mask"), [tmp_path / "stores"])
    assert made.pixels[0, ..., 0].tolist() == np.repeat(np.repeat(np.arange(6).reshape(2, 3), 2, 0), 2, 1).tolist()
    assert (made.pixels[1] == 255).all()


def test_the_same_masks_read_as_other_classes_are_another_store(files: FolderDomain, tmp_path: Path) -> None:
    Image.new("L", (20, 16), 7).save(files.root / "mask.png")

    def read_as(label: int) -> Store:
        read = partial(read_indexed, lookup=table({7: label}))
        masked = MaskedDomain("scenes", files.root, files.files[:1], ["mask.png"], read)
        return open_store(masked, Shape(4, 6, "mask"), [tmp_path / "stores"])

    assert [np.unique(read_as(label).pixels).tolist() for label in (1, 2, 1)] == [[1], [2], [1]]
    assert read_as(1).path == read_as(1).path


def test_the_side_of_a_store_lets_the_smallest_crop_fill_the_network() -> None:
    assert train_side(224, None) == 268
    assert train_side(224, 227) == 227
    assert train_side(224, 1024) == 268
    assert train_side(224, 32) == 32


def test_a_lossless_store_serves_evaluation_too(files: FolderDomain, tmp_path: Path) -> None:
    for file in files.files[1:]:
        Image.open(files.root / file).resize((14, 14)).save(files.root / file)
    path = DataPath("fast", (tmp_path / "stores",))
    uneven = StoreReader(folder_domain("art", files.root, ("cat", "dog", "emu")), 12, path, native=14)
    assert uneven.train.shape == Shape(14, 14)
    assert uneven.whole.shape == SHAPE, "one file was of another size"
    Image.open(files.root / files.files[0]).resize((14, 14)).save(files.root / files.files[0])
    even = StoreReader(folder_domain("art", files.root, ("cat", "dog", "emu")), 12, path, native=14)
    assert even.whole is even.train
    wanted = torch.from_numpy(content(files)).permute(0, 3, 1, 2) / 255
    assert torch.equal(even.start(np.arange(9), None)(), wanted)


# Worker processes ----------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_told_and_replaced(
    files: FolderDomain, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "write_rows", lambda *args: os._exit(1))
    with pytest.raises(DataError, match=r"was killed .* `dfdgbench data cache NAME --jobs 1`"):
        open_store(files, SHAPE, [tmp_path], jobs=2)
    monkeypatch.undo()
    assert np.array_equal(open_store(files, SHAPE, [tmp_path], jobs=2).pixels, content(files))


def test_signals_are_for_the_parent(tmp_path: Path) -> None:
    """A terminal and a scheduler send them to all processes of a group; the parent may want its batch to end in peace."""
    worker = pool.shared(2).submit(os.getpid).result()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, number)
    for future in [pool.shared(2).submit(time.sleep, 0.2) for _ in range(4)]:
        future.result()
    os.kill(worker, 0)


ORPHANED = """
import os, signal
from dfdgbench.datasets.feed import pool
print(pool.shared(2).submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_parent_that_is_killed() -> None:
    # A pipe, which a worker that lives on would keep open.
    ended = subprocess.run([sys.executable, "-c", ORPHANED], stdout=subprocess.PIPE, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert int(ended.stdout) > 0
