"""Variants of adaptation by hand: least squares against the discriminator, a share of the source a round, and what hyper-parameters
a method has that sees no image (SFDA spec, sections 6.2 and 8)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dfdgbench.algorithms.adaptsegnet import told
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.algorithms.cbst import CBST
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.engine.stage import every_stage
from dfdgbench.errors import HparamError
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.planning import Plan, plan
from dfdgbench.stages.adapt import Given
from dfdgbench.tasks.segmentation import Segmentation

SHAPE, CLASSES = (32, 64), 3
SMALL = {"batch_size": 4, "g.width": 4, "g.latent": 8, "log.gradients": 0}


def network(seed: int = 0, name: str = "deeplab_small") -> ScoreMaps:
    """A small network without dropout, so that the same images give the same scores."""
    made = build(NetworkSpec(name, CLASSES, "none", SHAPE[0], image_width=SHAPE[1]), seed)
    assert isinstance(made, ScoreMaps)
    for layer in made.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return made.train()


def method(name: str, preset: str | None = None, seed: int = 0, of: str = "deeplab_small", **hparams: Any) -> Any:
    """A method on a small source model, with 400 source images and 8 of the target, in 10 steps."""
    source = network(name=of).eval().requires_grad_(False)
    algorithm = ALGORITHMS.get(name)
    given = Given(
        source=source,
        copy=lambda: copy.deepcopy(source).requires_grad_(True).train(),
        fresh=lambda pretrained: network(7 if pretrained else 8),
        targets=lambda: iter([images(1), images(2)]),
        task=Segmentation([str(number) for number in range(CLASSES)]),
        num_classes=CLASSES,
        shape=SHAPE,
        counts=(400, 8),
        steps=10,
        seed=seed,
        place=lambda module: module,
        device=torch.device("cpu"),
    )
    known = {key: value for key, value in SMALL.items() if key in algorithm.Hparams.names()}
    values = {**known, **(algorithm.preset(preset) if preset else {}), **hparams}
    return algorithm(given, algorithm.Hparams.build(values, name))  # type: ignore[call-arg]


def images(seed: int = 0) -> Tensor:
    return torch.rand(4, 3, *SHAPE, generator=torch.Generator().manual_seed(seed))


def masks() -> Tensor:
    return torch.randint(0, CLASSES, (4, *SHAPE), generator=torch.Generator().manual_seed(3))


def planned(tmp_path: Path, algorithm: str, hparams: dict[str, Any], **options: Any) -> Plan:
    given: dict[str, Any] = {"dataset": "DebugScenes", "train_envs": [0], "test_envs": [1], "checkpoint_freq": 0}
    small = {"source.steps": 2, "source.batch_size": 2}
    config = RunConfig.make(algorithm=algorithm, hparams={**small, **hparams}, **given | options)
    return plan(config, Execution(device="cpu", artifacts=tmp_path / "artifacts"))


# AdaptSegNet by least squares ---------------------------------------------------------------------------------------------


def test_distances_from_a_label_by_hand() -> None:
    logits = torch.tensor([0.5, -1.0], requires_grad=True)
    assert told(logits, 1.0, "ls").item() == pytest.approx((0.25 + 4) / 2)
    assert told(logits, 0.0, "bce").item() == pytest.approx((0.974077 + 0.313262) / 2, abs=1e-6)
    (slope,) = torch.autograd.grad(told(logits, 0.0, "ls"), logits)
    assert slope.tolist() == pytest.approx([0.5, -1.0])  # 2 (D - 0) / 2: both towards the source's label


@pytest.mark.parametrize("levels", [1, 2])
def test_adaptsegnet_by_least_squares_is_its_three_terms(levels: int) -> None:
    of = "deeplab_small_aux" if levels == 2 else "deeplab_small"
    adapted = method("AdaptSegNet", "least-squares", of=of, levels=levels)
    before = copy.deepcopy(adapted)
    found = adapted.update(0, images(), (images(100), masks()))
    target, source = before.scores(images()), before.scores(images(100))
    weights = [1.0, 0.2][:levels]
    deception = supervised = apart = torch.zeros(())
    for judge, of_target, of_source, weight in zip(before.discriminators, target, source, weights, strict=True):
        on_target, on_source = judge(of_target.softmax(1)), judge(of_source.softmax(1))
        deception = deception + weight * on_target.square().mean()
        apart = apart + (on_source.square().mean() + (on_target - 1).square().mean()) / 2
        supervised = supervised + (1 if weight == 1 else 0.1) * functional.cross_entropy(of_source, masks())
    assert found["deception"].item() == pytest.approx(deception.item(), rel=1e-4)
    assert found["d_loss"].item() == pytest.approx(apart.item() / levels, rel=1e-4)
    assert found["loss"].item() == pytest.approx((supervised + 0.01 * deception).item(), rel=1e-4)


def test_adaptsegnet_s_default_is_cross_entropy_at_its_own_weight() -> None:
    plain = ALGORITHMS.get("AdaptSegNet").Hparams.build({}, "AdaptSegNet").flat()
    assert (plain["loss"], plain["lambda"]) == ("bce", 0.001)
    adapted = method("AdaptSegNet")
    before = copy.deepcopy(adapted)
    found = adapted.update(0, images(), (images(100), masks()))
    logits = before.discriminators[0](before.scores(images())[0].softmax(1))
    assert found["deception"].item() == pytest.approx(functional.softplus(logits).mean().item(), rel=1e-6)


# CBST's source images -----------------------------------------------------------------------------------------------------


def test_every_round_of_cbst_draws_its_own_share_of_the_source() -> None:
    cbst = method("CBST", rounds=2, source_sampling="share")
    drawn = [cbst.source_positions(number).tolist() for number in range(10)]
    assert all(each == drawn[0] for each in drawn[:5]) and all(each == drawn[5] for each in drawn[5:])
    first, second = set(drawn[0]), set(drawn[5])
    assert (len(drawn[0]), len(first), len(drawn[5]), len(second)) == (12, 12, 13, 13)  # 3 % and 3.25 % of 400
    assert first != second and min(first | second) >= 0 and max(first | second) < 400
    again, other = (method("CBST", seed=seed, rounds=2, source_sampling="share") for seed in (0, 1))
    assert again.source_positions(3).tolist() == drawn[0] != other.source_positions(3).tolist()


def test_a_share_has_an_image_at_least_and_by_default_there_is_none() -> None:
    least = method("CBST", source_sampling="share", source_share=0.0, source_share_step=0.0)
    assert len(least.source_positions(0)) == 1
    assert method("CBST").source_positions(0) is None


@pytest.mark.parametrize(("sampling", "seen"), [("share", 3), ("all", 6)])
def test_a_run_of_cbst_sees_the_share_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampling: str, seen: int
) -> None:
    rounds: dict[int, set[bytes]] = {0: set(), 1: set()}
    update: Callable[..., Any] = CBST.update

    def watched(self: CBST, number: int, target: Tensor | None, labelled: Any) -> Any:
        rounds[number // 10] |= {image.numpy().tobytes() for image in labelled[0]}
        return update(self, number, target, labelled)

    monkeypatch.setattr(CBST, "update", watched)
    half = {"source_share": 0.5, "source_share_max": 0.5, "source_sampling": sampling}
    hparams = {"batch_size": 4, "rounds": 2, "hflip": False, **half}
    planned(tmp_path, "CBST", hparams, steps=20).execute(tmp_path / "run")
    assert {number: len(found) for number, found in rounds.items()} == {0: seen, 1: seen}
    assert sampling == "all" or rounds[0] != rounds[1]


# Transfer only ------------------------------------------------------------------------------------------------------------

OTHER = {
    "batch_size": 2, "lr": 0.1, "head_lr": 5.0, "momentum": 0.1, "weight_decay": 0.5, "power": 0.0, "alpha": 3.0,
    "beta": 3.0, "bns.weight": 5.0, "bns.reduce": "sum", "bns.power": 1, "bns.skip_1x1": False, "mae.space": "prob",
    "mae.reduce": "literal", "dam.norm": "sqrt", "dam.temperature": 3.0, "dam.channel_invert": True, "g.lr": 0.1,
    "g.latent": 4, "g.width": 2, "g.out": "tanh_bn", "loop.model_steps_per_g": 2, "loop.reuse_fakes": True,
    "bn.fake_mode": "eval", "student_init": "random",
}  # fmt: skip
ELSEWHERE = {"epochs", "log.gradients"}
"""Of which the steps of a plan and what is measured depend."""


def digest(*modules: nn.Module) -> str:
    values = [value.numpy().tobytes() for module in modules for value in module.state_dict().values()]
    return hashlib.sha256(b"".join(values)).hexdigest()


def test_the_hyper_parameters_of_transfer_only_are_those_with_an_effect() -> None:
    own = {name for name in ALGORITHMS.get("TransferOnly").Hparams.names() if not name.startswith("source.")}
    assert own == {*OTHER, *ELSEWHERE}
    of_images = {"hflip", "bn.fake_updates", "loop.form"}
    assert of_images <= set(ALGORITHMS.get("SFDA").Hparams.names())


@pytest.mark.parametrize("name", OTHER)
def test_every_hyper_parameter_of_transfer_only_has_an_effect(name: str) -> None:
    beside = {"dam.norm": "cos"} if name == "dam.temperature" else {}
    found = []
    for given in (beside, {**beside, name: OTHER[name]}):
        torch.manual_seed(0)
        transfer = method("TransferOnly", **{"g.lr": 0.01, **given})
        for number in range(3):
            transfer.update(number, None, None)
        found.append(digest(transfer.model, transfer.generator))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hflip", "TransferOnly has no hyper-parameter 'hflip'"),
        ("bn.fake_updates", "no hyper-parameter of TransferOnly 'bn.fake_updates'"),
        ("loop.form", "no hyper-parameter of TransferOnly 'loop.form'"),
    ],
)
def test_transfer_only_refuses_what_is_of_the_target_s_images(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(HparamError, match=said):
        planned(tmp_path, "TransferOnly", {name: True}, steps=2)


# Scores at native size ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SourceOnly", "MinEnt", "SFDA"])
def test_scores_at_native_size_too_are_of_the_same_artifacts(tmp_path: Path, name: str) -> None:
    given = {"ipsm.k": 2} if name == "SFDA" else {}
    plain, native = (planned(tmp_path, name, given, steps=2, native_size=asked) for asked in (False, True))
    assert [stage.key for stage in every_stage(plain.last)] == [stage.key for stage in every_stage(native.last)]
    assert plain.config.run_id != native.config.run_id
