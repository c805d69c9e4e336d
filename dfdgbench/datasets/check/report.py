"""What verifying a dataset found, for persons and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

State = Literal["ok", "missing", "wrong"]
EXAMPLES = 3
NO_CLASS = "(none)"
"""In place of a class: the pixels of masks that belong to none."""

SIZE, LABELS, MASK_SIZE, UNLABELLED = "size", "labels", "mask size", "no mask"
"""Remarks that only a whole dataset knows of; the others are those of :mod:`dfdgbench.datasets.check.examine`."""
WRONG = (SIZE, LABELS)
"""Remarks with which a domain is not what it should be."""


@dataclass
class Tally:
    """How many files something holds for, and the first few of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, file: str) -> None:
        """Count one more file."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(file)


@dataclass(frozen=True)
class DomainReport:
    """What was found of one domain.

    Attributes:
        expected: images it should have, None where that is not fixed.
        found: images it has, None where it could not be opened.
        classes: images of each class; of masks, pixels of each class.
        undecodable: files that cannot be decoded, to a sentence that says why and what to do.
        remarks: what is unusual about files that can be, by its name.
        duplicates: images that are the same to the byte as another one of the dataset.
        fingerprint: the domain's own, half of a stage's key.
        content: SHA-256 over the sorted hashes of all files, "" where one cannot be read: equal for equal files, wherever
            they lie and whatever they are called.
        reason: why it could not be opened.
    """

    name: str
    state: State
    expected: int | None
    found: int | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    undecodable: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, Tally] = field(default_factory=dict)
    duplicates: int = 0
    fingerprint: str = ""
    content: str = ""
    reason: str = ""

    @property
    def classes_found(self) -> int:
        """Classes that there is anything of."""
        return sum(count > 0 for name, count in self.classes.items() if name != NO_CLASS)


@dataclass(frozen=True)
class Finding:
    """One sentence on what was found and what to do; ``wrong`` where the dataset is not what it should be."""

    wrong: bool
    text: str


@dataclass(frozen=True)
class Report:
    """What was found of a dataset."""

    name: str
    data_dir: str | None
    layout: str
    masks: bool
    domains: tuple[DomainReport, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether every domain is there, whole and readable."""
        return all(domain.state == "ok" for domain in self.domains)

    def json(self) -> dict[str, Any]:
        """All of it as JSON; names of files that are not UTF-8 hold surrogates, as ``os.fsdecode`` makes them."""
        return asdict(self) | {"ok": self.ok}
