"""The figures of semantic segmentation: IoU of each class, its mean, pixel accuracy, and agreement of two predictions.

IoU, mean IoU and pixel accuracy are those of J. Long, E. Shelhamer, T. Darrell, "Fully Convolutional Networks for
Semantic Segmentation", CVPR 2015, section 5: with n_ij the number of pixels of class i that are predicted as class j,
t_i = sum_j n_ij and p_i = sum_j n_ji,

    IoU_i = n_ii / (t_i + p_i - n_ii)        pixel accuracy = sum_i n_ii / sum_i t_i

All pixels of a data set are counted into one matrix, as Cityscapes, ADE20K and PASCAL VOC evaluate: figures of
pictures are not averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ccdeploy.datasets import IGNORED, LabelMap


@dataclass(frozen=True)
class Figures:
    """What a confusion matrix says, as fractions of 1.

    Attributes:
        miou: mean IoU over the classes that have one.
        pixel_accuracy: share of the labelled pixels that are predicted right.
        iou: of each class; None for a class that is neither in the labels nor in the predictions.
    """

    miou: float
    pixel_accuracy: float
    iou: tuple[float | None, ...]


class Confusion:
    """A confusion matrix that is counted picture by picture.

    Args:
        classes: how many, 1 to 255; 255 itself is the label of pixels that are not counted.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORED:
            raise ValueError(f"{classes} classes, 1 to {IGNORED} were expected")
        self.matrix: npt.NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        """Rows are the labels' classes, columns the predictions'."""

    def add(self, labels: LabelMap, predicted: LabelMap) -> None:
        """Counts the pixels of a picture.

        Args:
            labels: the true classes [H, W]; IGNORED is left out.
            predicted: the predicted classes [H, W].

        Raises:
            ValueError: shapes that differ, or a class that the matrix does not have.
        """
        if labels.shape != predicted.shape:
            raise ValueError(f"labels of {list(labels.shape)} and predictions of {list(predicted.shape)}")
        classes = len(self.matrix)
        counted = labels != IGNORED
        true, seen = labels[counted].astype(np.int64), predicted[counted].astype(np.int64)
        for what, values in (("label", true), ("prediction", seen)):
            if values.size and not 0 <= int(values.min()) <= int(values.max()) < classes:
                outside = values[(values < 0) | (values >= classes)]
                raise ValueError(f"a {what} is {int(outside[0])}, there are {classes} classes")
        self.matrix += np.bincount(true * classes + seen, minlength=classes * classes).reshape(classes, classes)

    def iou(self) -> npt.NDArray[np.float64]:
        """IoU of each class; NaN for one that is neither in the labels nor in the predictions."""
        right = np.diag(self.matrix).astype(np.float64)
        union = self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - right
        shares: npt.NDArray[np.float64] = right / np.where(union > 0, union, np.nan)
        return shares

    def figures(self) -> Figures:
        """All figures of what has been counted; NaN where nothing has."""
        iou = self.iou()
        present = iou[~np.isnan(iou)]
        total = int(self.matrix.sum())
        return Figures(
            miou=float(present.mean()) if present.size else math.nan,
            pixel_accuracy=int(np.trace(self.matrix)) / total if total else math.nan,
            iou=tuple(None if math.isnan(value) else float(value) for value in iou),
        )


@dataclass
class Agreement:
    """On how many pixels two predictions have the same class. All pixels count: no label is needed for it."""

    equal: int = 0
    total: int = 0

    def add(self, mine: LabelMap, other: LabelMap) -> None:
        """Counts a picture; both are [H, W].

        Raises:
            ValueError: shapes that differ.
        """
        if mine.shape != other.shape:
            raise ValueError(f"predictions of {list(mine.shape)} and {list(other.shape)}")
        self.equal += int((mine == other).sum())
        self.total += mine.size

    @property
    def share(self) -> float:
        """Equal pixels / all pixels; NaN where nothing has been counted."""
        return self.equal / self.total if self.total else math.nan
