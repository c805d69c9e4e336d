"""Plans: what is shared between targets, methods and settings of hyper-parameters, and what is not."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import tiny

from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.stage import walk
from dfdgbench.planning import plan

pytestmark = pytest.mark.usefixtures("compass")
SHARED = ("teacher", "inverted", "fused", "noise")


def stages(artifacts: Path, algorithm: str = "DEKAN", target: int = 0, **options: Any) -> dict[str, list[str]]:
    """Keys of a plan's stages by kind, in order."""
    config = RunConfig.make(algorithm=algorithm, dataset="Compass", test_envs=[target], **options)
    found: dict[str, list[str]] = defaultdict(list)
    for stage in walk(plan(config, Execution(device="cpu", artifacts=artifacts)).last):
        found[stage.kind].append(stage.key)
    return found


def test_four_targets_of_five_methods_share_all_they_can(artifacts: Path) -> None:
    united: dict[str, set[str]] = defaultdict(set)
    for algorithm in ("AvgPred", "HighestConf", "BestTeacher", "Multi-DI", "DEKAN"):
        groups = {"Multi-DI": ("inversion",), "DEKAN": ("inversion", "fusion")}.get(algorithm, ())
        for target in range(4):
            for kind, keys in stages(artifacts, algorithm, target, hparams=tiny.tiny(*groups)).items():
                united[kind] |= set(keys)
    counts = {kind: len(keys) for kind, keys in united.items()}
    # 4 teachers; one set of 8 images in 2 shards of 4 for each; one for each of 12 ordered pairs.
    assert {kind: counts[kind] for kind in ("teacher", "inverted", "fused")} == {
        "teacher": 4,
        "inverted": 8,
        "fused": 24,
    }
    assert counts["student"] == 8
    assert (counts["ensemble"], counts["candidates"]) == (8, 4)


def test_with_one_shard_a_set_there_are_four_teachers_four_sets_and_twelve_pairs(artifacts: Path) -> None:
    united: dict[str, set[str]] = defaultdict(set)
    for target in range(4):
        for kind, keys in stages(artifacts, "DEKAN", target, hparams=tiny.tiny("inversion", "fusion", **ONE)).items():
            united[kind] |= set(keys)
    assert {kind: len(united[kind]) for kind in SHARED[:3]} == {"teacher": 4, "inverted": 4, "fused": 12}


ONE = {"inversion__group": 8, "fusion__group": 8}


def test_shared_stages_do_not_depend_on_who_else_is_held_out(artifacts: Path) -> None:
    one = stages(artifacts, target=0, train_envs=[1, 2])
    other = stages(artifacts, target=3, train_envs=[1, 2])
    assert {kind: one[kind] for kind in SHARED} == {kind: other[kind] for kind in SHARED}


def test_the_order_of_sources_does_not_change_shared_stages(artifacts: Path) -> None:
    one, other = (stages(artifacts, train_envs=order) for order in ([1, 2, 3], [3, 1, 2]))
    assert all(set(one[kind]) == set(other[kind]) for kind in SHARED)


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"distillation.lr": 0.5, "distillation.epochs": 3}, {"student"}),
        ({"fusion.epsilon": 5}, {"fused", "student"}),
        ({"inversion.epsilon": 5}, {"inverted", "fused", "student"}),
        ({"teacher.lr": 0.5}, {"teacher", "inverted", "fused", "student"}),
    ],
    ids=str,
)
def test_a_hyper_parameter_changes_its_stage_and_all_downstream(
    artifacts: Path, change: dict[str, Any], changed: set[str]
) -> None:
    before, after = stages(artifacts), stages(artifacts, hparams=change)
    assert {kind for kind in before if not set(before[kind]) & set(after[kind])} == changed
    assert {kind for kind in before if before[kind] == after[kind]} == set(before) - changed


def test_the_runs_seed_and_steps_are_the_students_alone(artifacts: Path) -> None:
    before = stages(artifacts)
    for options in ({"seed": 7}, {"steps": 9}):
        after = stages(artifacts, **options)
        assert {kind for kind in before if before[kind] != after[kind]} == {"student"}


EVERYWHERE: list[dict[str, Any]] = [
    {"trial_seed": 1},
    {"network": "resnet18", "weights": "none"},
    {"dtype": "bfloat16"},
    {"image_size": 32},
]


@pytest.mark.parametrize("options", EVERYWHERE, ids=str)
def test_what_concerns_everything_changes_everything(artifacts: Path, options: dict[str, Any]) -> None:
    before, after = stages(artifacts), stages(artifacts, **options)
    assert not any(set(before[kind]) & set(after[kind]) for kind in before)


def test_a_larger_set_has_the_smaller_one_as_its_prefix(artifacts: Path) -> None:
    small, large = (
        stages(artifacts, "Multi-DI", train_envs=[1], hparams=tiny.tiny("inversion", inversion__images=images))[
            "inverted"
        ]
        for images in (8, 20)
    )
    assert (len(small), len(large)) == (2, 5)
    assert large[:2] == small
    assert len(set(large)) == 5


def test_a_search_leaves_the_owners_stages_alone(artifacts: Path) -> None:
    before, after = stages(artifacts), stages(artifacts, hparams_seed=3)
    assert before["teacher"] == after["teacher"]


def test_methods_share_their_images(artifacts: Path) -> None:
    dekan, multi = stages(artifacts), stages(artifacts, "Multi-DI")
    assert dekan["inverted"] == multi["inverted"]
    assert "fused" not in multi
