"""Labelled pictures, one at a time: what accuracy is measured on. `folders.py` reads them, `streets.py` draws them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ccdeploy.ccnet.preprocessing import Pictures

IGNORED = 255
"""The label of pixels that no figure counts."""
LabelMap = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """A picture uint8 RGB [H, W, 3] and the class of each of its pixels, uint8 [H, W], IGNORED where there is none."""

    name: str
    picture: Pictures
    labels: LabelMap


class LabelledDataset(ABC):
    """Samples by index, each read or drawn when it is asked for: memory holds one at a time."""

    title: str
    """As reports name it, with what it takes to get the same samples again."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The sample at an index, always the same one.

        Raises:
            InputError: a file that cannot be read.
            IndexError: beyond the last.
        """

    def __iter__(self) -> Iterator[Sample]:
        for index in range(len(self)):
            yield self[index]
