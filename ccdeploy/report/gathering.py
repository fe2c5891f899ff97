"""Reads a folder of `ccdeploy deploy`, and whatever is wrong with a part of it is told in that part's place.

Everything here is untrusted: a folder may come from elsewhere. Documents are read strictly, paths stay in the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Generic, TypeVar

from ccdeploy.accuracy import AccuracyReport
from ccdeploy.benchmark.record import Contestant, Record
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.comparison import Tolerance
from ccdeploy.engine.manifest import Manifest, read_manifest
from ccdeploy.errors import ArtefactError, CcdeployError, InputError
from ccdeploy.files import sha256_of
from ccdeploy.report import folder as layout
from ccdeploy.report.charts.drawing import Series, shortened
from ccdeploy.report.folder import REFERENCE, Entry, Index
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED, Report, Verdict

T = TypeVar("T")
LONGEST_NAME = 32
"""Characters of an artefact's short name."""
HINTS = {
    "accuracy": "`ccdeploy deploy --dataset` measures it on labelled pictures",
    "benchmark": "`ccdeploy deploy` measures it unless told --no-benchmark",
}


@dataclass(frozen=True)
class Part(Generic[T]):
    """A part of a deployment, or why it is not there."""

    value: T | None = None
    why: str = ""


@dataclass(frozen=True)
class Artefact:
    """A file of the folder: what the index says, its manifest, how the page shows it, and what is wrong with it."""

    entry: Entry
    manifest: Manifest | None
    series: Series
    problem: str = ""


@dataclass(frozen=True)
class Deployed:
    """All that a folder holds."""

    folder: Path
    index: Index
    artefacts: tuple[Artefact, ...]
    verification: Part[Report]
    accuracy: Part[AccuracyReport]
    benchmark: Part[Record]
    further: tuple[tuple[str, Record], ...]
    """Records from elsewhere, each with where it is from."""
    card: Card | None
    problems: tuple[str, ...]

    @property
    def reference(self) -> Series:
        """How PyTorch is shown."""
        return Series(REFERENCE, 0)

    @property
    def records(self) -> tuple[tuple[str, Record], ...]:
        """All benchmarks, the folder's own first."""
        own = ((layout.BENCHMARK, self.benchmark.value),) if self.benchmark.value else ()
        return (*own, *self.further)

    def named(self, path: str) -> Artefact | None:
        """The artefact that a document names by its path."""
        name = PurePath(path).name
        return next((artefact for artefact in self.artefacts if artefact.entry.file == name), None)

    def series_of(self, contestant: Contestant) -> Series | None:
        """How a benchmark's contestant is shown; None for what was not deployed here."""
        if contestant.kind == "pytorch":
            return self.reference if contestant.model == self.index.model else None
        same = (one for one in self.artefacts if one.entry.sha256 == contestant.sha256)
        return next((artefact.series for artefact in same), None)

    def verdict(self, artefact: Artefact) -> Verdict | None:
        """The verification's verdict on an artefact."""
        verdicts = self.verification.value.verdicts if self.verification.value else ()
        return next((one for one in verdicts if self.named(one.artefact) is artefact), None)


def gather(folder: Path, further: Sequence[Path] = ()) -> Deployed:
    """All that lies in a folder.

    Args:
        folder: what `ccdeploy deploy` wrote, whole or not.
        further: records of `ccdeploy benchmark -o`.

    Raises:
        InputError: the folder does not exist, or holds nothing that `deploy` writes.
        ArtefactError: one of `further` cannot be read.
    """
    from ccdeploy.benchmark.record import read_record

    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name a folder that `ccdeploy deploy` wrote.")
    known = (layout.INDEX, layout.VERIFICATION, layout.ACCURACY, layout.BENCHMARK)
    manifests = sorted(path for suffix in ("onnx", "engine") for path in folder.glob(f"*.{suffix}.json"))
    if not manifests and not any((folder / name).exists() for name in known):
        raise InputError(
            f"{folder} holds nothing that deploy writes: no {layout.INDEX}, no artefact with a manifest.",
            "Name a folder that `ccdeploy deploy` wrote.",
        )
    problems: list[str] = []
    try:
        index = layout.read_index(folder)
    except ArtefactError as error:
        problems.append(f"{error.what} The page shows what else lies in the folder.")
        index = _index_of(folder, [path.with_suffix("") for path in manifests])
    artefacts = tuple(_artefacts(folder, index))
    problems += [artefact.problem for artefact in artefacts if artefact.problem]
    return Deployed(
        folder=folder,
        index=index,
        artefacts=artefacts,
        verification=_part(folder, index, layout.VERIFICATION, "verification", _verification),
        accuracy=_part(folder, index, layout.ACCURACY, "accuracy", _accuracy),
        benchmark=_part(folder, index, layout.BENCHMARK, "benchmark", lambda path: read_record(path)),
        further=tuple((path.name, read_record(path)) for path in further),
        card=_card(artefacts),
        problems=tuple(problems),
    )


