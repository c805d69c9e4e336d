"""Hyper-parameters: DomainBed's draws to the last bit, groups, overrides, and what is said of wrong ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from dfdgbench import hparams
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.errors import ConfigError, HparamError
from dfdgbench.hparams import (
    Search,
    case,
    choice,
    flatten,
    group,
    hparam,
    log2_integer,
    log10_uniform,
    nest,
    resolve,
    uniform,
)


@dataclass(frozen=True)
class Facts:
    """As much of a dataset's metadata as hyper-parameters depend on."""

    name: str
    small: bool = False


PACS, VLCS, DOMAINNET, OFFICE_HOME = Facts("PACS"), Facts("VLCS"), Facts("DomainNet"), Facts("OfficeHome")
ROTATED, COLORED = Facts("RotatedMNIST", small=True), Facts("ColoredMNIST", small=True)
ERM = ALGORITHMS.get("ERM").Hparams

# ERM -----------------------------------------------------------------------------------------------------------------

ERM_DRAWS: list[tuple[Facts, int, int, dict[str, Any]]] = [
    (PACS, 1, 0, {"lr": 2.7028930742148706e-05, "weight_decay": 0.00044832883881609976, "batch_size": 39,
                  "resnet_dropout": 0.5, "vit_dropout": 0.1}),
    (VLCS, 1, 1, {"lr": 2.2352558725944602e-05, "weight_decay": 1.9967320578799288e-06, "batch_size": 8,
                  "resnet_dropout": 0.5, "vit_dropout": 0.5}),
    (PACS, 2, 0, {"lr": 5.6841898471378446e-05, "weight_decay": 0.005100223533962902, "batch_size": 25,
                  "resnet_dropout": 0.5, "vit_dropout": 0.0}),
    (ROTATED, 1, 0, {"lr": 0.00011906162909279594, "weight_decay": 0.0, "batch_size": 372}),
    (ROTATED, 19, 2, {"lr": 0.00015242216222304298, "batch_size": 89, "resnet_dropout": 0.1}),
    (DOMAINNET, 1, 0, {"lr": 2.7028930742148706e-05, "weight_decay": 0.00044832883881609976, "batch_size": 28}),
    (COLORED, 3, 1, {"lr": 0.0021690714686971317, "batch_size": 14, "resnet_dropout": 0.1}),
    (OFFICE_HOME, 5, 2, {"lr": 6.768725917122619e-05, "weight_decay": 2.692204119563736e-06, "batch_size": 15}),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "hparams_seed", "trial_seed", "expected"), ERM_DRAWS)
def test_erm_is_drawn_as_domainbed_draws_it(
    facts: Facts, hparams_seed: int, trial_seed: int, expected: dict[str, Any]
) -> None:
    found = resolve(ERM, "ERM", facts, hparams_seed=hparams_seed, trial_seed=trial_seed).flat()
    assert {name: found[name] for name in expected} == expected
    constant = {"data_augmentation": True, "class_balanced": False, "freeze_bn": False, "nonlinear_classifier": False}
    assert {name: found[name] for name in constant} == constant


@pytest.mark.parametrize(
    ("facts", "expected"),
    [(PACS, (5e-5, 0.0, 32)), (DOMAINNET, (5e-5, 0.0, 32)), (ROTATED, (1e-3, 0.0, 64))],
)
@pytest.mark.parametrize("trial_seed", [0, 1])
def test_seed_zero_is_domainbeds_defaults_in_every_trial(
    facts: Facts, expected: tuple[float, float, int], trial_seed: int
) -> None:
    found = resolve(ERM, "ERM", facts, trial_seed=trial_seed)
    assert (found.lr, found.weight_decay, found.batch_size) == expected
    assert (found.resnet_dropout, found.vit_dropout) == (0.0, 0.0)


# The other algorithms of DomainBed, declared here: the drawing scheme is what is tested -----------------------------


def _integer(low: float, high: float) -> Search:
    return Search(lambda r: int(r.uniform(low, high)), "int(U)")


def _log10_integer(low: float, high: float) -> Search:
    return Search(lambda r: int(10 ** r.uniform(low, high)), "int(10^U)")


