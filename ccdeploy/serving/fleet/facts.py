"""What the files say of a repository, as `ccdeploy package` made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.serving.contract import PYTHON, TENSORRT, Served
from ccdeploy.serving.fleet.sizes import Load

if TYPE_CHECKING:
    from ccdeploy.serving.repository import Repository

RTX = "tensorrt-rtx"
"""A flavour of TensorRT, and the extra that brings it."""


@dataclass(frozen=True)
class Facts:
    """Of a repository.

    Attributes:
        loads: its deployments.
        plugins: TensorRT plugins, relative to the repository, with /.
        gpus: how many it uses.
        tensorrt: the version that its engines need, as major.minor.patch; None: the TensorRT backend is not used.
        extras: of ccdeploy, that its models in Python need in the image.
        notes: what must be known before the files are used.
        host_code: whether an engine brings native code: an embedded plugin.
    """

    loads: tuple[Load, ...]
    plugins: tuple[str, ...]
    gpus: int
    tensorrt: str | None
    extras: tuple[str, ...]
    notes: tuple[str, ...]
    host_code: bool = False

    @property
    def deployments(self) -> tuple[Served, ...]:
        """What is served."""
        return tuple(load.served for load in self.loads)


def read_facts(repository: Path) -> Facts:
    """Facts of a repository.

    Raises:
        ArtefactError: it is damaged.
        UsageError: it is no repository, names GPUs that no container has, or engines that no one server can run.
        MissingError: Triton's client is not installed.
    """
    from ccdeploy.serving.repository import read_repository

    found = read_repository(repository)
    loads = tuple(_load(found, served) for served in found.deployments)
    extras, notes = _python_on_gpu(loads)
    if found.foreign:
        notes = (*notes, f"Models of another maker are served too, and not counted: {', '.join(found.foreign)}.")
    plugins = tuple(plugin.relative_to(found.path.absolute()).as_posix() for plugin in found.plugins)
    return Facts(loads, plugins, _gpus(found), _tensorrt(found.deployments), extras, notes, found.host_code)


def _load(found: Repository, served: Served) -> Load:
    """Of all versions that are served: each has instances of its own."""
    placement = found.placements[served.name]
    versions = len(placement.versions)
    networks = placement.instances * max(1, len(placement.gpus or ())) * versions
    steps = 2 * placement.cpu_instances * versions
    folder = found.path / served.names.network / str(served.version)
    file_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    processes = steps + (networks if served.backend == PYTHON else 0)
    return Load(served, file_bytes, processes, networks, placement.gpus is not None)


def _gpus(found: Repository) -> int:
    """How many, one where they are not named.

    Raises:
        UsageError: some are named, but not from 0 on without a gap, as a container counts the ones that it is given.
    """
    used = [placement.gpus for placement in found.placements.values() if placement.gpus is not None]
    named = sorted({gpu for gpus in used for gpu in gpus})
    expected = list(range(len(named)))
    if named != expected:
        raise UsageError(
            f"The models are on GPUs {', '.join(map(str, named))}, but a container counts those it is given from 0.",
            f"Package with --gpus {','.join(map(str, expected))} for a fleet.",
        )
    return len(named) or int(bool(used))


def _tensorrt(deployments: tuple[Served, ...]) -> str | None:
    """The version of the engines of the TensorRT backend.

    Raises:
        UsageError: there is more than one.
        ArtefactError: a manifest names none.
    """
    versions: dict[str, str] = {}
    for served in deployments:
        engine = served.manifest_of().engine
        if served.backend == TENSORRT and engine is not None:
            numbers = re.match(r"\d+\.\d+\.\d+", engine.version, re.ASCII)
            if numbers is None:
                raise ArtefactError(
                    f"The manifest of {served.name} names TensorRT {engine.version!r}, a version was expected.",
                    "Build the engine and package it again.",
                )
            versions[numbers[0]] = served.name
    if len(versions) > 1:
        what = ", ".join(f"{version} ({name})" for version, name in versions.items())
        raise UsageError(f"Engines of TensorRT {what}: a server has one.", "Build them with one version of TensorRT.")
    return next(iter(versions), None)


def _python_on_gpu(loads: tuple[Load, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Extras and notes for networks that the Python backend runs on a GPU."""
    extras: dict[str, None] = {}
    notes = []
    for load in loads:
        if load.served.backend != PYTHON or not load.on_gpu:
            continue
        engine = load.served.manifest_of().engine
        if engine is None:
            extras["onnxruntime-gpu"] = None
            continue
        extras |= dict.fromkeys((engine.flavour if engine.flavour == RTX else TENSORRT, "pycuda"))
        notes.append(
            f"{load.served.name} runs an engine of {engine.flavour} {engine.version} in the Python backend: its image "
            "needs pycuda, which pip compiles. NVIDIA's image may lack the CUDA headers and the compiler for that."
        )
    return tuple(extras), tuple(notes)
