"""Images of one dataset that are the same to the byte."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dfdgbench.datasets.domains import Labels

Place = tuple[int, int]
"""Number of a domain, and of an image in it."""


@dataclass(frozen=True)
class Content:
    """What a domain holds.

    Attributes:
        files: one name an image, as it is shown.
        labels: int64 [N], -1 for an image that has none.
        digests: one content hash an image, b"" for one that could not be read.
    """

    domain: str
    files: Sequence[str]
    labels: Labels
    digests: Sequence[bytes]


@dataclass(frozen=True)
class Same:
    """Groups of identical images.

    Attributes:
        groups: how many groups there are.
        images: how many images are in them.
        examples: a few, as ``domain/file = domain/file``.
    """

    groups: int = 0
    images: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Duplicates:
    """What was found.

    Attributes:
        per_domain: images of each domain that are the same as another one of the dataset.
        within: groups that lie in one domain.
        across: groups that lie in more than one.
        relabelled: groups whose images are not all of one class, whichever of the two they also belong to.
    """

    per_domain: tuple[int, ...]
    within: Same
    across: Same
    relabelled: Same


def find_duplicates(contents: Sequence[Content], examples: int = 3) -> Duplicates:
    """Which images of ``contents`` are the same, with at most ``examples`` of each sort."""
    times = Counter(digest for content in contents for digest in content.digests if digest)
    groups: dict[bytes, list[Place]] = defaultdict(list)
    for number, content in enumerate(contents):
        for image, digest in enumerate(content.digests):
            if times[digest] > 1:
                groups[digest].append((number, image))
    every = list(groups.values())
    spread = [len({number for number, _ in places}) > 1 for places in every]
    involved = Counter(number for places in every for number, _ in places)

    def same(chosen: list[list[Place]]) -> Same:
        shown = tuple(" = ".join(_name(contents, place) for place in places[:3]) for places in chosen[:examples])
        return Same(len(chosen), sum(map(len, chosen)), shown)

    return Duplicates(
        per_domain=tuple(involved[number] for number in range(len(contents))),
        within=same([places for places, wide in zip(every, spread, strict=True) if not wide]),
        across=same([places for places, wide in zip(every, spread, strict=True) if wide]),
        relabelled=same([places for places in every if len(_classes(contents, places)) > 1]),
    )


def _name(contents: Sequence[Content], place: Place) -> str:
    content = contents[place[0]]
    return f"{content.domain}/{content.files[place[1]]}"


def _classes(contents: Sequence[Content], places: Sequence[Place]) -> set[int]:
    return {int(contents[number].labels[image]) for number, image in places} - {-1}
