"""Post-hoc data homogenisation: what it reads, what it leaves as it is, its methods against each other, and bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfdgbench.cli.main import main
from dfdgbench.datasets.base import DATASETS, Dataset, Metadata
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.protocols import PROTOCOLS, SplitOptions
from dfdgbench.engine import diagnostics, records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.predictions import read_tensors
from dfdgbench.engine.stage import walk
from dfdgbench.errors import AccessError, ArtifactError, ConfigError, DataError, HparamError, MissingDataError
from dfdgbench.losses.homogenization import statistics_loss
from dfdgbench.networks.maps import FeatureMaps
from dfdgbench.planning import Plan, open_dataset, plan
from dfdgbench.settings import Read
from dfdgbench.stages.homogenize_measures import load_images
from dfdgbench.stages.source_statistics import SourceStatistics, read_statistics

EACH = 120
HPARAMS: dict[str, Any] = {
    "target_images": 16,
    "batch_size": 8,
    "epochs": 3,
    "width": 2,
    "depth": 2,
    "classifier.steps": 6,
    "classifier.batch_size": 16,
    "gathering.batch_size": 8,
    "gathering.projections": 8,
}


def _metadata(name: str, domains: tuple[str, ...]) -> Metadata:
    return Metadata(
        name=name, description="noise", domains=domains, classes=("a", "b", "c", "d"), image_size=16, augment=False,
        small=True, network="smallcnn", needs_data_dir=False,
    )  # fmt: skip


class Rooms(Dataset):
    """Three domains of 120 images of noise, brighter by class.

    Attributes:
        gone: domains whose images are not there any more.
        relabelled: the class that all images are of, None for their own.
    """

    metadata = _metadata("Rooms", ("attic", "cellar", "hall"))
    gone: tuple[int, ...] = ()
    relabelled: int | None = None

    def open(self, index: int) -> ArrayDomain:
        if index in self.gone:
            raise MissingDataError(f"The images of {self.metadata.domains[index]} are away.")
        labels = np.arange(EACH) % 4
        noise = np.random.RandomState(index).randint(0, 60, (EACH, 16, 16, 3))
        images = (noise + 40 * labels[:, None, None, None]).astype(np.uint8)
        if self.relabelled is not None:
            labels = np.full(EACH, self.relabelled)
        return ArrayDomain(self.metadata.domains[index], images, labels)


class Room(Rooms):
    """One domain alone, published in two parts."""

    metadata = _metadata("Room", ("den",))

    def open(self, index: int) -> ArrayDomain:
        whole = super().open(index)
        parts = {"train": np.arange(100), "test": np.arange(100, EACH)}
        return ArrayDomain("den", whole.images, whole.labels, parts)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    DATASETS.names()
    for dataset in (Rooms, Room):
        monkeypatch.setitem(DATASETS._found, dataset.metadata.name, dataset)
        monkeypatch.setattr(dataset, "gone", ())
        monkeypatch.setattr(dataset, "relabelled", None)
    open_dataset.cache_clear()
    yield
    open_dataset.cache_clear()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts: released once for all tests."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture
def planned(shared: Path) -> Callable[..., Plan]:
    def make(
        dataset: str = "Room", hparams: dict[str, Any] | None = None, artifacts: Path = shared, **options: Any
    ) -> Plan:
        config = RunConfig.make(
            algorithm="Homogenization",
            dataset=dataset,
            **{"test_envs": [0], "hparams": HPARAMS | (hparams or {}), **options},
        )
        return plan(config, Execution(device="cpu", artifacts=artifacts))

    return make


@pytest.fixture
def run(planned: Callable[..., Plan], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run it; the last record, and under ``model`` the default predictor's tensors."""
    count = iter(range(100))

    def execute(*args: Any, **options: Any) -> dict[str, Any]:
        folder = planned(*args, **options).execute(tmp_path / f"run{next(count)}")
        return records.read(folder.results)[-1] | {"model": read_tensors(folder.model), "folder": folder}

    return execute


def reconstruction(record: dict[str, Any]) -> list[torch.Tensor]:
    place = (
        "default/before.1."
        if any(name.startswith("default/before.1.") for name in record["model"])
        else "default/before.0."
    )
    return [value for name, value in record["model"].items() if name.startswith(place)]


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(reconstruction(one), reconstruction(two), strict=True))


