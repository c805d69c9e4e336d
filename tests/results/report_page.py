"""A report's page, parsed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from dfdgbench.cli.main import main

VOID = {"meta", "link", "input", "img", "br"}


class Page(HTMLParser):
    """A page's elements; complains where one is not closed in its order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self._texts: list[str] = []
        self.feed(self.text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "body" in self._open and "script" not in self._open:
            self._texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def said(self) -> str:
        """All text of the body, with single spaces."""
        return " ".join(" ".join(self._texts).split())

    @property
    def data(self) -> dict[str, Any]:
        found = re.search(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.DOTALL)
        assert found is not None
        return dict(json.loads(found[1]))


def report(folder: Path, *arguments: str) -> Page:
    """The report of ``folder``, written by the command."""
    assert main(["report", str(folder), "--out", str(folder.parent / "page.html"), *arguments]) == 0
    return Page(folder.parent / "page.html")
