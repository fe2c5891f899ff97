"""The pictures that ranges are measured on, in batches as a file takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.ccnet.preprocessing import Pictures, normalise, takes_pictures
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import InputError, UsageError
from ccdeploy.quantize.sources import PictureSource
from ccdeploy.runners import Array

FEWEST = 8
"""Pictures below which ranges are those of the pictures rather than of the network."""


class Batches:
    """The batches of one file's input: normalised tensors, or pictures where the file normalises itself."""

    def __init__(
        self, source: PictureSource, manifest: Manifest, count: int | None = None, fewest: int = FEWEST
    ) -> None:
        """Checks that there are enough pictures and that the network takes them.

        Args:
            source: the pictures.
            manifest: of the file.
            count: how many of them to use, from the first on; all unless given.
            fewest: how many there must be.

        Raises:
            InputError: too few pictures.
            UsageError: a network that takes none.
        """
        card = card_from_dict(manifest.model, manifest.card)
        if not takes_pictures(card):
            raise UsageError(
                f"{card.name} states no mean and std: it does not take pictures.",
                "Quantise a network whose card has [input] mean and std.",
            )
        self.source, self.manifest, self.card = source, manifest, card
        self.count = len(source) if count is None else min(count, len(source))
        if self.count < fewest:
            raise InputError(
                f"{source.title}: {self.count} picture{'s' * (self.count != 1)}, {fewest} or more were expected.",
                "Give more pictures like those that the network will see; "
                "--min-images lowers the limit, and the ranges will be narrower.",
            )
        self.size = self._size(card)

    def _size(self, card: Card) -> tuple[int, int, int]:
        """Batch, height and width: the file's, the card's size where the file leaves it open."""
        tensor = self.manifest.inputs[0]
        dims = dict(zip(tensor.layout, tensor.shape, strict=True))
        height, width = card.input.size
        wanted = {"N": 1, "H": height, "W": width}
        batch, height, width = (dim if isinstance(dim := dims[axis], int) else wanted[axis] for axis in "NHW")
        if not (height and width):
            raise UsageError(
                "The file takes any size and its card names none.", "Export it with --size, then quantise it."
            )
        return batch, height, width

    def __iter__(self) -> Iterator[dict[str, Array]]:
        for pictures in self.pictures():
            yield self.fed(pictures)

    def pictures(self) -> Iterator[Pictures]:
        """Batches of pictures [B, H, W, channels]; the last is filled up with the last picture."""
        batch, height, width = self.size
        for start in range(0, self.count, batch):
            indices: Sequence[int] = [min(index, self.count - 1) for index in range(start, start + batch)]
            channels = self.card.input.channels
            yield np.stack([self.source.picture(index, height, width, channels) for index in indices])

    def fed(self, pictures: Pictures) -> dict[str, Array]:
        """What the file takes for a batch of pictures."""
        as_tensor = self.manifest.io == "tensor"
        return {self.manifest.inputs[0].name: normalise(pictures, self.card) if as_tensor else pictures}
