"""DomainBed's hash, and global generators that nobody disturbs."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from dfdgbench.seeds import generator, seed_everything, seed_hash, untouched_randomness

# What DomainBed's own function returns.
HASHES = [
    ((), 225909452),
    ((0,), 1003224347),
    ((1,), 1051079061),
    ((0, 0), 894182419),
    ((0, 1), 1514274641),
    ((1, 0), 785910682),
    (("a",), 407376881),
    ((None,), 1457544758),
    ((True,), 1136131748),
    ((1.0,), 84380169),
    ((1, "lr"), 103267603),
    ((0, "lr"), 1017368932),
    ((785910682, "lr"), 2037049235),
    (("VLCS", "ERM", [0], 0, 0), 1721972278),
    (("VLCS", "ERM", [0, 1], 1, 1), 673138363),
    (("PACS", "ERM", [0], 0, 0), 94828300),
    (("Debug28", "ERM", [0, 1], 2, 1), 932883252),
]
# Rows: trial seeds 0, 1, 2; columns: environments 0 to 5.
SPLIT_SEEDS = [
    [894182419, 1514274641, 1325548499, 1796103049, 1773288162, 1833038383],
    [785910682, 1442673865, 1981683110, 1739848239, 582996474, 65219121],
    [472130416, 181139023, 248334461, 1709828778, 402558190, 941488192],
]


@pytest.mark.parametrize(("arguments", "expected"), HASHES, ids=lambda value: repr(value))
def test_seed_hash_is_domainbeds(arguments: tuple[object, ...], expected: int) -> None:
    assert seed_hash(*arguments) == expected  # type: ignore[arg-type]


def test_split_seeds_are_domainbeds() -> None:
    assert [[seed_hash(trial, env) for env in range(6)] for trial in range(3)] == SPLIT_SEEDS


@pytest.mark.parametrize("scalar", [np.int64(1), np.float32(0.5), np.bool_(True), np.str_("a")])
def test_numpy_scalars_are_refused(scalar: np.generic) -> None:
    with pytest.raises(TypeError, match="numpy scalar"):
        seed_hash(0, scalar)  # type: ignore[arg-type]


def test_a_generator_depends_on_its_purpose_alone() -> None:
    first = torch.rand(3, generator=generator(7, "noise"))
    torch.rand(5)
    assert torch.equal(first, torch.rand(3, generator=generator(7, "noise")))
    assert not torch.equal(first, torch.rand(3, generator=generator(7, "jitter")))


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_seed_everything_seeds_each_global_generator() -> None:
    with untouched_randomness():
        seed_everything(3)
        first = _draws()
        seed_everything(3)
        assert _draws() == first
        seed_everything(4)
        assert all(a != b for a, b in zip(_draws(), first, strict=True))


@pytest.mark.parametrize("fails", [False, True])
def test_untouched_randomness_leaves_every_global_generator_as_it_was(fails: bool) -> None:
    with untouched_randomness():
        seed_everything(3)
        expected = _draws()
        seed_everything(3)
        try:
            with untouched_randomness():
                seed_everything(99)
                _draws()
                if fails:
                    raise ValueError
        except ValueError:
            assert fails
        assert _draws() == expected
