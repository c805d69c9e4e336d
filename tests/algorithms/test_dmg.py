"""DMG's training: sampling, gradients, limits, optimisers, presets (spec dmg, section 11), and bad input."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from dmg_tools import SMALL, batches, by_hand, dmg, set_logits
from torch.nn import functional

from dfdgbench.algorithms.aggregate import Aggregate
from dfdgbench.algorithms.dmg import DMG, Mask
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.errors import ConfigError, HparamError
from dfdgbench.losses.masks import overlap
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.planning import plan


def images_of(minibatches):
    return torch.cat([x for x, _ in minibatches])


# Sampling ------------------------------------------------------------------------------------------------------------


def test_every_row_draws_for_itself_from_its_own_domains_mask():
    """Linear head on a constant row: the mean of many draws is each domain's p, two rows of a domain differ."""
    body = by_hand([], torch.eye(4), ["head"], [[[0.5, 0.75, 1.0, 0.0], [0.75, 0.5, 0.0, 1.0]]])
    count = 20_000
    domains = torch.arange(2).repeat(count // 2)
    rows = body.sampled(torch.ones(count, 1, 1, 4), body.soft(), domains, torch.Generator().manual_seed(0)).detach()
    assert rows.unique().tolist() == [0, 1]
    assert len(rows[domains == 0].unique(dim=0)) == 4
    for domain, expected in enumerate(([0.5, 0.75, 1, 0], [0.75, 0.5, 0, 1])):
        p = torch.tensor(expected)
        four_sigma = 4 * (p * (1 - p) / (count / 2)).sqrt()
        assert ((rows[domains == domain].mean(0) - p).abs() <= four_sigma).all()


def test_the_same_seed_draws_the_same():
    first, second, other = (
        dmg().body.sampled(images_of(batches()), dmg().body.soft(), torch.zeros(12, dtype=torch.long), random)
        for random in (torch.Generator().manual_seed(seed) for seed in (3, 3, 4))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_positions_of_a_map_share_a_channels_draw():
    made = dmg()
    entered = []
    made.body.network.featurizer[11].register_forward_hook(lambda module, inputs, output: entered.append(inputs[0]))
    plain = []
    made.eval()
    with torch.no_grad():
        made.body.network(images_of(batches()))
        plain.append(entered.pop())
        made.body.sampled(images_of(batches()), made.body.soft(), torch.zeros(12, dtype=torch.long), made.random)
    ratio = torch.where(plain[0] > 0, entered[0] / plain[0].clamp(min=1e-9), torch.nan)
    low = torch.where(ratio.isnan(), torch.inf, ratio).amin((2, 3))
    high = torch.where(ratio.isnan(), -torch.inf, ratio).amax((2, 3))
    seen = high > -torch.inf
    assert seen.sum() > 100
    assert torch.allclose(low[seen], high[seen])
    assert high[seen].unique().tolist() == [0, 1]


def test_the_expected_output_of_a_linear_layer_is_that_of_the_soft_mask():
    body = by_hand([], torch.ones(1, 2), ["head"], [[[0.5, 0.75], [0.5, 0.75]]])
    images = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
    every = [body(images, [torch.tensor([[a, b]])]).item() for a in (0.0, 1.0) for b in (0.0, 1.0)]
    weights = [0.5 * 0.25, 0.5 * 0.75, 0.5 * 0.25, 0.5 * 0.75]
    assert sum(w * out for w, out in zip(weights, every, strict=True)) == 4
    assert body.under(images, [Mask("soft", 0)]).item() == pytest.approx(4, abs=1e-6)


def test_a_hard_mask_leaves_out_a_unit_whose_logit_is_0():
    body = by_hand([], torch.ones(1, 2), ["head"], [[[0.5, 0.75], [0.75, 1.0]]])
    images = torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)
    assert body.under(images, [Mask("hard", 0), Mask("hard", 1)]).flatten().tolist() == [4, 6]


# Gradients -----------------------------------------------------------------------------------------------------------


def gradients(made: DMG, minibatches) -> list[torch.Tensor]:
    images, labels, domains = made.together(minibatches)
    loss, _ = made.loss(images, labels, domains)
    made.zero_grad()
    loss.backward()
    return [logits.grad for logits in made.body.logits]


def test_a_domain_that_a_batch_does_not_hold_is_moved_by_the_overlap_alone():
    minibatches = batches((4, 0, 5))
    for grad in gradients(dmg(lambda_iou=0.0), minibatches):
        assert not grad[1].any()
        assert grad[0].any()
        assert grad[2].any()
    made = dmg(lambda_iou=0.1)
    expected = torch.autograd.grad(0.1 * sum(overlap(soft) for soft in made.body.soft()), list(made.body.logits))
    for grad, by_overlap in zip(gradients(made, minibatches), expected, strict=True):
        assert torch.allclose(grad[1], by_overlap[1], atol=1e-9)
        assert grad[1].any()


def test_the_gradient_of_a_masked_head_by_hand():
    """dL/dl = sum over the images of a domain of a * (dL/du) * p (1 - p), for whatever was drawn."""
    made = dmg(sites="head", lambda_iou=0.0).eval()
    images, labels, domains = made.together(batches())
    with torch.no_grad():
        features = made.body.network.features(images)
    weight, bias = made.body.network.classifier.weight, made.body.network.classifier.bias
    state = made.random.get_state()
    soft = made.body.soft()[0].detach()
    drawn = (torch.rand(soft[domains].shape, generator=made.random) < soft[domains]).float()
    made.random.set_state(state)
    scores = features * drawn @ weight.T + bias
    to_scores = (scores.softmax(1) - functional.one_hot(labels, 3)) / len(labels)
    to_mask = to_scores @ weight * features
    by_hand_ = torch.zeros_like(soft).index_add(0, domains, to_mask.detach()) * soft * (1 - soft)
    loss, metrics = made.loss(images, labels, domains)
    loss.backward()
    assert torch.allclose(made.body.logits[0].grad, by_hand_, atol=1e-7)
    assert torch.allclose(weight.grad, (to_scores.T @ (features * drawn)).detach(), atol=1e-7)
    assert float(metrics["class_loss"]) == pytest.approx(functional.cross_entropy(scores, labels).item(), rel=1e-5)


def test_the_overlap_does_not_reach_the_network():
    made = dmg(lambda_iou=1.0)
    penalty = sum(overlap(soft) for soft in made.body.soft())
    penalty.backward()
    assert all(parameter.grad is None for parameter in made.body.network.parameters())


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, (1, 0.1, 0)),
        ({"lambda_iou": 0.0, "lambda_sparsity": 1e-2}, (1, 0, 1e-2)),
        ({"lambda_iou": 0.7}, (1, 0.7, 0)),
    ],
)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_objective(options, weights, reduction):
    made = dmg(pair_reduction=reduction, loss_reduction=reduction, smoothing=0.0, **options)
    images, labels, domains = made.together(batches())
    state = made.random.get_state()
    loss, metrics = made.loss(images, labels, domains)
    made.random.set_state(state)
    scores = made.body.sampled(images, made.body.soft(), domains, made.random)
    cross_entropy = -scores.log_softmax(1)[torch.arange(12), labels].sum()
    overlaps, masses = 0.0, 0.0
    for logits in made.body.logits:
        p = torch.sigmoid(logits)
        pairs = [(p[i] * p[j]).sum() / (p[i] + p[j] - p[i] * p[j]).sum() for i, j in ((0, 1), (0, 2), (1, 2))]
        overlaps += sum(pairs) / (3 if reduction == "mean" else 1)
        masses += p.sum()
    cross_entropy = cross_entropy / (12 if reduction == "mean" else 1)
    by_hand_ = weights[0] * cross_entropy + weights[1] * overlaps + weights[2] * masses
    assert loss.item() == pytest.approx(by_hand_.item(), rel=1e-5)
    assert metrics["mask_overlap"].item() == pytest.approx(overlaps.item(), rel=1e-5)


