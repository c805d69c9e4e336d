"""What a verified dataset's reports mean, in sentences, each with what to do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfdgbench.datasets.base import Dataset
from dfdgbench.datasets.check import examine
from dfdgbench.datasets.check.duplicates import Duplicates
from dfdgbench.datasets.check.elsewhere import Elsewhere
from dfdgbench.datasets.check.report import LABELS, MASK_SIZE, SIZE, UNLABELLED, WRONG, DomainReport, Finding
from dfdgbench.datasets.disk.scan import Kind, files_below
from dfdgbench.datasets.domains import FolderDomain
from dfdgbench.errors import listing, near

FILES = 10
"""Damaged files that are named one by one."""

_MEANINGS = {
    examine.ROTATED: "EXIF orientation: {}. It is not applied, as DomainBed does not: images are seen as they are stored. "
    "Nothing is to be done for numbers that compare.",
    examine.ANIMATED: "Several frames: {}. The first one is used. Split the files if the others are images too.",
    examine.DEEP: "16 bits a channel: {}. The upper 8 are used. Nothing is to be done if that is meant.",
    examine.FLOAT: "Floating-point values: {}. They are cut off at 0 and 255. Convert them to 8 bits if theirs lie elsewhere.",
    examine.CMYK: "CMYK: {}. They become RGB without a colour profile. Nothing is to be done if the colours look right.",
    examine.PALETTE: "Palette: {}. They become RGB. Nothing is to be done.",
    examine.TRANSPARENT: "Transparency: {}. It is dropped, and what was hidden is seen. Put the images on a background if that "
    "is not meant.",
    examine.GREY: "Grey, unlike most: {}. Their RGB channels are equal. Nothing is to be done.",
    SIZE: "Another size than all files as published: {}. They were changed. Take the original download.",
    LABELS: "Masks with labels of no class: {}. Take the original masks.",
    MASK_SIZE: "Masks of another size than their image: {}. Both are resized. Nothing is to be done for small differences.",
    UNLABELLED: "Images without a mask: {}. They can be adapted to, and not be trained or tested on. Nothing is to be done if "
    "that is meant.",
}


@dataclass(frozen=True)
class Rest:
    """What lies in a domain's folder and is none of its images: image files, others, and no files, as ``domain/path``."""

    root: Path
    images: tuple[str, ...]
    others: tuple[str, ...]
    no_files: tuple[str, ...] = ()


def rest_of(domain: FolderDomain) -> Rest:
    """What else lies in the folder of ``domain``."""
    known = set(domain.files)
    found: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for path, kind in files_below(domain.root):
        if kind in (Kind.OTHER, Kind.NO_FILE) or path not in known:
            found[kind].append(f"{domain.name}/{path}")
    images = sorted(found[Kind.IMAGE] + found[Kind.BROKEN])
    return Rest(domain.root, tuple(images), tuple(found[Kind.OTHER]), tuple(found[Kind.NO_FILE]))


def findings(
    dataset: Dataset, domains: Sequence[DomainReport], duplicates: Duplicates, rests: Sequence[Rest]
) -> list[Finding]:
    """Everything there is to say, what is wrong first.

    Args:
        rests: of the domains that have a folder of classes.
    """
    told = not dataset.metadata.needs_data_dir  # a person's own tree, whose notices tell of files outside class folders
    every = [
        *_unopened(dataset, domains),
        *(finding for domain in domains for finding in _damage(dataset, domain)),
        *_remarks(domains),
        *_copies(duplicates),
        *_strays(dataset, domains),
        *_unread(rests, images=not told),
        *(Finding(False, notice) for notice in dataset.notices),
    ]
    return sorted(every, key=lambda finding: not finding.wrong)


def _unopened(dataset: Dataset, domains: Sequence[DomainReport]) -> Iterator[Finding]:
    name = dataset.metadata.name
    if all(domain.state == "missing" for domain in domains) and len(domains) > 1:
        yield Finding(True, f"No domain of {name} is there. Of the first it is said: {domains[0].reason}")
        yield from (Finding(True, hint) for hint in Elsewhere(dataset.data_dir).instead(dataset.metadata))
        return
    for domain in domains:
        if domain.reason:
            yield Finding(True, domain.reason)


