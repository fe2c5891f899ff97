"""A repository read back: what is in it, and whether a server would take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.serving.contract import PARAMETER, PYTHON, Served, parse_served
from ccdeploy.serving.repository.checks import Placement, check_models
from ccdeploy.serving.repository.layout import REMEDY, UNFINISHED, models_in, models_of
from ccdeploy.serving.repository.schema import CONFIG, parsed


@dataclass(frozen=True)
class Repository:
    """A model repository that a server would take, as far as its files tell.

    Attributes:
        path: the folder.
        deployments: newest version of each, by name.
        placements: of each deployment, by name.
        foreign: models of another maker, which are left alone.
        plugins: libraries that the server must load before TensorRT's backend, absolute; each content once.
        plugin_digests: deployment -> its library's SHA-256.
        host_code: whether an engine for Triton's TensorRT backend carries native code (an embedded plugin), which that
            backend runs only where it is told to.
    """

    path: Path
    deployments: tuple[Served, ...]
    placements: Mapping[str, Placement]
    foreign: tuple[str, ...]
    plugins: tuple[Path, ...]
    plugin_digests: Mapping[str, str]
    host_code: bool

    @property
    def backends(self) -> tuple[str, ...]:
        """Triton's backends that the deployments need, sorted: "python" is always one."""
        return tuple(sorted({PYTHON, *(served.backend for served in self.deployments)}))

    @property
    def needs_gpu(self) -> bool:
        """Whether a network runs on a GPU."""
        return any(placement.gpus is not None for placement in self.placements.values())


def read_repository(repository: Path) -> Repository:
    """What a repository holds, once it is sure that a server would take what ccdeploy has put into it.

    Raises:
        UsageError: it is no folder, or holds no deployment.
        ArtefactError: a model in it is damaged, with the reason.
        MissingError: Triton's client is not installed.
    """
    if not repository.is_dir():
        raise UsageError(f"{repository} is no folder.", "Make one with `ccdeploy package ARTEFACT -o FOLDER`.")
    found = read_models(repository)
    if not found.deployments:
        raise UsageError(
            f"{repository} holds no deployment of ccdeploy.", "Make one with `ccdeploy package ARTEFACT -o FOLDER`."
        )
    return found


def read_models(repository: Path, skipped: Collection[str] = ()) -> Repository:
    """As `read_repository`, with or without deployments, and as if some models were not there."""
    configs = {model.name: _config(model) for model in models_in(repository) if model.name not in skipped}
    ensembles = [name for name, config in configs.items() if _is_ensemble(config)]
    deployments, placements = [], {}
    plugins: dict[str, Path] = {}
    digests: dict[str, str] = {}
    host_code = False
    for name in ensembles:
        served = _served(repository, name, configs[name])
        models = {model: configs.pop(model, None) for model in models_of(served)}
        placements[name] = check_models(repository, served, models)
        deployments.append(served)
        if (library := placements[name].plugin) is not None:
            digests[name] = sha256_of(library)
            plugins.setdefault(digests[name], library)
        host_code |= placements[name].host_code
    for name, config in configs.items():
        if PARAMETER in config.parameters:
            raise ArtefactError(f"{repository / name} is left of a deployment that is not there.", "Remove it.")
        if config.name not in ("", name):
            raise ArtefactError(f"{repository / name / CONFIG} is of the model {config.name!r}.", "Rename one of them.")
    foreign = tuple(configs)
    return Repository(repository, tuple(deployments), placements, foreign, tuple(plugins.values()), digests, host_code)


def _config(model: Path) -> Any:
    """A model's config."""
    if not (model / CONFIG).is_file():
        unfinished = model.name.startswith(UNFINISHED)
        left = ", left by a `ccdeploy package` that was killed" if unfinished else ""
        raise ArtefactError(
            f"{model} has no {CONFIG}{left}; a server takes every folder of a repository for a model, and refuses it.",
            "Remove it." if unfinished else "Move it out of the repository.",
        )
    return parsed(model / CONFIG)


def _is_ensemble(config: Any) -> bool:
    return config.platform == "ensemble" and PARAMETER in config.parameters


def _served(repository: Path, name: str, config: Any) -> Served:
    where = str(repository / name / CONFIG)
    served = parse_served(config.parameters[PARAMETER].string_value, where)
    if served.name != name:
        raise ArtefactError(f"{where} is of {served.name}, the folder is {name}.", REMEDY)
    return served
