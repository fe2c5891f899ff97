"""What the models are run with before the server is ready: a real picture, at the sizes that pictures will have."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ccdeploy.errors import InputError
from ccdeploy.runners import Array
from ccdeploy.serving.backend.deployment import NETWORK_OUTPUT, Deployment, deployment_of
from ccdeploy.serving.backend.steps import network_input, profile_of
from ccdeploy.serving.contract import PICTURE, SIZE
from ccdeploy.serving.repository.subject import Subject

PROBE = (256, 512)
"""Height and width of the drawn picture where neither artefact nor card has a size."""


@dataclass(frozen=True)
class Warmth:
    """The data of warm-ups.

    Attributes:
        inputs: model -> its inputs by name -> the file in `layout.WARM_UP`, and the shape; without the axis of
            batches, where the server forms them.
        files: model -> files by name.
    """

    inputs: Mapping[str, Mapping[str, tuple[str, Sequence[int]]]]
    files: Mapping[str, Mapping[str, bytes]]


def warmth_of(subject: Subject, picture: Path | None, older: Sequence[Deployment] = ()) -> Warmth:
    """The data of a deployment's warm-ups.

    Args:
        subject: what is served.
        picture: a JPEG or PNG file; None: a street scene.
        older: versions that are served too, and warmed up with the same.

    Raises:
        InputError: the picture cannot be read, or the deployment refuses it.
    """
    try:
        content = _drawn(subject) if picture is None else picture.read_bytes()
    except OSError as error:
        raise InputError(f"{picture} cannot be read: {error.strerror}.", "Name a JPEG or PNG file.") from error
    deployment = deployment_of(subject.served)
    try:
        batch, size = network_input(content, deployment)
        for other in older:
            if network_input(content, other)[0].shape != batch.shape:
                version = other.served.version
                what = f"version {version}, which is served too, brings the picture to another size."
                raise InputError(what, "Leave --keep out, or use --no-warm-up.")
    except InputError as error:
        raise InputError(f"--warm-up {picture or 'with a drawn street'}: {error.what}", error.remedy) from error
    # What the network makes of it is not known here, where it may not run; zeros of its shape do for the last step.
    output = _zeros(subject, batch)
    names = subject.served.names
    given: dict[str, dict[str, Array]] = {
        names.read: {PICTURE: np.frombuffer(content, np.uint8)},
        names.network: {subject.source.name: batch[0] if subject.batched else batch},
        names.labels: {NETWORK_OUTPUT: output, SIZE: size},
    }
    return Warmth(
        {model: {name: (name, array.shape) for name, array in arrays.items()} for model, arrays in given.items()},
        {model: {name: array.tobytes() for name, array in arrays.items()} for model, arrays in given.items()},
    )


def _zeros(subject: Subject, batch: Array) -> Array:
    """Zeros in the shape of the network's output for a batch of one."""
    sides = dict(zip(subject.source.layout, batch.shape, strict=True))
    output = subject.output
    shape: list[int] = [1]
    for axis, size in zip(output.layout[1:], output.shape[1:], strict=True):
        shape.append(size if isinstance(size, int) else sides[axis])
    return np.zeros(shape, output.dtype)


def _drawn(subject: Subject) -> bytes:
    """A JPEG file of a street scene of the artefact's or the card's size."""
    from PIL import Image

    from ccdeploy.datasets.streets import SMALLEST_SIDE, Streets

    profile = profile_of(subject.manifest)
    size = subject.served.size or (subject.card.input.size if all(subject.card.input.size) else PROBE)
    if profile is not None and subject.served.size is None:
        layout = subject.source.layout
        size = (profile.opt[layout.index("H")], profile.opt[layout.index("W")])
    height, width = (max(side, SMALLEST_SIDE) for side in size)
    file = io.BytesIO()
    Image.fromarray(Streets(1, (height, width))[0].picture).save(file, format="JPEG", quality=90)
    return file.getvalue()
