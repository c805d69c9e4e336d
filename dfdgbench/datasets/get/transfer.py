"""Bringing one file here from one address: over HTTP, going on where an earlier try ended, or from Google Drive.

What has come is kept in a file of its own for each address, so that two mirrors' bytes are never mixed. The mark that the
server gave it (ETag or Last-Modified) lies beside: a server that has changed the file since sends all of it again.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dfdgbench.datasets.get import room
from dfdgbench.datasets.get.bar import Bar

if TYPE_CHECKING:
    import requests

log = logging.getLogger("dfdgbench")

CONNECT, SILENCE = 15.0, 60.0
"""Seconds a server may take to answer at all, and seconds it may say nothing in between."""
BLOCK = 1 << 18
DRIVE = "drive:"
_ASK_AGAIN = (408, 425, 429)


class RefusedError(Exception):
    """An answer that asking the same address again would not change."""


def part_of(path: Path, url: str) -> Path:
    """Where what came from ``url`` of the file ``path`` is kept until it is whole."""
    return path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")


def mark_of(part: Path) -> Path:
    """The file beside ``part`` that holds the server's mark."""
    return part.with_name(f"{part.name}.mark")


def address(url: str) -> str:
    """``url`` as one types it into a browser."""
    return f"https://drive.google.com/uc?id={url.removeprefix(DRIVE)}" if url.startswith(DRIVE) else url


def transfer(url: str, part: Path) -> None:
    """Bring ``url`` to ``part``, whole.

    Raises:
        requests.RequestException: no answer, or a cut; another try may help, and goes on from what came.
        RefusedError: another try would not help.
        DataError: there is no room for it.
    """
    if url.startswith(DRIVE):
        _from_drive(url.removeprefix(DRIVE), part)
    else:
        _over_http(url, part)


def _over_http(url: str, part: Path) -> None:
    import requests

    have, mark = part.stat().st_size if part.exists() else 0, _read_mark(part)
    # The bytes as they are stored: a server that packs them on the way could not go on from the middle of them.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": mark} if mark else {})
    with requests.get(url, headers=headers, stream=True, timeout=(CONNECT, SILENCE)) as answer:
        if answer.status_code == 416 and have:
            if _content_range(answer)[1] == have:
                return  # whole already: the earlier process ended just before it could say so
            part.unlink()
            raise requests.ConnectionError(f"it has fewer than the {have} bytes that came before; starting anew")
        _check(answer, part)
        start = _content_range(answer)[0] if answer.status_code == 206 else 0
        if start not in (0, have):
            part.unlink()
            raise requests.ConnectionError(f"it sent bytes from {start} on instead of from {have}; starting anew")
        if have and not start:
            log.info("%s sends the whole file again instead of its rest.", address(url))
        _receive(answer, part, start)


def _check(answer: requests.Response, part: Path) -> None:
    """Refuse what is no file."""
    if 400 <= answer.status_code < 500 and answer.status_code not in _ASK_AGAIN:
        raise RefusedError(f"{answer.status_code} {answer.reason}")
    answer.raise_for_status()
    if answer.headers.get("Content-Type", "").startswith("text/html") and ".htm" not in part.name:
        raise RefusedError("a web page came instead of the file: it has moved, or is behind a login")


def _receive(answer: requests.Response, part: Path, start: int) -> None:
    """Write the body into ``part`` from ``start`` on, and check that all that was announced has come."""
    import requests
    import urllib3

    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    if total is not None:
        room.need(part.parent, total - start, f"The rest of {_name(part)}")
    mark = answer.headers.get("ETag", "")
    # A weak ETag promises the same meaning, not the same bytes.
    mark_of(part).write_text(answer.headers.get("Last-Modified", "") if mark[:2] in ("", "W/") else mark)
    done, cut = start, False
    with Bar(_name(part), total, start) as bar, open(part, "ab" if start else "wb", buffering=0) as file:
        try:
            for block in answer.raw.stream(BLOCK, decode_content=False):
                file.write(block)
                done += len(block)
                bar.to(done)
        except urllib3.exceptions.ReadTimeoutError:
            raise requests.Timeout(f"nothing came for {SILENCE:.0f} s, after {room.size(done)}") from None
        except urllib3.exceptions.HTTPError:
            cut = True
    if cut or (total is not None and done != total):
        of = f" of {room.size(total)}" if total is not None else ""
        raise requests.ConnectionError(f"the connection was cut after {room.size(done)}{of}")


def _from_drive(identity: str, part: Path) -> None:
    import gdown
    import requests

    before = _sizes(_drive_parts(part))
    try:
        with Bar(_name(part), None) as bar:
            # gdown keeps what came in a file beside, and names it ``part`` once it is whole.
            gdown.download(
                id=identity,
                output=str(part),
                quiet=True,
                resume=True,
                timeout=(CONNECT, SILENCE),
                progress=lambda done, total: bar.to(done),
            )
    except gdown.FileURLRetrievalError as error:
        raise RefusedError(_sentence(error)) from error
    except gdown.DownloadError as error:
        if "incomplete" not in str(error) and before and _sizes(_drive_parts(part)) == before:
            for kept in before:
                kept.unlink()  # Drive does not go on from it, and never will
        raise requests.ConnectionError(_sentence(error)) from None


def _drive_parts(part: Path) -> Iterator[Path]:
    return part.parent.glob(f"{part.name}*.part")


def _sizes(paths: Iterator[Path]) -> dict[Path, int]:
    return {path: path.stat().st_size for path in paths}


def _sentence(error: Exception) -> str:
    """gdown's message, which it lays out over many lines, in one."""
    text = re.sub(r"\s+", " ", str(error)).strip()
    return (
        text.removeprefix("Failed to retrieve file url: ")
        .partition(" You may still be able")[0]
        .partition(" The received bytes")[0]
    )


def _content_range(answer: requests.Response) -> tuple[int, int]:
    """First byte and total of a ``Content-Range``; -1 where it does not say."""
    found = re.match(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
    first, total = found.groups() if found else (None, None)
    return int(first) if first else -1, int(total) if total and total != "*" else -1


def _read_mark(part: Path) -> str:
    return mark_of(part).read_text() if mark_of(part).exists() else ""


def _name(part: Path) -> str:
    """The file that ``part`` is to become."""
    return part.name.rsplit(".", 2)[0]


def reason(error: Exception) -> str:
    """Why an address gave nothing, in a few words: what lies at the bottom of the libraries' nested errors."""
    import requests

    if not isinstance(error, requests.RequestException):
        return str(error)
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.ConnectTimeout):
        return f"no answer within {CONNECT:.0f} s"
    if isinstance(error, requests.ReadTimeout):
        return f"no answer for {SILENCE:.0f} s"
    bottom = _bottom(error)
    return getattr(bottom, "strerror", None) or str(bottom) or type(bottom).__name__


def _bottom(error: BaseException) -> BaseException:
    """The error that the ones around it came of, however they hold it."""
    inside = [getattr(error, "reason", None), *error.args, error.__cause__]
    inside += [] if error.__suppress_context__ else [error.__context__]
    inner = next((found for found in inside if isinstance(found, BaseException)), None)
    return error if inner is None else _bottom(inner)
