"""Methods of two levels: a second head that training looks at (MaxSquare, AdaptSegNet, MinEnt)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.cli.main import main
from dfdgbench.engine import records
from dfdgbench.engine.config import Execution, RunConfig
from dfdgbench.errors import ConfigError
from dfdgbench.losses.confidence import entropy_loss, weighted_max_square_loss
from dfdgbench.losses.pseudo_labels import labels_of_two
from dfdgbench.networks.base import NetworkSpec, build
from dfdgbench.networks.norm import batch_norms
from dfdgbench.networks.segmentation.levels import TwoHeads
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.planning import Plan, plan

SMALL = {"source.steps": 3, "source.batch_size": 2, "batch_size": 2}


def network(name: str, **options: Any) -> ScoreMaps:
    made = build(NetworkSpec(name, 3, options.pop("weights", "none"), 32, image_width=64, **options), seed=0)
    assert isinstance(made, ScoreMaps)
    return made


def planned(tmp_path: Path, algorithm: str, **options: Any) -> Plan:
    given = {"dataset": "DebugScenes", "train_envs": [0], "test_envs": [1], "steps": 3, "checkpoint_freq": 0}
    given |= {"network": "deeplab_small_aux", "hparams": {**SMALL, **options.pop("hparams", {})}}
    config = RunConfig.make(algorithm=algorithm, **given | options)
    return plan(config, Execution(device="cpu", artifacts=tmp_path / "artifacts"))


# The network --------------------------------------------------------------------------------------------------------------


def test_a_second_head_sees_an_earlier_layer_and_leaves_the_first_as_it_is() -> None:
    plain, double = network("deeplab_small").eval(), network("deeplab_small_aux").eval()
    images = torch.rand(2, 3, 32, 64)
    main, auxiliary = double(images, "levels")
    assert torch.equal(main, plain(images)) and torch.equal(main, double(images))
    assert auxiliary.shape == main.shape and not torch.equal(auxiliary, main)
    assert isinstance(double.classifier, TwoHeads) and double.classifier.auxiliary is not None
    earlier = nn.Sequential(*list(double.featurizer.children())[:3])(double.normalised(images))
    own = nn.functional.interpolate(double.classifier.auxiliary(earlier), (32, 64), mode="bilinear")
    assert torch.allclose(own, auxiliary, atol=1e-6)


def test_one_level_of_a_network_shares_its_parameters_and_has_no_second_head() -> None:
    double = network("deeplab_small_aux").eval()
    single, images = double.one_level(), torch.rand(1, 3, 32, 64)
    assert (double.levels, single.levels) == (2, 1) and single.one_level() is single
    assert torch.equal(single(images), double(images)) and not single.training
    assert len(batch_norms(single)) == len(batch_norms(double)) - 1
    assert next(single.parameters()) is next(double.parameters())
    assert double.levels == 2


def test_torchvision_s_second_head_fits(tmp_path: Path) -> None:
    from torchvision.models.segmentation import deeplabv3_resnet50

    whole = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=3, aux_loss=True).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    made = network("deeplabv3_resnet50_aux", weights=str(tmp_path / "whole.pth")).eval()
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        found, wanted = made(images, "levels"), whole(made.normalised(images))
    assert torch.allclose(found[0], wanted["out"], atol=1e-5)
    assert torch.allclose(found[1], wanted["aux"], atol=1e-5)


# The losses ---------------------------------------------------------------------------------------------------------------


def scores(*probabilities: list[float]) -> Tensor:
    """Score maps [1, K, 1, N] of pixels with these probabilities."""
    return torch.tensor(probabilities).log().T[None, :, None]


def test_labels_that_two_heads_give_together_where_one_is_sure() -> None:
    one = scores([0.96, 0.04], [0.60, 0.40], [0.10, 0.90], [0.95, 0.05])
    other = scores([0.03, 0.97], [0.10, 0.90], [0.02, 0.98], [0.94, 0.06])
    # Both sure and at odds: the surer one; neither: none; one is sure; at the threshold itself: none.
    assert labels_of_two(one, other, 0.95, 255).flatten().tolist() == [1, 255, 1, 255]
    assert labels_of_two(one, other, 0.5, 255).flatten().tolist() == [1, 1, 1, 0]


class Stub(nn.Module):
    """Two heads of given scores, whatever the image; parameters to be optimised."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.featurizer = nn.ParameterList([nn.Parameter(4 * torch.randn(2, 3, 4, 4, generator=random))])
        self.classifier = nn.ParameterList([nn.Parameter(4 * torch.randn(2, 3, 4, 4, generator=random))])

    def forward(self, images: Tensor, give: str = "scores") -> Any:
        return (self.featurizer[0], self.classifier[0]) if give == "levels" else self.featurizer[0]


