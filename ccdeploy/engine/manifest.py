"""The manifest: what an artefact is, written beside it and (for ONNX) into it.

Everything downstream reads it, so that nobody says twice what a file knows: which network and weights, which
tensors go in and come out and what they mean, and for an engine which TensorRT, cards and profiles it is for.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ccdeploy.ccnet.provenance import Weights
from ccdeploy.documents import Mismatch, from_json, strict_json
from ccdeploy.errors import ArtefactError
from ccdeploy.files import written_whole
from ccdeploy.precision import PRECISIONS

FORMAT = 1
METADATA_KEY = "ccdeploy.manifest"
"""The metadata key of an ONNX file that holds its manifest."""
QUANTIZED_TYPES = ("int8", "fp8")
LARGEST_DIMENSION = 65536
"""Of a tensor that goes in or comes out."""


@dataclass(frozen=True)
class Tensor:
    """One input or output. A dimension is a number, or the name of a dynamic axis."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} {self.layout} {'x'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Profile:
    """The shapes an engine accepts for one dynamic input."""

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


@dataclass(frozen=True)
class Plugin:
    """The plugin library whose layers an engine holds."""

    file: str
    sha256: str
    version: str
    """The plugin's own, as TensorRT knows it."""
    embedded: bool = False
    architectures: tuple[str, ...] = ()
    """What it holds code for, such as "80-real" or "86"; empty where the library does not tell."""
    source_sha256: str = ""
    """Of the sources it was compiled from; empty where the library does not tell."""


@dataclass(frozen=True)
class Engine:
    """What an engine was built with, and where it runs."""

    flavour: str
    version: str
    compute_capabilities: tuple[str, ...]
    """Such as "8.6"; for full TensorRT the card it was built on."""
    profiles: tuple[Profile, ...] = ()
    plugin: Plugin | None = None
    plugin_layers: int = 0
    layers: int = 0
    workspace_bytes: int | None = None
    build_seconds: float = 0.0


@dataclass(frozen=True)
class Quantization:
    """How a file was quantised: pairs of QuantizeLinear and DequantizeLinear around some of its layers."""

    type: str
    """Of quantised weights and activations, one of QUANTIZED_TYPES."""
    calibration: str
    """How ranges were chosen: minmax, entropy or percentile."""
    pictures: int
    """How many pictures the ranges are from."""
    source: str
    """Where those are from."""
    placement: str
    """Whose fusions the pairs are placed for: tensorrt or cpu."""
    layers: tuple[str, ...]
    """Names of the quantised nodes."""
    kept: dict[str, str] = field(default_factory=dict)
    """Names of the nodes that could be quantised and stay in the float type, with the reason."""
    percentile: float | None = None


@dataclass(frozen=True)
class Manifest:
    """See the module's first lines. `file` and `sha256` are the artefact's own."""

    kind: str
    """"onnx" or "engine"."""
    file: str
    sha256: str
    onnx_sha256: str
    ccdeploy: str
    model: str
    """What was exported: a card's name, a card file's name, or module:Class."""
    card: dict[str, Any]
    weights: Weights
    recurrence: int
    precision: str
    io: str
    dynamic: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    criss_cross_nodes: int
    stages: dict[str, str] = field(default_factory=dict)
    """Stage of the network -> name of the ONNX value that holds it, in the order of computation."""
    notes: tuple[str, ...] = ()
    """What a user was told while the artefact was made."""
    engine: Engine | None = None
    quantization: Quantization | None = None
    format: int = FORMAT

    @property
    def types(self) -> str:
        """What it computes in, as reports name it: "fp16", "int8+fp16"."""
        return f"{self.quantization.type}+{self.precision}" if self.quantization else self.precision

    def to_dict(self) -> dict[str, Any]:
        """The manifest as nested dictionaries."""
        return dataclasses.asdict(self)

    def to_json(self, *, portable: bool = False) -> str:
        """The manifest as JSON; `portable` leaves out what is only true on this machine."""
        data = self.to_dict()
        if portable:
            data["weights"]["path"] = ""
            data["sha256"] = data["onnx_sha256"] = ""  # a file cannot hold its own digest
        return json.dumps(data, indent=2, ensure_ascii=False)


