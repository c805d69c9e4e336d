"""bfloat16, channels_last and compile are options: other keys, nearly the same numbers."""

from __future__ import annotations

import math

import pytest

from dfdgbench.contract import Contract
from dfdgbench.engine import records
from dfdgbench.engine.stage import walk

OPTIONS = [{"dtype": "bfloat16"}, {"channels_last": True}, pytest.param({"compile": True}, marks=pytest.mark.slow)]


def first_loss(folder):
    return records.read(folder.results)[0]["loss"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("algorithm", ["ERM", "DEKAN"])
def test_an_option_changes_the_keys_and_hardly_the_numbers(tmp_path, algorithm, option):
    contract = Contract(algorithm, tmp_path)
    plain, other = contract.planned("plain"), contract.planned("other", **option)
    keys = [{stage.key for stage in walk(planned.last)} for planned in (plain, other)]
    assert not keys[0] & keys[1]
    one, two = first_loss(plain.execute(tmp_path / "one")), first_loss(other.execute(tmp_path / "two"))
    assert math.isfinite(two)
    if algorithm == "ERM":
        assert two == pytest.approx(one, rel=0.05)
