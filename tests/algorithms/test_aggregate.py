"""Aggregate, Aggregate-SGD and Multi-Headed: pooled images, epochs, heads, and how a checkpoint is chosen."""

from __future__ import annotations

import math

import pytest
import torch
from dmg_tools import SMALL, batches
from torch.nn import functional

from dfdgbench.algorithms.aggregate import Aggregate, AggregateSGD
from dfdgbench.algorithms.multi_headed import MultiHeaded
from dfdgbench.api import load
from dfdgbench.contract import Contract
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.evaluation import scores_of
from dfdgbench.engine.execute import Engine
from dfdgbench.engine.stage import walk
from dfdgbench.errors import ConfigError
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.planning import plan
from dfdgbench.results.selection import get_rule


def made(kind=Aggregate, **hparams):
    return kind((3, 28, 28), 3, 3, hparams, network=SMALL)


def planned(tmp_path, algorithm="Aggregate", hparams=None, **options):
    config = {
        "dataset": "Debug28",
        "network": "smallcnn",
        "test_envs": [0],
        "hparams": {"batch_size": 4, **(hparams or {})},
    }
    return plan(
        RunConfig.make(algorithm=algorithm, **{**config, **options}), Execution(device="cpu", artifacts=tmp_path / "a")
    )


def test_the_loss_is_the_mean_over_all_images_whatever_their_domain():
    algorithm, minibatches = made(), batches((1, 0, 7))
    images, labels = torch.cat([x for x, _ in minibatches]), torch.cat([y for _, y in minibatches])
    by_hand = -(algorithm.body(images).log_softmax(1)[torch.arange(8), labels]).mean()
    assert float(algorithm.update(minibatches)["loss"]) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(made(loss_reduction="sum").update(minibatches)["loss"]) == pytest.approx(8 * float(by_hand), rel=1e-6)


def test_sgd_by_hand():
    algorithm = made(AggregateSGD, lr=0.1, weight_decay=0.01, momentum=0.5)
    images, labels, _ = algorithm.together(batches())
    weight = algorithm.body.classifier.weight
    steps, velocity = [], 0.0
    for _ in range(2):
        grad = torch.autograd.grad(functional.cross_entropy(algorithm.body(images), labels), weight)[0]
        velocity = 0.5 * velocity + grad + 0.01 * weight.detach()
        steps.append(weight.detach() - 0.1 * velocity)
        algorithm.update(batches())
        assert torch.allclose(weight, steps[-1], atol=1e-6)


def test_the_new_layer_may_be_small_and_without_bias():
    default, small = made(), made(head_init="normal")
    assert small.body.classifier.weight.std().item() == pytest.approx(1e-3, rel=0.3)
    assert not small.body.classifier.bias.any()
    assert default.body.classifier.weight.abs().max() < 1 / 8
    assert torch.equal(default.body.featurizer[0].weight, small.body.featurizer[0].weight)


def test_epochs_are_passes_over_all_sources_with_a_record_at_the_end_of_each(tmp_path):
    last = planned(tmp_path, hparams={"epochs": 3}).last
    assert last.steps_per_epoch == 7, "13 images of either source, 4 a step"
    assert last.steps == 21
    assert [number for number in range(21) if last.recorded(number)] == [6, 13, 20]
    assert last.epoch(14) == 2
    frequent = planned(tmp_path, hparams={"epochs": 3}, checkpoint_freq=5).last
    assert [number for number in range(21) if frequent.recorded(number)] == [0, 5, 10, 15, 20]
    assert planned(tmp_path, hparams={"epochs": 3}, steps=4).last.steps == 4, "--steps goes before"
    assert planned(tmp_path, hparams={"epochs": 3, "sampling": "domain"}).last.steps_per_epoch == 4
    keys = {planned(tmp_path, hparams={"epochs": epochs}).last.key for epochs in (1, 2)}
    assert len(keys) == 2


def test_without_data_an_epoch_is_estimated_by_the_published_counts(tmp_path):
    config = RunConfig.make(
        algorithm="DMG", dataset="PACS", data_dir=str(tmp_path), preset="code", weights="none", network="resnet18"
    )
    last = plan(config, Execution(device="cpu", artifacts=tmp_path / "a")).last
    assert last.steps_per_epoch == math.ceil((2344 + 1670 + 3929) / 64)
    assert last.steps == 150 * last.steps_per_epoch


