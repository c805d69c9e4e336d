"""The store: what is there is whole, what is damaged is made anew, what is half-written is not there."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from dfdgbench.engine.artifacts import Address, Store, size
from dfdgbench.engine.predictions import save_predictors
from dfdgbench.errors import ArtifactError

ADDRESS = Address("thing", "a-b-0", "0123456789abcdef" * 4)


@pytest.fixture
def store(artifacts: Path) -> Store:
    return Store(artifacts)


def publish(store: Store, content: str = "content") -> Path:
    with store.publishing(ADDRESS, {"stage": "thing"}) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "file").write_text(content)
    return store.path(ADDRESS)


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_artifact_is_found_by_its_address_with_a_manifest_of_every_file(store: Store) -> None:
    assert store.find(ADDRESS) is None
    folder = publish(store)
    assert store.find(ADDRESS) == folder == store.root / "thing" / "a-b-0-0123456789abcdef"
    manifest = store.verify(folder, ADDRESS.key)
    assert manifest["key"] == ADDRESS.key
    assert manifest["files"]["below/file"]["bytes"] == len("content")
    assert [entry for entry, _ in store.entries()] == [folder]
    assert size(folder) > len("content")
    assert files(store.root / ".work") == []


def test_publishing_twice_is_harmless(store: Store) -> None:
    folder = publish(store, "first")
    publish(store, "second")
    assert (folder / "below" / "file").read_text() == "first"
    assert files(store.root / ".work") == []


def test_an_error_publishes_nothing(store: Store) -> None:
    def half(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"), store.publishing(ADDRESS, {}) as folder:
        half(folder)
    assert files(store.root) == []


def test_a_half_written_folder_is_never_taken_for_whole(store: Store) -> None:
    half = store.work(ADDRESS) / "new-0"
    half.mkdir(parents=True)
    (half / "file").write_text("half")
    assert store.find(ADDRESS) is None
    assert list(store.entries()) == []


def _cut(folder: Path) -> None:
    (folder / "below" / "file").write_text("cont")


def _change(folder: Path) -> None:
    (folder / "below" / "file").write_text("c0ntent")


def _remove(folder: Path) -> None:
    (folder / "below" / "file").unlink()


def _no_manifest(folder: Path) -> None:
    (folder / "artifact.json").unlink()


def _cut_manifest(folder: Path) -> None:
    (folder / "artifact.json").write_text('{"key": "01')


def _another_key(folder: Path) -> None:
    manifest = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps(manifest | {"key": "0123456789abcdef" + "0" * 48}))


DAMAGES = {
    _cut: "4 bytes, 7 were written",
    _change: "the content of below/file has changed",
    _remove: "below/file is missing",
    _no_manifest: "artifact.json is missing",
    _cut_manifest: "artifact.json is damaged",
    _another_key: "its manifest is of the key",
}


@pytest.mark.parametrize(("damage", "told"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_damage_is_found_and_told(store: Store, damage: Callable[[Path], None], told: str) -> None:
    folder = publish(store)
    damage(folder)
    with pytest.raises(ArtifactError, match=told) as caught:
        store.find(ADDRESS)
    assert str(folder) in str(caught.value)
    aside = store.set_aside(ADDRESS)
    assert store.find(ADDRESS) is None
    assert aside.is_dir()
    publish(store)
    assert store.find(ADDRESS) == folder


def _numpy(folder: Path) -> None:
    np.save(folder / "images.npy", np.zeros(2 << 20, np.uint8))


def _text(folder: Path) -> None:
    (folder / "text").write_text("x" * (2 << 20))


def _model(folder: Path) -> None:
    save_predictors(folder / "model.safetensors", {"default": torch.nn.Linear(1000, 1000)})


@pytest.mark.parametrize("write", [_numpy, _text, _model])
def test_a_full_disk_is_told_and_nothing_half_written_is_kept(full_disk: Path, write: Callable[[Path], None]) -> None:
    store = Store(full_disk)
    with pytest.raises(ArtifactError, match="could not be written"), store.publishing(ADDRESS, {}) as folder:
        write(folder)
    assert files(full_disk) == []
    assert publish(store).is_dir(), "there is room again"


# Through the engine --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["drift.json", "facts.json", "artifact.json"])
def test_a_damaged_artifact_is_set_aside_and_made_anew(
    artifacts: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    problem = tiny.problem(artifacts)
    folder = tiny.engine(artifacts).ensure(tiny.Drift(problem))
    before = (folder / "drift.json").read_bytes()
    (folder / name).write_bytes(b"{}")
    again = tiny.Drift(problem)
    with caplog.at_level(logging.WARNING, "dfdgbench"):
        assert tiny.engine(artifacts).ensure(again) == folder
    assert (folder / "drift.json").read_bytes() == before
    assert "is damaged" in caplog.text
    assert ".damaged" in caplog.text
    assert len(list((artifacts / ".damaged" / "drift").iterdir())) == 1


def test_an_artifact_is_made_once_with_its_inputs(artifacts: Path) -> None:
    problem = tiny.problem(artifacts)
    first = tiny.Drift(problem)
    last = tiny.Drift(problem, index=1, inputs=[first])
    engine, made = tiny.engine(artifacts), []
    first.on_step = last.on_step = made.append
    folder = engine.ensure(last)
    assert made == [0, 1, 2, 3, 4] * 2
    assert engine.ensure(last) == folder
    assert tiny.engine(artifacts).ensure(tiny.Drift(problem, index=1, inputs=[first])) == folder
    assert len(made) == 10
    assert not list((artifacts / ".work").rglob("snapshot"))


def test_a_failure_is_not_kept(artifacts: Path) -> None:
    stage, engine = tiny.Drift(tiny.problem(artifacts)), tiny.engine(artifacts)

    def fail(number: int) -> None:
        if number == 2:
            raise ZeroDivisionError

    stage.on_step = fail
    with pytest.raises(ZeroDivisionError):
        engine.ensure(stage)
    assert engine.store.find(stage.address) is None
    assert not list((artifacts / ".work").rglob("*.lease"))
    stage.on_step = lambda number: None
    assert engine.ensure(stage).is_dir()


def test_the_manifest_says_what_decided_the_artifact(artifacts: Path) -> None:
    stage, engine = tiny.Drift(tiny.problem(artifacts)), tiny.engine(artifacts)
    manifest = engine.store.verify(engine.ensure(stage), stage.key)
    assert manifest["identity"] == json.loads(json.dumps(stage.identity))
    assert (manifest["stage"], manifest["steps"], manifest["released"]) == ("drift", 5, None)


# Each process waits, in its first step, for another that waits for it.
TWO = """
import logging, sys, time
from pathlib import Path
import tiny

