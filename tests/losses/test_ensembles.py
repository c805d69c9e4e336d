"""Ensembles of teachers: cases in which averages, votes, maxima and entropies disagree."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dfdgbench.losses.ensembles import average_prediction, entropy, highest_confidence, lowest_entropy


def teachers(*rows: tuple[float, ...]) -> Tensor:
    """Predictions of several teachers for one image, [I, 1, K]."""
    return torch.tensor(rows, dtype=torch.float64)[:, None]


TWO = teachers((0.49, 0.51, 0.0), (0.56, 0.22, 0.22))
OUTVOTED = teachers((0.51, 0.49), (0.51, 0.49), (0.01, 0.99))
EXTREME = teachers((0.0001, 0.9999), (0.8, 0.2), (0.8, 0.2))
THREE = teachers((0.6, 0.4, 0.0), (0.3, 0.3, 0.4), (0.1, 0.8, 0.1))


@pytest.mark.parametrize(
    ("probabilities", "mean", "predicted"),
    [
        (TWO, (0.525, 0.365, 0.11), 0),
        (OUTVOTED, (0.343333, 0.656667), 1),
        (EXTREME, (0.533367, 0.466633), 0),
        (THREE, (0.333333, 0.5, 0.166667), 1),
    ],
)
def test_average_prediction(probabilities: Tensor, mean: tuple[float, ...], predicted: int) -> None:
    average = average_prediction(probabilities)
    assert average[0].tolist() == pytest.approx(mean, abs=1e-6)
    assert average.argmax(-1).tolist() == [predicted]


def test_the_cases_tell_the_rules_apart() -> None:
    votes = OUTVOTED.argmax(-1)[:, 0].tolist()
    assert max(set(votes), key=votes.count) == 0 != average_prediction(OUTVOTED).argmax().item()
    assert EXTREME.log().mean(0).argmax().item() == 1 != average_prediction(EXTREME).argmax().item()
    assert TWO.amax(-1).argmax(0).item() == 1 != lowest_entropy(TWO).item()


@pytest.mark.parametrize(
    ("probabilities", "entropies"),
    [
        (TWO, (0.692947, 0.990915)),
        (OUTVOTED[2:], (0.056002,)),
        (THREE, (0.673012, 1.088900, 0.639032)),
        (teachers((1.0, 0.0)), (0.0,)),
    ],
)
def test_entropy_is_in_nats(probabilities: Tensor, entropies: tuple[float, ...]) -> None:
    assert entropy(probabilities)[:, 0].tolist() == pytest.approx(entropies, abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "teacher", "predicted"), [(TWO, 0, 1), (OUTVOTED, 2, 1), (EXTREME, 0, 1), (THREE, 2, 1)]
)
def test_highest_confidence(probabilities: Tensor, teacher: int, predicted: int) -> None:
    assert lowest_entropy(probabilities).tolist() == [teacher]
    chosen = highest_confidence(probabilities)
    assert torch.equal(chosen, probabilities[teacher])
    assert chosen.argmax(-1).tolist() == [predicted]


def test_every_image_chooses_for_itself() -> None:
    batch = torch.cat([THREE, THREE.flip(0), THREE[[1, 0, 1]]], dim=1)
    assert lowest_entropy(batch).tolist() == [2, 0, 1]
    chosen = highest_confidence(batch)
    assert torch.equal(chosen, torch.stack([THREE[2, 0], THREE[2, 0], THREE[0, 0]]))


@pytest.mark.parametrize("row", [(0.2, 0.3, 0.5), (0.0, 1.0, 0.0)])
def test_among_equals_the_first_teacher_speaks(row: tuple[float, ...]) -> None:
    for others in (teachers((0.34, 0.33, 0.33)), torch.empty(0, 1, 3)):
        probabilities = torch.cat([others, teachers(*[row] * 4)])
        assert lowest_entropy(probabilities).tolist() == [len(others)]


def test_identical_teachers_agree_with_every_rule() -> None:
    same = THREE[:1].expand(4, 1, 3)
    assert torch.equal(highest_confidence(same), THREE[0])
    assert torch.allclose(average_prediction(same), THREE[0], rtol=1e-14)
