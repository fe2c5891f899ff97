"""What a model repository and its clients agree on: names of models and tensors, and the facts in a model's config.

Of an artefact that is packaged as NAME, four Triton models are made:

    NAME           the ensemble: bytes of a JPEG or PNG file -> labels at the picture's own size
    NAME_read      bytes -> the network's input, and the picture's height and width
    NAME_network   the artefact; tensors as its manifest states them
    NAME_labels    the network's output and the size -> labels

The ensemble and the network carry `Served` as JSON in their config's parameter `ccdeploy`, so that a client needs
nothing but the server's address.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any

from ccdeploy.documents import Mismatch, from_json, strict_json
from ccdeploy.engine.manifest import LARGEST_DIMENSION, Manifest, parse_manifest
from ccdeploy.errors import ArtefactError, UsageError

FORMAT = 1
PARAMETER = "ccdeploy"
"""The key of a model config's parameter that holds `Served`."""
PICTURE = "picture"
"""Input of the ensemble: the bytes of a picture file, UINT8 [-1]. Not BYTES: that type goes through the C interface of
NumPy in Triton's Python backend, which older servers have compiled for NumPy 1."""
LABELS = "labels"
"""Output of the ensemble: the class of each pixel, UINT8 [height, width]."""
SIZE = "size"
"""Between the steps: height and width of the picture, INT32 [2]."""
TENSORRT, ONNXRUNTIME, PYTHON = "tensorrt", "onnxruntime", "python"
BACKENDS = (TENSORRT, ONNXRUNTIME, PYTHON)
MOST_PIXELS = 1 << 26
"""Of a picture that a server decodes, unless told otherwise: 67 million, 8192x8192."""
PICTURE_FILES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How the files begin that a server decodes, JPEG and PNG. Other decoders stay out of reach: what nobody runs has no
holes."""
LARGEST_FILE = 1 << 26
"""Bytes of a picture's file: what Triton's HTTP server takes at most, unless told otherwise."""
TOKEN_HEADER = "ccdeploy-token"
"""The HTTP header of the token that guards what changes a server; in gRPC's metadata behind "triton-grpc-protocol-"."""
_TRITON_TYPES = {
    "float32": "FP32",
    "float16": "FP16",
    "bfloat16": "BF16",
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
}


@dataclass(frozen=True)
class Names:
    """The models of an artefact; see the module."""

    ensemble: str

    @property
    def read(self) -> str:
        """Bytes to the network's input."""
        return f"{self.ensemble}_read"

    @property
    def network(self) -> str:
        """The artefact."""
        return f"{self.ensemble}_network"

    @property
    def labels(self) -> str:
        """The network's output to labels."""
        return f"{self.ensemble}_labels"


@dataclass(frozen=True)
class Served:
    """What a server says of a deployment.

    Attributes:
        name: of the ensemble.
        version: of the models, 1 or more.
        backend: one of BACKENDS, of the network.
        resize: short and long side that bound a picture; see `ccdeploy.windows.Plan`.
        size: height and width that pictures are brought to; None: they keep theirs, but for `resize`.
        most_pixels: of a picture; larger ones are refused.
        batch: pictures that the network takes at once, at most.
        manifest: the artefact's, portable, as JSON.
    """

    name: str
    version: int
    backend: str
    resize: tuple[int, ...] | None
    size: tuple[int, ...] | None
    most_pixels: int
    batch: int
    manifest: dict[str, Any]
    format: int = FORMAT

    @property
    def names(self) -> Names:
        """The names of its models."""
        return Names(self.name)

    def manifest_of(self) -> Manifest:
        """The artefact's manifest, checked."""
        return parse_manifest(json.dumps(self.manifest), f"the manifest of {self.name} on the server")

    def to_json(self) -> str:
        """One line of JSON, ASCII: some servers do not keep other characters of a parameter."""
        return json.dumps(dataclasses.asdict(self))


def parse_served(text: str, where: str) -> Served:
    """Reads `Served.to_json`, strictly.

    Args:
        text: the parameter's value.
        where: its place in errors.

    Raises:
        ArtefactError: it is none, or of a newer ccdeploy.
    """
    remedy = "Package the artefact again with this ccdeploy."
    try:
        data = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{where}: the parameter `{PARAMETER}` is not JSON ({error}).", remedy) from error
    if isinstance(data, dict) and data.get("format") != FORMAT:
        raise ArtefactError(f"{where}: format {data.get('format')!r}, this ccdeploy reads format {FORMAT}.", remedy)
    try:
        served = from_json(Served, data, PARAMETER)
        _check(served)
    except Mismatch as error:
        raise ArtefactError(f"{where}: {error}.", remedy) from error
    return served


def _check(served: Served) -> None:
    for name in ("resize", "size"):
        sides = getattr(served, name)
        if sides is not None and (len(sides) != 2 or not all(0 < side <= LARGEST_DIMENSION for side in sides)):
            raise Mismatch(f"`{PARAMETER}.{name}` is {sides}, two sides were expected")
    if served.backend not in BACKENDS:
        raise Mismatch(f"`{PARAMETER}.backend` is {served.backend!r}, one of {', '.join(BACKENDS)} was expected")
    for name in ("version", "most_pixels", "batch"):
        if getattr(served, name) < 1:
            raise Mismatch(f"`{PARAMETER}.{name}` is {getattr(served, name)}, 1 or more was expected")
    if not re.fullmatch(MODEL_NAME, served.name):
        raise Mismatch(f"`{PARAMETER}.name` is {served.name!r}, which is no name of a model")


MODEL_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
"""What can be a folder, a part of a URL and a label of a metric."""


def triton_type(dtype: str) -> str:
    """Triton's name of a tensor's type, without "TYPE_".

    Raises:
        UsageError: it has none.
    """
    if dtype not in _TRITON_TYPES:
        raise UsageError(
            f"Triton has no type for tensors of {dtype}; it has {', '.join(_TRITON_TYPES)}.",
            "Export the network with another --precision or --io.",
        )
    return _TRITON_TYPES[dtype]
