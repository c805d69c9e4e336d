"""Networks for segmentation: published sizes, maps, unpooling, adversaries (spec: oracles O16, O20)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from dfdgbench.networks.base import NETWORKS, NetworkSpec, architecture, build
from dfdgbench.networks.norm import batch_norms, buffers_digest, statistics_kept
from dfdgbench.networks.segmentation.adversaries import Generator, OutputDiscriminator, PatchDiscriminator
from dfdgbench.networks.segmentation.maps import ScoreMaps
from dfdgbench.networks.segmentation.segnet import Encoder, unpool

NAMES = [name for name, found in NETWORKS.items() if found.task == "segmentation"]


def spec(name: str, classes: int = 19, size: tuple[int, int] = (64, 128), **options: object) -> NetworkSpec:
    return NetworkSpec(name, classes, "none", image_size=size[0], image_width=size[1], **options)  # type: ignore[arg-type]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_contract(name: str) -> None:
    known, network = architecture(name), build(spec(name, 5), seed=0).eval()
    assert known.description and isinstance(network, ScoreMaps)
    images = torch.rand(2, 3, 64, 128)
    with torch.no_grad():
        maps, scores = network(images, "both")
        assert torch.equal(network(images), scores) and torch.equal(network.features(images), maps)
    assert scores.shape == (2, 5, 64, 128) and scores.isfinite().all()
    assert maps.shape[:2] == (2, network.n_features)
    again = build(spec(name, 5), seed=0)
    assert all(torch.equal(one, two) for one, two in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "counts", "layers", "channels"),
    [
        ("deeplabv3_resnet50", {19: 39_638_355, 16: 39_637_584, 13: 39_636_813}, 60, 28_352),
        ("segnet_vgg16", {19: 29_453_971, 16: 29_452_240, 13: 29_450_509}, 25, 7_936),
    ],
)
def test_published_sizes(name: str, counts: dict[int, int], layers: int, channels: int) -> None:
    for classes, count in counts.items():
        network = build(spec(name, classes), seed=0)
        assert parameters(network) == count
    normalised = [layer.num_features for _, layer in batch_norms(network)]
    assert (len(normalised), sum(normalised)) == (layers, channels)


@pytest.mark.parametrize(
    ("name", "target", "fake"),
    [
        ("deeplabv3_resnet50", (2048, 32, 64), (2048, 16, 32)),
        ("deeplabv3_resnet50_os16", (2048, 16, 32), (2048, 8, 16)),
        ("segnet_vgg16", (512, 8, 16), (512, 4, 8)),
    ],
)
def test_tapped_maps(name: str, target: tuple[int, ...], fake: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = architecture(name).build(spec(name))[0]
        for size, wanted in (((256, 512), target), ((128, 256), fake)):
            left = network(torch.rand(1, 3, *size))
            assert (left if isinstance(left, torch.Tensor) else left[0]).shape[1:] == wanted


@pytest.mark.parametrize("size", [(32, 64), (45, 60), (33, 47)])
@pytest.mark.parametrize("name", ["segnet_small", "deeplab_small"])
def test_odd_sizes_survive(name: str, size: tuple[int, int]) -> None:
    assert build(spec(name, 4, size), seed=0)(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_logits_of_segnet_may_be_negative() -> None:
    scores = build(spec("segnet_small", 4), seed=0)(torch.rand(2, 3, 64, 128))
    assert scores.min() < 0 < scores.max()


def test_unpooling_puts_each_maximum_back() -> None:
    maps = torch.randn(2, 3, 5, 7)
    pooled, places = functional.max_pool2d(maps, 2, return_indices=True)
    back = unpool(pooled, places, (5, 7))
    assert torch.equal(back, functional.max_unpool2d(pooled, places, 2, output_size=(5, 7)))
    assert torch.equal(back[back != 0], maps[back != 0]) and int((back != 0).sum()) == pooled.numel()


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "segnet_vgg16"])
def test_imagenet_weights_fit_the_encoder(name: str, tmp_path: Path) -> None:
    from torchvision.models import get_model

    donor = get_model(architecture(name).donor, weights=None)  # type: ignore[attr-defined]
    torch.save(donor.state_dict(), tmp_path / "donor.pth")
    given = NetworkSpec(name, 4, str(tmp_path / "donor.pth"), image_size=64, image_width=128)
    network = build(given, seed=0)
    theirs = [p for p in donor.state_dict().values() if p.ndim == 4]
    ours = [p for p in network.featurizer.state_dict().values() if p.ndim == 4]
    assert len(ours) == len(theirs) and all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_a_whole_deeplab_of_torchvision_fits(tmp_path: Path) -> None:
    from torchvision.models.segmentation import deeplabv3_resnet50

    whole = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    torch.save(whole.state_dict(), tmp_path / "whole.pth")
    network = build(
        NetworkSpec("deeplabv3_resnet50", 4, str(tmp_path / "whole.pth"), 64, image_width=64), seed=0
    ).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(network(images), whole(network.normalised(images))["out"], atol=1e-5)


def test_the_generator_makes_images_of_half_the_target() -> None:
    generator = Generator()
    assert parameters(generator) == 19_664_579
    small = Generator((16, 32), latent=8, width=2)
    images = small(torch.randn(3, 8))
    assert images.shape == (3, 3, 16, 32) and images.min() >= 0 and images.max() <= 1


def test_images_normalised_over_the_batch() -> None:
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 1.0, 2.0])
    images = Generator((16, 32), latent=8, width=2, out="tanh_bn", mean=mean, std=std)(torch.randn(4, 8))
    normalised = (images - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(normalised.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)


@pytest.mark.parametrize(
    ("k", "count", "size"), [(3, 2_973_249, (85, 170)), (4, 2_975_041, (64, 128)), (5, 2_977_345, (51, 102))]
)
def test_the_patch_discriminator(k: int, count: int, size: tuple[int, int]) -> None:
    discriminator = PatchDiscriminator(19, k * k)
    assert parameters(discriminator) == count
    logits = discriminator(torch.rand(2, 19, *size), torch.tensor([0, k * k - 1]))
    assert logits.shape == (2,)


@pytest.mark.parametrize("norm", ["batch", "instance", "none"])
@pytest.mark.parametrize("condition", ["embedding", "projection"])
def test_a_logit_depends_on_the_position(norm: str, condition: str) -> None:
    discriminator = PatchDiscriminator(4, 4, norm=norm, condition=condition, width=8).eval()  # type: ignore[arg-type]
    maps = torch.rand(1, 4, 32, 32).expand(2, -1, -1, -1)
    one, other = discriminator(maps, torch.tensor([0, 3])).tolist()
    assert one != other


def test_adaptsegnet_s_discriminator() -> None:
    discriminator = OutputDiscriminator(19)
    assert parameters(discriminator) == 2_781_121
    assert discriminator.to("meta")(torch.rand(1, 19, 256, 512, device="meta")).shape == (1, 1, 8, 16)


def test_statistics_stay_while_they_are_kept() -> None:
    layer = nn.Sequential(nn.BatchNorm2d(3))
    before, images = buffers_digest(layer), 5 + torch.randn(4, 3, 2, 2)
    with statistics_kept(layer):
        kept = layer(images)
    assert buffers_digest(layer) == before
    assert torch.equal(layer(images), kept) and buffers_digest(layer) != before


def test_an_encoder_remembers_every_pooling() -> None:
    maps, places = Encoder(((4,), (6, 6)))(torch.rand(1, 3, 8, 12))
    assert maps.shape == (1, 6, 2, 3) and [tuple(size) for _, size in places] == [(8, 12), (4, 6)]
