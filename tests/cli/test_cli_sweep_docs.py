"""docs/sweeps.md: its example is a grid that can be planned as printed, and its tables name every key and state."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dfdgbench.sweeps.status import STATES
from dfdgbench.tables.grid import OPTIONS, Grid

PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"


@pytest.fixture
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_example_is_planned_as_printed(cli: Callable, page: str, tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "digits.yaml").write_text(example)
    shown = cli("sweep", "plan", "digits.yaml")
    assert shown.code == 0
    printed = re.search(r"\$ dfdgbench sweep plan digits.yaml\n(stage.*?)```", page, re.DOTALL)
    assert printed is not None
    assert set(printed[1].splitlines()) <= set(shown.out.splitlines())
    more = cli("sweep", "plan", "digits.yaml", "--rules", "training-domain", "oracle", "--test-env-grid", "single")
    (line,) = [line for line in page.splitlines() if line.startswith("leave-one-domain-out would add")]
    assert line in more.out.splitlines()


def test_every_key_of_a_grid_and_every_state_is_explained(page: str) -> None:
    keys = {*Grid.model_fields, *OPTIONS, "single_test_envs"} - {"options"}
    named = re.findall(r"`([a-z_]+)(?:: true)?`", "\n".join(line for line in page.splitlines() if line[:2] == "| "))
    assert keys <= set(named)
    for state, meaning in STATES.items():
        assert f"| {state} | {meaning}" in page
