"""The artefact of a run while it is open on this machine, and what it answers for pictures and frames."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import ArtefactError, CcdeployError, InputError
from ccdeploy.files import sha256_of
from ccdeploy.pictures import read_full_size
from ccdeploy.runners import Runner, open_runner
from ccdeploy.segment.answering import Answer, Answered, Labelled, Network
from ccdeploy.segment.options import Options
from ccdeploy.segment.passing import Plans, check_colours
from ccdeploy.segment.pipeline import ahead
from ccdeploy.segment.results import Subject
from ccdeploy.segment.sinks import classes_of
from ccdeploy.segment.sources import Source
from ccdeploy.segmenters import ArtefactSegmenter, Segmenter, batches_of, fixed_size
from ccdeploy.windows import Plan

READERS = 2
"""Threads that decode pictures."""
PROBE = (256, 256)
"""Height and width of a picture that any network takes whose card does not state its size."""


@dataclass
class LocalNetwork(Network):
    """An open artefact.

    Attributes:
        segmenter: runs it.
        probe: height and width of a picture that it must be able to segment.
    """

    segmenter: Segmenter
    probe: tuple[int, int]

    @property
    def seconds(self) -> float:
        """See the base."""
        return self.segmenter.seconds

    @property
    def not_finite(self) -> tuple[int, int]:
        """See the base."""
        return self.segmenter.not_finite, self.segmenter.pictures

    @property
    def at_once(self) -> int:
        """Pictures that go through it as a batch."""
        return self.segmenter.at_once or 1

    def answers(self, sources: Sequence[Source], pixels: bool) -> Generator[tuple[Source, Answered], None, None]:
        """See the base."""
        group: list[_Read] = []  # what goes through the network together: as many as a batch holds, of one plan
        planned = self.plans.usual
        most = READERS + self.at_once
        with closing(ahead(_read, sources, READERS, most, lambda read: getattr(read, "nbytes", 0))) as pictures:
            for source, read in pictures:
                if isinstance(read, CcdeployError):
                    yield source, read
                    continue
                plan = self.plans.of(read.picture.shape[0], read.picture.shape[1])
                if group and plan != planned:
                    yield from self._answered(group, planned)
                    group = []
                planned = plan
                group.append(read)
                if len(group) == self.at_once:
                    yield from self._answered(group, planned)
                    group = []
        if group:
            yield from self._answered(group, planned)

    def _answered(self, group: Sequence[_Read], plan: Plan) -> Iterator[tuple[Source, Answered]]:
        seconds = self.seconds
        found = self.labels_of([read.picture for read in group], plan)
        seconds = (self.seconds - seconds) / len(group)
        for read, labels in zip(group, found, strict=True):
            if isinstance(labels, CcdeployError):
                yield read.source, labels
            else:
                answer = Answer(read.source, read.sha256, read.picture, labels, self.passing(plan), seconds)
                yield read.source, answer

    def labelled(
        self, frames: Iterable[tuple[int, Pictures]], plan: Plan, soon: bool
    ) -> Generator[Labelled, None, None]:
        """See the base."""
        for group in _grouped(frames, 1 if soon else self.at_once):
            found = self.labels_of([frame for _, frame in group], plan)
            for (index, frame), labels in zip(group, found, strict=True):
                yield index, frame, labels

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


@dataclass(frozen=True)
class _Read:
    """A picture in memory."""

    source: Source
    sha256: str
    picture: Pictures

    @property
    def nbytes(self) -> int:
        return self.picture.nbytes


def _read(source: Source) -> _Read | CcdeployError:
    """A picture, or why there is none. The digest is taken before: if the file changes meanwhile, it is not its own."""
    try:
        digest = sha256_of(source.path)
    except OSError:
        digest = ""  # what reads the picture says why
    try:
        return _Read(source, digest, read_full_size(source.path))
    except CcdeployError as error:
        return error
    except MemoryError:
        return InputError(f"{source.path} does not fit into memory.", "Use a smaller one.")


def _grouped(frames: Iterable[tuple[int, Pictures]], number: int) -> Iterator[list[tuple[int, Pictures]]]:
    group: list[tuple[int, Pictures]] = []
    for frame in frames:
        group.append(frame)
        if len(group) == number:
            yield group
            group = []
    if group:
        yield group


@contextmanager
def opened(artefact: Path, options: Options) -> Iterator[LocalNetwork]:
    """Opens an ONNX file or an engine of ccdeploy's.

    Raises:
        CcdeployError: it cannot segment pictures, or not here, or not in this way.
    """
    manifest = manifest_of(artefact)
    card = card_of(manifest, str(artefact))
    plans = Plans(artefact, manifest, card, options.passing)
    batches_of(artefact, manifest, options.batch)  # before the long work
    runner = _runner(artefact, manifest, options.provider)
    subject = Subject(str(artefact), manifest.sha256, manifest.model, manifest.types, runner.how, classes_of(card))
    probe = fixed_size(manifest) or (card.input.size if all(card.input.size) else PROBE)
    facts = {"artefact": manifest.sha256, "runtime": runner.how}
    with ArtefactSegmenter(artefact, manifest, card, plans.usual, runner, options.batch) as segmenter:
        yield LocalNetwork(plans, card, subject, facts, segmenter, probe)


def card_of(manifest: Manifest, name: str) -> Card:
    """The card in an artefact's manifest.

    Raises:
        CcdeployError: it has none, or its network does not take colour pictures.
    """
    if not manifest.card:
        raise ArtefactError(
            f"{name} was not exported by ccdeploy: nobody says how it takes pictures.",
            "Export the network with `ccdeploy export`.",
        )
    card = card_from_dict(manifest.model, manifest.card)
    check_colours(card)
    return card


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