# Protocol ------------------------------------------------------------------------------------------------------------


def split(dataset: Dataset, held_out: bool, trial: int = 0) -> dict[str, np.ndarray]:
    return dict(PROTOCOLS["post-hoc"].split(dataset.domain(0), 0, held_out, SplitOptions(trial)))


@pytest.mark.parametrize("dataset", [Room, Rooms])
def test_what_a_model_is_trained_on_is_no_part_of_the_target(dataset):
    found = split(dataset(), held_out=True)
    sets = [set(found[name].tolist()) for name in ("in", "uda", "test")]
    assert sum(map(len, sets)) == len(set.union(*sets)) == EACH
    assert set(found["whole"].tolist()) == sets[0] | sets[1], "the leak"


def test_the_owners_images_are_every_trials_and_the_targets_order_is_its_own():
    first, second = (split(Room(), True, trial) for trial in (0, 1))
    assert first["in"].tolist() == second["in"].tolist()
    assert first["uda"].tolist() != second["uda"].tolist()
    assert sorted(first["uda"]) == sorted(second["uda"])
    assert len(first["in"]) == 80
    assert set(first["test"]) == set(range(100, EACH))


def test_a_source_is_cut_as_domainbed_cuts_and_has_no_target_set():
    found = split(Rooms(), held_out=False)
    assert (len(found["in"]), len(found["out"])) == (96, 24)
    assert not {"uda", "test"} & set(found)


# Access --------------------------------------------------------------------------------------------------------------


def test_owner_stages_read_the_source_and_the_user_the_target(planned):
    made = planned("Rooms", test_envs=[1])
    reads = {stage.kind: (stage.side.value, stage.reads) for stage in walk(made.last)}
    source = (Read(0, "in"), Read(2, "in"))
    assert reads["classifier"] == reads["verifier"] == reads["source-statistics"] == ("owner", source)
    assert reads["homogenize"] == ("user", (Read(1, "uda"),))
    unlabelled = planned("Rooms", {"supervised": False, "maps": "nn"}, test_envs=[1])
    assert unlabelled.last.reads == (Read(1, "uda", labelled=False),)


def test_a_domain_that_is_its_own_target_is_kept_apart_by_split(planned):
    made = planned("Room")
    assert made.problem.role(0, "in") == "source"
    assert made.problem.role(0, "uda") == made.problem.role(0, "test") == "target"
    made.last.inputs[0].reads = (Read(0, "uda"),)
    from dfdgbench.engine.stage import every_stage
    from dfdgbench.settings import check_access

    with pytest.raises(AccessError, match="Owner stages may read source domains only"):
        check_access(every_stage(made.last), made.algorithm.setting, made.problem)


def test_the_source_may_be_gone_once_the_models_are_released(run, planned, monkeypatch, tmp_path):
    artifacts = tmp_path / "artifacts"
    made = planned("Rooms", artifacts=artifacts, test_envs=[1])
    engine = made.engine()
    for stage in made.last.inputs:
        engine.ensure(stage)
    monkeypatch.setattr(Rooms, "gone", (0, 2))
    open_dataset.cache_clear()
    record = run("Rooms", artifacts=artifacts, test_envs=[1])
    assert 0 <= record["env1_test_acc"] <= 1
    assert record["accuracy@source"] == read_accuracy(artifacts)
    assert math.isnan(record["env0_out_acc"]), "what is not there is not known"


def read_accuracy(artifacts: Path) -> float:
    return json.loads(next((artifacts / "classifier").glob("*/trained.json")).read_text())["accuracy"]


def test_without_labels_no_label_is_seen(planned, monkeypatch, tmp_path):
    made = planned("Room", {"supervised": False, "maps": "nn"}, artifacts=tmp_path)
    engine = made.engine()
    work = engine.work(made.last)
    assert set(work.split(made.last.reads[0]).labels.tolist()) == {-1}


# What is trained, and what is not ------------------------------------------------------------------------------------


def test_only_the_reconstruction_changes(run, shared, planned):
    record = run("Room", {"maps": "nn-all"})
    classifier = planned("Room").last.inputs[0]
    released = read_tensors(planned("Room").engine().ensure(classifier) / "model.safetensors")
    for name, value in released.items():
        assert torch.equal(record["model"][name.replace("default/", "default/network.")], value)
    one, two = (planned("Room").last for _ in range(2))
    assert one.key == two.key
    again = run("Room", {"maps": "nn-all"})
    assert same(record, again)


