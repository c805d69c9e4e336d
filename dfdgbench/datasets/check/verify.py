"""Reading every file of a dataset: counts, what cannot be decoded, what is unusual, duplicates, hashes to compare."""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfdgbench.cores import available_cores
from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.check.duplicates import Content, Duplicates, find_duplicates
from dfdgbench.datasets.check.examine import GREY, Examined, examine_images, examine_masks
from dfdgbench.datasets.check.findings import Rest, findings, rest_of
from dfdgbench.datasets.check.report import (
    LABELS,
    MASK_SIZE,
    NO_CLASS,
    SIZE,
    UNLABELLED,
    WRONG,
    DomainReport,
    Report,
    State,
    Tally,
)
from dfdgbench.datasets.check.workers import Workers
from dfdgbench.datasets.domains import ArrayDomain, Domain, FolderDomain, MaskedDomain
from dfdgbench.datasets.metadata import IGNORED
from dfdgbench.errors import DataError, DfdgbenchError, MissingDataError

CHUNK = 32
"""Files a task: few enough that stopping takes no time."""
Progress = Callable[[str, int, int], None]
"""Called with a domain's name, how many of its files are done, and how many there are."""


@dataclass
class Looked:
    """What one domain's files are, before it is put together with the others'.

    Attributes:
        reason: why it could not be opened; ``state`` is then not "ok".
        hashes: content hashes of all files, masks included.
        pixels: of masks, by class index.
        rest: what else lies in its folder, None where it has none of its own.
    """

    content: Content
    state: State = "ok"
    reason: str = ""
    fingerprint: str = ""
    undecodable: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    hashes: list[bytes] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    rest: Rest | None = None


def verify(
    name: str, data_dir: str | Path | None = None, jobs: int | None = None, progress: Progress | None = None
) -> Report:
    """Read every file of the dataset called ``name``.

    Args:
        jobs: processes that decode; None for one a core. More than one needs a main module that can be imported.
        progress: called now and then, from this process.

    Raises:
        UnknownNameError: there is no such dataset. What is wrong with its files is in the report.
    """
    dataset = DATASETS.get(name)(data_dir)
    metadata = dataset.metadata
    with Workers(jobs or available_cores()) as workers:
        looked = [_look(dataset, index, workers, progress) for index in range(len(metadata.domains))]
    duplicates = find_duplicates([each.content for each in looked])
    domains = tuple(_report(metadata, index, each, duplicates) for index, each in enumerate(looked))
    return Report(
        name,
        None if data_dir is None else str(data_dir),
        metadata.layout,
        metadata.task == "segmentation",
        domains,
        tuple(findings(dataset, domains, duplicates, [each.rest for each in looked if each.rest is not None])),
    )


def _look(dataset: Dataset, index: int, workers: Workers, progress: Progress | None) -> Looked:
    name = dataset.metadata.domains[index]
    nothing = Content(name, (), np.zeros(0, dtype=np.int64), ())
    try:
        domain = dataset.open(index)
        fingerprint = domain.fingerprint()
    except MissingDataError as error:
        return Looked(nothing, "missing", str(error))
    except DfdgbenchError as error:
        return Looked(nothing, "wrong", str(error))
    except OSError as error:
        return Looked(nothing, "wrong", f"The domain '{name}' cannot be read ({error}). Mend or replace the file.")
    looked = Looked(Content(name, _names(domain), domain.labels, []), fingerprint=fingerprint)
    sizes = _take_images(looked, domain, dataset.metadata, workers, progress)
    if isinstance(domain, MaskedDomain):
        _take_masks(looked, domain, dataset.metadata, sizes, workers, progress)
    elif isinstance(domain, FolderDomain) and domain.root != dataset.data_dir:
        with suppress(DataError):  # of a folder beside the images, which is then not looked through
            looked.rest = rest_of(domain)
    return looked


def _names(domain: Domain) -> Sequence[str]:
    return domain.files if isinstance(domain, FolderDomain) else [f"#{index}" for index in range(len(domain))]


def _take_images(
    looked: Looked, domain: Domain, metadata: Metadata, workers: Workers, progress: Progress | None
) -> list[tuple[int, int] | None]:
    """Enter every image into ``looked``; returns their sizes."""
    native, digests, sizes = metadata.native_size, [], []
    for index, found in enumerate(_images(domain, workers)):
        file = looked.content.files[index]
        _enter(looked, file, found)
        # One that cannot be decoded is told as such, and is no copy of another damaged one.
        digests.append(b"" if found.error else found.digest)
        sizes.append(found.size)
        if native and found.size and found.size != (native, native) and isinstance(domain, FolderDomain):
            looked.remarks[SIZE].add(f"{file} {found.size[0]}x{found.size[1]}")
        if progress is not None and (index + 1) % CHUNK == 0:
            progress(domain.name, index + 1, len(domain))
    if progress is not None:
        progress(domain.name, len(domain), len(domain))
    looked.content = Content(domain.name, looked.content.files, domain.labels, digests)
    if looked.remarks[GREY].count * 2 > len(domain):
        del looked.remarks[GREY]  # usual here
    return sizes