def _part(folder: Path, index: Index, name: str, step_name: str, read: Callable[[Path], T]) -> Part[T]:
    """A document of the folder; where it is not there, the step that should have written it says why."""
    step = index.step(step_name)
    if not (folder / name).exists():
        if step is None or (step.outcome == layout.DONE and not step.reason):
            return Part(why=f"{name} is not in the folder")
        hint = f"; {HINTS[step_name]}" if step.reason == layout.NOT_ASKED_FOR and step_name in HINTS else ""
        return Part(why=f"{step.outcome}: {step.reason}{hint}" if step.reason else step.outcome)
    if step is not None and step.outcome != layout.DONE:
        return Part(why=f"{step.outcome}: {step.reason} ({name} in the folder is of an earlier deployment)")
    try:
        return Part(read(folder / name))
    except CcdeployError as error:
        return Part(why=error.what)


def _verification(path: Path) -> Report:
    report = layout.read_as(Report, layout.read_document(path), path.name)
    for verdict in report.verdicts:
        if verdict.outcome not in (PASSED, DIFFERENT, NOT_RUN) or verdict.precision not in report.tolerances:
            what = f"{path.name} is damaged: the verdict on {verdict.artefact} is {verdict.outcome!r}"
            raise ArtefactError(f"{what}, with tolerances of {', '.join(report.tolerances)}.", "Verify again.")
    return report


def _accuracy(path: Path) -> AccuracyReport:
    report = layout.read_as(AccuracyReport, layout.read_document(path), path.name)
    for measurement in report.measurements:
        figures = [measurement.reference, *(artefact.figures for artefact in measurement.artefacts)]
        lengths = {len(one.iou) for one in figures if one is not None} - {len(measurement.classes)}
        outcomes = {artefact.outcome for artefact in measurement.artefacts} - {PASSED, DIFFERENT, NOT_RUN}
        if lengths or outcomes or not measurement.artefacts:
            seen = ", ".join(map(str, [*lengths, *outcomes])) or "no artefact"
            what = f"{path.name} is damaged: {len(measurement.classes)} classes and known outcomes were expected"
            raise ArtefactError(f"{what}, it has {seen}.", "Measure again.")
    if not report.measurements:
        raise ArtefactError(f"{path.name} is damaged: it holds no measurement.", "Measure again.")
    return report


def _artefacts(folder: Path, index: Index) -> list[Artefact]:
    names = short_names(index.model, [entry.file for entry in index.artefacts])
    found = []
    for number, (entry, name) in enumerate(zip(index.artefacts, names, strict=True), 1):
        path, manifest, problem = folder / entry.file, None, ""
        if PurePath(entry.file).name != entry.file:
            problem = f"{entry.file!r} is no name of a file in the folder: it is not looked at."
        elif not path.is_file():
            problem = f"{entry.file} is not in the folder any more."
        elif sha256_of(path) != entry.sha256:
            problem = f"{entry.file} was changed after it was deployed: its sha256 is another."
        if not problem:
            try:
                manifest = read_manifest(path)
            except CcdeployError as error:
                problem = error.what
        found.append(Artefact(entry, manifest, Series(name, number), problem))
    return found


def _index_of(folder: Path, files: Sequence[Path]) -> Index:
    """An index from manifests alone, where the folder's own is missing or damaged."""
    entries, model = [], ""
    for path in files:
        try:
            manifest = read_manifest(path)
        except CcdeployError:
            continue
        model = model or manifest.model
        size = path.stat().st_size if path.is_file() else 0
        entries.append(
            Entry(path.name, manifest.kind, manifest.precision, manifest.sha256, manifest.types, size, no_layers="")
        )
    return Index("", model or folder.resolve().name, tuple(entries), NOT_RUN)


def _card(artefacts: Sequence[Artefact]) -> Card | None:
    for artefact in artefacts:
        if artefact.manifest is not None and artefact.manifest.card:
            try:
                return card_from_dict(artefact.manifest.model, artefact.manifest.card)
            except CcdeployError:
                continue
    return None


def tolerance_of(report: Report, verdict: Verdict) -> Tolerance:
    """What a verdict was reached with."""
    return report.tolerances[verdict.precision]


def short_names(model: str, files: Sequence[str]) -> list[str]:
    """File names without the model's name, which they begin with, and at most LONGEST_NAME long; all different."""
    stem = model.replace(":", ".") + "."
    names = [name.removeprefix(stem) or name for name in files]
    names = [shortened(name, LONGEST_NAME) for name in names]
    return [name if names.count(name) == 1 else f"{number}: {name}" for number, name in enumerate(names, 1)]
