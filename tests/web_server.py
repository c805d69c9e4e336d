"""A server on this machine that serves files and fails as servers on the web do."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

Answer = tuple[int, dict[str, str]]


@dataclass
class Served:
    """One file.

    Attributes:
        ranges: whether a request for its rest is answered with its rest.
        cuts: after so many bytes of the body each next answer breaks off; none are left when the list is empty.
        errors: statuses that the next requests get instead of the file.
        silence: seconds before the body.
        slow: seconds between pieces of 1024 bytes.
        announced: whether the answer says how long it is.
        requests: the ``Range`` of each request, "" where it had none.
    """

    content: bytes
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)
    silence: float = 0.0
    slow: float = 0.0
    announced: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)

    @property
    def etag(self) -> str:
        return f'"{hash(self.content) & 0xFFFFFFFF:08x}"'


class Server(ThreadingHTTPServer):
    """Says nothing of clients that went away."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Web:
    """The server: ``files`` by name, ``url(name)`` their address."""

    def __init__(self) -> None:
        self.files: dict[str, Served] = {}
        self.server = Server(("127.0.0.1", 0), _handler(self.files))
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def serve(self, name: str, content: bytes, **how: Any) -> Served:
        self.files[name] = Served(content, **how)
        return self.files[name]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def _handler(files: dict[str, Served]) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served = files.get(self.path.lstrip("/"))
            if served is None:
                self.send_error(404)
                return
            served.requests.append(self.headers.get("Range", ""))
            if served.errors:
                self.send_error(served.errors.pop(0))
                return
            body, status, headers = self.rest(served)
            if served.announced:
                headers["Content-Length"] = str(len(body))
            self.send_response(status)
            for name, value in (headers | served.headers).items():
                self.send_header(name, value)
            self.end_headers()
            time.sleep(served.silence)
            for start in range(0, min([len(body), *served.cuts[:1]]), 1024):
                piece = body[: served.cuts[0]] if served.cuts else body
                self.wfile.write(piece[start : start + 1024])
                time.sleep(served.slow)
            if served.cuts:
                served.cuts.pop(0)
                self.wfile.flush()
                self.connection.close()

        def rest(self, served: Served) -> tuple[bytes, int, dict[str, str]]:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            changed = self.headers.get("If-Range", served.etag) != served.etag
            if not served.ranges or asked is None or changed:
                return served.content, 200, {"ETag": served.etag}
            start, total = int(asked[1]), len(served.content)
            if start >= total:
                return b"", 416, {"Content-Range": f"bytes */{total}"}
            return (
                served.content[start:],
                206,
                {"ETag": served.etag, "Content-Range": f"bytes {start}-{total - 1}/{total}"},
            )

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server, reached past any proxy, and asked again without a pause."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda seconds: None))
    server = Web()
    try:
        yield server
    finally:
        server.close()