def _enter(looked: Looked, file: str, found: Examined) -> None:
    looked.hashes.append(found.digest)
    if found.error:
        looked.undecodable[file] = found.error
    for remark in found.remarks:
        looked.remarks[remark].add(file)


def _images(domain: Domain, workers: Workers) -> Iterator[Examined]:
    """Every image of a domain, in order."""
    if isinstance(domain, FolderDomain):
        paths = [domain.path(index) for index in range(len(domain))]
        for batch in workers.map(examine_images, _chunks(paths)):
            yield from batch
    elif isinstance(domain, ArrayDomain):
        for image in domain.images:
            yield Examined(hashlib.sha256(image.tobytes()).digest(), (image.shape[1], image.shape[0]))
    else:
        for index in range(len(domain)):
            yield _own(domain, index)


def _own(domain: Domain, index: int) -> Examined:
    """An image of a domain that alone knows how it is stored."""
    try:
        image = domain.image(index)
    except DataError as error:
        return Examined(b"", error=str(error))
    return Examined(hashlib.sha256(image.tobytes()).digest(), image.size)


def _take_masks(
    looked: Looked,
    domain: MaskedDomain,
    metadata: Metadata,
    sizes: Sequence[tuple[int, int] | None],
    workers: Workers,
    progress: Progress | None,
) -> None:
    """Enter every mask into ``looked``."""
    masked = [index for index, file in enumerate(domain.masks) if file]
    for index, file in enumerate(domain.masks):
        if not file:
            looked.remarks[UNLABELLED].add(domain.files[index])
    paths = [str(domain.root / domain.masks[index]) for index in masked]
    here = workers if _travels(domain.read_mask) else Workers(1)
    batches = here.map(examine_masks, ((domain.read_mask, chunk) for chunk in _chunks(paths)))
    for done, (index, found) in enumerate(zip(masked, (each for batch in batches for each in batch), strict=True), 1):
        file, size = domain.masks[index], sizes[index]
        _enter(looked, file, found)
        looked.pixels.update(dict(found.labels))
        if found.size and size and found.size != size:
            looked.remarks[MASK_SIZE].add(f"{file} {found.size[0]}x{found.size[1]}, its image {size[0]}x{size[1]}")
        unknown = [label for label, _ in found.labels if label >= len(metadata.classes) and label != IGNORED]
        if unknown:
            looked.remarks[LABELS].add(f"{file} {', '.join(map(str, unknown))}")
        if progress is not None and (done % CHUNK == 0 or done == len(masked)):
            progress(f"{domain.name}, masks", done, len(masked))


def _travels(function: Callable[..., object]) -> bool:
    """Whether a function can be handed to another process."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _chunks(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    return (paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK))


def _report(metadata: Metadata, index: int, looked: Looked, duplicates: Duplicates) -> DomainReport:
    expected = metadata.counts[index] if metadata.counts is not None else None
    if looked.reason:
        return DomainReport(looked.content.domain, looked.state, expected, reason=looked.reason)
    masked = metadata.task == "segmentation"
    found, classes = len(looked.content.files), _pixels(metadata, looked) if masked else _images_of(metadata, looked)
    lacking = set() if masked else {name for name, count in classes.items() if not count}
    wrong = (
        looked.undecodable
        or (expected is not None and found != expected)
        or lacking - set(metadata.absent.get(looked.content.domain, ()))
        or any(looked.remarks[remark].count for remark in WRONG)
    )
    return DomainReport(
        name=looked.content.domain,
        state="wrong" if wrong else "ok",
        expected=expected,
        found=found,
        classes=classes,
        undecodable=looked.undecodable,
        remarks={name: tally for name, tally in looked.remarks.items() if tally.count},
        duplicates=duplicates.per_domain[index],
        fingerprint=looked.fingerprint,
        content=_combined(looked.hashes),
    )


def _images_of(metadata: Metadata, looked: Looked) -> dict[str, int]:
    """Images of each class."""
    labels = looked.content.labels
    counts = np.bincount(labels[labels >= 0], minlength=len(metadata.classes)).tolist()
    return dict(zip(metadata.classes, counts, strict=False))


def _pixels(metadata: Metadata, looked: Looked) -> dict[str, int]:
    """Pixels of each class in the masks, and of none."""
    every = {name: looked.pixels[index] for index, name in enumerate(metadata.classes)}
    return every | {NO_CLASS: looked.pixels[IGNORED]}


def _combined(hashes: Sequence[bytes]) -> str:
    """SHA-256 over the sorted content hashes, "" where a file could not be read."""
    return hashlib.sha256(b"".join(sorted(hashes))).hexdigest() if all(hashes) else ""
