"""Unpacking what strangers made: whole archives come out whole, and nothing else does any harm."""

from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from dfdgbench.datasets.get import archives, room
from dfdgbench.datasets.get.archives import DamagedArchiveError, is_archive, unpack
from dfdgbench.errors import DataError

FILES = {"top/a.txt": b"first", "top/deep/er/b.bin": random.Random(0).randbytes(70_000), "top/empty": b""}
KINDS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz")
Members = list[tuple[tarfile.TarInfo, bytes]]


def tar_of(path: Path, members: Members) -> Path:
    mode = {"tar": "w", "tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[
        path.name.split(".", 1)[1]
    ]
    with tarfile.open(path, mode) as opened:  # type: ignore[call-overload]
        for member, content in members:
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, leads_to: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, leads_to, 0o755
    return member


def zip_of(path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            member.external_attr, member.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            opened.writestr(member, content)
    return path


def whole(folder: Path, kind: str) -> Path:
    if kind == "zip":
        return zip_of(folder / "a.zip", {"top/": b""} | FILES)
    members = [(entry("./", tarfile.DIRTYPE), b""), (entry("top", tarfile.DIRTYPE), b"")]
    return tar_of(folder / f"a.{kind}", members + [(entry(name), content) for name, content in FILES.items()])


def unpacked(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_out_whole(tmp_path: Path, kind: str) -> None:
    unpack(whole(tmp_path, kind), tmp_path / "new" / "out")
    assert unpacked(tmp_path / "new" / "out") == FILES


def test_names_that_are_archives() -> None:
    assert all(is_archive(f"A.{kind}") and is_archive(f"a.{kind.upper()}") for kind in KINDS)
    assert not any(map(is_archive, ("train-images-idx3-ubyte.gz", "usps.bz2", "train_32x32.mat", "zip", "a.zip.txt")))


def test_a_tar_under_a_wrong_name(tmp_path: Path) -> None:
    """What a tar is packed with is told by its first bytes."""
    unpack(whole(tmp_path, "tar").rename(tmp_path / "a.tar.gz"), tmp_path / "out")
    assert unpacked(tmp_path / "out") == FILES


def test_modes_and_owners_are_not_taken_over(tmp_path: Path) -> None:
    member = entry("a")
    member.mode, member.uid, member.mtime = 0o4777, 12345, 1
    unpack(tar_of(tmp_path / "a.tar", [(entry("d", tarfile.DIRTYPE), b""), (member, b"x")]), tmp_path / "out")
    state, plain = (tmp_path / "out" / "a").stat(), tmp_path / "plain"
    plain.touch()
    assert (state.st_mode, state.st_uid) == (plain.stat().st_mode, plain.stat().st_uid)
    assert state.st_mtime > 1e9


def test_links_within_are_kept(tmp_path: Path) -> None:
    members = [
        (entry("d/file"), b"content"),
        (entry("d/soft", tarfile.SYMTYPE, "../d/file"), b""),
        (entry("hard", tarfile.LNKTYPE, "d/file"), b""),
    ]
    unpack(tar_of(tmp_path / "a.tar", members), tmp_path / "out")
    assert (tmp_path / "out/d/soft").is_symlink()
    assert unpacked(tmp_path / "out") == dict.fromkeys(["d/file", "d/soft", "hard"], b"content")
    zip_of(tmp_path / "b.zip", {"d/soft": b"file"}, stat.S_IFLNK | 0o777)
    unpack(tmp_path / "b.zip", tmp_path / "other")
    assert os.readlink(tmp_path / "other/d/soft") == "file"


OUTSIDE: dict[str, Members] = {
    "parent": [(entry("../evil"), b"x")],
    "parent within": [(entry("a/../../evil"), b"x")],
    "absolute": [(entry("/TMP/evil"), b"x")],
    "folder": [(entry("../evil", tarfile.DIRTYPE), b"")],
    "symlink": [(entry("evil", tarfile.SYMTYPE, "../secret"), b"")],
    "absolute symlink": [(entry("evil", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    "through a symlink": [(entry("d", tarfile.SYMTYPE, "."), b""), (entry("d/evil"), b"x")],
    "over a symlink": [(entry("a"), b"x"), (entry("evil", tarfile.SYMTYPE, "a"), b""), (entry("evil"), b"x")],
    "symlink turned outwards later": [
        (entry("evil", tarfile.SYMTYPE, "d/.."), b""),
        (entry("d", tarfile.SYMTYPE, "."), b""),
    ],
    "hard link": [(entry("evil", tarfile.LNKTYPE, "../secret"), b"")],
    "absolute hard link": [(entry("evil", tarfile.LNKTYPE, "/TMP/secret"), b"")],
    "hard link through a symlink": [
        (entry("d", tarfile.SYMTYPE, "x"), b""),
        (entry("evil", tarfile.LNKTYPE, "d/a"), b""),
    ],
    "device": [(entry("evil", tarfile.CHRTYPE), b"")],
    "disk": [(entry("evil", tarfile.BLKTYPE), b"")],
    "pipe": [(entry("evil", tarfile.FIFOTYPE), b"")],
}


@pytest.mark.parametrize("guarded", [True, False], ids=["data filter", "old Python"])
@pytest.mark.parametrize("case", OUTSIDE)
def test_no_member_reaches_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, guarded: bool) -> None:
    if not guarded:
        monkeypatch.delattr(tarfile, "data_filter")
        monkeypatch.setattr(tarfile.TarFile, "extraction_filter", lambda member, path: member, raising=False)
    (tmp_path / "secret").write_bytes(b"secret")
    members: Members = []
    for member, content in OUTSIDE[case]:
        copied = entry(
            member.name.replace("/TMP", str(tmp_path)), member.type, member.linkname.replace("/TMP", str(tmp_path))
        )
        members.append((copied, content))
    archive = tar_of(tmp_path / "a.tar", [(entry("fine"), b"fine"), *members])
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    with pytest.raises(DataError) as raised:
        unpack(archive, tmp_path / "out" / "put")
    assert str(archive) in str(raised.value)
    assert "evil'" in str(raised.value)
    assert "remove it, get a.tar from another place" in str(raised.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["put"]
    assert {path: path.lstat() for path in tmp_path.iterdir() if path.name != "out"} == before


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_no_member_of_a_zip_reaches_outside(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="evil' would land outside"):
        unpack(zip_of(tmp_path / "a.zip", {"fine": b"x", name: b"x"}), tmp_path / "out" / "put")
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("leads_to", [b"../../secret", b"/etc/passwd"])
def test_no_link_of_a_zip_leads_outside(tmp_path: Path, leads_to: bytes) -> None:
    zip_of(tmp_path / "a.zip", {"evil": leads_to}, stat.S_IFLNK | 0o777)
    with pytest.raises(DataError, match="evil' is a link to"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_no_device_of_a_zip_is_made(tmp_path: Path) -> None:
    zip_of(tmp_path / "a.zip", {"evil": b""}, stat.S_IFIFO | 0o644)
    with pytest.raises(DataError, match="evil' is a device"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(archives, "ALLOWANCE", 1 << 20)
    zeros = bytes(3 << 20)
    if kind == "zip":
        archive = zip_of(tmp_path / "a.zip", {"small": b"x", "bomb": zeros})
    else:
        archive = tar_of(tmp_path / "a.tar.gz", [(entry("small"), b"x"), (entry("bomb"), zeros)])
    with pytest.raises(DataError, match=r"'bomb' makes more than .* MiB of .* KiB"):
        unpack(archive, tmp_path / "out")
    assert sum(len(content) for content in unpacked(tmp_path / "out").values()) <= 1
    unpack(archive, tmp_path / "out", limit=4 << 20)
    assert unpacked(tmp_path / "out")["bomb"] == zeros


def test_very_many_empty_files_are_a_bomb_too(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", {f"{number}": b"" for number in range(100)})
    with pytest.raises(DataError, match="makes more than"):
        unpack(archive, tmp_path / "out", limit=50 * room.BLOCK)


def test_a_header_that_is_a_bomb(tmp_path: Path) -> None:
    """A header is held in memory as a whole, so its size is limited too."""
    member = entry("a", tarfile.XHDTYPE)
    with pytest.raises(DamagedArchiveError, match="a header of"):
        unpack(tar_of(tmp_path / "a.tar.gz", [(member, bytes(archives.LARGEST_HEADER + 1))]), tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(room, "free", lambda path: 50_000)
    with pytest.raises(DataError, match=r"needs more than the 48\.8 KiB that are free at .*Make room"):
        unpack(whole(tmp_path, kind), tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    archive, real = whole(tmp_path, kind), open

    def full(file: object, mode: str = "r", *more: object) -> object:
        if "w" in mode:
            raise OSError(28, "No space left on device", str(file))
        return real(file, mode, *more)  # type: ignore[call-overload]

    monkeypatch.setattr(archives, "open", full, raising=False)
    monkeypatch.setattr(tarfile, "bltn_open", full)
    with pytest.raises(DataError, match=r"No space left on device.*make room, or choose another folder"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_cut_archives_are_damaged(tmp_path: Path, kind: str) -> None:
    archive = whole(tmp_path, kind)
    content = archive.read_bytes()
    # Cuts of the packing's last bytes, within a member, at a header's beginning, within a header, and of everything.
    for length in (len(content) - 1 if kind != "tar" else 3072, len(content) // 2, 1024, 700, 100, 0):
        archive.write_bytes(content[:length])
        with pytest.raises(DamagedArchiveError, match=r"is cut short or spoilt \(.*\)\. Download it again"):
            unpack(archive, tmp_path / f"out{length}")


@pytest.mark.parametrize("kind", KINDS)
def test_spoilt_bytes_never_end_in_a_traceback(tmp_path: Path, kind: str) -> None:
    archive = whole(tmp_path, kind)
    content, draw = archive.read_bytes(), random.Random(0)
    spoilt = 0
    for trial in range(60):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 20])):
            damaged[draw.choice([draw.randrange(len(content)), draw.randrange(600), -draw.randrange(1, 300)])] = (
                draw.randrange(256)
            )
        archive.write_bytes(damaged)
        target = tmp_path / "out" / str(trial)
        try:
            unpack(archive, target)
        except DataError:
            spoilt += 1
    assert spoilt > 20
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "out"}


def test_a_header_spoilt_in_the_middle_is_no_end(tmp_path: Path) -> None:
    """Python takes it for one, and would unpack fewer files."""
    for kind in ("tar", "tar.gz"):
        content = bytearray(whole(tmp_path, "tar").read_bytes())
        content[content.index(b"top/empty") + 3] = 0
        archive = tmp_path / f"b.{kind}"
        archive.write_bytes(content if kind == "tar" else gzip.compress(bytes(content)))
        with pytest.raises(DamagedArchiveError):
            unpack(archive, tmp_path / kind)


def test_a_web_page_instead(tmp_path: Path) -> None:
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / name).write_text("\n<!DOCTYPE html><html>Log in")
        with pytest.raises(DamagedArchiveError, match="is a web page instead of an archive"):
            unpack(tmp_path / name, tmp_path / "out")


def test_names_that_contradict_each_other(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", [(entry("a"), b"x"), (entry("a/b"), b"x")])
    with pytest.raises(DamagedArchiveError):
        unpack(archive, tmp_path / "out")
    with pytest.raises(DamagedArchiveError):
        unpack(zip_of(tmp_path / "a.zip", {"a": b"x", "a/b": b"x"}), tmp_path / "other")


def test_a_password(tmp_path: Path) -> None:
    content = bytearray(zip_of(tmp_path / "a.zip", {"a": b"x"}).read_bytes())
    for signature, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be unpacked here .*password.*Unpack it by hand"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_progress_follows_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(archives.Bar, "to", lambda self, done: seen.append(done))
    for kind in ("zip", "tar"):
        archive = whole(tmp_path, kind)
        seen.clear()
        unpack(archive, tmp_path / kind)
        assert seen == sorted(seen)
        assert 0.9 * 70_000 < seen[-1] <= archive.stat().st_size
