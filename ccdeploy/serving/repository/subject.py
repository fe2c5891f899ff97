"""From an artefact and options to what is served of it; what a server could not serve is refused, with the reason."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import Card, card_from_dict
from ccdeploy.engine.flavour import TENSORRT as FULL_TENSORRT
from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.segment.passing import check_colours
from ccdeploy.segmenters import MOST_CLASSES, fixed_size
from ccdeploy.serving.backend.steps import profile_of
from ccdeploy.serving.contract import (
    MODEL_NAME,
    MOST_PIXELS,
    ONNXRUNTIME,
    PYTHON,
    TENSORRT,
    Served,
)
from ccdeploy.serving.repository.options import MAX_BATCH, Packaging
from ccdeploy.serving.repository.signature import check_tensors

MOST_PIXELS_OF_OPEN_SIZE = 1 << 23
"""Of a picture that goes through the network at its own size: 8 million, a frame of 4K video has 8.3 of 8.4."""


@dataclass(frozen=True)
class Subject:
    """An artefact that can be served, and how.

    Attributes:
        artefact: its file.
        manifest: what it is; portable, with its digests.
        card: of its network.
        served: what clients are told; its version is 1 until it is known.
        batched: whether the network's batch is open, so that the server forms batches.
        gpus: as in Packaging, decided: None is the CPU.
        notes: what a user should know.
    """

    artefact: Path
    manifest: Manifest
    card: Card
    served: Served
    batched: bool
    gpus: tuple[int, ...] | None
    notes: tuple[str, ...]

    @property
    def source(self) -> Tensor:
        """The network's input."""
        return self.manifest.inputs[0]

    @property
    def output(self) -> Tensor:
        """The network's output."""
        return self.manifest.outputs[0]


def subject_of(artefact: Path, packaging: Packaging) -> Subject:
    """What is served of an artefact.

    Raises:
        ArtefactError: it is damaged, or not of ccdeploy's making.
        UsageError: a server cannot serve it, or not so.
    """
    manifest = manifest_of(artefact)
    if not manifest.card:
        raise ArtefactError(
            f"{artefact} was not exported by ccdeploy: nobody says how it takes pictures.",
            "Export the network with `ccdeploy export`.",
        )
    card = card_from_dict(manifest.model, manifest.card)
    check_colours(card)
    name = artefact.stem if packaging.name is None else packaging.name
    check_name(name, "--name" if packaging.name is not None else f"{artefact.name}'s name without its suffix")
    _check_classes(artefact, manifest, card)
    check_tensors(artefact, manifest)
    backend = packaging.backend or (TENSORRT if manifest.kind == "engine" else PYTHON)
    gpus = () if packaging.gpus is None and manifest.kind == "engine" else packaging.gpus
    notes = [*_backend_notes(artefact, manifest, backend, gpus), *_passing_notes(manifest, card)]
    size = fixed_size(manifest)
    resize = card.evaluation.resize if size is None else None
    batched, batch = _batch(artefact, manifest, packaging.max_batch)
    at_own_size = size is None and resize is None
    most = packaging.most_pixels or (MOST_PIXELS_OF_OPEN_SIZE if at_own_size else MOST_PIXELS)
    if at_own_size and packaging.most_pixels is None:
        notes.append(f"pictures pass at their own size: more than {most} pixels are refused (--most-pixels)")
    # Where the weights lay on this machine is nobody's business.
    manifest = dataclasses.replace(manifest, file=artefact.name, weights=dataclasses.replace(manifest.weights, path=""))
    served = Served(name, packaging.version or 1, backend, resize, size, most, batch, json.loads(manifest.to_json()))
    return Subject(artefact, manifest, card, served, batched, gpus, tuple(notes))


def check_name(name: str, where: str) -> None:
    """Whether a text can be the name of a deployment.

    Raises:
        UsageError: it cannot.
    """
    if not re.fullmatch(MODEL_NAME, name):
        raise UsageError(
            f"{where} is {name!r}, at most 100 letters (a-z), digits, dots, dashes and underscores were expected.",
            "Give another --name, which begins with a letter or digit.",
        )


def _check_classes(artefact: Path, manifest: Manifest, card: Card) -> None:
    output = manifest.outputs[0]
    classes = card.num_classes
    if "C" in output.layout and isinstance(seen := output.shape[output.layout.index("C")], int):
        if classes and classes != seen:
            raise ArtefactError(
                f"{artefact} gives logits of {seen} classes, its card has {classes}.",
                "The card's classes are not the network's: correct the card, or export again.",
            )
        classes = seen
    if classes > MOST_CLASSES:
        raise UsageError(
            f"{artefact} tells {classes} classes apart, a label map holds {MOST_CLASSES}.",
            "Use a network of fewer classes.",
        )


