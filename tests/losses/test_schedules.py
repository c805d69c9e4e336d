"""The learning rate's corners."""

from __future__ import annotations

import pytest

from dfdgbench.errors import ConfigError
from dfdgbench.losses.schedules import warmup_cosine


@pytest.mark.parametrize(("step", "rate"), [(0, 0.001), (49, 0.05), (99, 0.1), (100, 0.1), (199, 0.001)])
def test_corners_by_hand(step: int, rate: float) -> None:
    assert warmup_cosine(step, total=200, base_lr=0.1, warmup=100) == pytest.approx(rate, rel=1e-12)


def test_last_step_is_exactly_the_floor() -> None:
    for total, warmup, floor in ((200, 100, 0.01), (1000, 0, 0.3), (37, 5, 0.0), (6, 5, 0.25)):
        assert warmup_cosine(total - 1, total, 0.1, warmup, floor) == 0.1 * floor


def test_cosine_is_half_way_in_the_middle() -> None:
    assert warmup_cosine(10, total=21, base_lr=2.0, warmup=0, floor=0.5) == pytest.approx(1.5)


def test_rises_then_falls_and_never_leaves_its_range() -> None:
    rates = [warmup_cosine(step, 60, 0.2, 20) for step in range(60)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert len(set(rates[20:])) == 40
    assert max(rates) == 0.2
    assert min(rates) >= 0.2 * 0.01


def test_without_warmup_the_first_step_has_the_full_rate() -> None:
    assert warmup_cosine(0, total=10, base_lr=0.1, warmup=0) == pytest.approx(0.1)


@pytest.mark.parametrize(("total", "warmup"), [(100, 100), (50, 100), (0, 0), (10, -1)])
def test_a_schedule_that_is_all_warmup_is_refused(total: int, warmup: int) -> None:
    with pytest.raises(ConfigError) as raised:
        warmup_cosine(0, total, 0.1, warmup)
    assert f"{total} steps and a warm-up of {warmup}. Allowed: a warm-up of 0 or more" in str(raised.value)


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_schedule_is_a_bug(step: int) -> None:
    with pytest.raises(ValueError, match="of 10 steps"):
        warmup_cosine(step, total=10, base_lr=0.1, warmup=2)
