"""DMG's predictors against slow loops, in records, through the API, and what is kept of them."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from dmg_tools import batches, by_hand, dmg, set_logits
from safetensors.torch import load_file

from dfdgbench.algorithms.dmg import DMG, Mask, combined
from dfdgbench.api import load
from dfdgbench.contract import Contract
from dfdgbench.engine import diagnostics, records
from dfdgbench.engine.evaluation import scores_of
from dfdgbench.errors import ArtifactError, ConfigError, UnknownNameError
from dfdgbench.losses.masks import pairwise_iou
from dfdgbench.networks.base import NetworkSpec
from dfdgbench.networks.sites import site_modules

RESNET = NetworkSpec("resnet18", 3, weights="none", image_size=64)


@torch.no_grad()
def slowly(made: DMG, image: torch.Tensor, masks: list[torch.Tensor]) -> torch.Tensor:
    """Scores of one image [C, H, W] under one mask a site, by hooks of the test's own."""
    known = site_modules(made.body.network)

    def times(mask):
        def enter(module, inputs):
            return (inputs[0] * mask.view(1, -1, *(1,) * (inputs[0].ndim - 2)),)

        return enter

    handles = [
        known[name].register_forward_pre_hook(times(mask))
        for name, mask in zip(made.body.sites.names, masks, strict=True)
    ]
    scores = made.body.network(image[None])[0]
    for handle in handles:
        handle.remove()
    return scores


@pytest.mark.parametrize("network", [NetworkSpec("smallcnn", 3, image_size=28), RESNET], ids=["smallcnn", "resnet18"])
@pytest.mark.parametrize("averaged", ["logits", "probabilities"])
@torch.no_grad()
def test_every_mode_agrees_with_a_loop_over_images_and_masks(network, averaged):
    made = dmg(network=network, averaged=averaged).eval()
    made.domain_names = ("a", "b", "c")
    images = batches((2, 2, 1), size=network.image_size)
    every = torch.cat([x for x, _ in images])
    p = [torch.sigmoid(logits) for logits in made.body.logits]
    under = torch.stack(
        [torch.stack([slowly(made, image, [one[d] for one in p]) for image in every]) for d in range(3)]
    )
    slow = {"mask-a": under[0], "mask-b": under[1], "mask-c": under[2]}
    slow["pred-ens"] = under.mean(0) if averaged == "logits" else under.softmax(-1).mean(0).log()
    slow["mask-ens"] = torch.stack([slowly(made, image, [one.mean(0) for one in p]) for image in every])
    views = {name: view for name, view in made.predictors().items() if name != "known-domain"}
    assert list(made.predictors()) == ["pred-ens", "mask-ens", "known-domain", "mask-a", "mask-b", "mask-c"]
    together = scores_of(views, every)
    for name, view in views.items():
        assert torch.allclose(view(every), slow[name], atol=1e-5), name
        assert torch.allclose(together[name], slow[name], atol=1e-5), name
    assert torch.allclose(made.predict(every), slow["pred-ens"], atol=1e-5)
    for domain in range(3):
        known = made.predictors()["known-domain"].answering(domain, "test")
        assert torch.allclose(known(every), under[domain], atol=1e-5)
        hard = torch.stack([slowly(made, image, [(one[domain] > 0.5).float() for one in p]) for image in every])
        for view in made.predictors().values():
            assert torch.allclose(view.answering(domain, "validation")(every), hard, atol=1e-5)


def test_validation_may_score_each_predictor_itself():
    made = dmg(validation="predictor")
    views = made.predictors()
    assert views["pred-ens"].answering(1, "validation") is views["pred-ens"]
    assert views["known-domain"].answering(1, "validation").masks == (Mask("soft", 1),)
    assert dmg().predictors()["mask-ens"].answering(None, "validation").masks == (Mask("mean"),), "of a held-out domain"


