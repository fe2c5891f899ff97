"""Artefacts into a model repository, all or nothing: an error or Ctrl-C leaves it as it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from ccdeploy.errors import UsageError
from ccdeploy.serving.backend.deployment import read_deployment
from ccdeploy.serving.contract import Served
from ccdeploy.serving.repository.artefact_files import files_of
from ccdeploy.serving.repository.changes import check_same_contract
from ccdeploy.serving.repository.configs import configs_of, warm
from ccdeploy.serving.repository.folders import put_in, staged, write_models
from ccdeploy.serving.repository.layout import UNFINISHED, models_in, models_of
from ccdeploy.serving.repository.options import Packaged, Packaging, check_packaging
from ccdeploy.serving.repository.reading import Repository, read_models, read_repository
from ccdeploy.serving.repository.subject import Subject, subject_of
from ccdeploy.serving.repository.warming import warmth_of

Say = Callable[[str], None]


def packaged(
    artefacts: Sequence[Path],
    repository: Path,
    packaging: Packaging,
    say: Say,
) -> list[Packaged]:
    """See `ccdeploy.serving.repository.package`."""
    check_packaging(packaging)
    if not artefacts:
        raise UsageError("No artefact was given.", "Name an ONNX file or an engine.")
    if packaging.name is not None and len(artefacts) > 1:
        raise UsageError(
            f"One name, {packaging.name!r}, was given for {len(artefacts)} artefacts.", "Package them one by one."
        )
    subjects = []
    for artefact in artefacts:
        say(f"checking {artefact}")
        subjects.append(subject_of(artefact, packaging))
    with staged(repository) as folder:
        standing = _standing(repository, subjects if packaging.replace else ())
        _check_names(subjects, standing)
        made = [_write(subject, folder, standing, packaging, say) for subject in subjects]
        written = read_repository(folder)  # as `serve` will, before anything is moved
        _check_plugins(written, standing)
        put_in(folder, repository)
    return made


def _standing(repository: Path, replaced: Sequence[Subject]) -> Repository | None:
    """What the repository holds already; None where it is new or empty. What is replaced may be damaged."""
    if not repository.is_dir():
        return None
    skipped = {model for subject in replaced for model in models_of(subject.served)}
    skipped |= {model.name for model in models_in(repository) if model.name.startswith(UNFINISHED)}
    if all(model.name in skipped for model in models_in(repository)):
        return None
    return read_models(repository, skipped)


def _write(subject: Subject, folder: Path, standing: Repository | None, packaging: Packaging, say: Say) -> Packaged:
    """Writes a deployment's models into a folder of new ones."""
    name = subject.served.name
    before = standing.placements.get(name) if standing else None
    versions = before.versions_there if before else ()
    version = _next_version(name, versions, packaging.version)
    subject = dataclasses.replace(subject, served=dataclasses.replace(subject.served, version=version))
    files, notes = files_of(subject, before.file if before else None, packaging.plugin)
    subject = dataclasses.replace(subject, served=_with_file(subject.served, files.artefact))
    say(f"packaging {subject.artefact} as {name}, version {version}")
    configs = configs_of(subject, packaging, files.artefact)
    if standing is not None and before is not None:
        check_same_contract(standing, subject, configs[subject.served.names.network])
    served_too = (*versions, version)[-packaging.keep : -1] if standing else ()
    older = [read_deployment(standing.path / name / str(old)) for old in served_too] if standing else []
    warmth = warmth_of(subject, packaging.warm_up, older) if packaging.warmed else None
    if warmth is not None:
        warm(configs, warmth)
    write_models(folder, subject, configs, files, warmth, standing.path if standing and before else None)
    idle = [old for old in versions if old not in (*versions, version)[-packaging.keep :]]
    if idle:
        shown = ", ".join(map(str, idle))
        notes = (*notes, f"older versions stay on disk and are not served: {shown} (--keep {packaging.keep})")
    return Packaged(subject.artefact, subject.served, (*subject.notes, *notes))


def _with_file(served: Served, file: str) -> Served:
    return dataclasses.replace(served, manifest={**served.manifest, "file": file})


def _next_version(name: str, versions: Sequence[int], wanted: int | None) -> int:
    latest = max(versions, default=0)
    if wanted is None:
        return latest + 1
    if wanted in versions:
        raise UsageError(f"{name} has a version {wanted} already.", "Leave --version out, or use --replace.")
    if wanted < latest:
        raise UsageError(
            f"{name} has versions up to {latest}, version {wanted} was to be added: the latest is what is served.",
            f"Give --version {latest + 1} or leave it out.",
        )
    return wanted


def _check_names(subjects: Sequence[Subject], standing: Repository | None) -> None:
    """Whether no two models have one name."""
    owners: dict[str, str] = {}
    own = {subject.served.name for subject in subjects}
    if standing is not None:
        owners = dict.fromkeys(standing.foreign, "another maker")
        for served in standing.deployments:
            if served.name not in own:
                owners |= dict.fromkeys(models_of(served), f"the deployment {served.name}")
    for subject in subjects:
        for model in models_of(subject.served):
            if model in owners:
                raise UsageError(
                    f"{subject.artefact} would make a model {model}, which there is already, of {owners[model]}.",
                    "Give another --name.",
                )
        owners |= dict.fromkeys(models_of(subject.served), str(subject.artefact))


def _check_plugins(written: Repository, standing: Repository | None) -> None:
    """Whether one plugin library serves all engines: a process registers a plugin's name once."""
    own = {served.name for served in written.deployments}
    digests = dict(written.plugin_digests)
    if standing is not None:
        digests |= {name: digest for name, digest in standing.plugin_digests.items() if name not in own}
    if len(set(digests.values())) > 1:
        shown = ", ".join(f"{name} {digest[:12]}" for name, digest in sorted(digests.items()))
        raise UsageError(
            f"The engines of the repository are of different plugin libraries ({shown}), a server loads one.",
            "Build the engines with one plugin library, or package them into repositories of their own.",
        )
