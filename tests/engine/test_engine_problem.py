"""Problems: who plays which part, and what a key depends on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from tiny import Compass, Drift

from dfdgbench.engine.problem import at_work, choose_domains
from dfdgbench.engine.runtime import Precision
from dfdgbench.engine.work import Work
from dfdgbench.errors import AccessError, ConfigError, DataError, MissingDataError
from dfdgbench.settings import Read

METADATA = Compass.metadata


def keys(problem: tiny.Problem) -> list[str]:
    """The keys of one stage for each domain's in split."""
    return [Drift(problem, reads=(Read(domain, "in"),)).key for domain in range(4)]


# Who plays which part ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test_envs", "train_envs", "expected"),
    [
        ([0], None, ((1, 2, 3), (0,))),
        (["west", "N"], None, ((1, 2), (3, 0))),
        ([2, "south", "2"], None, ((0, 1, 3), (2,))),
        ([0], ["east", 2, 1], ((1, 2), (0,))),
    ],
)
def test_domains_are_given_by_number_name_or_label(
    test_envs: list[int | str], train_envs: list[int | str] | None, expected: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    assert choose_domains(METADATA, test_envs, train_envs) == expected


@pytest.mark.parametrize(
    ("test_envs", "train_envs", "told"),
    [
        ([0, 1], [1, 2, 0], "Both trained on and held out: north, east"),
        ([0, 1, 2, 3], None, "No source domain is left.*0 north, 1 east, 2 south, 3 west"),
        ([0], [], "No source domain is left"),
        (["nord"], None, "Compass has no domain 'nord'. Its domains: 0 north, 1 east"),
        ([4], None, "no domain .?4.?. Its domains: 0 north"),
        ([-1], None, "no domain .?-1"),
        ([0], ["up"], "no domain 'up'"),
    ],
)
def test_wrong_domains_are_named(test_envs: list[int | str], train_envs: list[int | str] | None, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        choose_domains(METADATA, test_envs, train_envs)


def test_roles_and_uses(artifacts: Path) -> None:
    problem = tiny.problem(artifacts, Compass(), test_envs=[3], train_envs=[0, 1], uda_holdout_fraction=0.5)
    assert [problem.role(domain) for domain in range(4)] == ["source", "source", None, "target"]
    assert [problem.use(split) for split in ("in", "out", "uda", "other")] == ["train", "validation", "uda", "test"]
    assert [problem.split_names(domain) for domain in (0, 3)] == [("in", "out"), ("in", "out", "uda")]
    assert [len(problem.split(3, name)) for name in ("in", "out", "uda")] == [4, 2, 4]


def test_published_pairs_say_which_sources_a_target_has() -> None:
    paired = METADATA.model_copy(update={"pairs": ((METADATA.domains[0], METADATA.domains[2]),)})
    assert choose_domains(paired, [2], None) == ((0,), (2,))
    assert choose_domains(paired, [2], [1]) == ((1,), (2,))
    assert choose_domains(paired, [3], None) == ((0, 1, 2), (3,)), "a target of no pair is held out as ever"


def test_only_unlabelled_reads_of_the_test_split_are_lent_and_only_where_asked_for(artifacts: Path) -> None:
    asked, plainly = (tiny.problem(artifacts, Compass(), test_envs=[3], transductive=flag) for flag in (True, False))
    assert (asked.adaptation, plainly.adaptation) == ("in", "uda")
    reads = [
        Read(3, "in", labelled=False),
        Read(3, "in"),
        Read(0, "in", labelled=False),
        Read(3, "out", labelled=False),
    ]
    assert [asked.lent(read) for read in reads] == [True, False, False, False]
    assert not any(plainly.lent(read) for read in reads)


def test_without_unlabelled_images_it_is_said_how_to_have_them(artifacts: Path) -> None:
    with pytest.raises(
        MissingDataError, match=r"'uda' .* is empty .* Type --uda-holdout-fraction 0.5, say, or --transductive"
    ):
        tiny.problem(artifacts, Compass(), test_envs=[3]).split(3, "uda")


def test_a_stage_that_declared_an_unlabelled_read_is_shown_no_labels(artifacts: Path) -> None:
    problem = tiny.problem(artifacts, Compass(), test_envs=[3], uda_holdout_fraction=0.5)
    with at_work([Read(3, "uda", labelled=False), Read(0, "in")]):
        assert set(problem.split(3, "uda").labels.tolist()) == {-1}
        assert set(problem.split(0, "in").labels.tolist()) == {0, 1}
    assert set(problem.split(3, "uda").labels.tolist()) <= {0, 1}
    with at_work([Read(3, "uda", labelled=False), Read(3, "uda")]):
        assert -1 not in problem.split(3, "uda").labels


def test_an_empty_split_is_told(artifacts: Path) -> None:
    problem = tiny.problem(artifacts, Compass(), holdout_fraction=0.01)
    with pytest.raises(DataError, match=r"split 'out' of domain 'north' is empty \(10 images, holdout fraction 0.01\)"):
        problem.split(0, "out")


def test_records_are_due_as_the_dataset_says_unless_told(artifacts: Path) -> None:
    due = [tiny.problem(artifacts, checkpoint_freq=freq).record_every for freq in (None, 0, 7)]
    assert due == [100, 0, 7]


# What a key depends on -----------------------------------------------------------------------------------------------


def test_a_changed_image_changes_the_keys_of_the_stages_that_read_it_and_no_other(artifacts: Path) -> None:
    before, after = (keys(tiny.problem(artifacts, Compass(changed=changed))) for changed in (None, 2))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, True]


def test_what_changes_a_key_and_what_does_not(artifacts: Path, tmp_path: Path) -> None:
    def made(data_dir: Path | None = None, folder: Path = artifacts, **options: object) -> list[str]:
        return keys(tiny.problem(folder, Compass(data_dir), **options))

    original = made()
    assert made(tmp_path / "moved") == original
    assert made(folder=tmp_path / "elsewhere") == original
    assert [a == b for a, b in zip(made(test_envs=[3]), original, strict=True)] == [False, True, True, False], (
        "held out"
    )
    assert made(seed=5, steps=9, checkpoint_freq=1) == original
    for changes in ({"trial_seed": 1}, {"holdout_fraction": 0.4}):
        assert not set(made(**changes)) & set(original)  # type: ignore[arg-type]
    assert [a == b for a, b in zip(made(uda_holdout_fraction=0.5), original, strict=True)] == [False, True, True, True]


def _index(problem: tiny.Problem) -> Drift:
    return Drift(problem, index=1)


def _version(problem: tiny.Problem) -> Drift:
    return type("Newer", (Drift,), {"version": 2})(problem)  # type: ignore[no-any-return]


def _inputs(problem: tiny.Problem) -> Drift:
    return Drift(problem, inputs=[Drift(problem, index=7)])


def _unlabelled(problem: tiny.Problem) -> Drift:
    return Drift(problem, reads=(Read(0, "in", labelled=False),))


def _labelled(problem: tiny.Problem) -> Drift:
    return Drift(problem, reads=(Read(0, "in"),))


def _precision(problem: tiny.Problem) -> Drift:
    stage = Drift(problem)
    stage.precision = Precision("bfloat16")
    return stage


def _seed(problem: tiny.Problem) -> Drift:
    stage = Drift(problem)
    stage.seed += 1
    return stage


VARIANTS: list[Callable[[tiny.Problem], Drift]] = [
    Drift,
    _index,
    _version,
    _inputs,
    _unlabelled,
    _labelled,
    _precision,
    _seed,
]


def test_all_that_decides_an_artifact_is_in_its_key(artifacts: Path) -> None:
    problem = tiny.problem(artifacts)
    found = [make(problem).key for make in VARIANTS]
    assert len(set(found)) == len(VARIANTS)
    assert [make(problem).key for make in VARIANTS] == found


def test_a_shared_stages_seed_is_what_it_is_and_not_the_runs(artifacts: Path) -> None:
    seeds = [
        Drift(tiny.problem(artifacts, seed=seed, trial_seed=trial)).seed for seed, trial in ((0, 0), (9, 0), (0, 1))
    ]
    assert seeds[0] == seeds[1] != seeds[2]


# Data that is away ---------------------------------------------------------------------------------------------------


def test_fingerprints_are_remembered_for_where_the_data_is_away(artifacts: Path) -> None:
    here = keys(tiny.problem(artifacts, Compass()))
    away = tiny.problem(artifacts, Compass(away=True))
    assert keys(away) == here
    assert not any(Drift(away, reads=(Read(domain, "in"),)).absent for domain in range(4))


def test_a_domain_that_is_held_out_elsewhere_is_remembered_apart(artifacts: Path) -> None:
    here = keys(tiny.problem(artifacts, Compass(), test_envs=[3]))
    assert keys(tiny.problem(artifacts, Compass(), test_envs=[0])) != here
    assert keys(tiny.problem(artifacts, Compass(away=True), test_envs=[3])) == here


def test_data_that_was_never_seen_is_absent(artifacts: Path) -> None:
    keys(tiny.problem(artifacts, Compass()))
    never = tiny.problem(artifacts, Compass(away=True), trial_seed=1)
    teacher = Drift(never, reads=(Read(1, "in"),))
    consumer = Drift(never, index=1, inputs=[teacher])
    assert never.fingerprint(Read(1, "in")).startswith("absent:")
    assert teacher.absent
    assert consumer.absent, "what is made of it has no known key either"
    with pytest.raises(DataError, match="images of east are not here"):
        tiny.engine(artifacts).ensure(consumer)


def test_changed_data_is_remembered_anew(artifacts: Path) -> None:
    keys(tiny.problem(artifacts, Compass()))
    changed = keys(tiny.problem(artifacts, Compass(changed=0)))
    assert keys(tiny.problem(artifacts, Compass(away=True))) == changed


def test_a_stage_is_handed_what_it_declared_and_nothing_else(artifacts: Path) -> None:
    problem = tiny.problem(artifacts, Compass())
    work = Work(Drift(problem, reads=(Read(1, "in"),)), tiny.CPU, {})
    assert len(work.split(Read(1, "in"))) == 8
    for read in (Read(1, "out"), Read(2, "in"), Read(1, "in", labelled=False)):
        told = f"asks for the split '{read.split}' of domain {read.domain}.*declared: in of domain 1"
        with pytest.raises(AccessError, match=told):
            work.split(read)


def test_two_problems_do_not_share_their_splits(artifacts: Path) -> None:
    one = tiny.problem(artifacts, Compass())
    other = replace(one, options=replace(one.options, trial_seed=1), _splits={})
    assert one.split(0, "in").keys.tolist() != other.split(0, "in").keys.tolist()
