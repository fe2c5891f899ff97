"""The artefact of a run while it is open, and what it answers for one picture or many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import ArtefactError, CcdeployError, InputError
from ccdeploy.runners import Runner, open_runner
from ccdeploy.segment.options import Options
from ccdeploy.segment.passing import Plans, check_colours
from ccdeploy.segment.results import Subject
from ccdeploy.segment.sinks import classes_of
from ccdeploy.segmenters import ArtefactSegmenter, Segmenter, batches_of, fixed_size
from ccdeploy.windows import Plan

PROBE = (256, 256)
"""Height and width of a picture that any network takes whose card does not state its size."""


@dataclass(frozen=True)
class Network:
    """An open artefact.

    Attributes:
        segmenter: runs it.
        plans: how pictures pass.
        card: of its network.
        subject: for the record.
        probe: height and width of a picture that it must be able to segment.
    """

    segmenter: Segmenter
    plans: Plans
    card: Card
    subject: Subject
    probe: tuple[int, int]

    @property
    def batch(self) -> int:
        """Pictures that go through it together."""
        return self.segmenter.at_once or 1

    def labels_of(self, pictures: Sequence[Pictures], plan: Plan) -> list[LabelMap | CcdeployError]:
        """Label maps at the pictures' own sizes; in a picture's place the reason why there is none.

        Raises:
            CcdeployError: the artefact cannot segment any picture.
        """
        sizes = [(picture.shape[0], picture.shape[1]) for picture in pictures]
        try:
            return list(self.segmenter.labels_of(pictures, sizes, plan))
        except MemoryError:
            remedy = "Use --mode slide, or smaller pictures."
            error: CcdeployError = InputError("What the network makes of it does not fit into memory.", remedy)
        except ArtefactError as raised:
            # Is it this picture, such as one too large for the device, or the artefact? A small picture tells.
            self.segmenter.labels_of([np.zeros((*self.probe, 3), np.uint8)], [self.probe], self.plans.of(*self.probe))
            error = raised
        if len(pictures) == 1:
            return [error]
        return [found for picture in pictures for found in self.labels_of([picture], plan)]


@contextmanager
def opened(artefact: Path, options: Options) -> Iterator[Network]:
    """Opens an ONNX file or an engine of ccdeploy's.

    Raises:
        CcdeployError: it cannot segment pictures, or not here, or not in this way.
    """
    manifest = manifest_of(artefact)
    if not manifest.card:
        raise ArtefactError(
            f"{artefact} was not exported by ccdeploy: nobody says how it takes pictures.",
            "Export the network with `ccdeploy export`.",
        )
    card = card_from_dict(manifest.model, manifest.card)
    check_colours(card)
    plans = Plans(artefact, manifest, card, options.passing)
    batches_of(artefact, manifest, options.batch)  # before the long work
    runner = _runner(artefact, manifest, options.provider)
    subject = Subject(str(artefact), manifest.sha256, manifest.model, manifest.types, runner.how, classes_of(card))
    probe = fixed_size(manifest) or (card.input.size if all(card.input.size) else PROBE)
    with ArtefactSegmenter(artefact, manifest, card, plans.usual, runner, options.batch) as segmenter:
        yield Network(segmenter, plans, card, subject, probe)


def _runner(artefact: Path, manifest: Manifest, provider: str | None) -> Runner:
    """What runs the artefact as it stands; where the CPU cannot, node by node, and `how` says so."""
    if manifest.kind == "onnx" and provider in (None, "cpu"):
        from ccdeploy.runners.providers import why_not_as_it_stands

        if reason := why_not_as_it_stands(manifest.types):
            from ccdeploy.runners.ort import StagedRunner

            staged = StagedRunner(artefact, [])
            staged.how += f", because {reason}"
            return staged
    return open_runner(artefact, provider=provider)
