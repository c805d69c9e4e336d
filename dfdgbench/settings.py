"""Settings: what a method's user may see while it trains, and the check that a plan stays inside it.

A plan has two sides. *Owner* stages belong to who holds the data; they read labelled source images and leave *released*
artifacts of a named type. *User* stages get what their setting grants and nothing else. The check below walks the
graph before anything runs; while it runs, the engine hands a stage what it declared and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from dfdgbench.errors import AccessError, listing, unknown

Role = Literal["source", "target"]


class Side(str, Enum):
    """Whose a stage is."""

    OWNER = "owner"
    USER = "user"


class Released(str, Enum):
    """The types of artifact that may cross from the owner to the user."""

    MODEL = "model"
    STATISTICS = "statistics"
    SYNTHETIC = "synthetic set"
    LABELS = "label records"


@dataclass(frozen=True, order=True)
class Read:
    """One declared read: the images of one split of one domain, with or without their labels."""

    domain: int
    split: str
    labelled: bool = True


NOTHING: tuple[Read, ...] = ()


@dataclass(frozen=True)
class Grant:
    """Leave to read a kind of split: the protocol's ``train``, ``validation``, ``test`` or ``uda`` split of a role."""

    role: Role
    use: Literal["train", "validation", "test", "uda"]
    labelled: bool

    def __str__(self) -> str:
        return f"{'labelled' if self.labelled else 'unlabelled'} {self.role} images ({self.use} split)"


@dataclass(frozen=True)
class Setting:
    """What is granted to user stages, and what selection may look at.

    Attributes:
        selection: of "source validation", "synthetic hold-out", "target validation": what a selection rule may use
            without being marked.
    """

    name: str
    title: str
    reads: frozenset[Grant] = frozenset()
    releases: frozenset[Released] = frozenset()
    selection: frozenset[str] = frozenset()

    def granted(self) -> str:
        """In words, what a user stage may read."""
        kinds = [f"released {kind.value.removesuffix('s')}s" for kind in Released if kind in self.releases]
        words = [str(grant) for grant in sorted(self.reads, key=str)] + kinds
        return listing(words) if words else "nothing"


_LABELLED_SOURCE = Grant("source", "train", True)
_UNLABELLED_TARGET = Grant("target", "uda", False)

DOMAIN_GENERALISATION = Setting(
    "domain-generalisation",
    "domain generalisation: all labelled source images",
    reads=frozenset({_LABELLED_SOURCE, Grant("source", "validation", True)}),
    selection=frozenset({"source validation"}),
)
DATA_FREE = Setting(
    "data-free",
    "data-free domain generalisation: released models only",
    releases=frozenset({Released.MODEL}),
    selection=frozenset({"synthetic hold-out"}),
)
DISTILLED = Setting(
    "distilled",
    "distilled domain generalisation: released synthetic sets and label records",
    releases=frozenset({Released.SYNTHETIC, Released.LABELS}),
    selection=frozenset({"source validation"}),
)
POST_HOC = Setting(
    "post-hoc",
    "post-hoc adaptation: a released model with its statistics, and a small target split",
    reads=frozenset({_UNLABELLED_TARGET, Grant("target", "uda", True)}),
    releases=frozenset({Released.MODEL, Released.STATISTICS}),
)
SOURCE_FREE = Setting(
    "source-free",
    "source-free adaptation: a released model and unlabelled target images",
    reads=frozenset({_UNLABELLED_TARGET}),
    releases=frozenset({Released.MODEL}),
)
UNSUPERVISED_ADAPTATION = Setting(
    "unsupervised-adaptation",
    "unsupervised adaptation: a released model, labelled source and unlabelled target images",
    reads=frozenset({_LABELLED_SOURCE, _UNLABELLED_TARGET}),
    releases=frozenset({Released.MODEL}),
)

SETTINGS = {
    setting.name: setting
    for setting in (DOMAIN_GENERALISATION, DATA_FREE, DISTILLED, POST_HOC, SOURCE_FREE, UNSUPERVISED_ADAPTATION)
}


def get_setting(name: str) -> Setting:
    """The setting called ``name``."""
    if name not in SETTINGS:
        raise unknown("setting", name, SETTINGS)
    return SETTINGS[name]


class StageAccess(Protocol):
    """What the check looks at; every stage has it."""

    side: Side
    releases: Released | None
    reads: tuple[Read, ...]

    @property
    def inputs(self) -> Sequence[Any]: ...

    @property
    def title(self) -> str: ...


class SplitRoles(Protocol):
    """Who plays which part in a problem."""

    def role(self, domain: int, split: str = ...) -> Role | None: ...

    def use(self, split: str) -> str: ...

    def lent(self, read: Read) -> bool: ...

    def domain_name(self, domain: int) -> str: ...


def check_access(stages: Iterable[StageAccess], setting: Setting, problem: SplitRoles) -> None:
    """Raise ``AccessError`` naming the first stage, in order of execution, that reads outside its grants."""
    for stage in stages:
        if stage.side is Side.OWNER:
            _check_owner(stage, problem)
        else:
            _check_user(stage, setting, problem)


def _what(read: Read, problem: SplitRoles) -> str:
    labels = "labelled" if read.labelled else "unlabelled"
    role = problem.role(read.domain, read.split) or "outside"
    return f"{labels} images of the {role} domain '{problem.domain_name(read.domain)}' (split '{read.split}')"


def _check_owner(stage: StageAccess, problem: SplitRoles) -> None:
    for read in stage.reads:
        if problem.role(read.domain, read.split) != "source":
            raise AccessError(
                f"The owner stage '{stage.title}' reads {_what(read, problem)}. Owner stages may read source domains only."
            )


def _check_user(stage: StageAccess, setting: Setting, problem: SplitRoles) -> None:
    for read in stage.reads:
        role = problem.role(read.domain, read.split)
        use = "uda" if problem.lent(read) else problem.use(read.split)
        allowed = any(
            grant.role == role and grant.use == use and (grant.labelled or not read.labelled) for grant in setting.reads
        )
        if not allowed:
            raise AccessError(
                f"The user stage '{stage.title}' reads {_what(read, problem)}, which the setting '{setting.name}' does not "
                f"grant. It grants: {setting.granted()}. Register the algorithm under another setting, or give this work "
                "to an owner stage."
            )
    for given in stage.inputs:
        if given.side is Side.OWNER and (given.releases is None or given.releases not in setting.releases):
            kind = given.releases.value if given.releases else "nothing"
            raise AccessError(
                f"The user stage '{stage.title}' takes what the owner stage '{given.title}' made (released: {kind}), which "
                f"the setting '{setting.name}' does not grant. It grants: {setting.granted()}."
            )
