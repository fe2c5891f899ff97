"""Street scenes drawn from a seed: a data set of any size and any number of pictures that nobody has to download.

Scenes are independent of their number and order: a scene's random generator is seeded with the data set's seed and the
scene's index. Scenes of different seeds have nothing in common, so that one seed is for training and another is held
out.
"""

from __future__ import annotations

import numpy as np

from ccdeploy.ccnet.cards import LARGEST_SIDE
from ccdeploy.datasets import LabelledDataset, Sample
from ccdeploy.datasets.scene import draw_scene
from ccdeploy.errors import UsageError

NAME = "streets"
TRAINING_SEED, HELD_OUT_SEED = 1, 2
SIZE = (256, 512)
SMALLEST_SIDE = 16


class Streets(LabelledDataset):
    """`count` scenes of one seed.

    Args:
        count: how many.
        size: height and width in pixels; a scene is laid out in units of its height.
        seed: HELD_OUT_SEED for figures, TRAINING_SEED for what learns or calibrates.

    Raises:
        UsageError: a count, a size or a seed that makes no pictures.
    """

    def __init__(self, count: int, size: tuple[int, int] = SIZE, seed: int = HELD_OUT_SEED) -> None:
        if count < 1 or seed < 0 or not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in size):
            seen = f"{count} scenes of {size[0]}x{size[1]} with seed {seed}"
            remedy = f"Ask for 1 or more, sides of {SMALLEST_SIDE} to {LARGEST_SIDE}, and a seed of 0 or more."
            raise UsageError(f"There is no data set of {seen}.", remedy)
        self._count, self._size, self._seed = count, size, seed
        self.title = f"{count} street scenes of {size[0]}x{size[1]}, seed {seed}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        """See the class's base."""
        if not 0 <= index < self._count:
            raise IndexError(f"scene {index} of {self._count}")
        picture, labels = draw_scene(np.random.default_rng([self._seed, index]), *self._size)
        return Sample(f"{NAME}-{self._seed}-{index:05d}", picture, labels)
