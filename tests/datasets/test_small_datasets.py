"""MNIST, ColoredMNIST, RotatedMNIST and CIFAR-10 on small files written here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision
from trees_digits import MORE, TREES, cifar_images, digits, grey, write_cifar, write_mnist, write_mnist_tree

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.cifar10 import CIFAR10
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.mnist_family import ANGLES, MNIST, ColoredMNIST, RotatedMNIST, SharedMNIST, coloured, rotated
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.errors import DataError, MissingDataError
from dfdgbench.networks.base import NetworkSpec, build

FAMILY = ("MNIST", "ColoredMNIST", "RotatedMNIST")
ONE_DOMAIN = ("MNIST", "CIFAR10")

Make = Callable[[str], Dataset]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Writes the small tree of a dataset, and returns the dataset that expects it."""

    def made(name: str) -> Dataset:
        found = DATASETS.get(name)
        fields = TREES[name](tmp_path)
        monkeypatch.setattr(found, "metadata", found.metadata.model_copy(update=fields))
        return found(tmp_path)

    return made


def opened(dataset: Dataset, index: int) -> ArrayDomain:
    """Domain ``index``, which is in memory."""
    domain = dataset.domain(index)
    assert isinstance(domain, ArrayDomain)
    return domain


def corpus() -> tuple[np.ndarray, np.ndarray]:
    """What the small MNIST holds, train part first."""
    parts = [(grey(28, count), digits(count)) for count in MORE.values()]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


@pytest.mark.parametrize("name", TREES)
def test_every_domain_of_the_small_tree_opens(make: Make, name: str) -> None:
    dataset = make(name)
    metadata = dataset.metadata
    assert metadata.counts is not None
    for index, count in enumerate(metadata.counts):
        domain = opened(dataset, index)
        assert domain.images.shape == (count, metadata.image_size, metadata.image_size, metadata.channels)
        assert domain.images.dtype == np.uint8
        assert set(domain.labels.tolist()) <= set(range(len(metadata.classes)))
        assert domain.image(0).size == (metadata.image_size, metadata.image_size)
        assert len(domain.image(0).getbands()) == metadata.channels
    assert status(name, dataset.data_dir).state == "ok"
    assert dataset.strays(dataset.root()) == []


# DomainBed's facts ---------------------------------------------------------------------------------------------------


def test_published_counts() -> None:
    assert MNIST.metadata.counts == (60000 + 10000,)
    assert CIFAR10.metadata.counts == (50000 + 10000,)


def test_domainbeds_table() -> None:
    coloured_metadata, rotated_metadata = ColoredMNIST.metadata, RotatedMNIST.metadata
    assert coloured_metadata.domains == ("+90%", "+80%", "-90%")
    assert rotated_metadata.domains == ("0", "15", "30", "45", "60", "75")
    assert coloured_metadata.counts == (23334, 23333, 23333)
    assert rotated_metadata.counts == (*(11667,) * 4, *(11666,) * 2)
    for metadata, channels, classes in ((coloured_metadata, 2, 2), (rotated_metadata, 1, 10)):
        assert (metadata.image_size, metadata.channels, len(metadata.classes)) == (28, channels, classes)
        assert (metadata.steps, metadata.checkpoint_freq, metadata.small, metadata.augment) == (5001, 100, True, False)


@pytest.mark.parametrize(
    ("name", "parameters"), [("RotatedMNIST", 370560), ("ColoredMNIST", 371136)]
)  # of DomainBed's featurizer
def test_the_network_takes_these_channels(name: str, parameters: int) -> None:
    metadata = DATASETS.get(name).metadata
    spec = NetworkSpec(
        metadata.network, len(metadata.classes), image_size=metadata.image_size, channels=metadata.channels
    )
    network = build(spec, seed=0)
    assert sum(value.numel() for value in network.featurizer.parameters()) == parameters


