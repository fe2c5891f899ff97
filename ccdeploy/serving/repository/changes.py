"""A new version of a deployment must be what its clients know: names, types, shapes, classes."""

from __future__ import annotations

from typing import Any

from ccdeploy.ccnet.cards import Card
from ccdeploy.errors import UsageError
from ccdeploy.serving.backend.deployment import deployment_of
from ccdeploy.serving.repository.reading import Repository
from ccdeploy.serving.repository.schema import CONFIG, parsed, schema
from ccdeploy.serving.repository.subject import Subject


def check_same_contract(standing: Repository, subject: Subject, config: Any) -> None:
    """Whether a new version fits what the repository holds of the same name.

    Args:
        standing: the repository.
        subject: the new version.
        config: of its network.

    Raises:
        UsageError: it differs; says in what.
    """
    name = subject.served.name
    before = next(served for served in standing.deployments if served.name == name)
    old = parsed(standing.path / before.names.network / CONFIG)
    pairs = [
        ("backend", before.backend, subject.served.backend),
        ("inputs", _tensors(old.input), _tensors(config.input)),
        ("outputs", _tensors(old.output), _tensors(config.output)),
        ("pictures at once", old.max_batch_size, config.max_batch_size),
        ("classes", _classes(deployment_of(before).card), _classes(subject.card)),
        ("io", deployment_of(before).manifest.io, subject.manifest.io),
    ]
    for what, seen, given in pairs:
        if seen != given:
            raise UsageError(
                f"{subject.artefact} differs from version {before.version} of {name} in its {what}: {given}, "
                f"{seen} was expected.",
                "Give another --name, or --replace the deployment with all its versions.",
            )


def _tensors(tensors: Any) -> str:
    names = schema().DataType
    return ", ".join(
        f"{tensor.name} {names.Name(tensor.data_type).removeprefix('TYPE_')} {list(tensor.dims)}" for tensor in tensors
    )


def _classes(card: Card) -> str:
    return ", ".join(info.name for info in card.classes) or "unknown"
