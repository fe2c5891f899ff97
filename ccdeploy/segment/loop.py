"""The run: sources are read ahead, segmented, and written behind; what cannot be read is named and skipped.

report = segment(Path("ccnet.onnx"), find_sources([Path("photos")], Path("out")), Path("out"))
report = segment(Server("http://127.0.0.1:8000"), find_sources([Path("photos")], Path("out")), Path("out"))
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.ccnet.cards import Card
from ccdeploy.errors import CcdeployError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.segment.answering import Answer, Network, ended_with
from ccdeploy.segment.journal import JOURNAL, Journal, facts_of
from ccdeploy.segment.network import opened
from ccdeploy.segment.options import Options, Server, Silent, Watcher
from ccdeploy.segment.pipeline import Behind
from ccdeploy.segment.results import DONE, RECORD, Report, Result
from ccdeploy.segment.sinks import LEGEND, NONE, Outputs, Shares, write_legend, write_picture
from ccdeploy.segment.sources import CAMERA, FRAMES, PICTURE, Source, Sources

WRITERS = 2
"""Threads that encode pictures."""


def segment(
    artefact: Path | Server,
    sources: Sources,
    folder: Path,
    options: Options | None = None,
    watcher: Watcher | None = None,
) -> Report:
    """Segments sources with an artefact into a folder, and writes the record of it there.

    Args:
        artefact: an ONNX file or an engine of ccdeploy's, or where a server has one.
        sources: of `find_sources`.
        folder: made if it is not there; files of an earlier run are replaced, sources never.
        options: see Options.
        watcher: told what happens.

    Returns:
        The record; its exit code is 2 if any source was skipped, 3 if one was because the server failed.

    Raises:
        CcdeployError: nothing can be segmented at all, or nothing can be written.
        KeyboardInterrupt: as after every other error in the midst, the record says what was done before.
    """
    options, watcher = options or Options(), watcher or Silent()
    _check(sources.sources, folder, options)
    start = time.perf_counter()
    with _network(artefact, options) as network, warnings.catch_warnings():
        # Pillow's, on large or slightly damaged pictures: those that it cannot read it refuses by an error.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        report = Report(network.subject, folder, len(sources.sources), notes=list(sources.notes))
        report.server = network.requests
        with Journal(folder, facts_of(network.facts, options), options.resume) as journal:
            try:
                report.legend = write_legend(folder, network.card)
                left = _resumed(sources.sources, journal, report, watcher) if options.resume else sources.sources
                _segment_pictures(network, left, report, options, watcher, journal)
                _segment_videos(network, left, report, options, watcher, journal)
            except BaseException:
                report.interrupted = True
                raise
            finally:
                _finish(network, sources.sources, report)
                report.seconds = time.perf_counter() - start
                if report.results or report.skipped:
                    report.write()
            if report.outcome == DONE and not options.resume:
                journal.remove()
    return report


def _network(artefact: Path | Server, options: Options) -> AbstractContextManager[Network]:
    if isinstance(artefact, Server):
        from ccdeploy.segment.served import opened_server

        return opened_server(artefact, options)
    return opened(artefact, options)


def _resumed(sources: Sequence[Source], journal: Journal, report: Report, watcher: Watcher) -> list[Source]:
    """What is left to be done; the results of the rest are in the report."""
    watcher.begin("looking at what was done before", len(sources))
    left = []
    for source, result in zip(sources, journal.kept(sources), strict=True):
        watcher.advance()
        if result is None:
            left.append(source)
        else:
            report.results.append(result)
    if journal.damaged:
        report.notes.append(f"{journal.damaged} lines of {JOURNAL} are damaged: what they were of is done again")
    return left


def _segment_pictures(
    network: Network, sources: Sequence[Source], report: Report, options: Options, watcher: Watcher, journal: Journal
) -> None:
    pictures = [source for source in sources if source.kind == PICTURE]
    if not pictures:
        return
    watcher.begin("pictures", len(pictures))

    def done(written: tuple[Answer, Result]) -> None:
        answer, result = written
        report.results.append(result)
        journal.add(answer.source, answer.sha256, result)
        watcher.advance()

    pixels = options.outputs.overlay != NONE
    with (
        Behind(done, WRITERS, 2 * WRITERS) as writer,
        ended_with(network, network.answers(pictures, pixels)) as answers,
    ):
        for source, answer in answers:
            if isinstance(answer, CcdeployError):
                watcher.skipped(report.skip(source.name, answer))
                watcher.advance()
            else:
                writer.do(_Writing(network.card, report.folder, options.outputs, answer), answer.nbytes)


def _segment_videos(
    network: Network, sources: Sequence[Source], report: Report, options: Options, watcher: Watcher, journal: Journal
) -> None:
    for video in (source for source in sources if source.kind != PICTURE):
        from ccdeploy.segment.frames import segment_frames

        # Before it is read: if the file changes meanwhile, the digest is not its own.
        digest = sha256_of(video.path) if video.kind != CAMERA else ""
        before = len(report.results)
        segment_frames(network, video, report, options, watcher)
        for result in report.results[before:]:
            journal.add(video, digest, result)


@dataclass(frozen=True)
class _Writing:
    """A picture and its labels on their way to the disk."""

    card: Card
    folder: Path
    outputs: Outputs
    answer: Answer

    def __call__(self) -> tuple[Answer, Result]:
        answer, shares = self.answer, Shares()
        shares.add(answer.labels)
        height, width = answer.labels.shape
        result = Result(
            source=answer.source.name,
            kind=PICTURE,
            files=write_picture(self.folder, answer.source.key, answer.picture, answer.labels, self.card, self.outputs),
            height=height,
            width=width,
            passing=answer.passing,
            seconds=round(answer.seconds, 6),
            shares=shares.by_name(self.card),
        )
        return answer, result


def _finish(network: Network, sources: Sequence[Source], report: Report) -> None:
    """What the record says when all, or all that could be, is done: results in the order of the sources."""
    report.server = network.requests
    place = {source.name: number for number, source in enumerate(sources)}
    report.results.sort(key=lambda result: (result.kind != PICTURE, place[result.source]))
    bad, seen = network.not_finite
    if bad:
        report.notes.append(
            f"logits are infinite or NaN in {bad} of {seen} pictures: "
            "their labels mean nothing; `ccdeploy verify` finds out why"
        )


def _check(sources: Sequence[Source], folder: Path, options: Options) -> None:
    """Whether the options go with the sources.

    Raises:
        UsageError: they do not; something that is written would replace a source.
        MissingError: no OpenCV for videos.
    """
    videos = [source for source in sources if source.kind != PICTURE]
    if not videos and (options.frames or options.every > 1):
        raise UsageError("Frames of a video were asked for, no video was named.", "Name one, or leave --frames out.")
    if not any(video.kind == CAMERA for video in videos) and (options.seconds or options.most_frames):
        raise UsageError("An end of a camera was given, and no camera.", "Add --camera 0, or leave the end out.")
    if videos:
        from ccdeploy.segment.opencv import check_opencv

        check_opencv()
        if not options.frames and options.outputs.overlay == NONE:
            raise UsageError("A video was given, and its overlay left out with --overlay none.", "Add --frames.")
    _check_targets(sources, folder, options)


def _check_targets(sources: Sequence[Source], folder: Path, options: Options) -> None:
    """Whether nothing that is written would replace a source.

    Raises:
        UsageError: something would; or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, a folder was expected.", "Name another with --output.")
    originals = {source.path.resolve(): source for source in sources}
    targets = [(folder / name, "this run") for name in (LEGEND, RECORD, JOURNAL)]
    for source in sources:
        files = options.outputs.files(source.key).values() if source.kind == PICTURE else [f"{source.key}.overlay.mp4"]
        targets += [(folder / file, source.name) for file in files]
    replaced = [(other, by) for target, by in targets if (other := originals.get(target.resolve()))]
    if options.frames:
        frames = {(folder / (source.key + FRAMES)).resolve(): source.name for source in sources}
        replaced += [(other, frames[path.parent]) for path, other in originals.items() if path.parent in frames]
    for other, by in replaced:
        raise UsageError(
            f"Results of {by} would replace {other.name}, which is a source itself.",
            "Choose another folder with --output.",
        )
