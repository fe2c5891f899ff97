"""Figures of segmentation agree with a count pixel by pixel, over several pictures and with what is ignored."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ccdeploy.segmentation import Agreement, Confusion


def brute_force(pairs: list[tuple[np.ndarray, np.ndarray]], classes: int) -> tuple[list[float | None], float, float]:
    """IoU of each class as sets of pixels, their mean, and the share of right pixels."""
    labels = [
        (number, place, int(truth[place]), int(found[place]))
        for number, (truth, found) in enumerate(pairs)
        for place in np.ndindex(truth.shape)
        if truth[place] != 255
    ]
    iou: list[float | None] = []
    for index in range(classes):
        true = {(number, place) for number, place, truth, _ in labels if truth == index}
        seen = {(number, place) for number, place, _, found in labels if found == index}
        iou.append(len(true & seen) / len(true | seen) if true | seen else None)
    present = [value for value in iou if value is not None]
    right = sum(truth == found for _, _, truth, found in labels)
    return iou, sum(present) / len(present), right / len(labels)


@pytest.mark.parametrize("classes", [1, 2, 7, 255])
def test_figures_are_those_of_a_count_pixel_by_pixel(classes: int):
    generator = np.random.default_rng(classes)
    confusion, pairs = Confusion(classes), []
    for size in [(9, 14), (1, 1), (17, 3)]:
        truth = generator.integers(0, max(1, classes - 1), size).astype(np.uint8)
        found = np.where(generator.random(size) < 0.5, truth, generator.integers(0, classes, size)).astype(np.uint8)
        truth[generator.random(size) < 0.2] = 255
        confusion.add(truth, found)
        pairs.append((truth, found))
    iou, miou, accuracy = brute_force(pairs, classes)
    figures = confusion.figures()
    assert figures.iou == pytest.approx(iou, abs=1e-12)
    assert (figures.miou, figures.pixel_accuracy) == pytest.approx((miou, accuracy), abs=1e-12)
    assert confusion.matrix.dtype == np.int64
    assert confusion.matrix.sum() == sum(int((truth != 255).sum()) for truth, _ in pairs)


def test_class_that_is_nowhere_has_no_iou_and_one_that_is_only_predicted_has_0():
    confusion = Confusion(4)
    confusion.add(np.array([[0, 0, 1]], np.uint8), np.array([[0, 2, 1]], np.uint8))
    figures = confusion.figures()
    assert figures.iou == (0.5, 1.0, 0.0, None)
    assert figures.miou == 0.5


def test_rows_are_labels_and_columns_predictions():
    confusion = Confusion(3)
    confusion.add(np.array([[0, 0, 2]], np.uint8), np.array([[1, 1, 0]], np.uint8))
    assert confusion.matrix.tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]


def test_nothing_counted_is_no_figure():
    confusion = Confusion(3)
    assert math.isnan(confusion.figures().miou)
    confusion.add(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    figures = confusion.figures()
    assert figures.iou == (None, None, None)
    assert math.isnan(figures.pixel_accuracy)
    assert math.isnan(Agreement().share)


def test_what_does_not_fit_is_refused():
    confusion, agreement = Confusion(3), Agreement()
    three, zero = np.full((2, 2), 3, np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="a label is 3, there are 3 classes"):
        confusion.add(three, zero)
    with pytest.raises(ValueError, match="a prediction is 3, there are 3 classes"):
        confusion.add(zero, three)
    with pytest.raises(ValueError, match=r"\[2, 2\] and predictions of \[1, 2\]"):
        confusion.add(zero, zero[:1])
    with pytest.raises(ValueError, match=r"\[2, 2\] and \[1, 2\]"):
        agreement.add(zero, zero[:1])
    for classes in (0, 256):
        with pytest.raises(ValueError, match="1 to 255"):
            Confusion(classes)
    assert confusion.matrix.sum() == 0


def test_agreement_counts_every_pixel_of_every_picture():
    agreement = Agreement()
    agreement.add(np.array([[0, 1, 255]], np.uint8), np.array([[0, 2, 255]], np.uint8))
    agreement.add(np.zeros((5, 1), np.uint8), np.zeros((5, 1), np.uint8))
    assert agreement.share == 7 / 8
