"""SFDA's steps: signs, what each may change, and what it may not see (spec: oracles O11 to O15)."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.algorithms.generated import generated_size
from dfdgbench.hparams import flatten
from dfdgbench.losses.confidence import Prediction, halves, minus_squares, patch_entropies, patches
from dfdgbench.losses.source_free import deceiving, output_distance
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.stages.adapt import Given, Method
from dfdgbench.tasks.segmentation import Segmentation

SHAPE, CLASSES = (32, 64), 4
SMALL = {"batch_size": 4, "g": {"width": 4, "latent": 8}, "ipsm": {"k": 2}, "d": {"width": 4}}


def network(seed: int = 0) -> ScoreMaps:
    """A small network whose running statistics are those of some images."""
    made = build(NetworkSpec("segnet_small", CLASSES, "none", SHAPE[0], image_width=SHAPE[1]), seed)
    assert isinstance(made, ScoreMaps)
    with torch.no_grad():
        for draw in range(30):
            made(torch.rand(8, 3, *SHAPE, generator=torch.Generator().manual_seed(draw)))
    return made


def method(name: str = "SFDA", perturbed: float = 0.02, **hparams: Any) -> Any:
    """A method on a small source model, its model moved a little away from it."""
    source = network().eval().requires_grad_(False)

    def made() -> ScoreMaps:
        return copy.deepcopy(source).requires_grad_(True).train()

    given = Given(
        source=source,
        copy=made,
        fresh=lambda pretrained: network(7).train(),
        targets=lambda: iter([images(1), images(2)]),
        task=Segmentation([str(number) for number in range(CLASSES)]),
        num_classes=CLASSES,
        shape=SHAPE,
        counts=(20, 8),
        steps=10,
        seed=0,
        place=lambda module: module,
        device=torch.device("cpu"),
    )
    algorithm = ALGORITHMS.get(name)
    known = {key: value for key, value in flatten(SMALL).items() if key in algorithm.Hparams.names()}
    built = algorithm.Hparams.build({**known, **hparams}, name)
    assert issubclass(algorithm, Method)
    torch.manual_seed(0)
    found = algorithm(given, built)
    with torch.no_grad():
        for parameter in found.model.parameters():
            parameter += perturbed * torch.randn_like(parameter)
    return found


def images(seed: int = 0, count: int = 4) -> Tensor:
    return torch.rand(count, 3, *SHAPE, generator=torch.Generator().manual_seed(seed))


def labelled(seed: int = 0) -> tuple[Tensor, Tensor]:
    return images(100 + seed), torch.randint(0, CLASSES, (4, *SHAPE), generator=torch.Generator().manual_seed(seed))


def digest(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


def stepped(module: nn.Module, loss: Tensor, length: float = 1e-3) -> None:
    """Move the parameters down the loss's gradient, by ``length`` in all."""
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
    with torch.no_grad():
        for parameter, g in zip(parameters, gradients, strict=True):
            if g is not None:
                parameter -= length * g / norm


# Signs (O12) --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ascends"), [("mae", True), ("dad", True), ("bns", False), ("st", False)])
def test_the_generator_ascends_differences_and_descends_statistics_and_divergence(name: str, ascends: bool) -> None:
    sfda = method()
    noise, target = torch.randn(4, 8), images()

    def term() -> tuple[float, Tensor]:
        found: tuple[float, Tensor] = sfda.generator_terms(sfda.generator(noise), target)[name]
        return found

    weight, before = term()
    assert (weight < 0) is ascends
    stepped(sfda.generator, weight * before)
    after = term()[1]
    assert after != before and bool(after > before) is ascends


