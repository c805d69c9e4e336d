"""Splits: DomainBed's own vectors, and the two other protocols."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dfdgbench.datasets.base import Domain
from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.protocols import PROTOCOLS, SplitOptions, get_protocol, shuffled
from dfdgbench.errors import ConfigError, DataError, UnknownNameError
from dfdgbench.seeds import seed_hash


def domain(length: int, parts: dict[str, np.ndarray] | None = None) -> Domain:
    return ArrayDomain("d", np.zeros((length, 1, 1, 3), np.uint8), np.arange(length) % 3, parts)


def digits(text: str) -> list[int]:
    return [int(word) for word in text.split()]


HASHES = [
    ((), 225909452),
    ((0,), 1003224347),
    ((1,), 1051079061),
    (("a",), 407376881),
    ((None,), 1457544758),
    ((True,), 1136131748),
    ((1.0,), 84380169),
    ((1, "lr"), 103267603),
    ((785910682, "lr"), 2037049235),
    (("VLCS", "ERM", [0], 0, 0), 1721972278),
    (("VLCS", "ERM", [0, 1], 1, 1), 673138363),
    (("PACS", "ERM", [0], 0, 0), 94828300),
    (("Debug28", "ERM", [0, 1], 2, 1), 932883252),
]
GRID = [
    [894182419, 1514274641, 1325548499, 1796103049, 1773288162, 1833038383],
    [785910682, 1442673865, 1981683110, 1739848239, 582996474, 65219121],
    [472130416, 181139023, 248334461, 1709828778, 402558190, 941488192],
]
SPLITS = [
    (10, 0.2, 0, 0, "2 3", "8 1 4 5 0 9 6 7"),
    (10, 0.2, 0, 1, "5 0", "3 7 8 6 1 2 9 4"),
    (10, 0.2, 1, 0, "3 7", "9 0 5 4 2 8 6 1"),
    (16, 0.2, 0, 0, "15 2 14", "9 13 11 0 3 10 5 4 1 8 6 7 12"),
    (7, 0.2, 0, 0, "2", "3 5 1 6 0 4"),
    (5, 0.5, 0, 0, "0 1", "2 3 4"),
]


@pytest.mark.parametrize(("args", "expected"), HASHES)
def test_seed_hash_is_domainbeds(args: tuple[object, ...], expected: int) -> None:
    assert seed_hash(*args) == expected  # type: ignore[arg-type]


def test_seed_hash_grid_of_trials_and_domains() -> None:
    assert [[seed_hash(trial, index) for index in range(6)] for trial in range(3)] == GRID


def test_seed_hash_refuses_numpy_scalars() -> None:
    with pytest.raises(TypeError, match="convert"):
        seed_hash(np.int64(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("length", "fraction", "trial", "index", "out", "inside"), SPLITS)
def test_domainbed_splits(length: int, fraction: float, trial: int, index: int, out: str, inside: str) -> None:
    options = SplitOptions(trial_seed=trial, holdout_fraction=fraction)
    splits = get_protocol("domainbed").split(domain(length), index, False, options)
    assert splits["out"].tolist() == digits(out)
    assert splits["in"].tolist() == digits(inside)


@pytest.mark.parametrize(
    ("length", "digest"), [(1000, "030281fcc131db1aa21676f5fb1e468f"), (70000, "808069a5d2791d4894bee396fb5fa2f1")]
)
def test_large_shuffles(length: int, digest: str) -> None:
    assert hashlib.md5(str(shuffled(length, 894182419).tolist()).encode()).hexdigest() == digest


def test_uda_split_is_cut_from_the_held_out_domain_alone() -> None:
    options = SplitOptions(uda_holdout_fraction=0.5)
    protocol = get_protocol("domainbed")
    held_out = protocol.split(domain(10), 0, True, options)
    assert held_out["uda"].tolist() == digits("4 5 9 1")
    assert held_out["in"].tolist() == digits("7 8 6 0")
    assert set(protocol.split(domain(10), 0, False, options)) == {"in", "out"}
    assert set(protocol.names(True, options)) == set(held_out)


@pytest.mark.parametrize(
    ("total", "out", "inside"), [(1415, 283, 1132), (2656, 531, 2125), (3282, 656, 2626), (3376, 675, 2701)]
)
def test_sizes_of_vlcs(total: int, out: int, inside: int) -> None:
    splits = get_protocol("domainbed").split(domain(total), 0, True, SplitOptions())
    assert (len(splits["out"]), len(splits["in"])) == (out, inside)
    assert "uda" not in splits


def test_fractions_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="--holdout-fraction is 1"):
        SplitOptions(holdout_fraction=1)


PARTS = {"train": np.arange(60), "test": np.arange(60, 100)}


def test_official_keeps_a_tenth_of_train_for_validation() -> None:
    protocol = get_protocol("official")
    splits = protocol.split(domain(100, PARTS), 1, False, SplitOptions())
    assert {name: len(keys) for name, keys in splits.items()} == {"train": 54, "val": 6, "test": 40}
    assert sorted([*splits["train"], *splits["val"]]) == list(range(60))
    assert splits["test"].tolist() == list(range(60, 100))
    again = protocol.split(domain(100, PARTS), 1, True, SplitOptions())
    assert all((splits[name] == again[name]).all() for name in splits)
    other = protocol.split(domain(100, PARTS), 1, False, SplitOptions(trial_seed=1))
    assert sorted(other["val"]) != sorted(splits["val"])


def test_official_takes_a_published_validation_part() -> None:
    parts = {"train": np.arange(5), "val": np.arange(5, 8), "test": np.arange(10)}
    splits = get_protocol("official").split(domain(10, parts), 0, False, SplitOptions(trial_seed=3))
    assert all((splits[name] == parts[name]).all() for name in parts)


def test_official_without_parts_names_the_way_out() -> None:
    with pytest.raises(DataError, match="--protocol domainbed"):
        get_protocol("official").split(domain(10), 0, False, SplitOptions())


def test_authors_cuts_nine_to_one_and_tests_on_everything() -> None:
    protocol = get_protocol("authors")
    splits = protocol.split(domain(100, PARTS), 0, False, SplitOptions())
    assert {name: len(keys) for name, keys in splits.items()} == {"train": 90, "val": 10, "all": 100}
    assert sorted([*splits["train"], *splits["val"]]) == splits["all"].tolist() == list(range(100))
    other = protocol.split(domain(100), 2, True, SplitOptions(trial_seed=7))
    assert all((splits[name] == other[name]).all() for name in splits)


# Two protocols record fewer splits than they cut: see test_adaptation_protocol.py and test_homogenization_splits.py.
@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"adaptation", "post-hoc"}))
@pytest.mark.parametrize("held_out", [False, True])
def test_named_splits_are_the_ones_cut(name: str, held_out: bool) -> None:
    protocol, options = PROTOCOLS[name], SplitOptions(uda_holdout_fraction=0.5)
    splits = protocol.split(domain(100, PARTS), 0, held_out, options)
    adapted = {"uda"} if held_out and name == "official" else set()
    assert set(protocol.names(held_out, options)) | adapted == set(splits)
    assert {protocol.train, protocol.validation, protocol.test} <= set(splits)
    assert not set(splits[protocol.train]) & set(splits[protocol.validation])
    assert all(keys.dtype == np.int64 for keys in splits.values())


def test_adaptation_reads_the_uda_split_or_where_asked_the_test_split() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.adaptation(SplitOptions()) == "uda", name
        assert protocol.adaptation(SplitOptions(transductive=True)) == protocol.test


def test_official_adaptation_never_reads_a_test_image() -> None:
    apart = get_protocol("official").split(domain(100, PARTS), 0, True, SplitOptions())
    assert np.array_equal(np.sort(apart["uda"]), np.sort(PARTS["train"]))
    assert "uda" not in get_protocol("official").split(domain(100, PARTS), 0, False, SplitOptions())
    whole = {"train": PARTS["train"], "test": np.arange(100)}
    assert "uda" not in get_protocol("official").split(domain(100, whole), 0, True, SplitOptions())


@pytest.mark.parametrize(
    ("length", "train", "val"), [(33525, 30172, 3353), (120750, 108675, 12075), (10, 9, 1), (1, 0, 1)]
)
def test_a_tenth_of_an_official_train_part_is_kept_as_dmg_keeps_it(length: int, train: int, val: int) -> None:
    parts = {"train": np.arange(length), "test": np.arange(0)}
    splits = get_protocol("official").split(domain(length, parts), 0, False, SplitOptions())
    assert (len(splits["train"]), len(splits["val"])) == (train, val)


def test_unknown_protocol() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean official"):
        get_protocol("offical")