# Limits --------------------------------------------------------------------------------------------------------------


def test_with_every_unit_on_it_is_aggregate():
    made = dmg()
    set_logits(made.body, 40.0)
    other = Aggregate((3, 28, 28), 3, 3, {}, network=SMALL)
    minibatches = batches()
    images, labels, domains = made.together(minibatches)
    assert torch.equal(made.body.sampled(images, made.body.soft(), domains, made.random), other.body(images))
    loss, metrics = made.loss(images, labels, domains)
    loss.backward()
    assert float(metrics["mask_overlap"]) == 2
    assert float(loss) == pytest.approx(float(other.loss(images, labels, domains)[0]) + 0.2, rel=1e-6)
    made.eval()
    other.eval()
    for views in made.predictors().values():
        if views.masks:
            assert torch.allclose(views(images), other.body(images), atol=1e-6)
    set_logits(made.body, 40.0)
    made.zero_grad()
    (0.1 * sum(overlap(soft) for soft in made.body.soft())).backward()
    assert not any(logits.grad.any() for logits in made.body.logits)


def test_with_every_unit_off_the_scores_are_the_last_layers_bias():
    made = dmg()
    set_logits(made.body, -200.0)
    images, _, domains = made.together(batches())
    bias = made.body.network.classifier.bias.expand(12, -1)
    assert torch.equal(made.body.sampled(images, made.body.soft(), domains, made.random), bias)
    assert torch.equal(made.predict(images), bias)


