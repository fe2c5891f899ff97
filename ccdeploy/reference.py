"""The network that an artefact was exported from: what every comparison of it starts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.ccnet.cards import Card, weights_beside
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import CheckpointError, UsageError
from ccdeploy.files import sha256_of

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model


def reference_model(artefact: Path, manifest: Manifest, card: Card, weights: Path | None = None) -> Model:
    """The network that an artefact's manifest names, with its weights.

    Args:
        artefact: its file, beside which a checkpoint may lie.
        manifest: what it is.
        card: the card in its manifest.
        weights: the checkpoint, where it is not where it lay at export.

    Raises:
        CheckpointError: the weights are not found, or are not those that the artefact was exported with.
        UsageError: weights are given for an artefact of random weights.
    """
    from ccdeploy.ccnet.loading import load_card_model

    if manifest.weights.source == "random":
        if weights is not None:
            raise UsageError(f"{artefact} was exported with random weights.", "Leave --weights out.")
        return load_card_model(card, None, manifest.weights.seed, recurrence=None)
    path = weights or _find_weights(artefact, manifest, card)
    digest = sha256_of(path) if path.is_file() else ""
    if digest and digest != manifest.weights.sha256:
        raise CheckpointError(
            f"{path} has the sha256 {digest[:12]}..., {artefact} was exported from {manifest.weights.sha256[:12]}....",
            f"Give the file it was exported from ({manifest.weights.file}) as --weights.",
        )
    return load_card_model(card, path, seed=None, recurrence=None)


def _find_weights(artefact: Path, manifest: Manifest, card: Card) -> Path:
    record = manifest.weights
    for place in (Path(record.path), artefact.parent / record.file, Path(record.file), weights_beside(card)):
        if place and str(place) != "." and place.is_file() and sha256_of(place) == record.sha256:
            return place
    raise CheckpointError(
        f"The weights of {artefact} ({record.file}, sha256 {record.sha256[:12]}...) are not where they were.",
        "Give the file as --weights.",
    )
