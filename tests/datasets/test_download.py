"""One file's download: cuts, lies and dead mirrors, against a server on this machine."""

from __future__ import annotations

import builtins
import hashlib
import inspect
import json
import logging
import random
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gdown
import pytest
import requests
from web_server import Web, serving

from dfdgbench.datasets.get import bar, room, transfer
from dfdgbench.datasets.get.download import DIGESTS, download
from dfdgbench.datasets.metadata import Source
from dfdgbench.errors import DataError, MissingExtraError

CONTENT = random.Random(0).randbytes(20_000)
real_download = gdown.download
OTHER = random.Random(1).randbytes(20_000)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def source(*urls: str, known: bytes | None = CONTENT, **more: Any) -> Source:
    return Source(file="a.zip", urls=urls, sha256=digest(known) if known is not None else "", **more)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "dfdgbench")


def test_whole_at_once(web: Web, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    served = web.serve("a.zip", CONTENT)
    path = download(source(web.url("a.zip")), tmp_path / "deep" / "er")
    assert path == tmp_path / "deep" / "er" / "a.zip"
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["a.zip"]
    assert served.requests == [""]
    assert capfd.readouterr() == ("", ""), "only the command line prints"


def test_what_is_there_is_not_fetched(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT)
    assert download(source(web.url("nothing")), tmp_path).read_bytes() == CONTENT


def test_a_cut_is_gone_on_from(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    served = web.serve("a.zip", CONTENT, cuts=[5000, 7000])
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["", "bytes=5000-", "bytes=12000-"]
    assert "the connection was cut after 4.9 KiB of 19.5 KiB. Trying again (1 of 2)" in caplog.text
    assert left(tmp_path) == ["a.zip"]


def test_the_next_command_goes_on(web: Web, tmp_path: Path) -> None:
    served = web.serve("a.zip", CONTENT, cuts=[3000, 3000, 3000])
    with pytest.raises(DataError, match="What has come so far is kept"):
        download(source(web.url("a.zip")), tmp_path)
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert served.requests[3:] == ["bytes=9000-"]


def test_ctrl_c_keeps_what_has_come(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = web.serve("a.zip", CONTENT)
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "BLOCK", 1000)
        patch.setattr(bar.Bar, "to", interrupt_at(6000))
        with pytest.raises(KeyboardInterrupt):
            download(source(web.url("a.zip")), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.part")) == 6000
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["", "bytes=6000-"]


def interrupt_at(byte: int) -> Callable[[bar.Bar, int], None]:
    def to(self: bar.Bar, done: int) -> None:
        if done >= byte:
            raise KeyboardInterrupt

    return to


def test_a_server_without_ranges_starts_over(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    served = web.serve("a.zip", CONTENT, cuts=[5000], ranges=False)
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["", "bytes=5000-"]
    assert "sends the whole file again" in caplog.text


def test_a_file_that_changed_meanwhile_is_not_mixed(web: Web, tmp_path: Path) -> None:
    url = web.url("a.zip")
    web.serve("a.zip", OTHER, cuts=[5000] * 3, ranges=False)
    with pytest.raises(DataError):
        download(source(url, known=None), tmp_path)
    web.serve("a.zip", CONTENT)
    assert download(source(url, known=None), tmp_path).read_bytes() == CONTENT


def test_whole_but_not_yet_named(web: Web, tmp_path: Path) -> None:
    """A process that was killed just before it could give the file its name."""
    served, url = web.serve("a.zip", CONTENT), web.url("a.zip")
    transfer.part_of(tmp_path / "a.zip", url).write_bytes(CONTENT)
    assert download(source(url), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["bytes=20000-"]


def test_more_there_than_the_server_has(web: Web, tmp_path: Path) -> None:
    served, url = web.serve("a.zip", CONTENT), web.url("a.zip")
    transfer.part_of(tmp_path / "a.zip", url).write_bytes(CONTENT + b"more")
    assert download(source(url), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["bytes=20004-", ""]


def test_a_rest_from_elsewhere_is_not_appended(web: Web, tmp_path: Path) -> None:
    served, url = web.serve("a.zip", CONTENT), web.url("a.zip")
    served.headers["Content-Range"] = "bytes 7-19999/20000"
    transfer.part_of(tmp_path / "a.zip", url).write_bytes(CONTENT[:5000])
    assert download(source(url), tmp_path).read_bytes() == CONTENT
    assert served.requests == ["bytes=5000-", ""]


def test_bytes_are_kept_as_they_are_stored(web: Web, tmp_path: Path) -> None:
    """Some servers call a .tar.gz a packed .tar, which a browser would unpack."""
    web.serve("a.zip", CONTENT, headers={"Content-Encoding": "gzip"})
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT


def test_a_length_that_is_not_announced(web: Web, tmp_path: Path) -> None:
    web.serve("a.zip", CONTENT, announced=False)
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_passing_error_is_tried_again(web: Web, tmp_path: Path, status: int) -> None:
    served = web.serve("a.zip", CONTENT, errors=[status])
    assert download(source(web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert len(served.requests) == 2


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, 3)])
def test_a_dead_mirror_is_left_for_the_next(web: Web, tmp_path: Path, status: int, asked: int) -> None:
    dead = web.serve("dead", b"", errors=[status] * 9)
    web.serve("a.zip", CONTENT)
    assert download(source(web.url("dead"), web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert len(dead.requests) == asked


def test_mirrors_are_never_mixed(web: Web, tmp_path: Path) -> None:
    web.serve("first", OTHER, cuts=[4000] * 3)
    second = web.serve("second", CONTENT)
    assert download(source(web.url("first"), web.url("second"), known=None), tmp_path).read_bytes() == CONTENT
    assert second.requests == [""]


def test_when_all_fail_each_is_named(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SILENCE", 0.05)
    web.serve("down", CONTENT, errors=[500] * 3)
    web.serve("mute", CONTENT, silence=0.3)
    web.serve("page", b"<html>Log in</html>", headers={"Content-Type": "text/html; charset=utf-8"})
    web.serve("cut", CONTENT, cuts=[2048] * 3, ranges=False)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{nobody.getsockname()[1]}/a.zip"
        urls = [web.url(name) for name in ("gone", "down", "mute", "page", "cut")]
        with pytest.raises(DataError) as raised:
            download(source(*urls, closed), tmp_path)
    lines = str(raised.value).splitlines()
    assert lines[0] == "a.zip could not be downloaded:"
    assert lines[1:7] == [
        f"  {urls[0]}: 404 Not Found",
        f"  {urls[1]}: 500 Internal Server Error",
        f"  {urls[2]}: nothing came for 0 s, after 0 B",
        f"  {urls[3]}: a web page came instead of the file: it has moved, or is behind a login",
        f"  {urls[4]}: the connection was cut after 2.0 KiB of 19.5 KiB",
        f"  {closed}: Connection refused",
    ]
    assert f"get a.zip by hand, put it at {tmp_path / 'a.zip'}, and type the same command again" in lines[7]


def test_no_answer_at_all(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SILENCE", 0.05)
    with socket.socket() as listening:  # takes connections, and says nothing
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with pytest.raises(DataError, match="no answer for 0 s"):
            download(source(f"http://127.0.0.1:{listening.getsockname()[1]}/a.zip"), tmp_path)


def test_wrong_content_is_laid_aside_and_the_next_mirror_tried(web: Web, tmp_path: Path) -> None:
    wrong = web.serve("wrong", OTHER)
    web.serve("a.zip", CONTENT)
    assert download(source(web.url("wrong"), web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert len(wrong.requests) == 1
    aside = f"a.zip.wrong-{digest(OTHER)[:8]}"
    assert left(tmp_path) == ["a.zip", aside]
    assert (tmp_path / aside).read_bytes() == OTHER


def test_wrong_content_everywhere_shows_both_digests(web: Web, tmp_path: Path) -> None:
    web.serve("wrong", OTHER)
    with pytest.raises(DataError) as raised:
        download(source(web.url("wrong")), tmp_path)
    assert digest(OTHER) in str(raised.value)
    assert digest(CONTENT) in str(raised.value)
    assert not (tmp_path / "a.zip").exists()


def test_a_wrong_file_put_there_by_hand(web: Web, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(OTHER)
    with pytest.raises(DataError, match=f"(?s){tmp_path / 'a.zip'}: its SHA-256 is.*gone: 404"):
        download(source(web.url("gone")), tmp_path)
    assert (tmp_path / f"a.zip.wrong-{digest(OTHER)[:8]}").read_bytes() == OTHER


def test_an_unknown_digest_is_recorded_and_a_change_told(
    web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.serve("a.zip", CONTENT)
    download(source(web.url("a.zip"), known=None), tmp_path)
    record = tmp_path / DIGESTS
    assert json.loads(record.read_text()) == {"a.zip": [digest(CONTENT)]}
    assert f"SHA-256 {digest(CONTENT)}" in caplog.text
    (tmp_path / "a.zip").unlink()
    download(source(web.url("a.zip"), known=None), tmp_path)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    (tmp_path / "a.zip").unlink()
    web.serve("a.zip", OTHER)
    assert download(source(web.url("a.zip"), known=None), tmp_path).read_bytes() == OTHER
    warning = next(record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert digest(OTHER) in warning
    assert digest(CONTENT) in warning
    assert json.loads(record.read_text()) == {"a.zip": [digest(CONTENT), digest(OTHER)]}


def test_another_size_than_known_is_told(web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    web.serve("a.zip", CONTENT)
    download(source(web.url("a.zip"), known=None, size=19_999), tmp_path)
    assert "a.zip has 20000 bytes where 19999 are known of" in caplog.text


def test_no_room_for_it(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = web.serve("a.zip", CONTENT)
    monkeypatch.setattr(room, "free", lambda path: 10_000)
    with pytest.raises(DataError, match=r"The rest of a\.zip needs 19\.5 KiB, and 9\.8 KiB are free"):
        download(source(web.url("a.zip"), web.url("a.zip")), tmp_path)
    assert len(served.requests) == 1, "another mirror has no more room"


@pytest.mark.parametrize("package", ["pooch", "requests", "gdown"])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.zip").write_bytes(CONTENT)
    download(source("drive:1abc"), tmp_path / "there")
    with pytest.raises(MissingExtraError, match=f"package '{package}'.*pip install 'dfdgbench\\[data\\]'"):
        download(source("drive:1abc"), tmp_path)


class Drive:
    """Stands for gdown: notes each call, and answers it with the next of ``answers``."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answers: list[bytes | Exception] = []

    def download(self, **options: Any) -> str:
        self.calls.append(options)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        options["progress"](len(answer), len(answer))
        Path(options["output"]).write_bytes(answer)
        return str(options["output"])


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch, web: Web) -> Drive:
    stand_in = Drive()
    monkeypatch.setattr(gdown, "download", stand_in.download)
    return stand_in


def test_drive_is_left_to_gdown(tmp_path: Path, drive: Drive) -> None:
    drive.answers = [CONTENT]
    assert download(source("drive:1abc"), tmp_path).read_bytes() == CONTENT
    (call,) = drive.calls
    assert (call["id"], call["resume"], call["quiet"]) == ("1abc", True, True)
    assert call["timeout"]
    assert set(call) <= set(inspect.signature(real_download).parameters), "gdown would not take these"
    assert left(tmp_path) == ["a.zip"]


def test_drives_refusal_is_told_and_a_mirror_tried(tmp_path: Path, drive: Drive, web: Web) -> None:
    quota = (
        "Failed to retrieve file url:\n\n\tToo many users\n\thave viewed it.\n\nYou may still be able to access it\n"
    )
    drive.answers = [gdown.FileURLRetrievalError(quota)] * 2
    with pytest.raises(DataError, match=r"https://drive.google.com/uc\?id=1abc: Too many users have viewed it.\n"):
        download(source("drive:1abc"), tmp_path)
    web.serve("a.zip", CONTENT)
    assert download(source("drive:1abc", web.url("a.zip")), tmp_path).read_bytes() == CONTENT
    assert len(drive.calls) == 2, "a refusal is not asked for again"


def test_drives_cuts_are_tried_again(tmp_path: Path, drive: Drive) -> None:
    drive.answers = [requests.ConnectionError("cut"), gdown.DownloadError("incomplete"), CONTENT]
    assert download(source("drive:1abc"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (gdown.DownloadError("Server did not honor the requested byte range"), False),
        (gdown.DownloadError("Download is incomplete"), True),
        (gdown.FileURLRetrievalError("Too many users"), True),
        (requests.ConnectionError("cut"), True),
    ],
)
def test_what_came_of_drive_is_kept_unless_it_is_of_no_use(
    tmp_path: Path, drive: Drive, error: Exception, kept: bool
) -> None:
    part = transfer.part_of(tmp_path / "a.zip", "drive:1abc")
    beginning = part.with_name(f"{part.name}abcd1234.part")
    beginning.write_bytes(b"some")
    drive.answers = [error] * 3
    with pytest.raises(DataError) as raised:
        download(source("drive:1abc"), tmp_path)
    assert beginning.exists() == kept
    assert ("is kept" in str(raised.value)) == kept


def test_without_a_terminal_a_line_is_logged_now_and_then(
    web: Web, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar, "PLAIN_EVERY", -1.0)
    web.serve("a.zip", CONTENT)
    download(source(web.url("a.zip")), tmp_path)
    assert "a.zip: 19.5 KiB of 19.5 KiB" in caplog.text


def test_a_bar_on_a_terminal(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(bar, "DELAY", 0.0)
    web.serve("a.zip", CONTENT)
    download(source(web.url("a.zip")), tmp_path)
    assert "a.zip:   0%|" in capsys.readouterr().err
