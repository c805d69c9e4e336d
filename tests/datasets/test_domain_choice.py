"""Domains as they are typed: numbers, names, and digits that are both."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees_own import own_tree

from dfdgbench.datasets.base import DATASETS
from dfdgbench.datasets.metadata import Metadata
from dfdgbench.datasets.typed import typed
from dfdgbench.errors import ConfigError


@pytest.fixture
def numbered(tmp_path: Path) -> Metadata:
    """Domains called 1, 10, 2 in this order."""
    return DATASETS.get(f"folder:{own_tree(tmp_path / 'tree', ('1', '10', '2'))}").metadata


@pytest.mark.parametrize(
    ("text", "index"), [("0", 0), ("2", 2), ("10", 1), ("name:1", 0), ("number:1", 1), ("name:2", 2), ("name:10", 1)]
)
def test_digits_that_can_be_read_one_way(numbered: Metadata, text: str, index: int) -> None:
    assert numbered.index(typed(text)) == index


def test_digits_that_are_two_domains_are_refused(numbered: Metadata) -> None:
    with pytest.raises(ConfigError) as caught:
        numbered.index(typed("1"))
    for part in (
        "'1' is two domains of folder:tree: number 1 is the domain '10'",
        "the domain number 0 is called '1'",
        "Type number:1 for '10', or name:1",
        "0 1, 1 10, 2 2",
    ):
        assert part in str(caught.value)


def test_a_leading_zero_is_a_name(tmp_path: Path) -> None:
    metadata = DATASETS.get(f"folder:{own_tree(tmp_path / 'tree', ('00', '01'))}").metadata
    assert [metadata.index(typed(text)) for text in ("00", "01", "0", "1")] == [0, 1, 0, 1]


@pytest.mark.parametrize("text", ["7", "-1", "number:7", "name:x", "²"])
def test_what_is_neither(numbered: Metadata, text: str) -> None:
    with pytest.raises(ConfigError, match="has no domain"):
        numbered.index(typed(text))


def test_numbers_and_names_elsewhere_are_what_they_are(numbered: Metadata) -> None:
    assert [numbered.index(given) for given in (1, "1")] == [1, 0]


def test_published_datasets_have_no_digits_of_two_domains() -> None:
    for name, dataset in DATASETS.items():
        for number in range(len(dataset.metadata.domains)):
            assert dataset.metadata.index(typed(str(number))) == number, name


@pytest.mark.parametrize("text", ["photo", "3", "a:b"])
def test_other_texts_stay(text: str) -> None:
    assert str(typed(text)) == text
    assert isinstance(typed(text), int) == text.isdigit()
