"""The ledger, kept beside its sweep and refreshed by what has changed.

One NumPy archive (no pickle): the values and steps of all runs, and a JSON text of all else. It may be deleted at any
time. A sweep in whose folder nothing can be written is kept in the user's cache folder, or nowhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfdgbench.cache import cache_folder
from dfdgbench.errors import ArtifactError
from dfdgbench.files import write_bytes
from dfdgbench.results.ledger import Content, Ledger, Part, read_content
from dfdgbench.results.reading import existing, nothing, planned, read_object, relative, state
from dfdgbench.results.scan import CONFIG, Scan, Signature, scan

NAME = ".dfdgbench-frame.npz"
_FORMAT = 1
# What was changed this shortly (ns) before it was read may be changed again within the file system's smallest tick.
_TICK = 2 * 10**9
# Reading so few runs is as fast as reading what was kept of them.
FEWEST = 16


@dataclass(frozen=True, eq=False)
class _Kept:
    signature: Signature
    content: Content


def read_ledger(folder: str | Path, *, keep: bool = True) -> Ledger:
    """Every run at or below ``folder``, in order of the names.

    Args:
        keep: write what was read beside the runs, for the next time.

    Raises:
        ConfigError: there is none.
    """
    root = existing(folder)
    found = scan(root)
    before = _load(root, found)
    began = time.time_ns()
    contents: dict[str, Content] = {}
    changed = False
    for run in found.runs:
        name = relative(run.path, root)
        kept = before.get(name)
        if kept is None or kept.signature != run.signature:
            config = read_object(Path(run.path) / CONFIG) if run.has_config else {}
            contents[name], changed = (
                read_content(run.path, "done" if run.done else state(Path(run.path)), config),
                True,
            )
        else:
            contents[name] = kept.content
    if keep and len(found.runs) >= FEWEST and (changed or len(before) != len(contents)):
        signatures = {
            relative(run.path, root): run.signature if run.newest < began - _TICK else () for run in found.runs
        }
        _save(root, signatures, contents)
    absent = [name for name in planned(root) if name not in contents]
    if not contents and not absent:
        raise nothing(root)
    return Ledger.of(contents.items(), absent, found.notes)


def _places(root: Path) -> Iterator[Path]:
    yield root / NAME
    name = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:32]
    yield cache_folder() / "frames" / f"{name}.npz"


def _save(root: Path, signatures: Mapping[str, Signature], contents: Mapping[str, Content]) -> None:
    blocks: dict[tuple[str, ...], list[str]] = {}
    for name, content in contents.items():
        blocks.setdefault(content.keys, []).append(name)
    runs = {
        name: [signatures[name], content.state, content.config, _parts(content), list(content.notes)]
        for name, content in contents.items()
    }
    described = {"format": _FORMAT, "runs": runs, "blocks": [[list(keys), names] for keys, names in blocks.items()]}
    arrays = {"described": np.frombuffer(json.dumps(described).encode(), dtype=np.uint8)}
    for number, names in enumerate(blocks.values()):
        arrays[f"values{number}"] = np.concatenate([contents[name].values for name in names])
        arrays[f"steps{number}"] = np.concatenate([contents[name].steps for name in names])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    for path in _places(root):
        try:
            write_bytes(path, buffer.getvalue(), "The frame")
        except (ArtifactError, OSError):
            continue
        return


def _parts(content: Content) -> list[Any]:
    return [[part.args, part.hparams, part.count] for part in content.parts]


def _load(root: Path, found: Scan) -> dict[str, _Kept]:
    """What was kept, by the names of the runs; nothing where it is damaged, old or not there."""
    for path in _places(root) if len(found.runs) >= FEWEST else ():
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(_unpacked({name: archive[name] for name in archive.files}))
        except (
            OSError,
            EOFError,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            zipfile.BadZipFile,
            NotImplementedError,
        ):
            continue
    return {}


def _unpacked(arrays: Mapping[str, Any]) -> Iterator[tuple[str, _Kept]]:
    described = json.loads(arrays["described"].tobytes())
    if described["format"] != _FORMAT:
        raise ValueError("another format")
    kept = {}
    for number, (keys, names) in enumerate(described["blocks"]):
        values, steps, start = arrays[f"values{number}"], arrays[f"steps{number}"], 0
        if values.shape != (len(steps), len(keys)):
            raise ValueError("arrays of other runs")
        columns = tuple(keys)
        for name in names:
            signature, state, config, parts, notes = described["runs"][name]
            made = tuple(Part(*part) for part in parts)
            end = start + sum(part.count for part in made)
            signature = tuple(None if entry is None else tuple(entry) for entry in signature)
            content = Content(state, config, made, columns, values[start:end], steps[start:end], tuple(notes))
            kept[name] = _Kept(signature, content)
            start = end
        if start != len(steps):
            raise ValueError("records of other runs")
    yield from kept.items()
