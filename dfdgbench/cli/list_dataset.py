"""All that is known of one dataset without reading it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from dfdgbench.cli.output import say, say_table, size

if TYPE_CHECKING:
    from dfdgbench.datasets.base import Dataset
    from dfdgbench.datasets.metadata import Metadata

WIDTH = 100


def show(name: str, as_json: bool) -> None:
    """Print the dataset called ``name``."""
    from dfdgbench.datasets.base import DATASETS

    found = DATASETS.get(name)
    if as_json:
        say(found.metadata.model_dump_json(indent=2))
        return
    metadata = found.metadata
    say(f"{name}: {metadata.description}")
    say()
    say_table(list(_domains(metadata)))
    say()
    for title, text in _facts(metadata):
        say(textwrap.fill(f"{title + ':':<13}{text}", WIDTH + 13, subsequent_indent=" " * 13, break_on_hyphens=False))
    for notice in found.notices:
        say(textwrap.fill(notice, WIDTH + 13))
    _say_sources(name, found)


def _domains(metadata: Metadata) -> Iterator[dict[str, Any]]:
    for index, domain in enumerate(metadata.domains):
        row: dict[str, Any] = {"number": index, "domain": domain}
        if metadata.labels:
            row["label"] = metadata.labels[index]
        if metadata.counts:
            row["images"] = f"{metadata.counts[index]:,}"
        if metadata.absent:
            row["without"] = textwrap.fill(", ".join(metadata.absent.get(domain, ())), 60)
        yield row


def _facts(metadata: Metadata) -> Iterator[tuple[str, str]]:
    height, width = metadata.shape
    files = f" (the files: {metadata.native_size}x{metadata.native_size})" if metadata.native_size else ""
    default = f" (default: {metadata.protocol})" if len(metadata.protocols) > 1 else ""
    every = {
        "task": metadata.task,
        "classes": f"{len(metadata.classes)}: {', '.join(metadata.classes)}",
        "pairs": ", ".join(f"{source} -> {target}" for source, target in metadata.pairs),
        "image size": f"{width}x{height}, {metadata.channels} channels{files}",
        "network": metadata.network,
        "protocols": ", ".join(metadata.protocols) + default,
        "budget": f"{metadata.steps} steps, a record every {metadata.checkpoint_freq}",
        "layout": metadata.layout,
        "extra": f"pip install 'dfdgbench[{metadata.extra}]'" if metadata.extra else "",
        "licence": metadata.licence or "not stated",
        "citation": metadata.citation,
        "home page": metadata.homepage,
    }
    yield from ((title, text) for title, text in every.items() if text)


def _say_sources(name: str, found: type[Dataset]) -> None:
    """How it is got: files with their mirrors and hashes, another package, or by hand."""
    from dfdgbench.datasets.get.transfer import address

    metadata = found.metadata
    say()
    if metadata.sources:
        say(f"To get it: dfdgbench data download {name} --data-dir DIR")
    elif metadata.manual:
        say(textwrap.fill(f"To get it by hand: {metadata.manual}", WIDTH + 13))
    elif metadata.needs_data_dir:
        say(f"To get it by hand: see {metadata.homepage or 'its home page'}.")
    else:
        say("Nothing is to be got: it is made here, or read where it lies.")
    if metadata.sources and metadata.manual:
        say(textwrap.fill(f"By hand: {metadata.manual}", WIDTH + 13))
    rows = [
        {
            "file": source.file if not number else "",
            "size": (size(source.size) if source.size else "-") if not number else "",
            "SHA-256": (source.sha256 or "not known") if not number else "",
            "address": address(url),
        }
        for source in metadata.sources
        for number, url in enumerate(source.urls)
    ]
    if rows:
        say_table(rows)
