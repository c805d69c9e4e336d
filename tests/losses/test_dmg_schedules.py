"""The schedules of DMG on DomainNet and PACS (spec dmg, section 11, 21 and 22)."""

from __future__ import annotations

import pytest

from dfdgbench.errors import ConfigError
from dfdgbench.losses.schedules import exponential, inverse


@pytest.mark.parametrize(
    ("done", "rate"), [(0, 1e-4), (1, 9.99925e-5), (50, 9.96266e-5), (10_000, 5.94604e-5), (264_600, 8.33632e-6)]
)
def test_the_inverse_schedule(done, rate):
    assert inverse(done, 1e-4) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(("epochs", "factor"), [(0, 1), (50, 0.605006), (100, 0.366032), (150, 0.221452)])
def test_the_exponential_schedule(epochs, factor):
    assert exponential(epochs, 1e-4, 0.99) == pytest.approx(1e-4 * factor, rel=1e-5)


def test_what_makes_no_schedule_is_refused():
    with pytest.raises(ConfigError, match=r"decay of the learning rate is 1\.5"):
        exponential(1, 1e-4, 1.5)
    with pytest.raises(ValueError, match="-1 iterations"):
        inverse(-1, 1e-4)