@torch.no_grad()
def test_with_equal_masks_all_modes_are_one():
    made = dmg().eval()
    for logits in made.body.logits:
        logits.copy_(logits[:1].expand_as(logits).clone())
    every = torch.cat([x for x, _ in batches()])
    views = made.predictors()
    views["known-domain"] = views["known-domain"].answering(2, "test")
    first, *others = scores_of(views, every).values()
    assert all(torch.allclose(first, other, atol=1e-6) for other in others)


@torch.no_grad()
def test_with_the_last_layer_masked_alone_both_ensembles_are_one():
    made = dmg(sites="head").eval()
    views = made.predictors()
    every = torch.cat([x for x, _ in batches()])
    assert torch.allclose(views["pred-ens"](every), views["mask-ens"](every), atol=1e-6)
    two = dmg().eval().predictors()
    assert not torch.allclose(two["pred-ens"](every), two["mask-ens"](every), atol=1e-4)


@torch.no_grad()
def test_two_multiplicative_sites_tell_the_ensembles_apart():
    body = by_hand([torch.ones(1, 1)], torch.ones(1, 1), ["layers.0", "head"], [[[0.5], [1.0]], [[0.5], [1.0]]])
    image = torch.ones(1, 1, 1, 1)
    every = body.under(image, [Mask("soft", 0), Mask("soft", 1), Mask("mean")])
    assert every[:2].mean().item() == 0.625
    assert every[2].item() == 0.5625


def test_scores_are_averaged_before_the_softmax():
    scores = torch.tensor([[[9.0, 0.0]], [[0.0, 4.0]], [[0.0, 4.0]]])
    assert combined(scores, "logits")[0].tolist() == pytest.approx([3, 8 / 3])
    assert combined(scores, "probabilities").exp()[0].tolist() == pytest.approx([0.345, 0.655], abs=1e-3)


def test_evaluation_leaves_dropout_off_and_batch_normalisation_on():
    made = DMG((3, 64, 64), 3, 2, {}, network=NetworkSpec("alexnet", 3, weights="none", image_size=64)).train()
    view = made.predictors()["mask-ens"]
    assert view.training
    view.eval()
    assert not made.body.training
    view.train()
    assert made.body.training
    assert not any(m.training for m in made.body.modules() if isinstance(m, torch.nn.Dropout))


# Runs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    contract = Contract("DMG", tmp_path_factory.mktemp("dmg"))
    config = {"batch_size": 4, "recalibrate_bn": True}
    return contract.planned("run", hparams=config).execute(contract.folder / "run")


def test_a_record_has_every_mode_and_nan_where_the_mask_is_not_known(run):
    last = records.read(run.results)[-1]
    names = ["pred-ens", "mask-ens", "known-domain", "mask-1", "mask-2", "recalibrated"]
    for env in range(3):
        for split in ("in", "out"):
            key = f"env{env}_{split}_acc"
            assert {f"{key}@{name}" for name in names} <= set(last)
            assert last[key] == last[f"{key}@pred-ens"]
            assert math.isnan(last[f"{key}@known-domain"]) == (env == 0)
            if env and split == "out":
                assert len({last[f"{key}@{name}"] for name in names[:5]}) == 1, "each domain's own hard mask for all"
    assert last["mask_moved"] > 0
    assert math.isfinite(last["mask_overlap"])


def test_the_weights_are_kept_once(run):
    tensors = load_file(run.model)
    assert {name.split("/")[0] for name in tensors} == {"pred-ens", "recalibrated"}
    assert {name for name in tensors if name.startswith("recalibrated/")} == {
        f"recalibrated/statistics.{name}{layer}"
        for name in ("running_mean", "running_var", "num_batches_tracked")
        for layer in range(4)
    }


def test_a_loaded_run_predicts_in_every_mode(run):
    loaded = load(run.path, device="cpu")
    images = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    assert next(iter(loaded.predictors)) == "pred-ens"
    one = loaded.predict(images, "mask-1")
    assert torch.allclose(loaded.predict(images, "known-domain", domain="1"), one, atol=1e-6)
    both = (one + loaded.predict(images, "mask-2")) / 2
    assert torch.allclose(loaded.predict(images), both, atol=1e-6)
    assert not torch.allclose(loaded.predict(images, "recalibrated"), both, atol=1e-4)
    values = loaded.evaluate()
    last = loaded.records[-1]
    assert {key: value for key, value in values.items() if value == value} == {
        key: last[key] for key, value in values.items() if value == value
    }


