"""Two steps of a shared algorithm, ours and DomainBed's own, from the same weights and random draws.

Run where ``$DFDGBENCH_DOMAINBED`` names a checkout; nothing of it is needed elsewhere. Two algorithms need a word:

Fishr's, in DomainBed, needs BackPACK, and fails with 1.7.1 on PyTorch 2.15 (1.3.0 on 1.12 is what DomainBed pins);
:func:`with_todays_backpack` is all that is changed.
SelfReg's projection is trained in ours and stays as it was drawn in DomainBed's; in the test it stays so in both, by a learning
rate of 0.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import pytest
import torch
from torch import Tensor

from dfdgbench.algorithms import domainbed
from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.seeds import seed_everything

pytestmark = pytest.mark.skipif(
    not os.environ.get(domainbed.VARIABLE), reason=f"${domainbed.VARIABLE} names no checkout of DomainBed"
)

SPEC = NetworkSpec("smallcnn", 3, image_size=28)
# Early annealing, so that two steps see both sides of it, and every option that changes a loss.
OPTIONS: dict[str, dict[str, Any]] = {
    "IRM": {"irm_penalty_anneal_iters": 1, "irm_lambda": 3.0},
    "VREx": {"vrex_penalty_anneal_iters": 1, "vrex_lambda": 3.0},
    "DANN": {"grad_penalty": 0.5, "lambda": 0.7},
    "CDANN": {"grad_penalty": 0.5, "lambda": 0.7},
    "RSC": {"rsc_f_drop_factor": 0.3, "rsc_b_drop_factor": 0.4},
    "SagNet": {"sag_w_adv": 0.3},
    "Fishr": {"penalty_anneal_iters": 1, "lambda": 1000.0, "ema": 0.9},
}
NAMES = [
    "ERM", "IRM", "GroupDRO", "Mixup", "MLDG", "CORAL", "MMD", "DANN", "CDANN", "SagNet", "VREx", "RSC", "SD", "Fishr", "SelfReg",
]  # fmt: skip
# What DomainBed calls the parts that ours has besides the network.
PARTS = {
    "discriminator": "discriminator", "embeddings": "class_embeddings", "style": "network_s", "projection": "cdpl",
}  # fmt: skip


def batches(step: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(step)
    labels = torch.arange(9) % 3
    return [(torch.rand(9, 3, 28, 28, generator=random), labels[torch.randperm(9, generator=random)]) for _ in range(3)]


def theirs_as_ours(theirs: Any) -> dict[str, torch.Tensor]:
    """Their weights by our names."""
    featurizer = theirs.network_f if hasattr(theirs, "network_f") else theirs.featurizer
    classifier = theirs.network_c if hasattr(theirs, "network_c") else theirs.classifier
    found = {f"network.{name}": value for name, value in featurizer.network.state_dict().items()}
    return found | {f"network.classifier.{name}": value for name, value in classifier.state_dict().items()}


def copied(theirs: Any, ours: Any) -> None:
    """Give ours the weights of theirs, layer by layer where names differ."""
    ours.load_state_dict(theirs_as_ours(theirs), strict=False)
    for name, other in PARTS.items():
        if hasattr(ours, name):
            with torch.no_grad():
                for one, two in zip(getattr(ours, name).parameters(), getattr(theirs, other).parameters(), strict=True):
                    one.copy_(two)


def with_todays_backpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``backward`` reach every leaf.

    BackPACK takes each example's gradient when a pass goes through a layer to what is before it; DomainBed's Fishr asks for the
    classifier's weights alone, where a pass now ends at them. What the longer pass leaves in the featurizer's gradients
    DomainBed clears before its step.
    """
    whole = Tensor.backward

    def backward(self: Tensor, *args: Any, inputs: Any = None, **kwargs: Any) -> None:
        whole(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "backward", backward)


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")  # DomainBed's Fishr
@pytest.mark.parametrize("name", NAMES)
def test_two_steps_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "Fishr":
        if importlib.util.find_spec("backpack") is None:
            pytest.skip("DomainBed's Fishr needs backpack-for-pytorch")
        with_todays_backpack(monkeypatch)
    given = {"lr": 1e-3, "batch_size": 9, **OPTIONS.get(name, {})}
    if name in ("DANN", "CDANN"):
        given |= {"lr_g": 1e-3, "lr_d": 1e-3}
        del given["lr"]
    made = {}
    for kind, algorithm in (("theirs", ALGORITHMS.get(f"domainbed:{name}")), ("ours", ALGORITHMS.get(name))):
        hparams = algorithm.Hparams.build(given, name)
        made[kind] = algorithm((3, 28, 28), 3, 3, hparams, network=SPEC, seed=5, place=lambda module: module)  # type: ignore[call-arg]
        made[kind].train()  # type: ignore[attr-defined]
    copied(made["theirs"], made["ours"])
    if name == "SelfReg":
        made["ours"].optimizer.param_groups[1]["lr"] = 0.0  # type: ignore[attr-defined]
    for step in range(2):
        metrics = {}
        for kind, algorithm in made.items():
            seed_everything(step)
            metrics[kind] = {key: float(value) for key, value in algorithm.update(batches(step)).items()}  # type: ignore[attr-defined]
        for key in metrics["theirs"]:
            if (name, key) != ("VREx", "nll"):  # theirs is the last domain's
                assert metrics["ours"][key] == pytest.approx(metrics["theirs"][key], rel=2e-4, abs=1e-5), (step, key)
    ours = made["ours"].state_dict()  # type: ignore[attr-defined]
    for key, value in theirs_as_ours(made["theirs"]).items():
        # Adam makes a whole step of a gradient that is rounding error, so that single weights may differ.
        differ = (ours[key] - value).abs() > 3e-4
        assert float(differ.float().mean()) < 0.01, key