def manifest_path(artefact: Path) -> Path:
    """Where an artefact's manifest lies: `model.onnx` -> `model.onnx.json`."""
    return artefact.with_name(artefact.name + ".json")


def write_manifest(manifest: Manifest, artefact: Path) -> Path:
    """Writes the manifest beside its artefact and returns its path."""
    path = manifest_path(artefact)
    with written_whole(path) as temporary:
        temporary.write_text(manifest.to_json() + "\n", encoding="utf-8")
    return path


def read_manifest(artefact: Path) -> Manifest:
    """Reads the manifest beside an artefact.

    Raises:
        ArtefactError: there is none, it is damaged, or a newer ccdeploy wrote it.
    """
    path = manifest_path(artefact)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{artefact} has no readable manifest: {path.name} was expected beside it.",
            "Keep the manifest with its artefact, or export or build it again with ccdeploy.",
        ) from error
    return parse_manifest(text, str(path))


def parse_manifest(text: str, where: str) -> Manifest:
    """Parses a manifest's JSON; `where` names its place in errors."""
    remedy = "Export or build the artefact again."
    try:
        data = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{where}: the manifest is not JSON ({error}).", remedy) from error
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        raise ArtefactError(f"{where}: this is not a ccdeploy manifest: the field `format` is missing.", remedy)
    if data["format"] != FORMAT:
        raise ArtefactError(
            f"{where}: manifest format {data['format']}, this ccdeploy reads format {FORMAT}.",
            "Use the ccdeploy that wrote it, or export and build again.",
        )
    try:
        manifest = from_json(Manifest, data, "manifest")
        _check_values(manifest)
    except Mismatch as error:
        raise ArtefactError(f"{where}: {error}.", remedy) from error
    return manifest


UNKNOWN = "unknown"
"""Of an artefact from a foreign ONNX file: its precision, layouts, and which axes are dynamic."""
_VALUES = {
    "kind": ("onnx", "engine"),
    "precision": (*PRECISIONS, UNKNOWN),
    "io": ("tensor", "image"),
    "dynamic": ("none", "batch", "size", "all", UNKNOWN),
}


def _check_values(manifest: Manifest) -> None:
    for name, known in _VALUES.items():
        if (value := getattr(manifest, name)) not in known:
            raise Mismatch(f"`manifest.{name}` is {value!r}, one of {', '.join(known)} was expected")
    if (manifest.engine is None) != (manifest.kind == "onnx"):
        raise Mismatch(f"`manifest.engine` does not go with `manifest.kind` {manifest.kind!r}")
    if manifest.weights.seed is not None and manifest.weights.seed < 0:
        raise Mismatch(f"`manifest.weights.seed` is {manifest.weights.seed}, 0 or more was expected")
    if manifest.quantization is not None and manifest.quantization.type not in QUANTIZED_TYPES:
        seen = manifest.quantization.type
        raise Mismatch(f"`manifest.quantization.type` is {seen!r}, one of {', '.join(QUANTIZED_TYPES)} was expected")
    if not manifest.card:
        return  # of a foreign file: its tensors may be anything
    if len(manifest.inputs) != 1 or len(manifest.outputs) != 1 or manifest.precision == UNKNOWN:
        raise Mismatch("one input, one output and their precision were expected of an exported network")
    tensor = manifest.inputs[0]
    if sorted(tensor.layout) != sorted("NCHW") or len(tensor.shape) != 4:
        raise Mismatch(f"the input {tensor} is not of four dimensions N, C, H and W")
    if any(isinstance(size, int) and not 0 < size <= LARGEST_DIMENSION for size in tensor.shape):
        raise Mismatch(f"the input {tensor} has a dimension outside of 1 to {LARGEST_DIMENSION}")
