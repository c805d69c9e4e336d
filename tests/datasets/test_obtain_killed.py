"""A download that is killed at any instant goes on with the same command, and two at once do the work once."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_dataset import COUNT, Toy, pictures, registered, serve, tree, work, write, zipped
from web_server import Served, Web, serving

from dfdgbench.datasets.base import DATASETS, Domain
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.get import archives, transfer, workfolder
from dfdgbench.datasets.get import obtain as module
from dfdgbench.datasets.get.obtain import Outcome, obtain
from dfdgbench.datasets.get.workfolder import WorkFolder
from dfdgbench.errors import MissingDataError

WHOLE = 2 * COUNT
PICTURES = pictures()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data folder, which does not exist yet."""
    return tmp_path / "some" / "data"


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dfdgbench")


@pytest.fixture
def toy(web: Web, monkeypatch: pytest.MonkeyPatch) -> Served:
    """Toy as one archive that the server has."""
    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES)))
    return web.files["toy.zip"]


def interrupt(*anything: object) -> None:
    raise KeyboardInterrupt


KILLS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "after the download": lambda patch: patch.setattr(module, "_unpack", interrupt),
    "while unpacking": lambda patch: patch.setattr(archives, "_unpack_zip_member", second_is_interrupted()),
    "while preparing": lambda patch: patch.setattr(Toy, "prepare", interrupt),
    "while checking": lambda patch: patch.setattr(Toy, "open", interrupt_in_staging),
    "before the move": lambda patch: patch.setattr(WorkFolder, "publish", interrupt),
    "after the move": lambda patch: patch.setattr(WorkFolder, "clear", interrupt),
}


def second_is_interrupted() -> Callable[..., None]:
    real, calls = archives._unpack_zip_member, []

    def unpack(*arguments: Any) -> None:
        real(*arguments)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    return unpack


def interrupt_in_staging(self: Toy, index: int) -> Domain:
    if "staging" in str(self.data_dir):
        raise KeyboardInterrupt
    raise MissingDataError("not there")


@pytest.mark.parametrize("when", KILLS)
def test_killed(toy: Served, data: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    with monkeypatch.context() as patch:
        KILLS[when](patch)
        with pytest.raises(KeyboardInterrupt):
            obtain("Toy", data)
    moved = when == "after the move"
    assert tree(data) == (PICTURES if moved else {})
    assert status("Toy", data).state == ("ok" if moved else "missing")
    assert obtain("Toy", data).images == WHOLE
    assert tree(data) == PICTURES
    assert [work(data, which) for which in ("downloads", "staging", "leases")] == [[], [], []]
    assert len(toy.requests) == 1


def test_killed_between_two_moves(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES | {"Beside/a": b"a", "Zoo/z": b"z"})))
    real, moves = workfolder._merge, []

    def merge(entry: Path, *more: object) -> None:
        moves.append(entry.name)
        if moves == ["Beside", "Toy"]:
            raise KeyboardInterrupt
        real(entry, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(workfolder, "_merge", merge)
    with pytest.raises(KeyboardInterrupt):
        obtain("Toy", data)
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert tree(data) == PICTURES | {"Beside/a": b"a", "Zoo/z": b"z"}
    assert len(web.files["toy.zip"].requests) == 1


def test_what_killed_processes_left_is_removed(toy: Served, data: Path) -> None:
    write(data / ".dfdgbench/staging/Toy/elsewhere-1-abc", PICTURES)
    write(data / ".dfdgbench/downloads/Toy", {"tmpabcd1234": b"pooch's"})
    obtain("Toy", data)
    assert [work(data, which) for which in ("downloads", "staging")] == [[], []]


KILLED = """
import sys
sys.path[:0] = {paths!r}
from toy_dataset import COUNT, Toy, pictures, registered, serve, source, tarred, tree, work, write, zipped
import pytest
from dfdgbench.datasets.base import Source
from dfdgbench.datasets.get.obtain import obtain
registered(pytest.MonkeyPatch(), Source.model_validate_json({source!r}))
assert "torch" not in sys.modules
obtain("Toy", {data!r})
"""


def test_really_killed(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in the middle of a file: nothing of its own is run, and the next one goes on."""
    large = {"Toy/large": random.Random(0).randbytes(4 * transfer.BLOCK)}
    known = serve(web, "toy.zip", zipped(PICTURES | large), slow=0.002)
    registered(monkeypatch, known)
    paths = [str(Path(__file__).parent.parent), str(Path(module.__file__).parents[3])]
    code = KILLED.format(paths=paths, source=known.model_dump_json(), data=str(data))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    part = transfer.part_of(data / ".dfdgbench/downloads/Toy/toy.zip", known.urls[0])
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    served, come = web.files["toy.zip"], part.stat().st_size
    assert 0 < come < len(served.content)
    assert status("Toy", data).state == "missing"
    served.slow = 0.0
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert tree(data) == PICTURES | large
    assert served.requests == ["", f"bytes={come}-"]


# Two at once.


def test_two_processes_download_once(toy: Served, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = WorkFolder(data, Toy.metadata).lease
    assert other.try_acquire()
    ended: list[Outcome] = []
    second = threading.Thread(target=lambda: ended.append(obtain("Toy", data)))
    second.start()
    deadline = time.monotonic() + 30
    while not any("by another process" in message for message in caplog.messages):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not toy.requests
    write(data, PICTURES)
    other.release()
    second.join(30)
    assert ended == [Outcome("there", WHOLE)]
    assert not toy.requests


def test_a_dead_process_is_not_waited_for(toy: Served, data: Path) -> None:
    other = WorkFolder(data, Toy.metadata).lease
    assert other.try_acquire()
    other._stop.set()
    host, _, started, identity = other.owner.split(" ")
    other.path.write_text(f"{host} 999999999 {started} {identity}\n{0:020d}\n")
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)


def test_datasets_of_one_folder_take_turns() -> None:
    digits, built = (WorkFolder(Path("data"), DATASETS.get(name).metadata) for name in ("Digits", "DigitsBuilt"))
    assert digits.lease.path == built.lease.path
    assert digits.downloads == built.downloads
    assert digits.ready != built.ready
