"""What the tests of a served network share: pictures as files have them, what they must become, the server's memory."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.ccnet.preprocessing import noise_pictures
from ccdeploy.pictures import decoded
from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for

SIZES = [(65, 97), (31, 57), (66, 97), (65, 141), (61, 83), (1, 1), (2, 131), (97, 64)]
"""Odd, prime, tiny, narrow."""


@dataclass(frozen=True)
class ServedNetwork:
    """A running server and what it serves."""

    running: Any
    artefact: Path
    log: list[str]

    def processes(self) -> list[psutil.Process]:
        """The server and the processes of its Python backend."""
        parent = psutil.Process(self.running.pid)
        return [parent, *parent.children(recursive=True)]

    def memory(self) -> int:
        """Bytes of all its processes, what they share counted once."""
        return sum(process.memory_full_info().pss for process in self.processes())


@functools.cache
def card_of(artefact: Path) -> Card:
    """The card of an artefact's network."""
    manifest = manifest_of(artefact)
    return card_from_dict(manifest.model, manifest.card)


def picture(artefact: Path, height: int, width: int, seed: int, format: str = "PNG") -> bytes:
    """The bytes of a picture file of noise."""
    pixels = noise_pictures(card_of(artefact), 1, height, width, seed=seed)[0]
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format)
    return file.getvalue()


def expected(artefact: Path, pictures: Sequence[bytes]) -> list[np.ndarray]:
    """Their labels by the local runner, one picture at a time."""
    manifest, card = manifest_of(artefact), card_of(artefact)
    plan = plan_for(artefact, manifest, card, Passing("whole"))
    from ccdeploy.runners import open_runner

    with ArtefactSegmenter(artefact, manifest, card, plan, open_runner(artefact)) as segmenter:
        pixels = [decoded(content, "test", 1 << 26) for content in pictures]
        return [segmenter.labels(each, (each.shape[0], each.shape[1])) for each in pixels]
