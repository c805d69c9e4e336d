"""The protocol "adaptation": parts as they are, and records of validation and test images alone."""

from __future__ import annotations

import numpy as np
import pytest

from dfdgbench.datasets.domains import ArrayDomain
from dfdgbench.datasets.protocols import SplitOptions, get_protocol
from dfdgbench.errors import DataError

PARTS = {"train": [0, 1, 2], "uda": [0, 1, 2], "val": [3], "test": [3], "more": []}
OPTIONS = SplitOptions(trial_seed=3, uda_holdout_fraction=0.5)


def domain(parts: dict[str, list[int]]) -> ArrayDomain:
    keys = {name: np.array(numbers, dtype=np.int64) for name, numbers in parts.items()}
    return ArrayDomain("d", np.zeros((4, 1, 1, 3), np.uint8), np.full(4, -1), keys)


@pytest.mark.parametrize("held_out", [False, True])
def test_parts_are_handed_out_as_they_are(held_out: bool) -> None:
    splits = get_protocol("adaptation").split(domain(PARTS), 1, held_out, OPTIONS)
    assert {name: keys.tolist() for name, keys in splits.items()} == {
        name: keys for name, keys in PARTS.items() if name != "more"
    }
    assert all(keys.dtype == np.int64 for keys in splits.values())


def test_records_hold_no_training_images() -> None:
    protocol = get_protocol("adaptation")
    assert protocol.names(True, OPTIONS) == (protocol.test,) == ("test",)
    assert protocol.names(False, OPTIONS) == (protocol.validation,) == ("val",)
    assert protocol.train == "train"


def test_a_domain_without_parts_names_the_way_out() -> None:
    with pytest.raises(DataError, match=r"'d' has no parts .* --protocol domainbed"):
        get_protocol("adaptation").split(domain({}), 0, False, OPTIONS)
