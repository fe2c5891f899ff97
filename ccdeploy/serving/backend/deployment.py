"""What a version's folder in a repository says of itself; read by the models in the server and by who starts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.errors import ArtefactError
from ccdeploy.serving.contract import Served, parse_served

SERVED = "served.json"
"""In a version's folder: what its models are, see `ccdeploy.serving.contract.Served`."""
NETWORK_INPUT, NETWORK_OUTPUT = "network_input", "network_output"
"""What NAME_read gives and NAME_labels takes; the network's own tensors have the names of its manifest."""


@dataclass(frozen=True)
class Deployment:
    """A deployment as its steps need it.

    Attributes:
        served: what is served.
        manifest: the artefact's.
        card: of its network.
    """

    served: Served
    manifest: Manifest
    card: Card

    @property
    def source(self) -> Tensor:
        """The network's input."""
        return self.manifest.inputs[0]

    @property
    def output(self) -> Tensor:
        """The network's output."""
        return self.manifest.outputs[0]


def deployment_of(served: Served) -> Deployment:
    """What is served, taken apart.

    Raises:
        ArtefactError, CardError: its manifest is damaged.
    """
    manifest = served.manifest_of()
    if not manifest.card:
        raise ArtefactError(f"{served.name} is not of ccdeploy's making: it has no card.", "Package it again.")
    return Deployment(served, manifest, card_from_dict(manifest.model, manifest.card))


def read_deployment(folder: Path) -> Deployment:
    """The deployment of a version's folder in a model repository.

    Raises:
        ArtefactError: there is none, or it is damaged.
    """
    path = folder / SERVED
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path} cannot be read ({error}).", "Package the artefact again.") from error
    return deployment_of(parse_served(text, str(path)))