# What every use of MNIST shares --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILY)
def test_files_and_tree_are_the_same_domains(make: Make, name: str, tmp_path: Path) -> None:
    dataset = make(name)
    write_mnist_tree(tmp_path / "other" / "MNIST", MORE)
    other = type(dataset)(tmp_path / "other")
    for index in range(len(dataset.metadata.domains)):
        assert dataset.domain(index).fingerprint() == other.domain(index).fingerprint()


@pytest.mark.parametrize("name", FAMILY)
def test_missing_files_list_the_places_looked_at(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match=r"MNIST's file train-images.*MNIST/\{train,test\}/DIGIT/NUMBER.png"):
        DATASETS.get(name)(tmp_path).domain(0)


@pytest.mark.parametrize("name", FAMILY)
def test_damaged_files_are_named(make: Make, name: str) -> None:
    dataset = make(name)
    path = dataset.root() / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=path.name):
        dataset.domain(0)


@pytest.mark.parametrize("dataset", [ColoredMNIST, RotatedMNIST])
def test_another_mnist_is_refused_whole(dataset: type[SharedMNIST], tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw")
    for index in range(len(dataset.metadata.domains)):
        with pytest.raises(DataError, match="has 10 images, 70000 are expected"):
            dataset(tmp_path).domain(index)


def test_content_does_not_depend_on_the_order_of_opening_or_on_global_generators(make: Make, tmp_path: Path) -> None:
    for name in ("ColoredMNIST", "RotatedMNIST"):
        dataset = DATASETS.get(name)
        (tmp_path / name).mkdir()
        fields = TREES[name](tmp_path / name)
        count = len(fields["counts"])
        made = type(name, (dataset,), {"metadata": dataset.metadata.model_copy(update=fields)})
        np.random.seed(1)
        forwards = made(tmp_path / name)
        first = [forwards.domain(index).fingerprint() for index in range(count)]
        np.random.seed(2)
        backwards = made(tmp_path / name)
        assert [backwards.domain(index).fingerprint() for index in reversed(range(count))] == first[::-1]
        assert len(set(first)) == count


# RotatedMNIST --------------------------------------------------------------------------------------------------------


def test_rotation_is_torchvisions() -> None:
    images = grey(28, 20)
    for angle in (*ANGLES, 7.5):
        expected = [
            np.asarray(vision.rotate(Image.fromarray(image), angle, InterpolationMode.BILINEAR)) for image in images
        ]
        assert (rotated(images, angle) == np.stack(expected)).all()


def test_rotation_is_against_the_clock() -> None:
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 12:16, 14:] = 255  # from the middle to the right
    turned = rotated(bar, 75)[0]
    assert turned[:14].sum() > 50 * turned[16:].sum()


def test_every_digit_is_in_one_rotated_domain(make: Make) -> None:
    dataset = make("RotatedMNIST")
    images, labels = corpus()
    plain = opened(dataset, 0)
    positions = [int((images == image).all(axis=(1, 2)).argmax()) for image in plain.images[..., 0]]
    assert (images[positions] == plain.images[..., 0]).all()
    assert labels[positions].tolist() == plain.labels.tolist()
    assert positions != sorted(positions)  # shuffled
    counted = np.bincount(np.concatenate([opened(dataset, index).labels for index in range(6)]), minlength=10)
    assert counted.tolist() == np.bincount(labels, minlength=10).tolist()
    row = dataset.shuffled[0] if isinstance(dataset, RotatedMNIST) else None
    assert row is not None
    for index, angle in enumerate(ANGLES):
        assert (opened(dataset, index).images[..., 0] == rotated(row[index::6], angle)).all()


# ColoredMNIST --------------------------------------------------------------------------------------------------------


def test_without_noise_colour_and_label_are_the_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfdgbench.datasets.mnist_family.LABEL_NOISE", 0.0)
    images, labels = coloured(grey(28, 20), digits(20).astype(np.int64), 0.0, np.random.RandomState(0))
    assert labels.tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0] * 2
    for image, label, digit in zip(images, labels, grey(28, 20), strict=True):
        assert (image[..., label] == digit).all()
        assert not image[..., 1 - label].any()


