"""From the bytes of a picture to a network's input, and from its output to labels: what a server does for one request.

These are the local steps (`ccdeploy.windows`, `ccdeploy.segmenters`) for a picture that passes whole, once and not
mirrored: the labels are the same, bit by bit. Nothing here knows Triton.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.datasets import LabelMap
from ccdeploy.engine.manifest import Manifest, Profile
from ccdeploy.errors import ArtefactError, InputError
from ccdeploy.pictures import decoded
from ccdeploy.runners import Array
from ccdeploy.serving.backend.deployment import Deployment
from ccdeploy.serving.contract import LARGEST_FILE, PICTURE_FILES, Served
from ccdeploy.windows import Plan, labels_of_logits, nearest, resized

_PICTURE = "The picture"


def plan_of(served: Served) -> Plan:
    """How pictures pass: whole, once, not mirrored."""
    size, resize = ((sides[0], sides[1]) if sides else None for sides in (served.size, served.resize))
    return Plan("whole", size=size, resize=resize)


def network_input(content: bytes, deployment: Deployment) -> tuple[Array, npt.NDArray[np.int32]]:
    """The network's input, a batch of one, and the picture's height and width, int32 [2].

    Args:
        content: of a JPEG or PNG file.
        deployment: what it is for.

    Raises:
        InputError: it is no such file, is damaged or too large, or of a size that the network does not take.
    """
    if not content.startswith(PICTURE_FILES):
        what = f"{_PICTURE} {'is neither a JPEG nor a PNG file' if content else 'is empty'}"
        raise InputError(f"{what} ({len(content)} bytes).", "Send the bytes of a JPEG or PNG file.")
    if len(content) > LARGEST_FILE:
        what = f"{_PICTURE}'s file has {len(content)} bytes, {LARGEST_FILE} were expected at most."
        raise InputError(what, "Compress it.")
    picture = decoded(content, _PICTURE, deployment.served.most_pixels)
    height, width = picture.shape[:2]
    scaled = plan_of(deployment.served).scaled_size(height, width, 1.0)
    check_size(scaled, (height, width), deployment)
    batch = resized(picture, *scaled)[None]
    network = batch if deployment.manifest.io == "image" else normalise(batch, deployment.card)
    wanted = np.dtype(deployment.source.dtype)
    return np.ascontiguousarray(network, wanted), np.array([height, width], np.int32)


def check_size(scaled: tuple[int, int], own: tuple[int, int], deployment: Deployment) -> None:
    """Whether the network takes a picture that was brought to a size.

    Args:
        scaled: height and width that it goes in with.
        own: those that it came with.
        deployment: whose network.

    Raises:
        InputError: it does not.
    """
    if (profile := profile_of(deployment.manifest)) is None:
        return
    axes = [deployment.source.layout.index(axis) for axis in "HW"]
    least, most = ([shape[axis] for axis in axes] for shape in (profile.min, profile.max))
    if not all(a <= side <= b for a, side, b in zip(least, scaled, most, strict=True)):
        remedy = "Send another size, or use `ccdeploy segment --server URL --mode slide`, which sends windows."
        what = f"{_PICTURE} of {own[0]}x{own[1]} goes in as {scaled[0]}x{scaled[1]}"
        raise InputError(f"{what}, the engine takes {least[0]}x{least[1]} to {most[0]}x{most[1]}.", remedy)


def profile_of(manifest: Manifest) -> Profile | None:
    """The shapes that an engine of open size takes; None of any other artefact."""
    profiles = manifest.engine.profiles if manifest.engine else ()
    return next((profile for profile in profiles if profile.input == manifest.inputs[0].name), None)


def labels_of_output(output: Array, size: npt.NDArray[np.int32], deployment: Deployment) -> LabelMap:
    """The class of each pixel, uint8 [height, width].

    Args:
        output: the network's, of one picture, with or without the batch axis of one.
        size: height and width of the picture, [2].
        deployment: whose network.

    Raises:
        InputError: a size that no picture has.
        ArtefactError: the output is not of the card's network, or not finite.
    """
    height, width = (int(side) for side in size.reshape(-1))
    if not (height > 0 and width > 0 and height * width <= deployment.served.most_pixels):
        what = f"The size is {height}x{width}, 1 to {deployment.served.most_pixels} pixels were expected."
        raise InputError(what, "Give the height and width of the picture.")
    shape = output.shape[-len(deployment.output.shape) + 1 :]
    one = output.reshape(shape)
    classes = deployment.card.num_classes
    if deployment.manifest.io == "image":
        most = int(one.max())
        if not 0 <= most < (classes or 256):
            raise _of_another(f"labels up to {most}", f"labels below {classes or 256}")
        return nearest(one.astype(np.uint8), (height, width))
    if classes and len(one) != classes:
        raise _of_another(f"logits of {len(one)} classes", f"logits of {classes}")
    logits = np.asarray(one, np.float32)
    # A sum is finite only if all is, and found in a tenth of the time; that it overflows proves nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        total = logits.sum()
    if not np.isfinite(total) and not np.isfinite(logits).all():
        raise ArtefactError(
            "The logits of this picture are infinite or NaN: its values do not fit the artefact's float type.",
            "Export with --rescale, --keep-fp32 or another --precision.",
        )
    return labels_of_logits(logits, (height, width), deployment.card)


def _of_another(seen: str, expected: str) -> ArtefactError:
    return ArtefactError(
        f"The network gives {seen}, {expected} were expected.",
        "The card's classes are not the network's: correct the card, or export again.",
    )
