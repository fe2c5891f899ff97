"""The model repository: what Triton Inference Server serves, made from artefacts and read back with suspicion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ccdeploy.serving.repository.checks import Placement
from ccdeploy.serving.repository.options import Packaged, Packaging
from ccdeploy.serving.repository.reading import Repository, read_repository

__all__ = ["Packaged", "Packaging", "Placement", "Repository", "package", "read_repository"]
_DEFAULT = Packaging()


def package(
    artefacts: Sequence[Path],
    repository: Path,
    packaging: Packaging = _DEFAULT,
    say: Callable[[str], None] = lambda line: None,
) -> list[Packaged]:
    """Makes a model repository of artefacts, or adds them to one.

    Args:
        artefacts: ONNX files and engines of ccdeploy's making.
        repository: the folder; made where it is not there.
        packaging: how.
        say: told each step, one line at a time.

    Returns:
        What became of each artefact, in their order.

    Raises:
        ArtefactError: an artefact, or what the repository holds already, is damaged.
        UsageError: what a server could not serve, with the reason.
        MissingError: Triton's client is not installed.
    """
    from ccdeploy.serving.repository.packing import packaged

    return packaged(artefacts, repository, packaging, say)
