"""Settings: every kind of violation is told by stage, with what is granted instead."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from dfdgbench import settings
from dfdgbench.errors import AccessError, UnknownNameError
from dfdgbench.settings import Read, Released, Role, Setting, Side, check_access, get_setting


class Roles:
    """Domains a and b are sources, c is held out, d is neither; splits are named as DomainBed's."""

    transductive = False

    def role(self, domain: int, split: str = "") -> Role | None:
        return ("source", "source", "target", None)[domain]  # type: ignore[return-value]

    def use(self, split: str) -> str:
        return {"in": "train", "out": "validation", "uda": "uda"}.get(split, "test")

    def lent(self, read: Read) -> bool:
        return self.transductive and read == Read(2, "in", labelled=False)

    def domain_name(self, domain: int) -> str:
        return "abcd"[domain]


@dataclass
class Stage:
    """As much of a stage as the check looks at."""

    title: str
    reads: tuple[Read, ...] = ()
    side: Side = Side.USER
    releases: Released | None = None
    inputs: tuple[Stage, ...] = ()


SOURCE, VALIDATION, TARGET = Read(0, "in"), Read(1, "out"), Read(2, "in")
UDA, LABELLED_UDA, OUTSIDE = Read(2, "uda", labelled=False), Read(2, "uda"), Read(3, "in")

GRANTED = {
    settings.DOMAIN_GENERALISATION: {SOURCE, VALIDATION},
    settings.DATA_FREE: set(),
    settings.DISTILLED: set(),
    settings.POST_HOC: {UDA, LABELLED_UDA},
    settings.SOURCE_FREE: {UDA},
    settings.UNSUPERVISED_ADAPTATION: {SOURCE, UDA},
}
TAKES = {
    settings.DOMAIN_GENERALISATION: set(),
    settings.DATA_FREE: {Released.MODEL},
    settings.DISTILLED: {Released.SYNTHETIC, Released.LABELS},
    settings.POST_HOC: {Released.MODEL, Released.STATISTICS},
    settings.SOURCE_FREE: {Released.MODEL},
    settings.UNSUPERVISED_ADAPTATION: {Released.MODEL},
}
EVERY = list(settings.SETTINGS.values())


def test_every_setting_is_covered_here() -> None:
    assert set(GRANTED) == set(TAKES) == set(EVERY)


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
@pytest.mark.parametrize("read", [SOURCE, VALIDATION, TARGET, UDA, LABELLED_UDA, OUTSIDE], ids=str)
def test_a_user_stage_reads_what_is_granted_and_nothing_else(setting: Setting, read: Read) -> None:
    stages = [Stage("harmless"), Stage("curious x", (read,))]
    if read in GRANTED[setting]:
        check_access(stages, setting, Roles())
        return
    with pytest.raises(AccessError) as caught:
        check_access(stages, setting, Roles())
    message = str(caught.value)
    assert "user stage 'curious x'" in message
    assert f"'{Roles().domain_name(read.domain)}' (split '{read.split}')" in message
    assert f"'{setting.name}' does not grant" in message
    assert f"It grants: {setting.granted()}." in message


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
@pytest.mark.parametrize("kind", [*Released, None])
def test_a_user_stage_takes_released_artifacts_of_the_granted_types(setting: Setting, kind: Released | None) -> None:
    teacher = Stage("teacher a", (SOURCE,), Side.OWNER, kind)
    student = Stage("student", inputs=(teacher,))
    if kind in TAKES[setting]:
        check_access([teacher, student], setting, Roles())
        return
    with pytest.raises(AccessError, match="user stage 'student' takes what the owner stage 'teacher a' made") as caught:
        check_access([teacher, student], setting, Roles())
    assert f"It grants: {setting.granted()}." in str(caught.value)


@pytest.mark.parametrize("read", [TARGET, UDA, OUTSIDE], ids=str)
def test_an_owner_stage_reads_sources_only(read: Read) -> None:
    owner = Stage("teacher c", (SOURCE, read), Side.OWNER, Released.MODEL)
    domain = Roles().domain_name(read.domain)
    with pytest.raises(AccessError, match=f"owner stage 'teacher c' reads .*'{domain}'.*source domains only"):
        check_access([owner], settings.DATA_FREE, Roles())


def test_an_owner_stage_may_take_what_another_owner_stage_made() -> None:
    first = Stage("raw", (SOURCE,), Side.OWNER, None)
    second = Stage("refined", (SOURCE,), Side.OWNER, Released.MODEL, (first,))
    check_access([first, second, Stage("student", inputs=(second,))], settings.DATA_FREE, Roles())


def test_the_first_violation_in_order_of_execution_is_told() -> None:
    stages = [Stage("first", (TARGET,)), Stage("second", (TARGET,))]
    with pytest.raises(AccessError, match="'first'"):
        check_access(stages, settings.DATA_FREE, Roles())


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_grants_are_told_in_good_words(setting: Setting) -> None:
    assert not re.search(r"ss\b", setting.granted())
    assert all(kind.value.rstrip("s") in setting.granted() for kind in setting.releases)


def test_oracle_is_no_setting() -> None:
    with pytest.raises(UnknownNameError, match="no setting 'oracle'"):
        get_setting("oracle")
    assert not any("target validation" in setting.selection for setting in EVERY)


def test_a_setting_is_found_by_its_name() -> None:
    assert get_setting("data-free") is settings.DATA_FREE


def test_a_stage_that_reaches_around_its_declaration_is_stopped(tmp_path) -> None:
    """Access is kept while stages are at work, not only in what they declare."""
    from dfdgbench.engine.config import Execution, RunConfig
    from dfdgbench.engine.problem import at_work
    from dfdgbench.planning import plan
    from dfdgbench.settings import Read

    problem = plan(RunConfig.make(algorithm="AvgPred", dataset="Debug28"), Execution(artifacts=tmp_path)).problem
    with at_work([Read(1, "in")]):
        assert len(problem.split(1, "in")) == 13
        with pytest.raises(AccessError, match="opens the split 'in' of the domain '0' without having declared it"):
            problem.split(0, "in")
    assert len(problem.split(0, "in")) == 13


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_test_images_are_lent_without_labels_only_where_asked_for(setting: Setting) -> None:
    unlabelled, lending = Read(2, "in", labelled=False), Roles()
    lending.transductive = True
    with pytest.raises(AccessError):
        check_access([Stage("adapt", (unlabelled,))], setting, Roles())
    with pytest.raises(AccessError):
        check_access([Stage("adapt", (TARGET,))], setting, lending)
    if UDA in GRANTED[setting]:
        check_access([Stage("adapt", (unlabelled,))], setting, lending)
    else:
        with pytest.raises(AccessError):
            check_access([Stage("adapt", (unlabelled,))], setting, lending)
