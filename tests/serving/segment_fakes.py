"""A client without a server, which segments as one would: what tests of `segment --server` break on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.pictures import decoded
from ccdeploy.runners import open_runner
from ccdeploy.segmenters import ArtefactSegmenter, fixed_size
from ccdeploy.serving.client import Counts
from ccdeploy.serving.contract import MOST_PIXELS, Served
from ccdeploy.windows import Plan


class SegmentFake:
    """Answers as a deployment of an artefact does, by the artefact itself.

    Attributes:
        before: called with each picture file before it is segmented, by the thread that asks; may raise.
        pictures, tensors: what was asked so far.
        most: requests that were under way at once.
        closed: whether it was closed.
    """

    url, server = "http://fake:8000", "Triton 2.51.0"

    def __init__(self, artefact: Path, most_pixels: int = MOST_PIXELS) -> None:
        manifest = manifest_of(artefact)
        card = card_from_dict(manifest.model, manifest.card)
        size = fixed_size(manifest)
        resize = None if size else card.evaluation.resize
        self.served = Served("tiny", 1, "python", resize, size, most_pixels, 8, json.loads(manifest.to_json()))
        self._runner = open_runner(artefact)
        plan = Plan("whole", size=size, resize=resize)
        self._segmenter = ArtefactSegmenter(artefact, manifest, card, plan, self._runner)
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self.before: Callable[[bytes], None] = lambda content: None
        self.options: dict[str, Any] = {}
        self.pictures, self.tensors = 0, 0
        self.most = self._now = 0
        self.closed = threading.Event()

    def connect(self, url: str, **options: Any) -> SegmentFake:
        """In the place of `ccdeploy.serving.client.connect`."""
        self.options = {"url": url, **options}
        return self

    @property
    def counts(self) -> Counts:
        """As a client's."""
        return Counts(self.pictures + self.tensors, self.pictures + self.tensors, 3)

    def segment(self, picture: bytes, *, deadline_s: float | None = None) -> np.ndarray:
        """As a client's."""
        with self._counting:
            self.pictures += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.before(picture)
            with self._lock:
                pixels = decoded(picture, "The picture", self.served.most_pixels)
                return self._segmenter.labels(pixels, pixels.shape[:2])
        finally:
            with self._counting:
                self._now -= 1

    def infer(self, inputs: Mapping[str, np.ndarray], *, deadline_s: float | None = None) -> dict[str, np.ndarray]:
        """As a client's."""
        with self._lock:
            self.tensors += 1
            return self._runner.infer(inputs)

    def close(self) -> None:
        """As a client's."""
        self.closed.set()

    def __enter__(self) -> SegmentFake:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
