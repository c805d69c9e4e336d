"""Keys: a pure function of content."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dfdgbench.engine.keys import canonical, digest


def test_the_order_of_a_dict_does_not_matter_and_of_a_list_does() -> None:
    assert canonical({"b": {"y": 1, "x": [1, 2]}, "a": None}) == '{"a":null,"b":{"x":[1,2],"y":1}}'
    assert digest({"b": 1, "a": {"d": 2, "c": 3}}) == digest({"a": {"c": 3, "d": 2}, "b": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_a_key_is_the_sha256_of_the_text() -> None:
    assert digest({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (1, "1"), ((1,), 1), (0.1, 0.1 + 1e-17 + 1e-16)])
def test_values_that_differ_have_keys_that_differ(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": -float("inf")}])
def test_numbers_that_json_lacks_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest(value)


@pytest.mark.parametrize("value", [{1, 2}, object(), b"x"])
def test_types_that_json_lacks_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        digest(value)