def test_the_mask_of_a_domain_that_was_not_trained_on_is_told(run):
    loaded = load(run.path, device="cpu")
    images = torch.zeros(1, 3, 28, 28)
    with pytest.raises(
        ConfigError, match=r"'known-domain' has no answer for images of '0', .*It was trained on 1, 2\. Name"
    ):
        loaded.predict(images, "known-domain", domain="0")
    with pytest.raises(
        ConfigError, match="takes the mask of the domain that images are from, which has to be one of 1, 2"
    ):
        loaded.predict(images, "known-domain")
    with pytest.raises(UnknownNameError, match="no predictor of the run 'mask-3'"):
        loaded.predict(images, "mask-3")
    assert loaded.predict(images, "mask-ens", domain="0").shape == (1, 2)


def test_the_diagnostics_of_a_record_are_its_masks(run):
    step = records.read(run.results)[-1]["step"]
    arrays = diagnostics.read(run.path, step)
    body = load(run.path, device="cpu").predictors["pred-ens"].family
    assert arrays["domains"].tolist() == ["1", "2"]
    assert arrays["sites"].tolist() == ["11", "head"]
    hard = []
    for index, (site, logits) in enumerate(zip(("11", "head"), body.logits, strict=True)):
        soft = torch.sigmoid(logits).detach()
        assert np.allclose(arrays[f"soft/{site}"], soft, atol=1e-6)
        hard.append((soft > 0.5).double())
        assert arrays["hard_iou"][index].tolist() == pytest.approx(pairwise_iou(hard[-1]).tolist())
        assert arrays["active"][index].tolist() == pytest.approx(hard[-1].mean(1).tolist())
        assert arrays["off"][index] + arrays["shared"][index] + arrays["specific"][index] == pytest.approx(1)
    pooled = torch.cat(hard, 1)
    assert arrays["hard_iou_pooled"].tolist() == pytest.approx(pairwise_iou(pooled).tolist())
    assert arrays["moved_mean"].max() <= arrays["moved_max"].max()
    assert arrays["moved_mean"].min() > 0
    with pytest.raises(ArtifactError, match="no diagnostics of step 3"):
        diagnostics.read(run.path, 3)


def test_the_log_says_how_far_the_logits_came(caplog):
    made = dmg()
    for logits, start in zip(made.body.logits, made.body.start, strict=True):
        with torch.no_grad():
            logits.copy_(start)
    with torch.no_grad():
        made.body.logits[0][0, :32] -= 2
    with caplog.at_level(logging.INFO, "dfdgbench"):
        made.diagnostics()
    words = "mask logits moved by 0.167 on average and 2 at most; 8.3 % changed sides; hard masks overlap by 83.3 %"
    assert [record.getMessage() for record in caplog.records] == [words]


def test_damaged_diagnostics_are_told(tmp_path):
    diagnostics.write(tmp_path, 0, {"a": np.arange(3)})
    assert diagnostics.read(tmp_path, 0)["a"].tolist() == [0, 1, 2]
    path = diagnostics.path_of(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="is damaged"):
        diagnostics.read(tmp_path, 0)


def test_recalibration_keeps_statistics_of_soft_masks_beside_the_networks_own():
    made = dmg(recalibrate_bn=True).train()
    plain = dmg().train()
    for one in (made, plain):
        one.update(batches())
    own = {name: buffer for name, buffer in made.body.network.named_buffers() if "running" in name}
    assert all(torch.equal(buffer, dict(plain.body.network.named_buffers())[name]) for name, buffer in own.items())
    assert not torch.allclose(made.statistics.running_var3, own["featurizer.12.running_var"])
    set_logits(made.body, 40.0)
    made.eval()
    before = made.statistics.running_var3.clone()
    made.predictors()["recalibrated"](batches()[0][0])
    assert torch.equal(made.statistics.running_var3, before), "evaluation changes nothing"
