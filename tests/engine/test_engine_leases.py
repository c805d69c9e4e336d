"""Leases: one holder at a time, and dead holders are succeeded."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dfdgbench.errors import ArtifactError
from dfdgbench.leases import Lease

FOREIGN = "another-machine 17 4 0123abcd"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lease"


def test_only_one_holder_at_a_time(path: Path) -> None:
    first, second = Lease(path), Lease(path)
    assert first.try_acquire()
    assert not second.try_acquire()
    second.release()
    assert path.exists(), "who does not hold a lease cannot give it back"
    first.release()
    assert not path.exists()
    assert second.try_acquire()
    second.release()


def test_threads_hold_it_one_after_the_other(path: Path) -> None:
    holders, most, done = [0], [0], [0]

    def work() -> None:
        with Lease(path).waiting() as ours:
            assert ours
            holders[0] += 1
            most[0] = max(most[0], holders[0])
            time.sleep(0.01)
            done[0] += 1
            holders[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (done[0], most[0]) == (6, 1)
    assert not path.exists()


def test_a_killed_process_that_its_parent_has_not_looked_at_is_dead(path: Path) -> None:
    take = f"assert leases.Lease(leases.Path({str(path)!r})).try_acquire()"
    code = f"import os, signal\nfrom dfdgbench import leases\n{take}\nos.kill(os.getpid(), signal.SIGKILL)"
    holder = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 30
        while " Z " not in Path(f"/proc/{holder.pid}/stat").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        began = time.monotonic()
        with Lease(path).waiting() as ours:
            assert ours
        assert time.monotonic() - began < 30, "waited until the heartbeat was stale"
    finally:
        holder.wait(30)


def test_a_dead_process_of_this_machine_is_succeeded_at_once(path: Path) -> None:
    take = f"assert leases.Lease(leases.Path({str(path)!r})).try_acquire()"
    code = f"import os\nfrom dfdgbench import leases\n{take}\nos._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert path.exists()
    began = time.monotonic()
    with Lease(path, stale=1e9).waiting(lambda: time.monotonic() > began + 5) as ours:
        assert ours


def test_a_process_that_got_the_number_of_a_dead_one_is_not_taken_for_it(path: Path) -> None:
    own = Lease(path).owner.split(" ")
    path.parent.mkdir()
    path.write_text(f"{own[0]} {own[1]} {int(own[2]) - 1} 0123abcd\n{0:020d}\n")
    deadline = time.monotonic() + 5
    with Lease(path, stale=1e9).waiting(lambda: time.monotonic() > deadline) as ours:
        assert ours


def test_a_silent_holder_elsewhere_is_succeeded_after_a_while(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"{FOREIGN}\n{0:020d}\n")
    os.utime(path, (0, 0))  # what the file's clock says does not matter
    told: list[str] = []
    began = time.monotonic()
    with Lease(path, stale=0.3).waiting(lambda: time.monotonic() > began + 10, told.append) as ours:
        assert ours
    assert time.monotonic() - began >= 0.3
    assert told == [FOREIGN]


def test_a_holder_elsewhere_whose_heart_beats_is_waited_for(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"{FOREIGN}\n{0:020d}\n")
    stop = threading.Event()
    began = time.monotonic()

    def beat() -> None:
        for count in range(1, 1000):
            if stop.wait(0.02):
                return
            path.write_text(f"{FOREIGN}\n{count:020d}\n")

    heart = threading.Thread(target=beat)
    heart.start()
    with Lease(path, stale=2.0).waiting(lambda: time.monotonic() - began > 3.0) as ours:
        assert not ours
    stop.set()
    heart.join()
    assert path.read_text().startswith(FOREIGN)


def test_a_holders_heart_beats(path: Path) -> None:
    lease = Lease(path, beat=0.01)
    assert lease.try_acquire()
    first = path.read_text()
    deadline = time.monotonic() + 10
    while path.read_text() in (first, "") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.read_text() not in (first, "")
    assert path.read_text().split("\n")[0] == lease.owner
    lease.release()


def test_waiting_ends_without_the_lease_when_the_work_is_done(path: Path) -> None:
    holder = Lease(path)
    assert holder.try_acquire()
    ready = iter([False, False, True])
    with Lease(path).waiting(lambda: next(ready)) as ours:
        assert not ours
    assert path.exists()
    holder.release()


def test_a_lease_that_was_taken_over_is_not_given_back(path: Path) -> None:
    lost = Lease(path, beat=0.01)
    assert lost.try_acquire()
    path.unlink()
    path.write_text(f"{FOREIGN}\n{0:020d}\n")
    lost.release()
    assert path.read_text().startswith(FOREIGN)


def test_an_observer_that_comes_late_puts_the_new_holders_file_back(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(f"{FOREIGN}\n{5:020d}\n")
    Lease(path)._take_from(f"dead\n{0:020d}\n")
    assert path.read_text().startswith(FOREIGN)
    assert [file.name for file in path.parent.iterdir()] == ["lease"]


def test_a_file_that_its_maker_never_filled_is_succeeded(path: Path) -> None:
    """Its maker was killed between making the file and writing its name."""
    path.parent.mkdir()
    path.touch()
    deadline = time.monotonic() + 10
    with Lease(path, stale=0.2).waiting(lambda: time.monotonic() > deadline) as ours:
        assert ours


def test_a_lease_that_cannot_be_written_leaves_no_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(lease: Lease, count: int) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lease, "_text", full)
    with pytest.raises(ArtifactError, match=r"A lease could not be written .*No space left"):
        Lease(path).try_acquire()
    assert not path.exists()


def test_an_error_in_the_body_gives_the_lease_back(path: Path) -> None:
    with pytest.raises(ValueError, match="x"), Lease(path).waiting():
        raise ValueError("x")
    assert not path.exists()
