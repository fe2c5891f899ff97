"""What a server refuses of a deployment's models when it loads them, found before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.artefacts import manifest_of
from ccdeploy.errors import ArtefactError, CcdeployError
from ccdeploy.files import sha256_of
from ccdeploy.serving.backend.deployment import SERVED, read_deployment
from ccdeploy.serving.contract import PYTHON, TENSORRT, Served
from ccdeploy.serving.repository.layout import MODEL, REMEDY, models_of
from ccdeploy.serving.repository.schema import CONFIG, schema
from ccdeploy.serving.repository.tensors import check_steps, check_tensors, check_warm_up


@dataclass(frozen=True)
class Placement:
    """Where and how often a deployment runs.

    Attributes:
        gpus: numbers of the network's GPUs; (): every one; None: the CPU.
        instances: of the network, on each device.
        cpu_instances: of each of the two other steps.
        versions: that are served, ascending.
        versions_there: on disk, ascending.
        file: the artefact's name.
        queue_size: requests that wait for each model at most; 0: no bound.
        host_code: whether an engine for Triton's TensorRT backend carries native code.
        plugin: the library beside an engine for TensorRT's backend, absolute; None: it needs none.
    """

    gpus: tuple[int, ...] | None
    instances: int
    cpu_instances: int
    versions: tuple[int, ...]
    versions_there: tuple[int, ...]
    file: str
    queue_size: int
    plugin: Path | None
    host_code: bool


def check_models(repository: Path, served: Served, configs: Mapping[str, Any]) -> Placement:
    """Where a deployment runs, once its four models are such that a server loads them.

    Args:
        repository: their folder.
        served: what the ensemble says that it is.
        configs: of the four, by name; None of one that is not there.

    Raises:
        ArtefactError: a server would refuse one, or they are not of one another; with the reason.
    """
    there: dict[str, tuple[int, ...]] = {}
    for name, config in configs.items():
        folder = repository / name
        if config is None:
            raise ArtefactError(f"{folder / CONFIG} is not there; the deployment {served.name} needs it.", REMEDY)
        _check_config(folder, config, "" if name == served.name else served.backend)
        check_tensors(folder / CONFIG, config)
        check_warm_up(folder, config)
        there[name] = _versions(folder)
    check_steps(repository / served.name / CONFIG, configs[served.name], configs)
    network = configs[served.names.network]
    versions = there[served.name]
    for name, found in there.items():
        if found != versions:
            raise ArtefactError(
                f"{repository / name} has the versions {list(found)}, {served.name} has {list(versions)}.", REMEDY
            )
    kept = versions[-_latest(network) :]
    if served.version != kept[-1]:
        raise ArtefactError(
            f"{repository / served.name} says that it is version {served.version}, its latest is {kept[-1]}.", REMEDY
        )
    each = [_check_version(repository, served, version) for version in kept]
    plugins = [library for version in each if (library := _plugin(repository, version)) is not None]
    if len({sha256_of(library) for library in plugins}) > 1:
        raise ArtefactError(
            f"The served versions {list(kept)} of {served.name} are of different plugin libraries, a server loads one.",
            "Package with --keep 1, or build the engines with one plugin library.",
        )
    group, steps = network.instance_group[0], configs[served.names.read].instance_group[0]
    on_gpu = group.kind == schema().ModelInstanceGroup.Kind.Value("KIND_GPU")
    return Placement(
        gpus=tuple(group.gpus) if on_gpu else None,
        instances=group.count,
        cpu_instances=steps.count,
        versions=kept,
        versions_there=versions,
        file=str(served.manifest["file"]),
        queue_size=network.dynamic_batching.default_queue_policy.max_queue_size,
        plugin=plugins[-1] if plugins else None,
        host_code=served.backend == TENSORRT and any(map(_embedded, each)),
    )


def _check_config(folder: Path, config: Any, backend: str) -> None:
    """A config's own fields; `backend` is that of the network's deployment, "" of the ensemble."""
    where = folder / CONFIG
    if config.name != folder.name:
        raise ArtefactError(f"{where} is of the model {config.name!r}, the folder is {folder.name}.", REMEDY)
    known = {PYTHON, backend} if backend else {""}
    if config.backend not in known:
        raise ArtefactError(f"{where}: the backend is {config.backend!r}, {sorted(known)} was expected.", REMEDY)
    if config.max_batch_size < 0:
        raise ArtefactError(f"{where}: max_batch_size is {config.max_batch_size}, 0 or more was expected.", REMEDY)
    if config.version_policy.WhichOneof("policy_choice") != "latest" or _latest(config) < 1:
        raise ArtefactError(f"{where}: the latest versions, 1 or more, were expected to be served.", REMEDY)
    if not backend:
        return
    if len(config.instance_group) != 1 or config.instance_group[0].count < 1:
        raise ArtefactError(f"{where}: one group of 1 or more instances was expected.", REMEDY)
    group = config.instance_group[0]
    kinds = schema().ModelInstanceGroup.Kind
    if group.kind not in (kinds.Value("KIND_CPU"), kinds.Value("KIND_GPU")):
        raise ArtefactError(f"{where}: instances on the CPU or on GPUs were expected.", REMEDY)
    if group.gpus and group.kind == kinds.Value("KIND_CPU"):
        raise ArtefactError(f"{where}: instances on the CPU name GPUs ({list(group.gpus)}).", REMEDY)
    if len(set(group.gpus)) != len(group.gpus) or any(gpu < 0 for gpu in group.gpus):
        raise ArtefactError(f"{where}: the GPUs are {list(group.gpus)}, different ones were expected.", REMEDY)


def _latest(config: Any) -> int:
    return int(config.version_policy.latest.num_versions)


def _versions(folder: Path) -> tuple[int, ...]:
    """The versions in a model's folder, ascending."""
    found = []
    for entry in folder.iterdir():
        if not entry.is_dir() or not entry.name.isdecimal():
            continue
        if str(int(entry.name)) != entry.name or not 0 < int(entry.name) < 2**31:
            raise ArtefactError(f"{entry}: a version is a number from 1, without zeros before it.", "Rename it.")
        found.append(int(entry.name))
    if not found:
        raise ArtefactError(f"{folder} has no version.", REMEDY)
    return tuple(sorted(found))


