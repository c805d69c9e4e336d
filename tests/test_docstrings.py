"""What a list says of a class."""

from __future__ import annotations

import pytest

from dfdgbench.algorithms.base import ALGORITHMS
from dfdgbench.docstrings import first_sentence
from dfdgbench.results.figures.base import FIGURES

_LONGEST = 160


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        (None, ""),
        ("  \n ", ""),
        ("Train. Then test.", "Train."),
        ("Train on all\n    sources, and\n    test.\n\n    More of it.", "Train on all sources, and test."),
        ("Without a full stop\n\nMore.", "Without a full stop"),
        ("Train; ``--preset x`` is `other`. More.", "Train; --preset x is other."),
        ("As :class:`~package.Other` and :meth:`run` do. More.", "As package.Other and run do."),
        ("Train. ``gamma=0`` is less.", "Train."),
        ("A rate of 0.1, as of Eq. 15, by Tsai et al. 2018. More.", "A rate of 0.1, as of Eq. 15, by Tsai et al. 2018."),
        ("Is it one? It is.", "Is it one?"),
    ],
)  # fmt: skip
def test_first_sentences(docstring: str | None, expected: str) -> None:
    assert first_sentence(docstring) == expected


@pytest.mark.parametrize("name", ALGORITHMS.names())
def test_algorithms_say_a_whole_short_sentence(name: str) -> None:
    said = ALGORITHMS.get(name).summary()
    assert said.endswith((".", ")."))
    assert len(said) <= _LONGEST
    assert "`" not in said


@pytest.mark.parametrize("name", FIGURES.names())
def test_figures_say_a_whole_short_sentence(name: str) -> None:
    said = FIGURES.get(name).summary()
    assert said.endswith(".")
    assert len(said) <= _LONGEST
    assert "`" not in said