def test_a_run_sees_every_image_of_every_source_once_an_epoch(tmp_path, monkeypatch):
    seen = []
    update = Aggregate.update

    def spied(self, minibatches, unlabeled=None):
        seen.append([len(labels) for _, labels in minibatches])
        return update(self, minibatches, unlabeled)

    monkeypatch.setattr(Aggregate, "update", spied)
    planned(tmp_path, hparams={"epochs": 2}).execute(tmp_path / "run")
    for epoch in (seen[:7], seen[7:]):
        assert [sum(sizes) for sizes in epoch] == [4] * 6 + [2]
        assert [sum(sizes[domain] for sizes in epoch) for domain in (0, 1)] == [13, 13]
    assert len(records.read(tmp_path / "run" / "results.jsonl")) == 2


def test_the_schedule_follows_the_epochs_of_a_run(tmp_path, monkeypatch):
    rates = []
    update = Aggregate.update

    def spied(self, minibatches, unlabeled=None):
        metrics = update(self, minibatches, unlabeled)
        rates.append(self.optimizer.param_groups[0]["lr"])
        return metrics

    monkeypatch.setattr(Aggregate, "update", spied)
    planned(tmp_path, hparams={"epochs": 2, "schedule": "exponential", "decay": 0.5, "lr": 0.1}).execute(
        tmp_path / "run"
    )
    assert rates == pytest.approx([0.1] * 7 + [0.05] * 7)


@pytest.mark.parametrize("algorithm", ["Aggregate", "Multi-Headed", "DMG"])
def test_with_epochs_and_a_schedule_killed_runs_end_with_the_same_bits(tmp_path, algorithm):
    contract = Contract(algorithm, tmp_path)
    config = contract.config
    hparams = {"batch_size": 4, "epochs": 1, "schedule": "exponential"} | (
        {"recalibrate_bn": True, "lambda_sparsity": 1e-3} if algorithm == "DMG" else {}
    )
    contract.config = lambda **options: config(
        **{"hparams": hparams, "steps": None, "checkpoint_freq": None, **options}
    )
    contract.resume()


def test_sampling_by_domain_is_erms(tmp_path, monkeypatch):
    sizes = []
    update = Aggregate.update
    monkeypatch.setattr(
        Aggregate,
        "update",
        lambda self, batch, unlabeled=None: sizes.append([len(y) for _, y in batch]) or update(self, batch),
    )
    planned(tmp_path, hparams={"sampling": "domain"}, steps=2).execute(tmp_path / "run")
    assert sizes == [[4, 4], [4, 4]]


def test_pooled_images_cost_a_batch_a_step(tmp_path):
    pooled, each = (
        planned(tmp_path, hparams={"sampling": kind}, steps=10).last.cost() for kind in ("pooled", "domain")
    )
    assert each == 2 * pooled


# Multi-Headed --------------------------------------------------------------------------------------------------------


def heads(shared=False):
    return made(MultiHeaded, shared_head=shared).eval()


def test_a_head_is_its_domains_alone_unless_the_defect_is_asked_for():
    images = torch.cat([x for x, _ in batches()])
    for shared, others_move in ((False, False), (True, True)):
        algorithm = heads(shared)
        before = algorithm.body(images).detach()
        with torch.no_grad():
            algorithm.body.network.classifier.heads[0].weight.add_(1)
        after = algorithm.body(images)
        assert not torch.equal(before[:, 0], after[:, 0])
        assert torch.equal(before[:, 1], after[:, 1]) != others_move
    assert torch.allclose(algorithm.predict(images), algorithm.body(images)[:, 0], atol=1e-6)
    counts = [sum(p.numel() for p in heads(shared).parameters()) for shared in (False, True)]
    assert counts[0] - counts[1] == 2 * (64 * 3 + 3)