class DomainBeds(hparams.Hparams):
    """Names and distributions of several of DomainBed's algorithms."""

    lambda_: float = hparam(1.0, name="lambda", search=log10_uniform(-2, 2), doc="DANN")
    weight_decay_d: float = hparam(0.0, search=log10_uniform(-6, -2), doc="DANN")
    d_steps_per_g_step: int = hparam(1, search=log2_integer(0, 3), doc="DANN")
    grad_penalty: float = hparam(0.0, search=log10_uniform(-2, 1), doc="DANN")
    beta1: float = hparam(0.5, search=choice(0.0, 0.5), doc="DANN")
    mlp_width: int = hparam(256, search=log2_integer(6, 10), doc="DANN")
    mlp_depth: int = hparam(3, search=choice(3, 4, 5), doc="DANN")
    mlp_dropout: float = hparam(0.0, search=choice(0.0, 0.1, 0.5), doc="DANN")
    lr_g: float = hparam(5e-5, search=log10_uniform(-5, -3.5), small=case(1e-3, log10_uniform(-4.5, -2.5)), doc="DANN")
    lr_d: float = hparam(5e-5, search=log10_uniform(-5, -3.5), small=case(1e-3, log10_uniform(-4.5, -2.5)), doc="DANN")
    weight_decay_g: float = hparam(0.0, search=log10_uniform(-6, -2), small=case(0.0), doc="DANN")
    irm_lambda: float = hparam(100.0, search=log10_uniform(-1, 5), doc="IRM")
    irm_penalty_anneal_iters: int = hparam(500, search=_log10_integer(0, 4), doc="IRM")
    ib_lambda: float = hparam(100.0, search=log10_uniform(-1, 5), doc="IB_IRM")
    ib_penalty_anneal_iters: int = hparam(500, search=_log10_integer(0, 4), doc="IB_IRM")
    mmd_gamma: float = hparam(1.0, search=log10_uniform(-1, 1), doc="CORAL, MMD")
    mixup_alpha: float = hparam(0.2, search=log10_uniform(-1, 1), doc="Mixup")
    groupdro_eta: float = hparam(0.01, search=log10_uniform(-3, -1), doc="GroupDRO")
    vrex_lambda: float = hparam(10.0, search=log10_uniform(-1, 5), doc="VREx")
    vrex_penalty_anneal_iters: int = hparam(500, search=_log10_integer(0, 4), doc="VREx")
    mldg_beta: float = hparam(1.0, search=log10_uniform(-1, 1), doc="MLDG")
    n_meta_test: int = hparam(2, search=choice(1, 2), doc="MLDG")
    rsc_f_drop_factor: float = hparam(1 / 3, search=uniform(0, 0.5), doc="RSC")
    rsc_b_drop_factor: float = hparam(1 / 3, search=uniform(0, 0.5), doc="RSC")
    sag_w_adv: float = hparam(0.1, search=log10_uniform(-2, 1), doc="SagNet")
    urm_adv_lambda: float = hparam(0.1, search=uniform(0, 0.2), doc="URM")
    urm_discriminator_hidden_layers: int = hparam(1, search=choice(1, 2, 3), doc="URM")
    urm_generator_output: str = hparam("tanh", search=choice("tanh", "relu"), doc="URM")
    urm_discriminator_lr: float = hparam(5e-5, search=log10_uniform(-6, -4.5), doc="URM")
    rdm_lambda: float = hparam(5.0, search=uniform(0.1, 10), by_dataset={"PACS": case(5.0, uniform(1, 10))}, doc="RDM")
    rdm_penalty_anneal_iters: int = hparam(1500, search=_integer(800, 2700), doc="RDM")
    variance_weight: float = hparam(0.004, search=uniform(0.001, 0.007), doc="RDM")
    rdm_lr: float = hparam(1.5e-5, search=uniform(8e-6, 2e-5), doc="RDM")
    batch_size: int = hparam(88, search=_integer(70, 100), doc="RDM")


class Fishr(hparams.Hparams):
    """Fishr's names, of which ``lambda`` has another distribution than DANN's."""

    lambda_: float = hparam(1000.0, name="lambda", search=log10_uniform(1, 4), doc="Fishr")
    penalty_anneal_iters: int = hparam(1500, search=_integer(0, 5000), doc="Fishr")
    ema: float = hparam(0.95, search=uniform(0.90, 0.99), doc="Fishr")


