"""ERM, and DomainBed's interface."""

from __future__ import annotations

import pytest
import torch

from dfdgbench.algorithms.erm import ERM
from dfdgbench.networks.base import NetworkSpec

BATCHES = [
    (torch.rand(8, 3, 28, 28, generator=torch.Generator().manual_seed(i)), torch.tensor([0, 1] * 4)) for i in range(3)
]
HPARAMS = {"lr": 1e-3, "weight_decay": 0.0, "batch_size": 8}


def test_it_is_made_and_used_as_domainbed_makes_and_uses_algorithms():
    algorithm = ERM((3, 28, 28), 2, 3, HPARAMS)
    losses = [float(algorithm.update(BATCHES)["loss"]) for _ in range(25)]
    assert losses[-1] < losses[0]
    algorithm.eval()
    assert algorithm.predict(BATCHES[0][0]).shape == (8, 2)


def test_the_loss_is_the_mean_cross_entropy_over_all_domains():
    algorithm = ERM((3, 28, 28), 2, 3, HPARAMS, network=NetworkSpec("MNIST_CNN", 2, image_size=28))
    logits = torch.cat([algorithm.predict(x) for x, _ in BATCHES])
    labels = torch.cat([y for _, y in BATCHES])
    by_hand = -(logits.log_softmax(1)[torch.arange(24), labels]).mean()
    assert float(algorithm.update(BATCHES)["loss"]) == pytest.approx(float(by_hand), rel=1e-6)


def test_cross_entropy_by_hand():
    from dfdgbench.tasks.classification import Classification

    logits = torch.tensor([[2.0, 0, 0], [0, 1, 0]], dtype=torch.float64)
    assert float(Classification().loss(logits, torch.tensor([0, 2]))) == pytest.approx(0.895495, abs=1e-6)


@pytest.mark.parametrize(
    ("network", "expected"),
    [("resnet18", 0.5), ("timm:vit_tiny_patch16_224", 0.1), ("smallcnn", 0.0), ("MNIST_CNN", 0.0), ("WRN-16-2", 0.0)],
)
def test_dropout_is_the_hyperparameter_of_the_networks_kind(network, expected):
    hparams = ERM.Hparams.build({**HPARAMS, "resnet_dropout": 0.5, "vit_dropout": 0.1}, "ERM")
    assert ERM.network_spec(NetworkSpec(network, 2), hparams).dropout == expected


def test_frozen_batch_normalisation_keeps_its_statistics():
    algorithm = ERM(
        (3, 28, 28), 2, 3, {**HPARAMS, "freeze_bn": True}, network=NetworkSpec("smallcnn", 2, image_size=28)
    )
    before = {name: value.clone() for name, value in algorithm.network.named_buffers()}
    algorithm.train()
    algorithm.update(BATCHES)
    assert all(torch.equal(value, before[name]) for name, value in algorithm.network.named_buffers())


def test_the_first_step_of_adam_moves_every_weight_by_the_learning_rate():
    algorithm = ERM((3, 28, 28), 2, 3, HPARAMS, network=NetworkSpec("MNIST_CNN", 2, image_size=28))
    before = algorithm.network.classifier.bias.detach().clone()
    algorithm.update(BATCHES)
    assert (algorithm.network.classifier.bias - before).abs().tolist() == pytest.approx([1e-3, 1e-3], rel=1e-3)