def test_alexnets_dropout_is_off_in_training_and_aggregates_is_on():
    spec = NetworkSpec("alexnet", 3, weights="none", image_size=64)
    made = DMG((3, 64, 64), 3, 2, {}, network=spec).train()
    set_logits(made.body, 40.0)
    images, _, domains = made.together(batches((1, 1), size=64))
    soft = made.body.soft()
    assert torch.equal(*(made.body.sampled(images, soft, domains, made.random) for _ in range(2)))
    made.eval()
    made.train()
    assert torch.equal(*(made.body.sampled(images, soft, domains, made.random) for _ in range(2)))
    other = Aggregate((3, 64, 64), 3, 2, {}, network=spec).train()
    assert not torch.equal(other.body(images), other.body(images))


# Optimisers ----------------------------------------------------------------------------------------------------------


def test_each_parameter_has_one_optimiser():
    made = dmg()
    network, masks = ({id(p) for g in o.param_groups for p in g["params"]} for o in made.optimizers())
    assert not network & masks
    assert network | masks == {id(parameter) for parameter in made.parameters()}
    assert masks == {id(logits) for logits in made.body.logits}


def test_the_first_step_moves_every_logit_by_the_masks_learning_rate():
    made = dmg(lr=1e-4, mask_lr=1e-2)
    before = [logits.detach().clone() for logits in made.body.logits]
    start = [start.clone() for start in made.body.start]
    made.update(batches())
    for logits, then in zip(made.body.logits, before, strict=True):
        assert (logits - then).abs().max().item() == pytest.approx(1e-2, rel=1e-2)
    assert all(torch.equal(now, then) for now, then in zip(made.body.start, start, strict=True))
    distances = [(now - then).abs().sum() for now, then in zip(made.body.logits, start, strict=True)]
    assert float(made.moved()) == pytest.approx(float(sum(distances)) / (2 * 3 * 64), rel=1e-6)


def test_masks_start_uniform_in_0_to_1_or_at_a_number():
    made = DMG((3, 28, 28), 3, 3, {}, network=SMALL)
    logits = torch.cat([logits.flatten() for logits in made.body.logits])
    assert 0 <= float(logits.min()) < 0.02 < 0.98 < float(logits.max()) < 1
    assert float(made.moved()) == 0
    other = DMG((3, 28, 28), 3, 3, {}, network=SMALL, seed=1)
    assert not torch.equal(made.body.logits[0], other.body.logits[0])
    assert DMG((3, 28, 28), 3, 3, {"mask_init": 1.0}, network=SMALL).body.logits[0].unique().tolist() == [1]


def rates(**hparams):
    made = dmg(lr=1e-4, mask_lr=1e-4, **hparams)
    made.steps_per_epoch = 10
    found = {}
    for done in (0, 10, 500, 1000, 1500, 10_000):
        made.done = done
        made.set_rates()
        found[done] = tuple(optimizer.param_groups[0]["lr"] for optimizer in made.optimizers())
    return found


def test_on_pacs_the_masks_rate_is_constant_in_the_release_and_decays_in_the_paper():
    code = rates(schedule="exponential")
    assert [code[done][0] for done in (0, 10, 500, 1000, 1500)] == pytest.approx(
        [1e-4, 9.9e-5, 6.05006e-5, 3.66032e-5, 2.21452e-5], rel=1e-5
    )
    assert {rate for _, rate in code.values()} == {1e-4}
    assert all(network == masks for network, masks in rates(schedule="exponential", mask_epoch_decay=True).values())


def test_on_domainnet_t_counts_steps_in_the_release_and_epochs_in_the_paper():
    code, paper = rates(schedule="inverse"), rates(schedule="inverse", inverse_unit="epoch", mask_epoch_decay=True)
    assert code[10_000] == pytest.approx((5.94604e-5, 5.94604e-5), rel=1e-5)
    assert paper[500] == pytest.approx((9.96266e-5, 9.96266e-5), rel=1e-5)
    assert rates(schedule="inverse", inverse_unit="epoch")[500][1] == 1e-4


# Presets and defaults ------------------------------------------------------------------------------------------------


def resolved(preset, dataset, **options):
    config = RunConfig.make(algorithm="DMG", dataset=dataset, preset=preset, network="smallcnn", **options)
    return plan(config, Execution(device="cpu")).hparams