def _check_version(repository: Path, served: Served, version: int) -> Served:
    """The files of a version that is served, and what it says of itself."""
    names = served.names
    python = [names.read, names.labels, *([names.network] if served.backend == PYTHON else [])]
    for model in python:
        if not (path := repository / model / str(version) / MODEL).is_file():
            raise ArtefactError(f"{path} is not there.", REMEDY)
    digests = set()
    for model in models_of(served):
        deployment = read_deployment(repository / model / str(version))
        if (deployment.served.name, deployment.served.version) != (served.name, version):
            seen = f"{deployment.served.name} {deployment.served.version}"
            raise ArtefactError(f"{repository / model / str(version) / SERVED} is of {seen}.", REMEDY)
        digests.add(deployment.manifest.sha256)
    artefact = repository / names.network / str(version) / deployment.manifest.file
    if Path(deployment.manifest.file).name != deployment.manifest.file or not artefact.is_file():
        raise ArtefactError(f"{artefact}, the artefact of version {version}, is not there.", REMEDY)
    try:
        digests.add(manifest_of(artefact).sha256)
    except CcdeployError as error:
        raise ArtefactError(f"The artefact of {served.name}, version {version}: {error.what}", REMEDY) from error
    if len(digests) > 1:
        raise ArtefactError(f"{artefact} is not the artefact that version {version} was packaged with.", REMEDY)
    return deployment.served


def _embedded(served: Served) -> bool:
    engine = served.manifest_of().engine
    return engine is not None and engine.plugin is not None and engine.plugin.embedded


def _plugin(repository: Path, served: Served) -> Path | None:
    """The plugin library that Triton's TensorRT backend must have been given."""
    engine = served.manifest_of().engine
    if engine is None or engine.plugin is None or engine.plugin.embedded:
        return None
    path = repository / served.names.network / str(served.version) / engine.plugin.file
    if Path(engine.plugin.file).name != engine.plugin.file or not path.is_file():
        raise ArtefactError(f"{path}, the plugin library of the engine, is not there.", REMEDY)
    return path.absolute() if served.backend == TENSORRT else None
