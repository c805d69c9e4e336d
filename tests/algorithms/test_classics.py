"""The classics of domain generalisation: each loss against a small formula of its own, and DomainBed's draws."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.algorithms.sagnet import randomised
from dfdgbench.algorithms.selfreg import shuffled_within_classes
from dfdgbench.datasets.base import DATASETS
from dfdgbench.errors import HparamError
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.networks.heads import MLP
from dfdgbench.seeds import seed_everything

SPEC = NetworkSpec("smallcnn", 3, image_size=28)
COMMON = {"lr": 1e-2, "weight_decay": 0.0, "batch_size": 6}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def batches(count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(0)
    return [(torch.rand(6, 3, 28, 28, generator=random), LABELS.roll(i)) for i in range(count)]


def made(name: str, domains: int = 3, **hparams: Any) -> Any:
    """In eval mode, so that batch normalisation does not depend on how images are batched."""
    algorithm: Any = ALGORITHMS.get(name)
    given = {key: value for key, value in {**COMMON, **hparams}.items() if key in algorithm.Hparams.names()}
    return algorithm((3, 28, 28), 3, domains, given, network=SPEC, seed=1).eval()


def risks(algorithm: Any, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> list[float]:
    return [-float(algorithm.predict(x).log_softmax(1)[torch.arange(6), y].mean()) for x, y in batches]


def logged(algorithm: Any, count: int = 3, seed: int = 0) -> dict[str, float]:
    seed_everything(seed)
    return {key: float(value) for key, value in algorithm.update(batches(count)).items()}


# Losses ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CORAL", "MMD", "IRM", "VREx", "Fishr", "SD", "SelfReg"])
def test_methods_that_add_a_penalty_log_the_mean_risk(name: str) -> None:
    algorithm = made(name)
    expected = np.mean(risks(algorithm, batches()))
    found = logged(algorithm)
    assert found.get("nll", found["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["IRM", "VREx"])
def test_the_penalty_weighs_one_and_then_its_weight_with_a_fresh_optimiser(name: str) -> None:
    prefix = name.lower()
    algorithm = made(name, **{f"{prefix}_penalty_anneal_iters": 1, f"{prefix}_lambda": 50.0})
    first, before = logged(algorithm), algorithm.optimizer
    assert first["loss"] == pytest.approx(first["nll"] + first["penalty"], rel=1e-5)
    second = logged(algorithm)
    assert second["loss"] == pytest.approx(second["nll"] + 50 * second["penalty"], rel=1e-5)
    assert algorithm.optimizer is not before


def test_vrex_penalises_the_variance_of_risks() -> None:
    algorithm = made("VREx")
    expected = np.var(risks(algorithm, batches()))
    assert logged(algorithm)["penalty"] == pytest.approx(expected, rel=1e-4)


def test_groupdro_by_hand() -> None:
    algorithm = made("GroupDRO", groupdro_eta=0.5)
    found = risks(algorithm, batches())
    grown = [math.exp(0.5 * risk) / 3 for risk in found]
    weights = [value / sum(grown) for value in grown]
    loss = logged(algorithm)["loss"]
    assert loss == pytest.approx(sum(w * r for w, r in zip(weights, found, strict=True)), rel=1e-5)
    assert algorithm.q.tolist() == pytest.approx(weights, rel=1e-5)


def test_mixup_by_hand() -> None:
    algorithm, data = made("Mixup", 2), batches(2)
    seed_everything(3)
    order = torch.randperm(2).tolist()
    shares = [float(np.random.beta(0.2, 0.2)) for _ in range(2)]
    expected = 0.0
    for share, i, j in zip(shares, order, [order[1], order[0]], strict=True):
        (x, y), (other_x, other_y) = data[i], data[j]
        scores = algorithm.predict(share * x + (1 - share) * other_x).log_softmax(1).detach()
        expected -= float((share * scores[range(6), y] + (1 - share) * scores[range(6), other_y]).mean()) / 2
    assert logged(algorithm, 2, seed=3)["loss"] == pytest.approx(expected, rel=1e-5)


def test_mldg_follows_both_gradients() -> None:
    algorithm, data = made("MLDG", 2, mldg_beta=2.0), batches(2)
    seed_everything(4)
    i, j = torch.randperm(2).tolist()
    before = copy.deepcopy(algorithm.network)
    weights = list(before.parameters())
    first = torch.autograd.grad(functional.cross_entropy(before(data[i][0]), data[i][1]), weights)
    inner = copy.deepcopy(algorithm.network)
    with torch.no_grad():  # the first step of Adam without weight decay
        for weight, gradient in zip(inner.parameters(), first, strict=True):
            weight -= 1e-2 * gradient / (gradient.abs() + 1e-8)
    second = torch.autograd.grad(functional.cross_entropy(inner(data[j][0]), data[j][1]), list(inner.parameters()))
    logged(algorithm, 2, seed=4)
    for parameter, one, two in zip(algorithm.network.parameters(), first, second, strict=True):
        torch.testing.assert_close(parameter.grad, (one + 2 * two) / 2, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("domains", [1, 2])
def test_mldg_trains_with_as_many_meta_test_domains_as_there_are_domains(domains: int) -> None:
    algorithm = made("MLDG", domains, n_meta_test=2)
    before = algorithm.network.classifier.weight.detach().clone()
    logged(algorithm, domains)
    assert not torch.equal(algorithm.network.classifier.weight, before)


def test_rsc_mutes_what_the_correct_score_depends_on_most() -> None:
    algorithm = made("RSC", rsc_f_drop_factor=0.25, rsc_b_drop_factor=1.0)
    features = torch.rand(6, 64, requires_grad=True)
    logits = algorithm.network.classifier(features)
    kept = algorithm._kept(features, logits, LABELS)
    weight = algorithm.network.classifier.weight
    for row, label in zip(kept, LABELS.tolist(), strict=True):
        most = set(weight[label].topk(16).indices.tolist())
        assert {i for i in range(64) if row[i] == 0} == most
    algorithm = made("RSC", rsc_f_drop_factor=0.25, rsc_b_drop_factor=0.5)
    kept = algorithm._kept(features, algorithm.network.classifier(features), LABELS)
    assert sorted(kept.eq(0).any(1).tolist()) == [False] * 3 + [True] * 3


def test_sd_penalises_squared_logits() -> None:
    algorithm = made("SD")
    expected = float(torch.cat([algorithm.predict(x) for x, _ in batches()]).square().mean())
    assert logged(algorithm)["penalty"] == pytest.approx(expected, rel=1e-5)


def test_fishrs_running_means_are_corrected_by_the_decay() -> None:
    algorithm = made("Fishr", penalty_anneal_iters=0, ema=0.9)
    found = logged(algorithm)
    assert found["loss"] == pytest.approx(found["nll"] + 1000 * found["penalty"], rel=1e-5)
    assert {"means", "network.mean"} <= algorithm.state_dict().keys()
    first = algorithm.means.clone()
    algorithm.network.load_state_dict(made("Fishr").network.state_dict())
    logged(algorithm)  # the same gradients again: 0.9 of 0.1 v, and 0.1 v
    torch.testing.assert_close(algorithm.means, 1.9 * first, rtol=1e-4, atol=1e-12)


def test_fishr_needs_a_linear_classifier() -> None:
    algorithm: Any = ALGORITHMS.get("Fishr")
    hparams = algorithm.Hparams.build({**COMMON, "nonlinear_classifier": True}, "Fishr")
    with pytest.raises(HparamError, match="leave nonlinear_classifier out"):
        algorithm((3, 28, 28), 3, 3, hparams)


@pytest.mark.parametrize(("turns", "expected"), [(1, "gdgdgd"), (2, "dgddgd"), (0, "gggggg")])
def test_dann_takes_turns(turns: int, expected: str) -> None:
    algorithm = made("DANN", d_steps_per_g_step=turns)
    found = "".join(next(iter(logged(algorithm)))[0] for _ in range(6))
    assert found == expected


def test_danns_discriminator_loss_by_hand() -> None:
    algorithm = made("DANN", grad_penalty=0.5)
    algorithm.discriminator = torch.nn.Linear(4, 2)
    features, domains = torch.rand(5, 4, requires_grad=True), torch.tensor([0, 0, 1, 1, 1])
    scores = algorithm.discriminator(features)
    error = scores.softmax(1) - functional.one_hot(domains, 2)
    slope = (error @ algorithm.discriminator.weight).square().sum(1).mean()
    entropy = -scores.log_softmax(1)[range(5), domains].mean()
    found = algorithm._disc_loss(features, LABELS[:5], domains)
    assert float(found) == pytest.approx(float(entropy + 0.5 * slope), rel=1e-5)


def test_cdann_weighs_classes_alike_and_shows_them() -> None:
    algorithm = made("CDANN")
    algorithm.discriminator = torch.nn.Linear(64, 2)
    features, labels, domains = torch.rand(4, 64), torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 0, 1])
    scores = algorithm.discriminator(features + algorithm.embeddings(labels)).log_softmax(1)
    each = [-float(scores[i, domains[i]]) for i in range(4)]
    expected = (sum(each[:3]) / 3 + each[3]) / 3  # three classes, one of them absent
    assert float(algorithm._disc_loss(features, labels, domains)) == pytest.approx(expected, rel=1e-5)


def test_sagnets_styles_and_contents() -> None:
    features = torch.randn(8, 64, dtype=torch.float64)
    mean, deviation = features.mean(1), features.var(1).add(1e-5).sqrt()
    styled = randomised(features, "style")
    contents = (features - mean[:, None]) / deviation[:, None]
    again = (styled - styled.mean(1, keepdim=True)) / styled.var(1, keepdim=True).add(1e-5).sqrt()
    torch.testing.assert_close(again, contents, rtol=1e-3, atol=1e-4)  # content stays
    features.requires_grad_()
    other = randomised(features, "content")
    torch.testing.assert_close(other.mean(1), mean, rtol=1e-3, atol=1e-4)  # style stays
    (gradient,) = torch.autograd.grad((other[0] - other[0].mean()).square().sum(), features)
    assert gradient[1:].abs().sum() == 0  # another's content passes none


def test_sagnet_steps_each_part_by_its_own_losses() -> None:
    algorithm = made("SagNet", sag_w_adv=0.0)
    style = [value.detach().clone() for value in algorithm.style.parameters()]
    found = logged(algorithm)
    assert found["loss_adv"] == 0
    assert all(not torch.equal(one, two) for one, two in zip(algorithm.style.parameters(), style, strict=True))


def test_selfreg_meets_its_own_class() -> None:
    labels = torch.tensor([2, 0, 1, 0, 2, 2, 1])
    seen = set()
    for seed in range(30):
        torch.manual_seed(seed)
        orders = shuffled_within_classes(labels)
        for order in orders:
            assert sorted(order.tolist()) == list(range(7))
            assert torch.equal(labels[order], labels)
        seen.add(tuple(torch.cat(orders).tolist()))
    assert len(seen) > 10
    assert any(orders[:7] != orders[7:] for orders in seen)


def test_selfreg_without_others_of_a_class_pulls_features_to_their_own_projection() -> None:
    """Every image then meets itself: logits agree, and of both features' terms the share of the mixture drops out."""
    algorithm = made("SelfReg", feature_weight=0.7)
    images = batches()[0][0]
    features = algorithm.network.features(images[:3])
    pulled = functional.mse_loss(features, algorithm.projection(features))
    nll = functional.cross_entropy(algorithm.network.classifier(features), LABELS[:3])
    expected = nll + min(nll.item(), 1.0) * 0.7 * pulled
    assert pulled > 1e-3
    found = algorithm.update([(images[:3], LABELS[:3])])
    assert float(found["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_selfreg_weighs_both_terms_by_one_draw() -> None:
    algorithm = made("SelfReg", feature_weight=0.0)
    with torch.no_grad():
        algorithm.network.classifier.weight.mul_(100)  # logits that differ
    images = torch.cat([x for x, _ in batches()])
    labels = torch.cat([y for _, y in batches()])
    logits = algorithm.predict(images)
    seed_everything(3)
    share, (second, third) = np.random.beta(0.5, 0.5), shuffled_within_classes(labels)
    single, mixed = logits - logits[second], logits - share * logits[second] - (1 - share) * logits[third]
    nll = functional.cross_entropy(logits, labels)
    apart = share * single.pow(2).mean() + (1 - share) * mixed.pow(2).mean()
    assert apart > 0.01
    expected = nll + min(nll.item(), 1.0) * apart
    assert logged(algorithm, seed=3)["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_selfregs_projection_is_trained() -> None:
    algorithm = made("SelfReg")
    before = algorithm.projection[0].weight.detach().clone()
    algorithm.train()
    logged(algorithm)
    assert not torch.equal(algorithm.projection[0].weight, before)


def test_the_discriminators_layers() -> None:
    kinds = [type(layer).__name__ for layer in MLP(8, 3, 16, 3, 0.1)]
    assert kinds == ["Linear", "Dropout", "ReLU", "Linear", "Dropout", "ReLU", "Linear"]


# DomainBed's draws ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "dataset", "seeds", "expected"),
    [
        ("CORAL", "PACS", (1, 0), {"mmd_gamma": 1.4227570299330277, "lr": 2.7028930742148706e-05, "batch_size": 39}),
        ("MMD", "VLCS", (1, 0), {"mmd_gamma": 1.4227570299330277}),
        (
            "IRM",
            "ColoredMNIST",
            (3, 1),
            {
                "irm_lambda": 2.04779455554515,
                "irm_penalty_anneal_iters": 6533,
                "lr": 0.0021690714686971317,
                "batch_size": 14,
                "resnet_dropout": 0.1,
            },
        ),
        (
            "DANN",
            "PACS",
            (1, 0),
            {
                "lambda": 3.500347568342894,
                "weight_decay_d": 0.00010096814830489473,
                "d_steps_per_g_step": 7,
                "grad_penalty": 3.044417571888086,
                "beta1": 0.5,
                "mlp_width": 255,
                "mlp_depth": 4,
                "mlp_dropout": 0.5,
                "lr_g": 0.00018927227584350511,
                "lr_d": 1.7562793545765942e-05,
                "weight_decay_g": 0.003716490191663224,
            },
        ),
        (
            "Mixup",
            "OfficeHome",
            (5, 2),
            {
                "mixup_alpha": 2.588921681105016,
                "lr": 6.768725917122619e-05,
                "weight_decay": 2.692204119563736e-06,
                "batch_size": 15,
            },
        ),
        ("GroupDRO", "VLCS", (1, 0), {"groupdro_eta": 0.01297606872689568}),
        (
            "Fishr",
            "PACS",
            (1, 0),
            {"lambda": 809.251247284292, "penalty_anneal_iters": 4072, "ema": 0.9129082782560279},
        ),
        ("VREx", "PACS", (1, 0), {"vrex_lambda": 3307.1978049278796, "vrex_penalty_anneal_iters": 47}),
        ("MLDG", "PACS", (1, 0), {"mldg_beta": 5.4211455811356215, "n_meta_test": 1}),
        ("RSC", "PACS", (1, 0), {"rsc_f_drop_factor": 0.4041248591083744, "rsc_b_drop_factor": 0.2581555339499306}),
        ("SagNet", "PACS", (1, 0), {"sag_w_adv": 0.010638215739319792}),
    ],
)
def test_draws_are_domainbeds(algorithm: str, dataset: str, seeds: tuple[int, int], expected: dict[str, Any]) -> None:
    drawn = ALGORITHMS.get(algorithm).Hparams.draws(DATASETS.get(dataset).metadata, *seeds)
    assert {name: drawn[name] for name in expected} == expected