def test_signs_of_one_number() -> None:
    """O12: the source doubles, the model multiplies by w = 1, the generator makes theta = 1; only the outputs' difference."""
    sfda = method(beta=0.0, tau=0.0, **{"bns.weight": 0.0})
    terms = sfda.generator_terms(images(5)[..., :16, :32], images())
    assert {name for name, (weight, _) in terms.items() if weight} == {"mae"}
    theta, w = (torch.ones(1, 1, 1, 1, requires_grad=True) for _ in range(2))
    before = output_distance(w.detach() * theta, 2 * theta)
    (slope,) = torch.autograd.grad(terms["mae"][0] * before, theta)
    moved = theta.detach() - 0.1 * slope
    assert moved.item() == pytest.approx(1.1) and before.item() == 1
    assert output_distance(w.detach() * moved, 2 * moved).item() == pytest.approx(1.1)
    (slope,) = torch.autograd.grad(sfda.hparams.alpha * output_distance(w * theta.detach(), 2 * theta.detach()), w)
    learnt = w.detach() - 0.1 * slope
    assert learnt.item() == pytest.approx(1.1)
    assert output_distance(learnt * theta, 2 * theta).item() == pytest.approx(0.9)


def test_the_model_descends_both_differences_on_generated_images() -> None:
    sfda = method()
    fakes = sfda.fakes()
    before, _ = sfda.agree(fakes, update=False)
    stepped(sfda.model, before)
    assert sfda.agree(fakes, update=False)[0] < before


def test_weights_of_the_generator_s_loss() -> None:
    terms = method(alpha=2.0, beta=0.25, **{"bns.weight": 3.0}).generator_terms(images(5)[..., :16, :32], images())
    assert {name: weight for name, (weight, _) in terms.items()} == {"bns": 3.0, "mae": -2.0, "dad": -0.25, "st": 0.25}
    assert "st" not in method(tau=0.0).generator_terms(images(5)[..., :16, :32], images())


def test_the_discriminator_learns_to_tell_hard_from_easy_and_the_model_makes_it_err() -> None:
    sfda = method(**{"d.lr": 0.001, "d.norm": "none"})
    maps, easy, hard = (each.detach() for each in sfda.sorted_patches(Prediction.of(sfda.model(images()))))
    losses = []
    for _ in range(12):
        logits = sfda.judge(maps)
        losses.append(sfda.discriminate(0, logits.gather(1, easy), logits.gather(1, hard))["d_loss"].item())
    assert losses[-1] < losses[0]
    maps.requires_grad_()
    logits = sfda.judge(maps)
    _, slope = sfda.deception(logits, maps, hard)
    with torch.no_grad():
        after = sfda.judge(maps - 1e-3 * slope / slope.norm()).gather(1, hard).mean()
    assert after < logits.gather(1, hard).mean()


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_easy_patches_and_the_discriminator_get_no_gradient_from_the_model_s_step(norm: str) -> None:
    sfda = method(**{"d.norm": norm})
    scores = sfda.model(images()).detach().requires_grad_()
    maps, _, hard = sfda.sorted_patches(Prediction.of(scores))
    judged = maps.detach().requires_grad_()
    _, slope = sfda.deception(sfda.judge(judged), judged, hard)
    maps.backward(slope)
    assert scores.grad is not None
    slopes = patches(scores.grad, 2).abs().sum((2, 3, 4))
    of_easy, of_hard = (slopes.gather(1, chosen) for chosen in halves(patch_entropies(Prediction.of(scores), 2)))
    assert (of_easy == 0).all() and (of_hard > 0).all()
    assert all(parameter.grad is None for parameter in sfda.discriminator.parameters())


def test_every_patch_is_judged_at_its_own_position_and_ranked_there() -> None:
    sfda = method(**{"d.norm": "none", "ipsm.d_input": "logits"})
    scores = torch.randn(4, CLASSES, *SHAPE)
    maps, easy, hard = sfda.sorted_patches(Prediction.of(scores))
    assert torch.equal(maps, patches(scores, 2).flatten(0, 1))
    wanted = halves(patch_entropies(Prediction.of(scores), 2))
    assert torch.equal(easy, wanted[0]) and torch.equal(hard, wanted[1])
    alone = sfda.discriminator(patches(scores, 2)[3][1:2], torch.tensor([3]))
    assert torch.allclose(sfda.judge(maps)[3, 1:2], alone, atol=1e-6)