OTHER_DRAWS: list[tuple[type[hparams.Hparams], Facts, int, int, dict[str, Any]]] = [
    (DomainBeds, PACS, 1, 0, {
        "lambda": 3.500347568342894, "weight_decay_d": 0.00010096814830489473, "d_steps_per_g_step": 7,
        "grad_penalty": 3.044417571888086, "beta1": 0.5, "mlp_width": 255, "mlp_depth": 4, "mlp_dropout": 0.5,
        "lr_g": 0.00018927227584350511, "lr_d": 1.7562793545765942e-05, "weight_decay_g": 0.003716490191663224}),
    (DomainBeds, COLORED, 3, 1, {"irm_lambda": 2.04779455554515, "irm_penalty_anneal_iters": 6533}),
    (DomainBeds, PACS, 1, 0, {
        "irm_lambda": 65030.52212762795, "irm_penalty_anneal_iters": 2, "ib_lambda": 2.661822006035993,
        "ib_penalty_anneal_iters": 1222}),
    (DomainBeds, PACS, 1, 0, {"mmd_gamma": 1.4227570299330277}),
    (DomainBeds, VLCS, 1, 0, {"mmd_gamma": 1.4227570299330277, "groupdro_eta": 0.01297606872689568}),
    (DomainBeds, OFFICE_HOME, 5, 2, {"mixup_alpha": 2.588921681105016}),
    (Fishr, PACS, 1, 0, {"lambda": 809.251247284292, "penalty_anneal_iters": 4072, "ema": 0.9129082782560279}),
    (DomainBeds, PACS, 1, 0, {"vrex_lambda": 3307.1978049278796, "vrex_penalty_anneal_iters": 47}),
    (DomainBeds, PACS, 1, 0, {"mldg_beta": 5.4211455811356215, "n_meta_test": 1}),
    (DomainBeds, PACS, 1, 0, {"rsc_f_drop_factor": 0.4041248591083744, "rsc_b_drop_factor": 0.2581555339499306}),
    (DomainBeds, PACS, 1, 0, {"sag_w_adv": 0.010638215739319792}),
    (DomainBeds, PACS, 1, 0, {
        "urm_adv_lambda": 0.15952849736568256, "urm_discriminator_hidden_layers": 1, "urm_generator_output": "relu",
        "urm_discriminator_lr": 2.557217597200596e-05}),
    (DomainBeds, PACS, 1, 0, {
        "rdm_lambda": 9.375622813369375, "rdm_penalty_anneal_iters": 1092, "variance_weight": 0.004685630281242425,
        "rdm_lr": 1.5055122785774706e-05, "batch_size": 97}),
]  # fmt: skip


@pytest.mark.parametrize(("model", "facts", "hparams_seed", "trial_seed", "expected"), OTHER_DRAWS)
def test_the_scheme_of_drawing_is_domainbeds(
    model: type[hparams.Hparams], facts: Facts, hparams_seed: int, trial_seed: int, expected: dict[str, Any]
) -> None:
    found = model.draws(facts, hparams_seed, trial_seed)
    assert {name: found[name] for name in expected} == expected


def test_draws_are_plain_values_that_json_takes() -> None:
    found = DomainBeds.draws(PACS, 1, 0)
    assert all(type(value) in (int, float, str) for value in found.values())
    assert json.loads(json.dumps(found)) == found


# Groups and cases ----------------------------------------------------------------------------------------------------


class Inner(hparams.Hparams):
    """A stage's."""

    lr: float = hparam(0.5, search=log10_uniform(-5, -3.5), gt=0, doc="a rate")
    count: int = hparam(3, gt=0, doc="not searched")


class Outer(hparams.Hparams):
    """A pipeline's."""

    lr: float = hparam(1.0, search=log10_uniform(-5, -3.5), gt=0, le=10, doc="a rate")
    step_count: int = hparam(5, ge=0, doc="a number")
    lambda_: float = hparam(1.0, name="lambda", doc="reserved by Python")
    first: Inner = group(Inner, doc="searched")
    owned: Inner = group(Inner, searched=False, doc="the owner's")


class Deeper(hparams.Hparams):
    """Whose own group has a group."""

    whole: Outer = group(Outer, searched=False, doc="fixed, and all below it")


def test_names_are_dotted_and_groups_are_listed_in_place() -> None:
    assert Outer.names() == ["lr", "step_count", "lambda", "first.lr", "first.count", "owned.lr", "owned.count"]


