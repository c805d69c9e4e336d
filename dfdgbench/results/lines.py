"""The lines of results.jsonl as records, fast: a file says the same ``args`` and ``hparams`` in every line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

# A record has some kilobytes; what has no end within this many bytes is none.
LONGEST = 16 * 2**20
_SAME = "="
_DECODER = json.JSONDecoder()


@dataclass
class Lines:
    """Attributes:
    records: every JSON object, in the file's order; ``args`` and ``hparams`` that are equal are one object.
    torn: how many lines are no JSON object.
    longest: bytes of the longest line that was passed over as too long for a record; 0 where there was none.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    torn: int = 0
    longest: int = 0


def read_lines(path: str | Path) -> Lines:
    """Every record in the file ``path``. ``OSError`` where it cannot be read."""
    found = Lines()
    with open(path, "rb", buffering=0) as file:
        for part, skipped in _parts(file):
            found.longest = max(found.longest, skipped)
            if part:
                text = part.decode("utf-8", errors="replace").lstrip("\ufeff")
                records = _shared(text)
                found.records += [record for record in records if isinstance(record, dict)]
                found.torn += sum(not isinstance(record, dict) for record in records)
    return found


def _parts(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Whole lines, up to about ``LONGEST`` bytes of them, and the length of a line that is left out."""
    kept, skipped = b"", 0
    while block := file.read(LONGEST):
        if skipped:
            end = block.find(b"\n") + 1
            skipped += end or len(block)
            if not end:
                continue
            yield b"", skipped
            block, skipped = block[end:], 0
        kept += block
        cut = kept.rfind(b"\n") + 1
        if not cut and len(kept) >= LONGEST:
            kept, skipped = b"", len(kept)
            continue
        yield kept[:cut], 0
        kept = kept[cut:]
    yield kept, skipped


def _shared(text: str) -> list[Any]:
    """One value a line, None for what is no JSON; what the first line has under ``args`` and ``hparams`` is parsed once."""
    short, same = text, {}
    for name in ("args", "hparams"):
        found = _first(text, name)
        mark = f'"{name}": "{_SAME}"'
        if found is not None and mark not in text:
            written, same[name] = found
            short = short.replace(written, mark)
    values = _parsed(short)
    first = next(iter(values), None)
    if same and not (isinstance(first, dict) and all(first.get(name) == _SAME for name in same)):
        return _parsed(text)
    for value in values:
        if isinstance(value, dict):
            for name, content in same.items():
                if value.get(name) == _SAME:
                    value[name] = content
    return values


def _first(text: str, name: str) -> tuple[str, Any] | None:
    """The first line's ``"name": {...}`` as it is written, and its content."""
    start = text.find(f'"{name}": {{', 0, text.find("\n"))
    if start < 0:
        return None
    try:
        content, end = _DECODER.raw_decode(text, start + len(name) + 4)
    except (ValueError, RecursionError):
        return None
    return text[start:end], content


def _parsed(text: str) -> list[Any]:
    lines = [line for line in text.split("\n") if line and not line.isspace()]
    # All at once, which is faster than line by line; lines that are torn may still be a list together.
    if all(line[0] == "{" for line in lines):
        try:
            values: list[Any] = json.loads(f"[{','.join(lines)}]")
        except (ValueError, RecursionError):
            values = []
        if len(values) == len(lines):
            return values
    return [_value(line) for line in lines]


def _value(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