folder = Path(sys.argv[1])

class Tell(logging.Handler):
    def emit(self, record):
        if "another process is at it" in record.getMessage():
            (folder / "waits").touch()

def until_waited_for(number):
    with open(folder / "steps", "a") as file:
        file.write(f"{number}\\n")
    deadline = time.monotonic() + 60
    while not (folder / "waits").exists() and time.monotonic() < deadline:
        time.sleep(0.01)

logging.getLogger("dfdgbench").setLevel(logging.INFO)
logging.getLogger("dfdgbench").addHandler(Tell())
stage = tiny.Drift(tiny.problem(folder / "artifacts"))
stage.on_step = until_waited_for
print(tiny.engine(folder / "artifacts").ensure(stage))
"""


def test_of_two_processes_one_makes_it_and_the_other_waits_and_uses_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO, str(tmp_path)]
    here = Path(tiny.__file__).parent
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=here) for _ in range(2)]
    found = {process.communicate(timeout=120)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "steps").read_text().split() == ["0", "1", "2", "3", "4"]
    assert (tmp_path / "waits").exists()
    assert len(found) == 1
    alone = tiny.engine(tmp_path / "alone").ensure(tiny.Drift(tiny.problem(tmp_path / "alone")))
    assert (Path(found.pop()) / "drift.json").read_bytes() == (alone / "drift.json").read_bytes()
