"""`dfdgbench data download` from end to end: a dataset is there, whole, or what was there is as it was."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from toy_dataset import COUNT, Toy, pictures, registered, serve, tarred, tree, work, write, zipped
from web_server import Served, Web, serving

from dfdgbench.datasets.base import DATASETS, Domain
from dfdgbench.datasets.check import extras
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.get import obtain as module
from dfdgbench.datasets.get import room, transfer
from dfdgbench.datasets.get.obtain import Outcome, obtain, wanted
from dfdgbench.datasets.get.workfolder import WorkFolder
from dfdgbench.errors import DataError, MissingDataError, MissingExtraError, UnknownNameError

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


def test_whole(toy: Served, data: Path) -> None:
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert tree(data) == PICTURES
    assert [work(data, which) for which in ("downloads", "staging", "leases")] == [[], [], []]
    assert obtain("Toy", data) == Outcome("there", WHOLE)
    assert len(toy.requests) == 1


def test_archives_may_be_kept(toy: Served, data: Path) -> None:
    obtain("Toy", data, keep=True)
    assert (data / ".dfdgbench/downloads/Toy/toy.zip").read_bytes() == toy.content
    shutil.rmtree(data / "Toy")
    obtain("Toy", data)
    assert len(toy.requests) == 1
    assert work(data) == []


def test_several_sources_into_several_folders(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive into a folder, an archive with its own, a plain file, and one packed file that its reader unpacks."""
    registered(
        monkeypatch,
        serve(web, "ink.tar.gz", tarred(pictures("ink", below=".")), into="Toy"),
        serve(web, "oil.zip", zipped(pictures("oil"))),
        serve(web, "list.txt", b"listed", known=False, into="Toy/lists"),
        serve(web, "labels.gz", b"packed", into="Beside"),
    )
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert tree(data) == PICTURES | {"Toy/lists/list.txt": b"listed", "Beside/labels.gz": b"packed"}
    assert work(data) == ["sha256.json"]


def test_prepare_brings_the_layout(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(Toy):
        @classmethod
        def prepare(cls, staging: Path) -> None:
            (staging / "toy-master" / "images").rename(staging / "Toy")
            shutil.rmtree(staging / "toy-master")

    files = pictures(below="toy-master/images") | {"toy-master/README": b"", "__MACOSX/x": b"", ".DS_Store": b""}
    registered(monkeypatch, serve(web, "toy.tar.gz", tarred(files)), base=Renamed)
    obtain("Toy", data)
    assert tree(data) == PICTURES


def test_a_prepare_that_fails_says_where_the_archives_are(
    web: Web, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(Toy):
        @classmethod
        def prepare(cls, staging: Path) -> None:
            raise DataError("There is no folder kfold.")

    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES)), base=Picky)
    with pytest.raises(
        DataError, match=r"not what was expected\. There is no folder kfold\. What was downloaded is kept in"
    ):
        obtain("Toy", data)
    assert work(data) == ["toy.zip"]
    assert work(data, "staging") == []


class Derived(Toy):
    """Its oil paintings are made of its ink drawings."""

    @classmethod
    def build(cls, data_dir: Path) -> list[str]:
        ink, oil = (data_dir / "Toy" / name for name in ("ink", "oil"))
        if not ink.is_dir():
            raise MissingDataError("There is no ink.")
        if oil.is_dir():
            return []
        shutil.copytree(ink, oil)
        return [f"Oil was made of ink: {oil}"]