def _batch(artefact: Path, manifest: Manifest, wanted: int | None) -> tuple[bool, int]:
    """Whether the batch is open, and how many pictures go in at once at most."""
    source = manifest.inputs[0]
    axis = source.layout.index("N")
    if axis != 0 or manifest.outputs[0].layout.index("N") != 0:
        raise UsageError(f"{artefact}: the batch is not its first axis.", "Export it again with ccdeploy.")
    fixed = source.shape[axis]
    if isinstance(fixed, int):
        if fixed > 1:
            raise UsageError(
                f"{artefact} takes batches of {fixed} and no others; requests hold one picture.",
                "Export with --batch 1 or --dynamic batch.",
            )
        if wanted not in (None, 1):
            raise UsageError(
                f"{artefact} takes one picture at a time, --max-batch {wanted} was asked for.",
                "Export with --dynamic batch.",
            )
        return False, 1
    if (profile := profile_of(manifest)) is None:
        return True, wanted or MAX_BATCH
    least, most = profile.min[axis], profile.max[axis]
    if least > 1:
        raise UsageError(
            f"{artefact} takes {least} pictures or more at once; a request may come alone.",
            "Build it with a profile whose smallest batch is 1.",
        )
    if wanted is not None and wanted > most:
        raise UsageError(
            f"{artefact} takes {most} pictures at once, --max-batch {wanted} was asked for.",
            "Give a smaller one, or build it with a larger profile.",
        )
    return True, wanted or min(MAX_BATCH, most)


def _backend_notes(artefact: Path, manifest: Manifest, backend: str, gpus: tuple[int, ...] | None) -> list[str]:
    """What is to be known of a backend that can serve an artefact.

    Raises:
        UsageError: it cannot.
    """
    engine = manifest.engine
    if backend == TENSORRT:
        if engine is None:
            raise UsageError(
                f"{artefact} is an ONNX file, Triton's TensorRT backend takes engines.",
                "Build one with `ccdeploy build-engine --flavour tensorrt`, or use --backend python or onnxruntime.",
            )
        if engine.flavour != FULL_TENSORRT:
            raise UsageError(
                f"{artefact} is an engine of {engine.flavour}, Triton's TensorRT backend loads those of TensorRT.",
                "Build it with --flavour tensorrt, or use --backend python, which runs it as ccdeploy does.",
            )
        notes = [f"the server's TensorRT must be {engine.version}, as the engine's is"]
        if engine.plugin is not None and engine.plugin.embedded:
            notes.append("it carries native code (an embedded plugin), which the server must be told to run")
        return notes
    if backend == ONNXRUNTIME:
        return _onnxruntime_notes(artefact, manifest, gpus)
    if engine is None:
        return [] if gpus is None else ["the server's Python must have ccdeploy and onnxruntime-gpu"]
    if engine.plugin is not None and engine.plugin.embedded:
        raise UsageError(
            f"{artefact} carries native code (an embedded plugin), which ccdeploy's runner does not run unasked.",
            "Build it without --embed-plugin, or use --backend tensorrt.",
        )
    return [f"the server's Python must have ccdeploy, {engine.flavour} {engine.version} and PyCUDA"]


def _onnxruntime_notes(artefact: Path, manifest: Manifest, gpus: tuple[int, ...] | None) -> list[str]:
    if manifest.kind != "onnx":
        raise UsageError(
            f"{artefact} is an engine, Triton's ONNX Runtime backend takes ONNX files.",
            "Use --backend tensorrt or python.",
        )
    from ccdeploy.runners.providers import CPU, CUDA, why_not_as_it_stands

    remedy = "Use --backend python, which runs it as ccdeploy does."
    kind = manifest.quantization.type if manifest.quantization else ""
    if kind == "fp8":
        raise UsageError(
            f"{artefact} is quantised to fp8: an optimiser of onnxruntime, which its backend cannot leave out, takes "
            "fp8 zero points for uint8's.",
            remedy,
        )
    if kind == "int8" and gpus is None:
        raise UsageError(
            f"{artefact} is quantised to int8: on CPUs without VNNI onnxruntime's products saturate unless told not "
            "to, and Triton's backend has no way to tell it.",
            remedy,
        )
    if reason := why_not_as_it_stands(manifest.types, CPU if gpus is None else CUDA):
        raise UsageError(f"{artefact} ({manifest.types}) cannot run on the CPU as it stands: {reason}.", remedy)
    if gpus is None:
        notes = ["onnxruntime's backend runs it on the CPU: --gpus names GPUs"]
        if manifest.precision == "fp16":
            notes.append("onnxruntime computes fp16 on the CPU wider between nodes: labels may differ from a GPU's")
        return notes
    return ["onnxruntime leaves nodes that CUDA does not know to the CPU, and says so in the server's log only"]


def _passing_notes(manifest: Manifest, card: Card) -> list[str]:
    """Where a server passes pictures otherwise than the card evaluates its network."""
    evaluation, size = card.evaluation, fixed_size(manifest)
    notes = []
    if evaluation.mode == "slide" or size is not None:
        how = f"brought to {size[0]}x{size[1]}" if size else "at their own size"
        if size is None and evaluation.resize:
            how = f"short side at most {evaluation.resize[0]}, long side at most {evaluation.resize[1]}"
        card_says = "; the card evaluates in windows" if evaluation.mode == "slide" else ""
        windows = ": `ccdeploy segment --server URL --mode slide` sends windows" if manifest.io == "tensor" else ""
        notes.append(f"pictures pass whole, {how}{card_says}{windows}")
    if evaluation.scales != (1.0,) or evaluation.flip:
        notes.append("the card evaluates at several scales or mirrored; a server passes each picture once")
    return notes
