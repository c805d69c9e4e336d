"""What every registered dataset that is read from disk must keep, on a small tree in its exact layout."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trees_digits
import trees_folders
import trees_segmentation
from PIL import Image

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.check.status import status
from dfdgbench.datasets.check.verify import verify
from dfdgbench.datasets.domains import ArrayDomain, MaskedDomain
from dfdgbench.datasets.feed.pairs import PairFeed, PairReader
from dfdgbench.datasets.feed.readers import DataPath, make_reader
from dfdgbench.datasets.feed.split import Split
from dfdgbench.datasets.feed.training import TrainingFeed, evaluation_batches
from dfdgbench.datasets.metadata import IGNORED
from dfdgbench.datasets.protocols import PROTOCOLS, SplitOptions
from dfdgbench.engine.problem import choose_domains

TREES = trees_folders.TREES | trees_digits.TREES | trees_segmentation.TREES
ON_DISK = [name for name in DATASETS.names() if DATASETS.get(name).metadata.needs_data_dir]


def test_every_dataset_on_disk_has_a_tree() -> None:
    assert sorted(TREES) == sorted(ON_DISK)


@pytest.fixture(params=sorted(TREES))
def name(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A dataset's name, its tree written and its metadata that of the tree."""
    found = DATASETS.get(request.param)
    fields: dict[str, Any] = TREES[request.param](tmp_path)
    for attribute, value in fields.pop("attributes", {}).items():
        monkeypatch.setattr(found, attribute, value)
    monkeypatch.setattr(found, "metadata", found.metadata.model_copy(update=fields))
    return str(request.param)


@pytest.fixture
def dataset(name: str, tmp_path: Path) -> Dataset:
    return DATASETS.get(name)(tmp_path)


def test_every_domain_opens_and_its_images_decode(dataset: Dataset) -> None:
    metadata = dataset.metadata
    for index, name in enumerate(metadata.domains):
        domain = dataset.domain(index)
        assert domain.name == name
        assert len(domain) > 0
        assert set(domain.labels.tolist()) <= (
            {-1} if metadata.task == "segmentation" else set(range(len(metadata.classes)))
        )
        assert len(domain.image(0).getbands()) == metadata.channels
        domain.image(len(domain) - 1)
        if isinstance(domain, MaskedDomain):
            masked = [key for key in range(len(domain)) if domain.masks[key]]
            assert masked
            assert set(np.unique(domain.mask(masked[0])).tolist()) <= {*range(len(metadata.classes)), IGNORED}


def test_its_protocols_cut_it(dataset: Dataset) -> None:
    metadata = dataset.metadata
    for protocol in (PROTOCOLS[name] for name in metadata.protocols):
        for index in range(len(metadata.domains)):
            domain = dataset.domain(index)
            if protocol.name in ("official", "adaptation") and not domain.parts:
                continue  # lists that a dataset may lie without
            splits = protocol.split(domain, index, True, SplitOptions())
            assert protocol.test in splits or "test" not in domain.parts
            for keys in splits.values():
                assert 0 <= keys.min() <= keys.max() < len(domain)
                assert len(np.unique(keys)) == len(keys)


def test_fingerprints_do_not_change_when_the_tree_moves(name: str, tmp_path: Path) -> None:
    there = tmp_path.parent / f"{tmp_path.name}-moved"
    before = [
        DATASETS.get(name)(tmp_path).domain(i).fingerprint() for i in range(len(DATASETS.get(name).metadata.domains))
    ]
    shutil.copytree(tmp_path, there)
    after = [DATASETS.get(name)(there).domain(i).fingerprint() for i in range(len(before))]
    assert before == after


def test_status_and_verify_find_it_whole(name: str, tmp_path: Path) -> None:
    assert status(name, tmp_path).state == "ok"
    wrong = [found.text for found in verify(name, tmp_path, jobs=1).findings if found.wrong]
    assert [text for text in wrong if "has no image of" not in text] == []  # a tree of a few digits lacks some


def test_images_are_counted_without_decoding_any(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    every = range(len(dataset.metadata.domains))
    counted = [len(dataset.open(index)) for index in every]

    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(Image, "open", refuse)
    monkeypatch.setattr(ArrayDomain, "__init__", refuse)
    again = type(dataset)(dataset.data_dir)
    assert [again.listed(index) for index in every] == counted


def test_it_feeds_a_network(dataset: Dataset, tmp_path: Path) -> None:
    metadata, domain, path = dataset.metadata, dataset.domain(0), DataPath("fast", (tmp_path / "stores",))
    if isinstance(domain, MaskedDomain):
        labelled = Split(domain, np.array([key for key in range(len(domain)) if domain.masks[key]]))
        images, masks = PairFeed([labelled], 2, 0, [PairReader(domain, metadata.shape, path)]).batch(0)
        assert images.shape == (2, 3, *metadata.shape)
        assert masks.shape == (2, *metadata.shape)
        return
    everything = Split(domain, np.arange(len(domain)))
    reader = make_reader(domain, metadata.image_size, path, metadata.native_size)
    shape = (metadata.channels, metadata.image_size, metadata.image_size)
    assert TrainingFeed(everything, 3, 0, reader).batch(0)[0].shape == (3, *shape)
    labels = torch.cat([labels for _, labels in evaluation_batches(everything, reader, 4)])
    assert labels.tolist() == domain.labels.tolist()


def test_default_sources_are_the_published_ones(dataset: Dataset) -> None:
    metadata = dataset.metadata
    for source, target in metadata.pairs:
        sources, targets = choose_domains(metadata, [target], None)
        assert metadata.domains.index(source) in sources
        assert targets == (metadata.domains.index(target),)
    if len(metadata.domains) > 1 and not metadata.pairs:
        assert choose_domains(metadata, [0], None)[0] == tuple(range(1, len(metadata.domains)))
