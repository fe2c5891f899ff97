"""From pictures to what a network takes, as its card says. Pictures are uint8 RGB [B, H, W, channels] everywhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ccdeploy.ccnet.cards import Card

Pictures = npt.NDArray[np.uint8]
Batch = npt.NDArray[np.float32]


def normalise(pictures: Pictures, card: Card) -> Batch:
    """(picture - mean) / std in the network's channel order.

    Args:
        pictures: [B, H, W, channels], RGB, 0 to 255.
        card: of the network; must state mean and std.

    Returns:
        [B, channels, H, W].
    """
    values = pictures.astype(np.float32)
    if card.input.channel_order == "bgr":
        values = values[..., ::-1]
    normal = (values - np.asarray(card.input.mean, np.float32)) / np.asarray(card.input.std, np.float32)
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)


def noise_pictures(card: Card, batch: int, height: int, width: int, seed: int) -> Pictures:
    """Seeded noise [B, H, W, channels] with structure at several scales, as pictures have."""
    generator = np.random.default_rng(seed)
    total = np.zeros((batch, height, width, card.input.channels), np.float32)
    for cell in (1, 4, 16, 64):
        rows, columns = -(-height // cell), -(-width // cell)
        coarse = generator.random((batch, rows, columns, card.input.channels), dtype=np.float32)
        total += coarse.repeat(cell, axis=1).repeat(cell, axis=2)[:, :height, :width]
    pictures: Pictures = np.clip(127.5 + 90 * (total - 2), 0, 255).astype(np.uint8)
    return pictures


def noise_batch(card: Card, batch: int, height: int, width: int, seed: int) -> Batch:
    """Seeded input of a network [B, channels, H, W]: noise pictures, normalised; unit noise where the card states no
    normalisation (a bare module on feature maps, a network of the user's own)."""
    if takes_pictures(card):
        return normalise(noise_pictures(card, batch, height, width, seed), card)
    generator = np.random.default_rng(seed)
    return generator.standard_normal((batch, card.input.channels, height, width), dtype=np.float32)


def takes_pictures(card: Card) -> bool:
    """Whether the card states how pictures are normalised."""
    return bool(card.input.mean)
