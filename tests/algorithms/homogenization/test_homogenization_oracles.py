"""Oracles of data homogenisation that need a whole stage. Where each of the 24 of the fact sheet's section 12 is tested:

======  ===============================================================================================================
1-4     tests/networks/test_network_homogenization.py: the perturbation
5-10    tests/losses/test_homogenization_losses.py: l2-error, PSNR, SSIM
11-15   tests/losses/test_homogenization_losses.py: statistics; 12 with the stage's sums in test_homogenization_statistics.py
16      test_homogenization_statistics.py: the source itself has the pooled statistics
17      tests/losses/test_homogenization_losses.py: projections
18      here: counts of maps, and that they are those before normalisation
19      tests/networks/test_network_homogenization.py: the reconstruction network
20      here: nothing but the reconstruction network changes
21-24   test_homogenization.py: no statistics, no criterion, steps, measures in between; 22 in test_homogenization_bad_input.py
======  ===============================================================================================================
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.homogenization import scores
from dfdgbench.networks.maps import FeatureMaps, convolutions
from dfdgbench.planning import Plan, plan
from dfdgbench.stages.homogenize import places


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("artifacts")


def planned(artifacts: Path, **hparams: Any) -> Plan:
    given = {**ALGORITHMS.get("Homogenization").tiny, **hparams}
    config = RunConfig.make(
        algorithm="Homogenization", dataset="Debug28", network="smallcnn", train_envs=[0], test_envs=[0], hparams=given
    )
    return plan(config, Execution(device="cpu", artifacts=artifacts))


def kept(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("maps", ["criterion", "nn-all", "random-nn", "rp"])
def test_oracle_20_nothing_but_the_reconstruction_changes(artifacts, maps):
    made = planned(artifacts, maps=maps, initialisations=2)
    engine = made.engine()
    for stage in made.last.inputs:
        engine.ensure(stage)
    work = engine.work(made.last)
    state = made.last.start(work)
    (delta,) = made.last._perturbed(state._network, work)
    fixed = {
        "classifier": work.input(made.last.classifier).network,
        "its user's": state._network,
        "verifier": work.input(made.last.verifier).network,
        "perturbation": delta,
        "guide's classifier": state._guide.network,
        "guide's network": state._guide.looking or state._guide.network,
    }
    before = {name: kept(module) for name, module in fixed.items()}
    start = [kept(rho) for rho in state.reconstructions]
    images = state._images.clone()
    for number in range(made.last.steps):
        made.last.step(state, work, number)
    made.last.measures(state, work)
    for name, module in fixed.items():
        assert not module.training or isinstance(module, type(delta)), name
        assert all(torch.equal(before[name][key], value) for key, value in module.state_dict().items()), name
    assert torch.equal(state._images, images)
    for rho, was in zip(state.reconstructions, start, strict=True):
        assert not torch.equal(rho.exit.weight, was["exit.weight"]), "what is trained changes"
    again = made.last._perturbed(state._network, work)[0]
    assert all(torch.equal(before["perturbation"][key], value) for key, value in again.state_dict().items())


@pytest.mark.parametrize(
    ("name", "channels", "size", "last"),
    [("mnist_resnet20", 1, 28, (64, 7, 7)), ("cifar_resnet34", 3, 32, (512, 2, 2))],
)
@pytest.mark.parametrize(("maps", "counts"), [("nn", (1, 1)), ("nn-all", (20, 35)), ("random-nn", (22, 37))])
def test_oracle_18_methods_read_these_maps(name, channels, size, last, maps, counts):
    network = build(NetworkSpec(name, 10, image_size=size, channels=channels), 0).eval()
    family, found = places(maps, "code", len(convolutions(network.featurizer)))
    with FeatureMaps(network, found) as reader, torch.no_grad():
        read = reader.of(torch.zeros(1, channels, size, size))[1]
    assert len(read) == counts[name.startswith("cifar")]
    assert read[-1].shape[1:] == last, "the last one is NN's"
    assert (read[0].shape[1:] == (channels, size, size)) == (maps == "random-nn"), "the image itself"
    assert family == ("random" if maps == "random-nn" else "network")


def test_oracle_18_of_the_training_images_maps_have_the_running_means():
    network = build(NetworkSpec("mnist_resnet20", 10, image_size=28, channels=1), 0)
    norms = [module for module in network.featurizer.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, here one
    images = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    network.train()
    with torch.no_grad():
        scores(network, images)
    every = list(range(1, len(norms) + 1))
    with FeatureMaps(network.eval(), every) as reader, torch.no_grad():
        maps = reader.of(images)[1]
    by_layer = _norm_of_each(network.featurizer)
    for map_, norm in zip(maps, by_layer, strict=True):
        # Later layers see images normalised by the unbiased variance, which is a little larger.
        assert torch.allclose(map_.mean((0, 2, 3)), norm.running_mean, atol=1e-2)
        assert torch.allclose(map_.var((0, 2, 3)), norm.running_var, rtol=1e-2)


def _norm_of_each(featurizer: nn.Module) -> list[nn.BatchNorm2d]:
    """The normalisation after each convolution, in the order of the convolutions."""
    found = []
    for module in featurizer.modules():
        if hasattr(module, "bn1"):
            found += [module.bn1] + ([module.bn2] if hasattr(module, "bn2") else [])
        if isinstance(getattr(module, "shortcut", None), nn.Sequential):
            found.append(module.shortcut[1])
    return found