@pytest.mark.parametrize(("noise", "agreement"), [(0.1, 0.9), (0.2, 0.8), (0.9, 0.1)])
def test_noise_is_as_often_as_it_should_be(noise: float, agreement: float) -> None:
    count = 20000
    shapes, given = np.full((count, 1, 1), 255, np.uint8), (np.arange(count) % 10).astype(np.int64)
    images, labels = coloured(shapes, given, noise, np.random.RandomState(5))
    colour = (images[:, 0, 0, 1] > 0).astype(np.int64)
    four_deviations = 4 * 0.5 / np.sqrt(count)
    assert abs((labels == (given < 5)).mean() - 0.75) < four_deviations
    assert abs((colour == labels).mean() - agreement) < four_deviations
    wrong_label, wrong_colour = labels != (given < 5), colour != labels
    assert abs(np.corrcoef(wrong_label, wrong_colour)[0, 1]) < 8 / np.sqrt(count)


def test_colored_domains_share_out_the_corpus(make: Make) -> None:
    dataset = make("ColoredMNIST")
    shapes = np.concatenate([opened(dataset, index).images.max(axis=-1) for index in range(3)])
    images, _ = corpus()
    assert sorted(image.tobytes() for image in shapes) == sorted(image.tobytes() for image in images)


# One domain: MNIST, CIFAR-10 -----------------------------------------------------------------------------------------


def test_mnist_is_the_corpus(make: Make) -> None:
    domain = opened(make("MNIST"), 0)
    images, labels = corpus()
    assert (domain.images[..., 0] == images).all()
    assert domain.labels.tolist() == labels.tolist()
    assert domain.image(3).mode == "L"


def test_cifar_is_in_planes_of_colours(make: Make) -> None:
    domain = opened(make("CIFAR10"), 0)
    assert (domain.images == np.concatenate([cifar_images(number, 10) for number in range(6)])).all()
    assert domain.labels.tolist() == list(range(10)) * 6
    assert {name: keys.tolist() for name, keys in domain.parts.items()} == {
        "train": list(range(50)),
        "test": list(range(50, 60)),
    }


@pytest.mark.parametrize("name", ONE_DOMAIN)
def test_official_parts(make: Make, name: str) -> None:
    dataset = make(name)
    assert dataset.metadata.protocol == "official"
    domain = dataset.domain(0)
    splits = get_protocol("official").split(domain, 0, False, SplitOptions())
    assert splits["test"].tolist() == domain.parts["test"].tolist()
    both = np.concatenate([splits["train"], splits["val"]])
    assert sorted(both.tolist()) == domain.parts["train"].tolist()


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "CIFAR10"])
def test_cifar_is_found_elsewhere(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "metadata", CIFAR10.metadata.model_copy(update={"counts": (6,)}))
    write_cifar(tmp_path / folder, rows=1)
    assert len(CIFAR10(tmp_path).domain(0)) == 6


@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
@pytest.mark.parametrize("by", [-1, -3073, 1, 3073])
def test_cifar_file_of_another_length_is_named(make: Make, name: str, by: int) -> None:
    dataset = make("CIFAR10")
    path = dataset.root() / "CIFAR10" / "cifar-10-batches-bin" / name
    path.write_bytes(path.read_bytes()[:by] if by < 0 else path.read_bytes() + bytes(by))
    with pytest.raises(DataError, match=f"{name} holds {30730 + by} bytes; 10 images of 3073 bytes are 30730"):
        dataset.domain(0)


def test_cifar_file_of_something_else_is_named(make: Make) -> None:
    dataset = make("CIFAR10")
    path = dataset.root() / "CIFAR10" / "cifar-10-batches-bin" / "data_batch_2.bin"
    path.write_bytes(b"\x0a" * 30730)
    with pytest.raises(DataError, match=r"data_batch_2\.bin is not CIFAR-10's binary version: a label is 10"):
        dataset.domain(0)


def test_cifar_pickles_are_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x02")
    with pytest.raises(MissingDataError, match=r"data_batch_1\.bin \(of its binary version\) was not found"):
        CIFAR10(tmp_path).domain(0)
