"""Segmentation's loss and metrics, against hand-computed values (spec: oracles O4, O5)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dfdgbench.errors import DataError
from dfdgbench.tasks.segmentation import Segmentation

NAMES = [str(number) for number in range(16)]


def filled(matrix: list[list[int]], classes: int) -> tuple[Tensor, Tensor]:
    """Scores [1, K, 1, N] and labels [1, 1, N] with this confusion matrix."""
    pairs = [(i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) for _ in range(count)]
    predicted = torch.tensor([j for _, j in pairs])
    scores = torch.nn.functional.one_hot(predicted, classes).T.float()[None, :, None]
    return scores, torch.tensor([i for i, _ in pairs])[None, None]


def measured(*images: tuple[Tensor, Tensor], classes: int = 2, **subsets: list[str]) -> dict[str, float]:
    total = Segmentation(NAMES[:classes], subsets).accumulator()
    for scores, labels in images:
        total.update(scores, labels)
    return total.compute()


def test_metrics_of_a_matrix() -> None:
    found = measured(filled([[3, 1], [1, 2]], 2))
    assert (found["iou_0"], found["iou_1"], found["miou"]) == pytest.approx((0.6, 0.5, 0.55))
    assert (found["acc"], found["macc"]) == pytest.approx((0.714286, 0.708333), abs=1e-6)


def test_a_class_that_is_nowhere_is_left_out_and_one_predicted_alone_counts() -> None:
    found = measured(filled([[3, 1], [1, 2]], 3), classes=3)
    assert found["miou"] == pytest.approx(0.55) and math.isnan(found["iou_2"]) and found["classes"] == 2
    found = measured(filled([[3, 0, 1], [0, 3, 0]], 3), classes=3)
    assert found["iou_2"] == 0 and found["classes"] == 3


def test_one_matrix_over_all_images() -> None:
    found = measured(filled([[4, 0], [0, 0]], 2), filled([[0, 2], [0, 2]], 2))
    assert (found["iou_0"], found["iou_1"]) == pytest.approx((2 / 3, 1 / 2))
    assert (found["miou"], found["acc"]) == pytest.approx((0.583333, 0.75), abs=1e-6)


def test_pixels_of_no_class_never_count() -> None:
    scores, labels = filled([[3, 1], [1, 2]], 2)
    total = Segmentation(NAMES[:2]).accumulator()
    total.update(scores, torch.full_like(labels, 255))
    assert math.isnan(total.compute()["miou"]) and math.isnan(total.compute()["acc"])
    total.update(scores, labels)
    assert int(total.matrix.sum()) == 7  # type: ignore[attr-defined]
    assert total.compute()["miou"] == pytest.approx(0.55)


def test_a_label_that_no_class_has_is_told() -> None:
    scores, labels = filled([[1, 1], [1, 1]], 2)
    with pytest.raises(DataError, match=r"holds the label 7, and there are 2 classes \(0 to 1; 255"):
        Segmentation(NAMES[:2]).accumulator().update(scores, labels + 7 * (labels == 1) - (labels == 1).long())


def test_thirteen_of_sixteen() -> None:
    thirteen = [NAMES[i] for i in (0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)]
    total = Segmentation(NAMES, {"thirteen": thirteen}).accumulator()
    # IoU i/16 of class i: i pixels right, and 16 - i of it taken for class 0, whose own IoU is then 0.
    for index in range(1, 16):
        total.matrix[index, index] = index  # type: ignore[attr-defined]
        total.matrix[index, 0] = 16 - index  # type: ignore[attr-defined]
    found = total.compute()
    assert 16 * found["miou"] == pytest.approx(7.5) and 16 * found["miou_thirteen"] == pytest.approx(108 / 13)


def test_scores_of_another_size_are_brought_to_the_labels() -> None:
    scores = torch.zeros(1, 2, 2, 4)
    scores[:, 0, :, :2] = 1
    scores[:, 1, :, 2:] = 1
    labels = torch.zeros(1, 4, 8, dtype=torch.long)
    labels[..., 4:] = 1
    assert measured((scores, labels))["miou"] == 1


def test_the_loss_is_a_mean_over_pixels_that_have_a_class() -> None:
    task = Segmentation(NAMES[:2])
    scores = torch.zeros(2, 2, 3, 3, requires_grad=True)
    labels = torch.full((2, 3, 3), 255)
    assert task.loss(scores, labels).item() == 0
    task.loss(scores, labels).backward()
    assert scores.grad is not None and scores.grad.abs().sum() == 0
    labels[0, 0, 0] = 1
    assert task.loss(scores, labels).item() == pytest.approx(math.log(2))


def test_the_first_metric_is_the_mean_of_ious() -> None:
    task = Segmentation(["sky", "road"], {"frequent": ["road"]})
    assert task.suffixes == ("miou", "acc", "macc", "classes", "miou_frequent", "iou_sky", "iou_road")