def test_training_routes_every_image_to_its_domains_head():
    algorithm = heads()
    images, labels, domains = algorithm.together(batches((2, 0, 3)))
    features = algorithm.body.network.features(images)
    layers = algorithm.body.network.classifier.heads
    by_hand = torch.stack([layers[d](features[i]) for i, d in enumerate(domains.tolist())])
    loss, _ = algorithm.loss(images, labels, domains)
    assert float(loss) == pytest.approx(float(functional.cross_entropy(by_hand, labels)), rel=1e-6)
    loss.backward()
    assert [bool(layer.weight.grad.any()) for layer in layers] == [True, False, True]


def test_predictions_average_all_heads_and_validation_takes_ones_own():
    algorithm = heads()
    views, images = algorithm.predictors(), batches()[0][0]
    every = algorithm.body(images)
    assert list(views) == ["all-heads", "known-domain"]
    assert torch.allclose(views["all-heads"](images), every.mean(1), atol=1e-6)
    assert torch.equal(views["all-heads"].answering(1, "validation")(images), every[:, 1])
    assert views["all-heads"].answering(1, "test") is views["all-heads"]
    assert views["all-heads"].answering(None, "validation") is views["all-heads"]
    assert torch.equal(views["known-domain"].answering(2, "test")(images), every[:, 2])
    assert views["known-domain"].answering(None, "test") is None
    both = {"all": views["all-heads"], "own": views["known-domain"].answering(0, "test")}
    assert torch.equal(scores_of(both, images)["own"], every[:, 0])
    with pytest.raises(ConfigError, match="needs the source domain"):
        views["known-domain"](images)


def test_heads_start_small_and_different():
    layers = heads().body.network.classifier.heads
    assert layers[0].weight.std().item() == pytest.approx(1e-3, rel=0.3)
    assert not torch.equal(layers[0].weight, layers[1].weight)
    assert made(MultiHeaded, head_init="default").body.network.classifier.heads[0].bias.any()


def test_a_loaded_run_answers_for_its_sources_alone(tmp_path):
    run = Contract("Multi-Headed", tmp_path).planned("run").execute(tmp_path / "run")
    loaded, images = load(run.path, device="cpu"), torch.zeros(1, 3, 28, 28)
    assert loaded.predict(images, "known-domain", domain="2").shape == (1, 2)
    with pytest.raises(ConfigError, match="trained on 1, 2"):
        loaded.predict(images, "known-domain", domain="0")
    assert math.isnan(records.read(run.results)[-1]["env0_in_acc@known-domain"])


def test_one_source_domain_is_told(tmp_path):
    with pytest.raises(ConfigError, match="Multi-Headed needs 2 source domains or more and has 1"):
        planned(tmp_path, "Multi-Headed", test_envs=[0, 1])
    assert planned(tmp_path, "Aggregate", test_envs=[0, 1]).last.steps


def test_alexnet_loses_its_last_layer_to_the_heads():
    spec = NetworkSpec("alexnet", 7, weights="none", image_size=64)
    count = {
        kind: sum(p.numel() for p in kind((3, 64, 64), 7, 3, {}, network=spec).parameters())
        for kind in (Aggregate, MultiHeaded)
    }
    assert count[Aggregate] == 57_032_519
    assert count[MultiHeaded] - count[Aggregate] == 2 * (4096 * 7 + 7)


# The checkpoint ------------------------------------------------------------------------------------------------------


def record(step, *validation):
    args = {"algorithm": "DMG", "dataset": "PACS", "protocol": "official", "test_envs": [0], "train_envs": [1, 2]}
    scores = {f"env{env + 1}_val_acc": value for env, value in enumerate(validation)}
    return {"step": step, "args": args, "env0_test_acc": step / 10, "env0_val_acc": 0.0} | scores


def test_the_first_of_the_best_epochs_represents_a_run():
    chosen = get_rule("training-domain").choose([record(1, 0.5, 0.5), record(2, 0.7, 0.7), record(3, 0.7, 0.7)])
    assert chosen.record["step"] == 2


def test_domains_count_the_same_whatever_their_size():
    assert get_rule("training-domain").choose([record(1, 1.0, 0.0)]).validation == 0.5


def test_stages_are_planned_once(tmp_path):
    plans = [planned(tmp_path, algorithm) for algorithm in ("Aggregate", "Aggregate-SGD", "DMG", "Multi-Headed")]
    assert len({stage.key for each in plans for stage in walk(each.last)}) == 4
    assert isinstance(plans[0].engine(), Engine)