def test_the_model_s_step_is_that_of_the_whole_loss() -> None:
    """Eq. 16 in one graph, with easy patches detached, moves the model as the step in parts does."""
    split, whole = (method(lr=0.1, **{"d.norm": "none", "gamma": 5.0}) for _ in range(2))
    fakes = split.fakes()
    split.adapt(0, fakes, images())
    agreement, _ = whole.agree(fakes, update=False)
    seen = Prediction.of(whole.model(images()))
    maps, _, hard = whole.sorted_patches(seen)
    logits = whole.judge(maps)  # without normalisation easy patches carry nothing to hard ones
    whole.descend(0, minus_squares(seen.probabilities) + agreement + 5 * deceiving(logits.gather(1, hard)))
    for one, other in zip(split.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


# What each step may change (O13), and the beginning (O15) ------------------------------------------------------------------


def test_the_source_model_never_changes() -> None:
    sfda = method()
    before = digest(sfda.given.source)
    for number in range(3):
        sfda.update(number, images(number), None)
    assert digest(sfda.given.source) == before


def test_every_step_changes_its_own_side_alone() -> None:
    sfda = method()
    parts = {"model": sfda.model, "generator": sfda.generator, "discriminator": sfda.discriminator}
    states = {name: digest(part) for name, part in parts.items()}

    def changed() -> set[str]:
        now = {name: digest(part) for name, part in parts.items()}
        moved = {name for name in parts if now[name] != states[name]}
        states.update(now)
        return moved

    fakes, _ = sfda.generate(0, images())
    assert changed() == {"generator"}
    fakes = sfda.fakes()
    assert changed() == set()
    maps, easy, hard = sfda.sorted_patches(Prediction.of(sfda.model(images())))
    assert changed() == {"model"}  # running statistics: the target's
    logits = sfda.judge(maps)
    sfda.discriminate(0, logits.gather(1, easy), logits.gather(1, hard))
    assert all(parameter.grad is None for parameter in sfda.model.parameters())
    assert changed() == {"discriminator"}
    loss, _ = sfda.agree(fakes, update=False)
    assert changed() == set()
    sfda.descend(0, loss)
    assert changed() == {"model"}
    sfda.agree(fakes, update=True)
    assert changed() == {"model"}


def test_at_the_beginning_in_eval_mode_nothing_differs_and_gradients_are_numbers() -> None:
    sfda = method(perturbed=0.0, **{"bn.fake_mode": "eval"})
    noise = torch.randn(4, 8)
    terms = sfda.generator_terms(sfda.generator(noise), images())
    for name in ("mae", "dad"):
        term = terms[name][1]
        assert term == 0
        gradients = torch.autograd.grad(term, list(sfda.generator.parameters()), retain_graph=True)
        assert all((g == 0).all() for g in gradients)
    assert sfda.model.training
    assert method(perturbed=0.0).generator_terms(sfda.generator(noise), images())["mae"][1] > 0


def test_statistics_of_layers_that_see_one_position_can_be_left_out() -> None:
    sfda = method()
    small = torch.rand(4, 3, 16, 32)
    assert sfda.generator_terms(small, images())["bns"][1].isfinite()
    assert generated_size((256, 512)) == (128, 256) and generated_size((96, 128)) == (48, 64)
    assert generated_size((20, 40)) == (16, 16)


# Options, rates, and the other methods ------------------------------------------------------------------------------------

OPTIONS = [
    {"gamma": 0.0}, {"bns.reduce": "sum", "bns.power": 1, "bns.skip_1x1": False}, {"mae.space": "prob"},
    {"mae.reduce": "literal"}, {"dam.norm": "none"}, {"dam.norm": "sqrt"}, {"dam.norm": "cos", "dam.temperature": 8.0},
    {"dam.channel_invert": True}, {"st.pair": "batch_mean", "st.direction": "target_fake"}, {"tar.norm": "released"},
    {"ipsm.d_input": "logits", "ipsm.form": "minimax"}, {"ipsm.d_input": "self_info", "d.cond": "projection"},
    {"d.norm": "none"}, {"loop.form": "two_updates"}, {"loop.model_steps_per_g": 2, "loop.reuse_fakes": True},
    {"bn.fake_mode": "eval"}, {"bn.fake_updates": True}, {"g.out": "tanh_bn"}, {"log.gradients": 1}, {"head_lr": 10.0},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_makes_a_step_of_its_own(options: dict[str, Any]) -> None:
    given = {"log.gradients": 0, **options}
    plain, other = method(**{"log.gradients": 0}), method(**given)
    found = other.update(0, images(), None)
    assert all(torch.as_tensor(value).isfinite() for value in found.values())
    reference = plain.update(0, images(), None)
    if options == {"log.gradients": 1}:
        assert {f"g_{name}_gradient" for name in ("bns", "mae", "dad", "st")} <= set(found)
        assert {"spatial_flatness", "channel_flatness"} <= set(found)
        assert digest(other.model) == digest(plain.model)
    else:
        assert digest(other.model) != digest(plain.model) or digest(other.generator) != digest(plain.generator)
        assert {"loss", "g_loss", "saturated"} <= set(found) & set(reference)


def test_without_ipsm_there_is_no_discriminator() -> None:
    assert not hasattr(method(gamma=0.0), "discriminator")


def test_rates_fall_polynomially() -> None:
    sfda = method()
    sfda.given = type(sfda.given)(**{**vars(sfda.given), "steps": 1000})
    rates = []
    for number in (0, 250, 500):
        sfda.decay(sfda.optimizer, number, 0.9)
        rates.append(sfda.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([2.5e-4, 1.929724e-4, 1.339717e-4])


def test_the_classifier_may_have_a_rate_of_its_own() -> None:
    groups = method(head_lr=10.0).optimizer.param_groups
    assert [each["lr"] for each in groups] == pytest.approx([2.5e-4, 2.5e-3])


def test_the_literal_profile() -> None:
    preset = ALGORITHMS.get("SFDA").preset("literal")
    sfda = method(**preset)
    rates = [sfda.g_optimizer.param_groups[0]["lr"], sfda.d_optimizer.param_groups[0]["lr"]]
    assert rates == [0.1, 0.1] and sfda.attention.energies == "none"
    assert all(torch.as_tensor(value).isfinite() for value in sfda.update(0, images(), None).values())
    assert ALGORITHMS.get("SFDA").preset("recommended") == {}


def test_transfer_only_teaches_a_new_model_without_an_image() -> None:
    transfer = method("TransferOnly", perturbed=0.0)
    assert digest(transfer.model) != digest(transfer.given.source)
    losses = []
    before = digest(transfer.given.source)
    for number in range(8):
        losses.append(float(transfer.update(number, None, None)["loss"]))
    assert digest(transfer.given.source) == before and all(value == value for value in losses)


@pytest.mark.parametrize("name", ["MinEnt", "MaxSquare", "AdaptSegNet", "CBST"])
def test_rivals_learn_from_source_and_target(name: str) -> None:
    rival = method(name, perturbed=0.0)
    before = digest(rival.model)
    found = rival.update(0, images(), labelled())
    assert digest(rival.model) != before and all(torch.as_tensor(value).isfinite() for value in found.values())


def test_adaptsegnet_s_discriminator_learns_to_tell_the_domains_apart() -> None:
    adapted = method("AdaptSegNet", **{"d.lr": 3e-4, "lr": 1e-9})
    first = [float(adapted.update(0, images(), labelled())["d_loss"]) for _ in range(8)]
    assert first[-1] < first[0]


def test_cbst_labels_anew_when_a_round_begins_and_keeps_statistics() -> None:
    cbst = method("CBST", perturbed=0.0, rounds=2, portion=0.5, lr=0.1)
    labellers, thresholds, buffers = [], [], []
    for number in range(10):
        cbst.update(number, images(number), labelled(number))
        labellers.append(digest(cbst.labeller))
        thresholds.append(cbst.thresholds.tolist())
        buffers.append(cbst.model.featurizer.blocks[0][1].running_mean.tolist())
    assert len(set(labellers[:5])) == len(set(labellers[5:])) == 1 and labellers[4] != labellers[5]
    assert thresholds[4] != thresholds[5] and buffers[0] == buffers[-1]
    assert all(0 < theta <= 1 for theta in thresholds[0])