def _damage(dataset: Dataset, domain: DomainReport) -> Iterator[Finding]:
    if domain.found is not None and domain.expected not in (None, domain.found):
        yield Finding(
            True,
            f"The domain '{domain.name}' has {domain.found:,} images instead of {domain.expected:,}. Take what is missing from "
            f"the original download, or move away what is too much; expected layout: {dataset.metadata.layout}.",
        )
    for reason in list(domain.undecodable.values())[:FILES]:
        yield Finding(True, reason)
    if len(domain.undecodable) > FILES:
        rest = len(domain.undecodable) - FILES
        yield Finding(
            True,
            f"{rest:,} more files of '{domain.name}' cannot be decoded. The same command with --json names all.",
        )
    absent = dataset.metadata.absent.get(domain.name, ())
    lacking = [each for each, count in domain.classes.items() if not count and each not in absent]
    if lacking and dataset.metadata.task == "classification":
        yield Finding(
            True,
            f"The domain '{domain.name}' has no image of {listing(lacking, 10)}. Take them from the original download.",
        )


def _remarks(domains: Sequence[DomainReport]) -> Iterator[Finding]:
    for remark, meaning in _MEANINGS.items():
        tallies = {domain.name: domain.remarks[remark] for domain in domains if remark in domain.remarks}
        if not tallies:
            continue
        where = ", ".join(f"{name} {tally.count:,}" for name, tally in tallies.items())
        example = next(f"{name}/{tally.examples[0]}" for name, tally in tallies.items())
        yield Finding(remark in WRONG, meaning.format(f"{where} (for example {example})"))


def _copies(duplicates: Duplicates) -> Iterator[Finding]:
    for same, what, why in (
        (duplicates.across, "in more than one domain", ": what is trained on is tested on"),
        (duplicates.within, "more than once in one domain", ": its splits may share them"),
        (duplicates.relabelled, "with different classes", ""),
    ):
        if same.groups:
            yield Finding(
                False,
                f"The same to the byte {what}: {same.images:,} images (for example {'; '.join(same.examples)}){why}. Keep one of "
                "each in your own tree; leave a published one as it is, its numbers include them.",
            )


def _strays(dataset: Dataset, domains: Sequence[DomainReport]) -> Iterator[Finding]:
    if dataset.data_dir is None or not dataset.data_dir.is_dir():
        return
    strays = dataset.strays(dataset.data_dir)
    if strays:
        missing = [domain.name for domain in domains if domain.state == "missing"]
        renamed = [f"'{other}' may be '{name}', renamed" for name in missing for other in near(name, strays)[:1]]
        hint = f" ({'; '.join(renamed)})" if renamed else ""
        yield Finding(
            False,
            f"The folders {listing(strays, 5)} in {dataset.data_dir / dataset.metadata.folder} belong to no domain and are not "
            f"read{hint}. Move away what does not belong there.",
        )


def _unread(rests: Sequence[Rest], images: bool) -> Iterator[Finding]:
    roots = Counter(rest.root for rest in rests)
    own = [rest for rest in rests if roots[rest.root] == 1]  # in a shared one, what others do not use is not left over
    loose, others = [file for rest in own for file in rest.images], [file for rest in own for file in rest.others]
    if loose and images:
        yield Finding(
            False,
            f"Images in no class folder: {len(loose):,}, not read ({listing(loose, 3)}). Move them into their classes' folders, or "
            "away.",
        )
    no_files = [path for rest in own for path in rest.no_files]
    if no_files:
        yield Finding(
            False,
            f"Named pipes, sockets or devices, which are no files: {len(no_files):,}, not read ({listing(no_files, 3)}). "
            "Remove them.",
        )
    if others:
        endings = Counter(os.path.splitext(path)[1].lower() or "no ending" for path in others)
        counted = listing((f"{ending} {count:,}" for ending, count in endings.most_common()), 5)
        yield Finding(
            False,
            f"Files of no format that is read: {len(others):,} ({counted}; {listing(others, 3)}). Convert those that are "
            "images, to PNG for example.",
        )