def test_what_can_be_built_is_not_downloaded(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registered(monkeypatch, base=Derived)
    write(data, pictures("ink"))
    assert obtain("Toy", data, offline=True) == Outcome("built", WHOLE)
    assert f"Oil was made of ink: {data / 'Toy' / 'oil'}" in caplog.messages
    assert obtain("Toy", data) == Outcome("there", WHOLE)


def test_what_is_built_of_a_download(
    web: Web, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registered(monkeypatch, serve(web, "ink.zip", zipped(pictures("ink"))), base=Derived)
    data.mkdir(parents=True)
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert sorted(path.name for path in (data / "Toy").iterdir()) == ["ink", "oil"]
    assert f"Oil was made of ink: {data / 'Toy' / 'oil'}" in caplog.messages


def test_an_embedded_dataset_needs_nothing(data: Path) -> None:
    assert obtain("MiniDigits", data) == Outcome("embedded")
    assert not data.exists()


def test_a_misspelt_name(data: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean PACS"):
        obtain("PACSS", data)


def test_data_behind_a_login(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, manual="Sign in at https://example.org and take toy.zip.")
    with pytest.raises(DataError) as raised:
        obtain("Toy", data)
    assert str(raised.value).splitlines() == [
        "Toy cannot be downloaded by a command. Sign in at https://example.org and take toy.zip.",
        f"It belongs in {data}: Toy/{{ink,oil}}/{{cat,dog}}/IMAGE",
        f"Then type: dfdgbench data status Toy --data-dir {data}",
    ]
    assert not data.exists()


def test_a_missing_extra_is_told_before_anything_is_fetched(
    toy: Served, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Toy, "metadata", Toy.metadata.model_copy(update={"extra": "wilds"}))
    registered(monkeypatch, *DATASETS.get("Toy").metadata.sources)
    monkeypatch.setattr(extras, "requires", lambda name: ["numpy>=1", 'nosuchpackage>=2; extra == "wilds"'])
    with pytest.raises(MissingExtraError, match=r"Reading Toy needs the package 'nosuchpackage'.*dfdgbench\[wilds\]"):
        obtain("Toy", data)
    assert not toy.requests
    monkeypatch.setattr(
        extras, "requires", lambda name: ['nosuchpackage; extra == "gpu"', 'numpy>=1; extra == "wilds"']
    )
    assert obtain("Toy", data).how == "downloaded"


def test_a_folder_that_is_wrong_is_not_touched(toy: Served, data: Path) -> None:
    write(data, PICTURES)
    (data / "Toy/ink/cat/0.png").unlink()
    before = tree(data)
    with pytest.raises(DataError, match=r"domain 'ink': 3 images instead of 4\. Move away or remove what is wrong"):
        obtain("Toy", data)
    assert tree(data) == before
    assert not toy.requests
    shutil.rmtree(data / "Toy/ink")
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert tree(data) == PICTURES


def test_missing_domains_are_added_and_others_left_alone(toy: Served, data: Path) -> None:
    mine = {name.replace("/0.png", "/mine.png"): content for name, content in pictures("oil").items()}
    write(data, mine | {"Toy/notes.txt": b"mine"})
    obtain("Toy", data)
    assert tree(data) == mine | {"Toy/notes.txt": b"mine"} | pictures("ink")


def test_files_in_use_are_not_downloaded_again(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Digits is there and DigitsBuilt is asked for."""
    registered(
        monkeypatch,
        serve(web, "toy.zip", zipped(PICTURES)),
        serve(web, "labels.gz", b"labels", into="Toy"),
        serve(web, "other.gz", b"other", into="Toy"),
    )
    write(data, {"Toy/labels.gz": b"labels", "Toy/other.gz": b"spoilt"})
    obtain("Toy", data)
    assert [len(web.files[name].requests) for name in ("toy.zip", "labels.gz", "other.gz")] == [1, 0, 1]
    assert tree(data) == PICTURES | {"Toy/labels.gz": b"labels", "Toy/other.gz": b"spoilt"}


def test_an_archive_that_is_not_the_dataset(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, serve(web, "toy.zip", zipped(pictures("ink"))), homepage="https://example.org")
    with pytest.raises(
        DataError, match=r"Toy was downloaded and unpacked, but is not whole: domain 'oil': .*example\.org"
    ):
        obtain("Toy", data)
    assert tree(data) == {}
    assert work(data) == ["toy.zip"]
    assert work(data, "staging") == []


def test_what_was_downloaded_is_opened_and_not_only_counted(
    web: Web, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unread(Toy):
        def listed(self, index: int) -> int:
            return COUNT

        def open(self, index: int) -> Domain:
            domain = super().open(index)
            if index:
                raise DataError("Its labels are no numbers. Download it again.")
            return domain

    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES)), base=Unread)
    write(data, pictures("oil"))
    assert [row.state for row in status("Toy", data).domains] == ["ok", "ok"]
    with pytest.raises(DataError, match=r"Toy in .* is not whole.*domain 'oil': Its labels are no numbers\. Move away"):
        obtain("Toy", data)
    shutil.rmtree(data / "Toy")
    with pytest.raises(DataError, match=r"unpacked, but is not whole: domain 'oil': Its labels are no numbers"):
        obtain("Toy", data)
    assert tree(data) == {}


def test_a_damaged_archive_is_downloaded_again(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = zipped(PICTURES)
    registered(monkeypatch, serve(web, "toy.zip", content[:-40], known=False))
    with pytest.raises(
        DataError, match=r"cut short or spoilt.*It was laid aside as toy\.zip\.damaged: type the same command"
    ):
        obtain("Toy", data)
    assert tree(data) == {}
    web.serve("toy.zip", content)
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)


def test_a_malicious_archive_leaves_nothing(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES | {"../../../../evil": b"x"})))
    with pytest.raises(DataError, match="evil' would land outside"):
        obtain("Toy", data)
    assert tree(data) == {}
    assert work(data, "staging") == []
    assert not list(data.parent.parent.rglob("evil"))


# Offline, and what would be done.


@pytest.mark.parametrize("by", ["option", "environment"])
def test_offline_says_what_would_be_fetched(
    toy: Served, web: Web, data: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setenv(module.OFFLINE, "1" if by == "environment" else "0")
    with pytest.raises(DataError) as raised:
        obtain("Toy", data, offline=by == "option")
    folder = data / ".dfdgbench/downloads/Toy"
    assert f"  toy.zip ({room.size(len(toy.content))}): {web.url('toy.zip')}\n" in str(raised.value)
    assert f"Put the files into {folder}" in str(raised.value)
    assert not toy.requests
    write(folder, {"toy.zip": toy.content})
    assert obtain("Toy", data, offline=True) == Outcome("downloaded", WHOLE)


def test_what_is_wanted(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (serve(web, name, bytes(100)) for name in ("a.zip", "b.gz", "c.gz"))
    metadata = registered(monkeypatch, first, second, third).metadata
    folder = data / ".dfdgbench/downloads/Toy"
    write(folder, {transfer.part_of(folder / "a.zip", first.urls[0]).name: b"seven..", "b.gz": bytes(100)})
    write(data, {"c.gz": bytes(100)})
    found = wanted(metadata, data)
    assert [(file.source, file.at, file.come) for file in found] == [
        (first, None, 7), (second, folder / "b.gz", 0), (third, data / "c.gz", 0),
    ]  # fmt: skip


# Room.


def test_room_is_checked_beforehand(toy: Served, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free", lambda path: 2 * len(toy.content) - 1)
    with pytest.raises(DataError, match="Toy, downloaded and unpacked, needs"):
        obtain("Toy", data)
    assert not toy.requests
    monkeypatch.setattr(room, "free", lambda path: 1 << 20)
    obtain("Toy", data)


def test_a_disk_that_fills_up_meanwhile(toy: Served, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*anything: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(data))

    with monkeypatch.context() as patch:
        patch.setattr(WorkFolder, "publish", full)
        with pytest.raises(DataError, match=r"Downloading Toy failed at .*No space left on device.*make room"):
            obtain("Toy", data)
    assert obtain("Toy", data) == Outcome("downloaded", WHOLE)
    assert len(toy.requests) == 1


def test_a_folder_that_may_not_be_written_to(toy: Served, data: Path) -> None:
    data.parent.mkdir()
    data.write_text("a file, where a folder is expected")
    with pytest.raises(DataError, match=f"Downloading Toy failed at {data}.*choose another folder with --data-dir"):
        obtain("Toy", data)


def test_a_merge_that_does_not_make_it_whole_is_told(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file where the archive has a folder: it stays, and the message says so."""
    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES)))
    write(data, {"Toy/oil": b"mine"})
    with pytest.raises(DataError, match=r"was added to .*, but it is not whole: domain 'oil': .*Move away or remove"):
        obtain("Toy", data)
    assert tree(data) == {"Toy/oil": b"mine"} | pictures("ink")
    assert work(data, "staging") == []


def test_without_hard_links_files_are_copied(web: Web, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*anything: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    registered(monkeypatch, serve(web, "toy.zip", zipped(PICTURES)), serve(web, "list.txt", b"listed", into="Toy"))
    monkeypatch.setattr(os, "link", refuse)
    obtain("Toy", data)
    assert tree(data) == PICTURES | {"Toy/list.txt": b"listed"}


def test_run_from_its_sources_no_extra_is_known(toy: Served, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise PackageNotFoundError(name)

    registered(monkeypatch, *DATASETS.get("Toy").metadata.sources, extra="wilds")
    monkeypatch.setattr(extras, "requires", unknown)
    assert obtain("Toy", data).how == "downloaded"
