"""A deployment from beginning to end: artefacts, then what is measured of them, then the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccdeploy.accuracy import AccuracyReport
from ccdeploy.benchmark.record import Record
from ccdeploy.deploy.journal import Journal
from ccdeploy.deploy.making import calibration_source, make, steps_of
from ccdeploy.deploy.options import EngineOptions, Further, Labelled, check
from ccdeploy.deploy.pictures import Keeper, Source, draw_scenes, scenes_for
from ccdeploy.documents import plain
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import CcdeployError
from ccdeploy.export import ExportOptions, Say
from ccdeploy.report.folder import ACCURACY, BENCHMARK, NOT_ASKED_FOR, PAGE, VERIFICATION, Index, write_document
from ccdeploy.verify import DIFFERENT, Inputs, Report, verify

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

MEASUREMENTS = ("verification", "accuracy", "benchmark")


@dataclass(frozen=True)
class Deployment:
    """What lies in the folder; `accuracy` and `record` where they were asked for."""

    folder: Path
    artefacts: tuple[tuple[Path, Manifest], ...]
    report: Report
    accuracy: AccuracyReport | None
    record: Record | None
    page: Path
    index: Index

    @property
    def differs(self) -> bool:
        """Whether an artefact is not the network that it should be."""
        return DIFFERENT in (self.report.outcome, self.accuracy.outcome if self.accuracy else "")

    def to_dict(self) -> dict[str, Any]:
        """The folder's index, as JSON can hold it."""
        return self.index.to_dict()


def deploy(
    load: Callable[[], Model],
    folder: Path,
    options: Sequence[ExportOptions],
    engines: EngineOptions,
    inputs: Inputs | None = None,
    say: Say = lambda line: None,
    further: Further | None = None,
) -> Deployment:
    """Exports a model once for each of the options, quantises, builds engines, measures all of it and writes the page.

    Args:
        load: gives the model; called once what can be checked without it is checked.
        folder: where everything is written; made if it is not there.
        options: of the exports, differing in precision.
        engines: how engines are built.
        inputs: what the verification runs on. Without pictures a network that was made for street scenes gets some,
            another one noise.
        say: told each step, one line at a time.
        further: quantised files, accuracy, the benchmark; the benchmark alone unless given.

    Raises:
        CcdeployError: a step that cannot be done. What was finished before stays in the folder, and its page says how
            far it came; accuracy and the benchmark do not keep each other from being measured.
    """
    inputs, further = inputs or Inputs(), further or Further()
    options = check(folder, options, engines, further)
    model = load()
    for note in model.notes:
        say(note)
    source = calibration_source(model, inputs.images, further) if further.quantised else None
    journal = Journal(folder, model.name, further.command, [*steps_of(options, engines, further), *MEASUREMENTS])
    try:
        artefacts = make(model, folder, options, engines, further, source, journal, say)
        report = _verified(model, folder, artefacts, inputs, options[0].size, journal, say)
        accuracy = _accuracy(model, folder, artefacts, further.dataset, journal, say)
        record = _benchmark(model, folder, artefacts, options[0].size, further, journal, say)
    except Exception:
        _write_page(folder, journal, say)
        raise
    page = _write_page(folder, journal, say)
    if journal.failures:
        raise journal.failures[0]
    return Deployment(folder, tuple(artefacts), report, accuracy, record, page, journal.index)


def _write_page(folder: Path, journal: Journal, say: Say) -> Path:
    from ccdeploy.report import write_report

    journal.note(report=PAGE)
    return write_report(folder, say=say).path


def _verified(
    model: Model,
    folder: Path,
    artefacts: Sequence[tuple[Path, Manifest]],
    inputs: Inputs,
    size: tuple[int, int] | None,
    journal: Journal,
    say: Say,
) -> Report:
    with journal.step("verification"):
        sources = [Source(file.name, file) for file in inputs.images]
        told = f"{len(sources)} picture{'s' * (len(sources) != 1)}" if sources else f"noise, seed {inputs.seed}"
        if not sources and scenes_for(model.card):
            told, sources = draw_scenes(folder, size or (model.card.input.size if all(model.card.input.size) else None))
            inputs = dataclasses.replace(inputs, images=tuple(source.file for source in sources))
            say(f"no pictures were given: verifying on {told}")
        journal.note(inputs=told)
        keeper = Keeper(folder, sources, model.card)
        report = verify([path for path, _ in artefacts], inputs, model=model, say=say, watch=keeper.watch)
        write_document(report.to_dict(), folder / VERIFICATION)
        pictures = keeper.pictures
        first = pictures[0].file if pictures else None
        journal.note(outcome=report.outcome, verification=VERIFICATION, pictures=pictures, picture=first)
    return report


def _accuracy(
    model: Model,
    folder: Path,
    artefacts: Sequence[tuple[Path, Manifest]],
    labelled: Labelled | None,
    journal: Journal,
    say: Say,
) -> AccuracyReport | None:
    """None where it was not asked for, or failed: the journal knows."""
    if labelled is None:
        journal.skip("accuracy", NOT_ASKED_FOR)
        return None
    from ccdeploy.ccnet.cards import Card
    from ccdeploy.datasets import LabelledDataset
    from ccdeploy.datasets.opening import open_dataset
    from ccdeploy.evaluate import evaluate
    from ccdeploy.segmenters import Passing

    def open_for(card: Card) -> LabelledDataset:
        return open_dataset(labelled.spec, card, labelled.layout, labelled.split, labelled.limit)

    with suppress(CcdeployError), journal.step("accuracy"):
        report = evaluate([path for path, _ in artefacts], open_for, Passing(), model=model, say=say)
        write_document(plain(report.to_dict()), folder / ACCURACY)
        journal.note(accuracy=ACCURACY)
        return report
    return None


def _benchmark(
    model: Model,
    folder: Path,
    artefacts: Sequence[tuple[Path, Manifest]],
    size: tuple[int, int] | None,
    further: Further,
    journal: Journal,
    say: Say,
) -> Record | None:
    """None where it was not asked for, or failed: the journal knows."""
    if not further.benchmark:
        journal.skip("benchmark", NOT_ASKED_FOR)
        return None
    from ccdeploy.benchmark import Settings, benchmark, write_record

    with suppress(CcdeployError), journal.step("benchmark"):
        settings = dataclasses.replace(Settings.quick(), size=size)
        record = benchmark([model, *(path for path, _ in artefacts)], settings, say)
        write_record(record, folder / BENCHMARK)
        journal.note(benchmark=BENCHMARK)
        return record
    return None