@pytest.mark.parametrize(
    ("preset", "dataset", "expected"),
    [
        ("code", "PACS", {"epochs": 150, "schedule": "exponential", "mask_epoch_decay": False, "weight_decay": 1e-5,
                          "mask_weight_decay": 1e-5, "head_init": "default", "augmentation": "dmg-pacs", "sites": "script",
                          "pair_reduction": "mean", "smoothing": 1e-6, "loss_reduction": "mean", "averaged": "logits",
                          "validation": "known-domain", "lr": 1e-4, "mask_lr": 1e-4, "batch_size": 64}),
        ("code", "DomainNet", {"epochs": 50, "schedule": "inverse", "inverse_unit": "step", "weight_decay": 0,
                               "mask_weight_decay": 0, "head_init": "normal", "head_std": 1e-3,
                               "augmentation": "dmg-domainnet"}),
        ("paper", "PACS", {"epochs": 50, "mask_epoch_decay": True, "pair_reduction": "sum", "smoothing": 0,
                           "loss_reduction": "sum", "sites": "paper", "averaged": "probabilities",
                           "validation": "predictor"}),
        ("paper", "DomainNet", {"epochs": 50, "inverse_unit": "epoch", "schedule": "inverse"}),
        (None, "MiniDigits", {"epochs": None, "schedule": "constant", "augmentation": "domainbed", "lambda_iou": 0.1}),
    ],
)  # fmt: skip
def test_presets_settle_every_disagreement(preset, dataset, expected, tmp_path):
    found = resolved(preset, dataset, **({} if dataset == "MiniDigits" else {"data_dir": str(tmp_path)})).flat()
    assert {name: found[name] for name in expected} == expected


def test_the_presets_set_the_same_things():
    assert set(DMG.presets["paper"]) == set(DMG.presets["code"])


@pytest.mark.parametrize(("asked", "names"), [("paper", ("layer4", "fc")), ("script", ("layer3", "layer4", "fc"))])
def test_the_papers_and_the_scripts_sites_of_a_resnet(asked, names):
    spec = NetworkSpec("resnet18", 3, weights="none", image_size=64)
    made = DMG((3, 64, 64), 3, 2, {"sites": asked}, network=spec)
    assert made.body.sites.names == names
    assert sum(logits[0].numel() for logits in made.body.logits) == {"paper": 768, "script": 896}[asked]


# Bad input -----------------------------------------------------------------------------------------------------------


def planned(**options):
    return plan(
        RunConfig.make(**{"algorithm": "DMG", "dataset": "Debug28", "network": "smallcnn", **options}), Execution()
    )


def test_one_source_domain_is_told():
    with pytest.raises(ConfigError, match=r"DMG needs 2 source domains or more and has 1 \(2\).*--algorithm Aggregate"):
        planned(test_envs=[0, 1])
    with pytest.raises(ConfigError, match="2 source domains or more and has 1"):
        DMG((3, 28, 28), 3, 1, {}, network=SMALL)


def test_a_site_that_does_not_exist_is_told_before_anything_runs():
    with pytest.raises(
        ConfigError, match=r"'smallcnn' has no mask site 'layer4'.*Its sites, each the input of a module: 0, 1"
    ):
        planned(hparams={"sites": "layer4"})
    with pytest.raises(ConfigError, match="no mask site 'fc7'"):
        planned(hparams={"sites": ["head", "fc7"]})


@pytest.mark.parametrize("name", ["lambda_iou", "lambda_sparsity"])
def test_a_negative_weight_is_told(name):
    with pytest.raises(HparamError, match=rf"DMG: hyper-parameter '{name}' = -0\.1: .*greater than or equal to 0"):
        planned(hparams={name: -0.1})


def test_a_batch_of_one_domain_trains_and_is_said_once(caplog):
    made = dmg()
    with caplog.at_level(logging.WARNING, "dfdgbench"):
        made.update(batches((0, 6, 0)))
        made.update(batches((0, 6, 0)))
    assert [record.getMessage() for record in caplog.records] == [
        "DMG: a batch of 6 images held one of the 3 source domains alone; such a step says nothing of the others. "
        "Raise batch_size, or give --hparam sampling=domain. (Said once.)"
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (batches()[:1], "3 source domains and was given 1 minibatch"),
        (batches((0, 0, 0)), "Every minibatch of the step is empty"),
    ],
)
def test_wrong_minibatches_are_told(given, message):
    with pytest.raises(ConfigError, match=message):
        dmg().update(given)


def test_a_schedule_by_epochs_needs_to_know_how_long_one_is():
    with pytest.raises(ConfigError, match="how many steps an epoch has was not said"):
        dmg(schedule="exponential").update(batches())


# State ---------------------------------------------------------------------------------------------------------------


def test_all_that_training_changes_is_in_a_snapshot():
    from dfdgbench.stages.train import Moving

    first = dmg(recalibrate_bn=True).train()
    first.update(batches())
    saved = copy.deepcopy(Moving(first).state_dict())
    second = dmg(recalibrate_bn=True).train()
    Moving(second).load_state_dict(saved)
    for made in (first, second):
        made.update(batches(seed=1))
    one, two = Moving(first).state_dict(), Moving(second).state_dict()
    assert all(torch.equal(one["module"][name], two["module"][name]) for name in one["module"])
    assert torch.equal(one["parts"]["random"], two["parts"]["random"])
    assert one["parts"]["done"] == two["parts"]["done"] == 2
