"""From what a user names to the subjects of a benchmark, here and in the process where one runs alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ccdeploy.benchmark.artefact import Artefact
from ccdeploy.benchmark.network import PYTORCH, Network
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subject import Subject
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.documents import from_json
from ccdeploy.errors import UsageError

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model


def subject_from_spec(spec: Mapping[str, Any]) -> Subject:
    """The subject that `Subject.spec` describes."""
    settings = from_json(Settings, spec["settings"], "settings")
    if "artefact" in spec:
        return Artefact(Path(spec["artefact"]), settings, spec["name"])
    weights = Path(spec["weights"]) if spec["weights"] else None
    device, name = spec["device"], spec["name"]
    if "of" in spec:
        of = Artefact(Path(spec["of"]), settings)
        return Network(settings, of=of, weights=weights, device=device, name=name)
    from ccdeploy.ccnet.loading import load_card_model

    model = load_card_model(card_from_dict(spec["model"], spec["card"]), weights, spec["seed"], recurrence=None)
    return Network(settings, model=model, device=device, name=name)


def subjects_of(given: Sequence[Path | str | Model | Subject], settings: Settings) -> list[Subject]:
    """Subjects with names that are short and unique.

    Raises:
        UsageError: nothing was given.
        ArtefactError: a file that is damaged or of another manifest.
    """
    if not given:
        raise UsageError("No artefact was given, one or more were expected.", "Name an .onnx or .engine file.")
    paths = {Path(item) for item in given if isinstance(item, (str, Path))}
    short = len({path.name for path in paths}) == len(paths)
    taken: dict[str, int] = {}
    subjects: list[Subject] = []
    for item in given:
        if isinstance(item, Subject):
            subject = item
        elif isinstance(item, (str, Path)):
            subject = Artefact(Path(item), settings, Path(item).name if short else str(item))
        else:
            subject = Network(settings, model=item, name=f"PyTorch {item.name}")
        taken[subject.name] = count = taken.get(subject.name, 0) + 1
        if count > 1:  # one file twice, to see how far two measurements of one thing are apart
            subject.name = f"{subject.name} ({count})"
        subjects.append(subject)
    return subjects


def with_compared(
    artefacts: Sequence[Path], compare: tuple[str, str] | None, settings: Settings, with_pytorch: bool = False
) -> tuple[list[Subject], tuple[str, str] | None]:
    """Subjects of artefacts and of those that `compare` names besides, and the names of the two to compare.

    Args:
        artefacts: files.
        compare: two files, or names that the contestants will have.
        settings: of the benchmark.
        with_pytorch: whether a contestant named PyTorch will be added.

    Raises:
        UsageError: a name that is neither.
    """
    files = list(artefacts)
    if compare is None:
        return subjects_of(files, settings), None
    names = [subject.name for subject in subjects_of(files, settings)] if files else []
    places: list[int] = []
    """Where in `files` the two are; -1 is PyTorch."""
    for name in compare:
        path = Path(name)
        if name == PYTORCH and with_pytorch:
            places.append(-1)
            continue
        same = [index for index, file in enumerate(files) if file == path or names[index : index + 1] == [name]]
        if not same and not path.exists():
            held = ", ".join(names + [PYTORCH] * with_pytorch) or "none yet"
            raise UsageError(
                f"--compare names {name}, which is no file and none of the contestants ({held}).",
                "Name two artefacts, or two contestants.",
            )
        free = [index for index in same if index not in places]
        if not free:
            files.append(files[same[0]] if same else path)
        places.append(free[0] if free else len(files) - 1)
    subjects = subjects_of(files, settings)
    a, b = (PYTORCH if place < 0 else subjects[place].name for place in places)
    return subjects, (a, b)
