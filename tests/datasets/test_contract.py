"""What every registered dataset must keep."""

from __future__ import annotations

import pytest

from dfdgbench.datasets.base import DATASETS, Dataset
from dfdgbench.datasets.protocols import PROTOCOLS, SplitOptions
from dfdgbench.errors import ConfigError, DataError

NAMES = DATASETS.names()


@pytest.fixture(params=NAMES)
def dataset(request: pytest.FixtureRequest) -> type[Dataset]:
    return DATASETS.get(request.param)


def test_metadata_is_sane(dataset: type[Dataset]) -> None:
    metadata = dataset.metadata
    assert metadata.name in NAMES
    assert DATASETS.get(metadata.name) is dataset
    for names in (metadata.domains, metadata.labels, metadata.classes):
        assert len(set(names)) == len(names)
    assert metadata.steps > 0
    assert metadata.checkpoint_freq > 0
    assert metadata.description
    assert "\n" not in metadata.description
    assert metadata.citation or not metadata.needs_data_dir
    assert metadata.protocol in PROTOCOLS
    assert metadata.counts is None or all(count > 0 for count in metadata.counts)
    assert bool(metadata.layout) == metadata.needs_data_dir


def test_index_takes_names_labels_and_numbers(dataset: type[Dataset]) -> None:
    metadata = dataset.metadata
    for index, name in enumerate(metadata.domains):
        assert metadata.index(index) == metadata.index(str(index)) == metadata.index(name) == index
    for index, label in enumerate(metadata.labels):
        assert metadata.index(label) == index


def test_index_errors_name_the_domains(dataset: type[Dataset]) -> None:
    metadata = dataset.metadata
    for wrong in (len(metadata.domains), -1, "-1", "nowhere"):
        with pytest.raises(ConfigError) as error:
            metadata.index(wrong)
        assert all(name in str(error.value) for name in metadata.domains)


def test_without_a_data_folder(dataset: type[Dataset]) -> None:
    if dataset.metadata.needs_data_dir:
        with pytest.raises(DataError, match="--data-dir"):
            dataset().domain(0)
        return
    opened = dataset()
    for index, name in enumerate(dataset.metadata.domains):
        domain = opened.domain(index)
        assert domain.name == name
        assert opened.domain(index) is domain
        masked = dataset.metadata.task == "segmentation"
        assert set(domain.labels.tolist()) <= ({-1} if masked else set(range(len(dataset.metadata.classes))))
        assert domain.image(0).mode == "RGB"
        splits = PROTOCOLS[dataset.metadata.protocol].split(domain, index, False, SplitOptions())
        assert all(len(keys) for keys in splits.values())
