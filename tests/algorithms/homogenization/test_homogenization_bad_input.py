"""Post-hoc data homogenisation: what cannot be done is told before anything is trained."""

from __future__ import annotations

import json

import pytest
from homogenization_rooms import Room, gathered, same

from dfdgbench.cli.main import main
from dfdgbench.errors import ArtifactError, ConfigError, DataError, HparamError
from dfdgbench.planning import Planner
from dfdgbench.posing import open_dataset


@pytest.mark.parametrize(
    ("hparams", "error", "message"),
    [
        ({"maps": "nn", "class_conditional": True, "supervised": False}, ConfigError, "class_conditional=true needs the target"),
        ({"maps": "criterion", "supervised": False}, ConfigError, "maps=criterion is the cross-entropy alone"),
        ({"maps": "criterion", "class_conditional": True}, ConfigError, "has no statistics, so none by class"),
        ({"maps": "criterion", "criterion_weight": 0}, ConfigError, "leaves nothing to minimise"),
        ({"maps": "nn", "criterion_weight": 0, "statistics_weight": 0}, ConfigError, "leaves nothing to minimise"),
        ({"target_images": 4}, ConfigError, "4 images .* is smaller than a batch of 8"),
        ({"target_images": 500}, DataError, r"has 20 images, and target_images is 500 .* --hparam target_images=16"),
        ({"perturbation.kappa": -0.1}, HparamError, "'perturbation.kappa' = -0.1: .*greater than or equal to 0"),
        ({"maps": "nn-every"}, HparamError, "'maps' = 'nn-every'"),
    ],
)  # fmt: skip
def test_bad_hyperparameters_are_told_before_anything_runs(planned, hparams, error, message):
    with pytest.raises(error, match=message):
        planned("Room", {"target_images": 8, **hparams})


def test_a_target_set_of_one_class_is_refused_where_labels_count(planned, monkeypatch):
    monkeypatch.setattr(Room, "relabelled", 2)
    open_dataset.cache_clear()
    with pytest.raises(DataError, match="is of one class"):
        planned("Room", {"target_images": 8})
    assert planned("Room", {"target_images": 8, "maps": "nn", "supervised": False}).last.steps == 3


def test_statistics_that_have_moved_stop_a_run_and_not_the_plan_that_a_finished_one_is_read_by(planned):
    found = planned("Room", {"maps": "nn", "statistics_folder": "nowhere"})
    with pytest.raises(ArtifactError, match="no source statistics in nowhere"):
        found.require()
    assert [told for told in Planner(found.execution).problems(found) if "in nowhere" in told]


def test_several_held_out_domains_and_a_leak_that_is_none_are_refused(planned):
    with pytest.raises(ConfigError, match=r"and --test-envs gives attic, hall. Type --test-envs attic,"):
        planned("Rooms", test_envs=[0, 2])
    with pytest.raises(
        ConfigError,
        match=r"leaky=true trains on the target's images.* Type .*leaky=false, .*--train-envs attic --test-envs attic\.",
    ):
        planned("Rooms", {"classifier.leaky": True})


def test_statistics_of_another_network_or_of_other_images_are_refused(run, planned, tmp_path):
    _, folder = gathered(planned)
    own = run("Room", {"maps": "nn"})
    given = run("Room", {"maps": "nn", "statistics_folder": str(folder)})
    assert same(own, given)
    with pytest.raises(ArtifactError, match="statistics are of another network"):
        run("Room", {"maps": "nn", "statistics_folder": str(folder), "classifier.seed": 1})
    other = tmp_path / "other"
    other.mkdir()
    (other / "statistics.safetensors").write_bytes((folder / "statistics.safetensors").read_bytes())
    about = json.loads((folder / "about.json").read_text())
    (other / "about.json").write_text(json.dumps(about | {"sources": ["0" * 64], "dataset": "Elsewhere"}))
    with pytest.raises(ArtifactError, match="statistics are of other images"):
        run("Room", {"maps": "nn", "statistics_folder": str(other)})
    with pytest.raises(ArtifactError, match="no source statistics in"):
        run("Room", {"maps": "nn", "statistics_folder": str(tmp_path / "nowhere")})


def test_another_algorithm_still_wants_a_source(tmp_path, capsys):
    assert (
        main(["train", "--algorithm", "ERM", "--dataset", "Room", "--test-envs", "0", "--output-dir", str(tmp_path)])
        != 0
    )
    assert "No source domain is left" in capsys.readouterr().err