def test_five_hundred_and_twelve_images_are_four_steps_an_epoch(planned):
    last = planned("Room", {"target_images": 12, "batch_size": 3, "epochs": 100}).last
    assert last.steps == 400
    work = planned("Room").engine().work(last)
    epoch = torch.cat([last._batch(number, 12, work) for number in range(4)])
    assert sorted(epoch.tolist()) == list(range(12))


def test_without_statistics_every_method_is_the_criterion(run):
    criterion = run("Room", {"maps": "criterion"})
    for given in ({"maps": "nn"}, {"maps": "rp"}, {"maps": "random-nn"}, {"maps": "nn-all", "class_conditional": True}):
        assert same(criterion, run("Room", {**given, "statistics_weight": 0}))
    assert not same(criterion, run("Room", {"maps": "nn"}))


def test_without_a_criterion_labels_do_not_matter(run):
    for maps in ("nn", "nn-all", "random-nn", "rp"):
        with_labels = run("Room", {"maps": maps, "criterion_weight": 0})
        without = run("Room", {"maps": maps, "supervised": False})
        assert same(with_labels, without), maps
    assert not same(with_labels, run("Room", {"maps": "rp", "criterion_weight": 0, "class_conditional": True}))


def test_looking_at_the_measures_in_between_changes_nothing(run):
    often = run("Room", {"maps": "nn-all"}, checkpoint_freq=1)
    once = run("Room", {"maps": "nn-all"})
    assert same(often, once)
    assert often["l2_error"] == once["l2_error"]
    assert len(records.read(often["folder"].results)) == 6


def test_several_initialisations_share_batches_and_leave_mean_and_spread(run):
    one, two = run("Room", {"maps": "nn"}), run("Room", {"maps": "nn", "initialisations": 2})
    assert same(one, two), "the first is the same"
    assert two["accuracy_sd"] >= 0
    assert two["l2_error_sd"] > 0
    assert "accuracy_sd" not in one
    other = [value for name, value in two["model"].items() if name.startswith("init1/before.1.entry.bias")]
    assert not torch.equal(other[0], two["model"]["default/before.1.entry.bias"])


def test_trials_share_the_released_models_and_not_the_perturbation(planned):
    first, second = (planned("Room", trial_seed=trial).last for trial in (0, 1))
    assert [stage.key for stage in first.inputs] == [stage.key for stage in second.inputs]
    pair = [
        last._perturbed(
            planned("Room").engine().work(last).input(last.inputs[0]).network, planned("Room").engine().work(last)
        )[0]
        for last in (first, second)
    ]
    assert not torch.equal(pair[0].kernels, pair[1].kernels)


# Statistics ----------------------------------------------------------------------------------------------------------


def gathered(planned: Callable[..., Plan], **hparams: Any) -> tuple[Plan, Path]:
    made = planned("Room", hparams)
    stage = next(stage for stage in walk(made.last) if isinstance(stage, SourceStatistics))
    return made, made.engine().ensure(stage)


@pytest.mark.parametrize("by_class", [False, True])
def test_the_source_itself_has_the_pooled_statistics(planned, by_class):
    made, folder = gathered(planned)
    found = read_statistics(folder)
    classifier, _, _ = made.last.inputs
    work = made.engine().work(classifier)
    network = classifier.load(made.engine().ensure(classifier), work).network
    images, labels = load_images(made.problem.split(0, "in"), None, network, made.problem, work)
    for family, looked in (("network", network), ("random", found.random_network(network, made.problem))):
        with FeatureMaps(looked) as maps:
            maps_of_all = maps.of(images)[1]
        sources = found.moments(family, maps.places, by_class=by_class, variance="pooled")
        loss = statistics_loss(sources, maps_of_all, labels if by_class else None)
        assert float(loss) == pytest.approx(0, abs=1e-4)
    colour = found.colour(by_class)[:, :, None, None]
    centred = (images - (colour[labels] if by_class else colour)).flatten(1) @ found.directions(images.shape[1:])
    sources = found.moments("projection", [0], by_class=by_class, variance="pooled")
    assert float(statistics_loss(sources, [centred], labels if by_class else None)) == pytest.approx(0, abs=1e-3)


