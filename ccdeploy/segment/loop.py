"""The run: sources are read ahead, segmented in batches, and written behind; what cannot be read is named and skipped.

report = segment(Path("ccnet.onnx"), find_sources([Path("photos")], Path("out")), Path("out"))
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.preprocessing import Pictures
from ccdeploy.datasets import LabelMap
from ccdeploy.errors import CcdeployError, InputError, UsageError
from ccdeploy.pictures import read_full_size
from ccdeploy.segment.network import Network, opened
from ccdeploy.segment.options import Options, Silent, Watcher
from ccdeploy.segment.pipeline import Behind, ahead
from ccdeploy.segment.results import RECORD, Report, Result, Skipped
from ccdeploy.segment.sinks import LEGEND, NONE, Outputs, Shares, write_legend, write_picture
from ccdeploy.segment.sources import CAMERA, FRAMES, PICTURE, Source, Sources
from ccdeploy.segmenters import Segmenter
from ccdeploy.windows import Plan

READERS, WRITERS = 2, 2
"""Threads that decode and encode pictures."""
Skip = Callable[[Source, CcdeployError], None]


def segment(
    artefact: Path, sources: Sources, folder: Path, options: Options | None = None, watcher: Watcher | None = None
) -> Report:
    """Segments sources with an artefact into a folder, and writes the record of it there.

    Args:
        artefact: an ONNX file or an engine of ccdeploy's.
        sources: of `find_sources`.
        folder: made if it is not there; files of an earlier run are replaced, sources never.
        options: see Options.
        watcher: told what happens.

    Returns:
        The record; its exit code is 2 if any source was skipped.

    Raises:
        CcdeployError: nothing can be segmented at all, or nothing can be written.
        KeyboardInterrupt: as after every other error in the midst, the record says what was done before.
    """
    options, watcher = options or Options(), watcher or Silent()
    videos = [source for source in sources.sources if source.kind != PICTURE]
    if not videos and (options.frames or options.every > 1):
        raise UsageError("Frames of a video were asked for, no video was named.", "Name one, or leave --frames out.")
    if not any(video.kind == CAMERA for video in videos) and (options.seconds or options.most_frames):
        raise UsageError("An end of a camera was given, and no camera.", "Add --camera 0, or leave the end out.")
    if videos:
        from ccdeploy.segment.opencv import check_opencv

        check_opencv()
        if not options.frames and options.outputs.overlay == NONE:
            raise UsageError("A video was given, and its overlay left out with --overlay none.", "Add --frames.")
    _check_targets(sources.sources, folder, options)
    start = time.perf_counter()
    with opened(artefact, options) as network, warnings.catch_warnings():
        # Pillow's, on large or slightly damaged pictures: those that it cannot read it refuses by an error.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        report = Report(network.subject, folder, len(sources.sources), notes=list(sources.notes))
        try:
            report.legend = write_legend(folder, network.card)
            _segment_pictures(network, sources.sources, report, options, watcher)
            for video in videos:
                from ccdeploy.segment.frames import segment_frames

                segment_frames(network, video, report, options, watcher)
        except BaseException:
            report.interrupted = True
            raise
        finally:
            if network.segmenter.not_finite:
                report.notes.append(_not_finite(network.segmenter))
            report.seconds = time.perf_counter() - start
            if report.results or report.skipped:
                report.write()
    return report


def _segment_pictures(
    network: Network, sources: Sequence[Source], report: Report, options: Options, watcher: Watcher
) -> None:
    pictures = [source for source in sources if source.kind == PICTURE]
    if not pictures:
        return
    watcher.begin("pictures", len(pictures))

    def skip(source: Source, error: CcdeployError) -> None:
        report.skipped.append(Skipped.because(source.name, error))
        watcher.skipped(report.skipped[-1])
        watcher.advance()

    def done(result: Result) -> None:
        report.results.append(result)
        watcher.advance()

    with Behind(done, WRITERS, 2 * WRITERS) as writer:
        for plan, group in _groups(network, pictures, skip):
            seconds = network.segmenter.seconds
            found = network.labels_of([picture for _, picture in group], plan)
            seconds = (network.segmenter.seconds - seconds) / len(group)
            for (source, picture), labels in zip(group, found, strict=True):
                if isinstance(labels, CcdeployError):
                    skip(source, labels)
                    continue
                work = _Writing(network.card, report.folder, options.outputs, source, picture, labels, plan, seconds)
                writer.do(work, picture.nbytes + labels.nbytes)


@dataclass(frozen=True)
class _Writing:
    """A picture and its labels on their way to the disk."""

    card: Card
    folder: Path
    outputs: Outputs
    source: Source
    picture: Pictures
    labels: LabelMap
    plan: Plan
    seconds: float

    def __call__(self) -> Result:
        shares = Shares()
        shares.add(self.labels)
        height, width = self.labels.shape
        return Result(
            source=self.source.name,
            kind=PICTURE,
            files=write_picture(self.folder, self.source.key, self.picture, self.labels, self.card, self.outputs),
            height=height,
            width=width,
            passing=str(self.plan),
            seconds=round(self.seconds, 6),
            shares=shares.by_name(self.card),
        )


def _groups(
    network: Network, sources: Sequence[Source], skip: Skip
) -> Iterator[tuple[Plan, list[tuple[Source, Pictures]]]]:
    """Pictures that go through the network together: as many as a batch holds, in their order, of one plan."""
    group: list[tuple[Source, Pictures]] = []
    planned: Plan | None = None
    most = READERS + network.batch
    with closing(ahead(_read, sources, READERS, most, lambda read: getattr(read, "nbytes", 0))) as pictures:
        for source, picture in pictures:
            if isinstance(picture, CcdeployError):
                skip(source, picture)
                continue
            plan = network.plans.of(picture.shape[0], picture.shape[1])
            if planned is not None and group and plan != planned:
                yield planned, group
                group = []
            planned = plan
            group.append((source, picture))
            if len(group) == network.batch:
                yield plan, group
                group = []
    if planned is not None and group:
        yield planned, group


def _read(source: Source) -> Pictures | CcdeployError:
    """A picture, or why there is none."""
    try:
        return read_full_size(source.path)
    except CcdeployError as error:
        return error
    except MemoryError:
        return InputError(f"{source.path} does not fit into memory.", "Use a smaller one.")


def _check_targets(sources: Sequence[Source], folder: Path, options: Options) -> None:
    """Whether nothing that is written would replace a source.

    Raises:
        UsageError: something would; or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, a folder was expected.", "Name another with --output.")
    originals = {source.path.resolve(): source for source in sources}
    targets = [(folder / name, "this run") for name in (LEGEND, RECORD)]
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


def _not_finite(segmenter: Segmenter) -> str:
    return (
        f"logits are infinite or NaN in {segmenter.not_finite} of {segmenter.pictures} pictures: "
        "their labels mean nothing; `ccdeploy verify` finds out why"
    )
