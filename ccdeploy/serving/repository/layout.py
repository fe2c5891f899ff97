"""Where things lie in a repository."""

from __future__ import annotations

from pathlib import Path

from ccdeploy.serving.contract import Served

MODEL = "model.py"
"""Of a model in Python, in its version's folder."""
WARM_UP = "warmup"
"""Of a model, where Triton looks for the data of warm-ups."""
UNFINISHED = ".ccdeploy-"
"""How the name of a folder begins that was not finished."""
REMEDY = "Package the artefact again, with --replace."


def models_of(served: Served) -> tuple[str, str, str, str]:
    """The names of a deployment's models, the ensemble first."""
    names = served.names
    return names.ensemble, names.read, names.network, names.labels


def models_in(repository: Path) -> list[Path]:
    """The folders in a repository, sorted: Triton takes each for a model, also those that begin with a dot."""
    return sorted(entry for entry in repository.iterdir() if entry.is_dir())