def test_a_dotted_name_is_drawn_by_its_dotted_name() -> None:
    class Dotted(hparams.Hparams):
        lr: float = hparam(0.5, name="first.lr", search=log10_uniform(-5, -3.5), doc="the same text")

    found = Outer.draws(PACS, 1, 0)
    assert found["first.lr"] == Dotted.draws(PACS, 1, 0)["first.lr"]
    assert found["lr"] == 2.7028930742148706e-05  # undotted, as DomainBed draws it
    assert found["first.lr"] != found["lr"]


def test_a_group_that_is_not_searched_stays_at_its_defaults() -> None:
    found = Outer.draws(PACS, 1, 0)
    assert (found["owned.lr"], found["owned.count"], found["first.count"]) == (0.5, 3, 3)
    assert Deeper.draws(PACS, 1, 0) == Deeper.defaults(PACS)


def test_a_datasets_own_case_comes_before_the_small_images_case() -> None:
    class Model(hparams.Hparams):
        rate: float = hparam(1.0, small=case(2.0), by_dataset={"RotatedMNIST": case(3.0), "PACS": case(4.0)}, doc="x")

    assert [Model.defaults(facts)["rate"] for facts in (VLCS, COLORED, ROTATED, PACS)] == [1.0, 2.0, 3.0, 4.0]


def test_a_field_that_is_not_declared_by_hparam_is_refused() -> None:
    class Model(hparams.Hparams):
        rate: float = 1.0

    with pytest.raises(ConfigError, match=r"Model\.rate must be declared by hparam"):
        Model.names()


# Overrides -----------------------------------------------------------------------------------------------------------


def test_nested_and_dotted_overrides_are_the_same() -> None:
    nested = resolve(Outer, "X", PACS, layers=({"first": {"lr": 0.25}, "lambda": 2},))
    dotted = resolve(Outer, "X", PACS, layers=({"first.lr": 0.25, "lambda": 2},))
    assert nested == dotted
    assert (nested.first.lr, nested.lambda_, nested.flat()["lambda"]) == (0.25, 2.0, 2.0)


def test_a_persons_layer_lies_on_top_of_a_preset_and_of_draws() -> None:
    found = resolve(Outer, "X", PACS, hparams_seed=1, layers=({"lr": 3.0, "step_count": 7}, {"lr": 4.0}))
    assert (found.lr, found.step_count) == (4.0, 7)
    assert found.first.lr == Outer.draws(PACS, 1, 0)["first.lr"]


def test_flatten_and_nest_are_inverse() -> None:
    assert nest(flatten({"a": {"b": {"c": 1}}, "d": 2})) == {"a": {"b": {"c": 1}}, "d": 2}


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = {"lr": 20, "step_count": "many", "first.lrr": 1, "owned": {"count": 0}, "stepcount": 3}
    with pytest.raises(HparamError) as caught:
        resolve(Outer, "X", PACS, layers=(wrong,))
    message = str(caught.value)
    assert "X: hyper-parameter 'lr' = 20: " in message
    assert "'step_count' = 'many'" in message
    assert "'owned.count' = 0" in message
    assert "Type for example --hparam owned.count=3." in message
    assert "'first.lrr'. Did you mean first.lr" in message
    assert "'stepcount'. Did you mean step_count" in message


def test_an_undotted_name_points_to_the_groups_that_have_it() -> None:
    with pytest.raises(HparamError, match=r"no hyper-parameter 'count'. Did you mean first.count or owned.count\?"):
        resolve(Outer, "X", PACS, layers=({"count": 1},))


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_values_that_json_lacks_are_refused(value: float) -> None:
    with pytest.raises(HparamError, match="'lr'"):
        resolve(ERM, "ERM", PACS, layers=({"lr": value},))


@pytest.mark.parametrize(
    ("name", "instead"),
    [("resnet18", "--network resnet18"), ("resnet50_augmix", "--network resnet50_augmix"), ("vit", "--network timm:"),
     ("dinov2", "--network timm:")],
)  # fmt: skip
def test_domainbeds_choices_of_network_point_to_the_option(name: str, instead: str) -> None:
    with pytest.raises(HparamError) as caught:
        resolve(ERM, "ERM", PACS, layers=({name: True},))
    assert instead in str(caught.value)


def test_a_set_cannot_be_changed() -> None:
    found = resolve(ERM, "ERM", PACS)
    with pytest.raises(ValueError, match="frozen"):
        found.lr = 1.0
