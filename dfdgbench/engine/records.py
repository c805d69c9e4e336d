"""DomainBed's record lines: one JSON object a line, keys sorted, appended and flushed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfdgbench.files import explained, write_bytes

RESULTS = "results.jsonl"


def line(record: Mapping[str, Any]) -> str:
    """A record as DomainBed writes it: ``json.dumps`` defaults, sorted keys, NaN as ``NaN``, and a newline."""
    return json.dumps(record, sort_keys=True) + "\n"


def append(path: Path, record: Mapping[str, Any]) -> int:
    """Append a record; returns the file's length in bytes afterwards."""
    with explained(path, "A record"), open(path, "ab") as file:
        file.write(line(record).encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def cut(path: Path, length: int) -> None:
    """Cut the file to the length that a snapshot knows of: what came after it will be written again."""
    if length == 0:
        path.unlink(missing_ok=True)
    elif path.exists() and path.stat().st_size > length:
        os.truncate(path, length)


def read(path: Path) -> list[dict[str, Any]]:
    """Every whole record; a torn last line is left out, as is a file that does not exist."""
    if not path.exists():
        return []
    records = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(text))
        except ValueError:
            break
    return records


def rewrite(path: Path, records: list[dict[str, Any]]) -> None:
    """Replace every record in one step."""
    write_bytes(path, "".join(map(line, records)).encode(), "The records")
