"""How each picture passes through an artefact, by its size: large ones are never squeezed in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ccdeploy.ccnet.cards import Card
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import UsageError
from ccdeploy.segmenters import Passing, fixed_size, plan_for
from ccdeploy.windows import Plan

AUTO = "auto"
MODES = (AUTO, "card", "whole", "slide")


class Plans:
    """Chooses a plan by a picture's size.

    "auto" is the evaluation of the network's card wherever the artefact takes pictures of any size. One of fixed size
    takes what is no larger than that whole, brought to it, and what is larger in overlapping windows of that size, if
    it gives logits; labels cannot be averaged where windows overlap, so that pictures are brought to its size.
    Other modes are those of `ccdeploy.segmenters.plan_for`, for all pictures alike.

    Args:
        path: the artefact, for errors.
        manifest: what it is.
        card: of its network.
        passing: mode (one of MODES), scales and flip.

    Raises:
        UsageError: what the artefact cannot do.
    """

    def __init__(self, path: Path, manifest: Manifest, card: Card, passing: Passing) -> None:
        self._windows: Plan | None = None
        self._least, self._most = (1, 1), (0, 0)
        if passing.mode != AUTO:
            self.usual = plan_for(path, manifest, card, passing)
            return
        bounds = _bounds(manifest)
        if bounds is None:
            self.usual = plan_for(path, manifest, card, replace(passing, mode="card"))
            return
        self._least, self._most, size = bounds
        if manifest.io == "image":
            self.usual = plan_for(path, manifest, card, replace(passing, mode="whole"))
            return
        evaluation = card.evaluation
        given = (evaluation.crop, evaluation.stride)
        stride = given[1] if given[0] == size else None
        # The card's windows may be of another size than the artefact's: here they are the artefact's.
        own = replace(card, evaluation=replace(evaluation, crop=size, stride=stride))
        self._windows = plan_for(path, manifest, own, replace(passing, mode="slide"))
        several = self._windows.scales != (1.0,) and fixed_size(manifest) is not None
        self.usual = self._windows if several else plan_for(path, manifest, own, replace(passing, mode="whole"))

    def of(self, height: int, width: int) -> Plan:
        """The plan of a picture of this size."""
        if self._windows is None:
            return self.usual
        sizes = [self._windows.scaled_size(height, width, scale) for scale in self._windows.scales]
        larger = any(side > most for size in sizes for side, most in zip(size, self._most, strict=True))
        smaller = any(side < least for size in sizes for side, least in zip(size, self._least, strict=True))
        return self._windows if larger or smaller else self.usual


def _bounds(manifest: Manifest) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None:
    """The least and the largest height and width that pass whole, and those of windows; None where any size goes."""
    if (fixed := fixed_size(manifest)) is not None:
        return (1, 1), fixed, fixed  # smaller pictures are brought to it
    source = manifest.inputs[0]
    profiles = manifest.engine.profiles if manifest.engine else ()
    profile = next((profile for profile in profiles if profile.input == source.name), None)
    if profile is None:
        return None
    rows, columns = source.layout.index("H"), source.layout.index("W")
    least, best, most = ((shape[rows], shape[columns]) for shape in (profile.min, profile.opt, profile.max))
    return least, most, best


def check_colours(card: Card) -> None:
    """Whether colour pictures can be given to a network at all.

    Raises:
        UsageError: it takes other channels, or nobody says how pictures are normalised.
    """
    if not card.input.mean:
        raise UsageError(
            f"{card.name} does not say how pictures are normalised: it cannot segment pictures.",
            "Write a card with [input] mean and std, and export with it.",
        )
    if card.input.channels != 3:
        raise UsageError(
            f"{card.name} takes {card.input.channels} channels, pictures have 3: red, green and blue.",
            "Run it as a library: ccdeploy.runners.open_runner takes arrays of any channels.",
        )