def test_the_codes_variance_is_the_mean_of_batches_own(planned):
    stage = SourceStatistics.__new__(SourceStatistics)
    stage.problem = type("P", (), {"network": type("N", (), {"num_classes": 1})})
    from dfdgbench.stages.source_statistics import _combined

    for batches, within, pooled, mean in (([[0, 2], [4, 6]], 1, 5, 3), ([[0, 2], [4]], 2 / 3, 8 / 3, 2)):
        totals: dict[str, torch.Tensor] = {}
        for batch in batches:
            stage._add(
                totals,
                "x",
                torch.tensor(batch, dtype=torch.float32)[:, None],
                torch.zeros(len(batch), dtype=torch.long),
            )
        found = _combined(totals, "x")
        assert float(found["mean"][0]) == pytest.approx(mean)
        assert float(found["within-batch"][0]) == pytest.approx(within)
        assert float(found["pooled"][0]) == pytest.approx(pooled)


def test_methods_read_the_published_number_of_maps():
    from dfdgbench.stages.homogenize import places

    counts = {
        (maps, layers): len(places(maps, "code", layers)[1])
        for maps in ("nn", "nn-all", "random-nn", "rp")
        for layers in (36, 21)
    }
    assert counts == {
        ("nn", 36): 1, ("nn", 21): 1, ("nn-all", 36): 35, ("nn-all", 21): 20,
        ("random-nn", 36): 37, ("random-nn", 21): 22, ("rp", 36): 1, ("rp", 21): 1,
    }  # fmt: skip
    assert places("nn", "code", 21)[1][-1] == places("nn-all", "code", 21)[1][-1]
    assert places("nn", "paper", 21)[1] == [22]
    assert places("nn-all", "paper", 21)[1] == list(range(23))


# A real shift, presets, strips ---------------------------------------------------------------------------------------


def test_a_real_shift_is_adapted_to_without_perturbation_and_with_a_corruption(run):
    record = run("Rooms", test_envs=[1])
    assert record["l2_error@distorted"] == 0
    assert record["accuracy@distorted"] == record["accuracy@undistorted"]
    assert {"env0_out_acc", "env1_test_acc", "env2_out_acc", "env1_test_acc@distorted"} <= set(record)
    corrupted = run("Rooms", {"perturbation.kind": "gamma"}, test_envs=[1])
    assert corrupted["l2_error@distorted"] > 0


@pytest.mark.parametrize("preset", ["code", "code-text", "code-defaults", "paper", "paper-text"])
def test_presets_run(run, preset):
    small = {name: value for name, value in HPARAMS.items() if name not in ("width", "depth")}
    record = run("Room", {**small, "epochs": 1, "class_conditional": True}, preset=preset)
    assert math.isfinite(record["l2_error"])


def test_strips_are_kept_beside_the_record(run):
    record = run("Room", {"maps": "nn"})
    kept = diagnostics.read(record["folder"].path, record["step"])
    assert {name: images.shape for name, images in kept.items()} == dict.fromkeys(
        ("clean", "distorted", "homogenised"), (10, 3, 16, 16)
    )
    assert not np.array_equal(kept["clean"], kept["distorted"])


def test_without_a_perturbation_the_clean_accuracy_is_that_of_the_model(run):
    record = run("Room", {"perturbation.kappa": 0})
    for name in ("accuracy", "validation_accuracy", "verification_accuracy"):
        assert record[f"{name}@distorted"] == record[f"{name}@undistorted"]
    assert record["psnr@distorted"] == math.inf
    assert record["ssim@distorted"] == pytest.approx(1)


def test_leaky_models_are_trained_on_the_target_too(planned):
    leaky = planned("Room", {"classifier.leaky": True}).last.inputs[0]
    assert leaky.reads == (Read(0, "whole"),)
    assert leaky.key != planned("Room").last.inputs[0].key


# Bad input -----------------------------------------------------------------------------------------------------------


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


def test_several_held_out_domains_and_a_leak_that_is_none_are_refused(planned):
    with pytest.raises(ConfigError, match="adapts to one held-out domain, and --test-envs gives attic, hall"):
        planned("Rooms", test_envs=[0, 2])
    with pytest.raises(ConfigError, match="leaky=true trains on the target's images"):
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