def rival(name: str, **hparams: Any) -> Any:
    """A method on :class:`Stub`."""
    from dataclasses import dataclass, field

    from dfdgbench.tasks.segmentation import Segmentation

    @dataclass(frozen=True)
    class Given:
        task: Any = field(default_factory=lambda: Segmentation(["0", "1", "2"]))
        num_classes: int = 3
        steps: int = 10

        def copy(self) -> Stub:
            return Stub()

        def made(self, purpose: str, make: Any) -> Any:
            return make()

    algorithm = ALGORITHMS.get(name)
    built = algorithm.Hparams.build({**algorithm.preset("multi-level"), **hparams}, name)
    return algorithm(Given(), built)  # type: ignore[call-arg, arg-type]


IMAGES, MASKS = torch.zeros(2, 3, 4, 4), torch.arange(32).view(2, 4, 4) % 3


def test_maxsquare_of_two_levels_is_the_sum_of_its_four_terms() -> None:
    method, stub = rival("MaxSquare"), Stub()
    main, auxiliary = stub(IMAGES, "levels")
    entropy = nn.functional.cross_entropy
    labels = labels_of_two(main, auxiliary, 0.95, 255)
    assert 0 < int((labels != 255).sum()) < labels.numel()
    source = entropy(main, MASKS) + 0.1 * entropy(auxiliary, MASKS)
    target = 0.09 * (weighted_max_square_loss(main) + 0.1 * entropy(auxiliary, labels, ignore_index=255))
    found = method.update(0, IMAGES, (IMAGES, MASKS))
    assert found["source"].item() == pytest.approx(source.item(), rel=1e-5)
    assert found["target"].item() == pytest.approx(target.item(), rel=1e-5)


def test_minent_of_two_levels() -> None:
    found = rival("MinEnt").update(0, IMAGES, (IMAGES, MASKS))
    main, auxiliary = Stub()(IMAGES, "levels")
    target = 0.001 * entropy_loss(main) + 0.0002 * entropy_loss(auxiliary)
    assert found["target"].item() == pytest.approx(target.item(), rel=1e-5)


def test_pseudo_labels_of_no_pixel_are_no_loss() -> None:
    found = rival("MaxSquare", **{"aux.threshold": 0.9999999}).update(0, IMAGES, (IMAGES, MASKS))
    target = 0.09 * weighted_max_square_loss(Stub()(IMAGES))
    assert found["target"].item() == pytest.approx(target.item(), rel=1e-5)


# Runs ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MaxSquare", "MinEnt", "AdaptSegNet"])
def test_both_heads_learn_from_one_source_model(tmp_path: Path, name: str) -> None:
    double = planned(tmp_path, name, preset="multi-level")
    run = double.execute(tmp_path / "run")
    single = planned(tmp_path, name)
    assert double.last.inputs[0].key == single.last.inputs[0].key
    found = records.read(run.results)[-1]
    assert found["hparams"]["levels"] == 2 and 0 <= found["env1_test_miou"] <= 1
    if name == "AdaptSegNet":
        from dfdgbench.engine.predictions import read_tensors

        names = read_tensors(run.path / "model.safetensors")
        assert any(each.startswith("default/classifier.auxiliary.") for each in names)


def test_sfda_and_the_control_work_on_a_network_with_two_heads(tmp_path: Path) -> None:
    fast = {"g.width": 4, "g.latent": 8, "ipsm.k": 2, "d.width": 4}
    run = planned(tmp_path, "SFDA", hparams=fast).execute(tmp_path / "run")
    assert records.read(run.results)[-1]["g_bns"] > 0


@pytest.mark.parametrize("name", ["MaxSquare", "MinEnt", "AdaptSegNet"])
def test_a_network_with_one_head_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: levels=2 .*'segnet_small' has one head.*deeplab_small_aux"):
        planned(tmp_path, name, preset="multi-level", network="segnet_small")


def test_a_network_with_one_head_is_told_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["train", "--algorithm", "MaxSquare", "--preset", "multi-level", "--dataset", "DebugScenes"]
    typed += ["--train-envs", "0", "--test-envs", "1", "--output-dir", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*typed, "--artifacts", str(tmp_path / "artifacts")]) != 0
    shown = capsys.readouterr().err
    assert "Type --network with one of" in shown and "Traceback" not in shown and not (tmp_path / "run").exists()
