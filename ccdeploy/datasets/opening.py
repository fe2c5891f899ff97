"""From what a user names, a folder or `streets`, to a data set that fits the card of the network to evaluate."""

from __future__ import annotations

from pathlib import Path

from ccdeploy.ccnet.cards import Card
from ccdeploy.datasets import IGNORED, LabelledDataset
from ccdeploy.datasets.folders import open_folder
from ccdeploy.errors import UsageError

STREETS = "streets"
STREET_SCENES = 100
"""Drawn unless a limit says otherwise."""


def open_dataset(
    spec: str, card: Card, layout: str | None = None, split: str | None = None, limit: int | None = None
) -> LabelledDataset:
    """The data set that `spec` stands for.

    Args:
        spec: a folder, or "streets": the held-out scenes that ccdeploy draws (a folder of that name is ./streets).
        card: of the network that is evaluated: its classes are what labels may hold.
        layout, split: of a folder; see `ccdeploy.datasets.folders.open_folder`.
        limit: how many pictures at most.

    Raises:
        InputError: a folder that is not as its layout says.
        UsageError: a card without classes, of too many, or of other classes than the scenes; options that do not fit.
    """
    if not 1 <= card.num_classes <= IGNORED:
        raise UsageError(
            f"{card.name} has {card.num_classes or 'no'} classes, 1 to {IGNORED} were expected.",
            "Only a network whose card states its classes can be evaluated: write [output] dataset or classes.",
        )
    if spec != STREETS:
        return open_folder(Path(spec), card, layout, split, limit)
    if layout is not None or split is not None:
        raise UsageError(
            "The street scenes have no layout and no split: they are drawn.",
            "Leave --layout and --split out; a folder of that name is ./streets.",
        )
    if card.output.dataset != STREETS:
        raise UsageError(
            f"{card.name} was not made for the street scenes: its classes are of {card.output.dataset or 'its own'}.",
            "Give a folder with the data set that it was made for.",
        )
    from ccdeploy.datasets.streets import HELD_OUT_SEED, SIZE, Streets

    return Streets(limit or STREET_SCENES, card.input.size if all(card.input.size) else SIZE, HELD_OUT_SEED)
