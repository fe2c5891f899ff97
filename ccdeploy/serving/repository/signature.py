"""Whether an artefact's tensors are such as pictures go into and labels come out of, and its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.serving.contract import triton_type

_LAYOUTS = {"tensor": ("NCHW", "NCHW"), "image": ("NHWC", "NHW")}
"""How input and output of either kind of artefact lie."""
_REMEDY = "Export it again with ccdeploy."


def check_tensors(artefact: Path, manifest: Manifest) -> None:
    """Whether the steps around a network can feed it and read it.

    Raises:
        UsageError: layouts or types that they do not know, or one side open and the other fixed.
        ArtefactError: an ONNX file whose graph is not what its manifest says.
    """
    source, output = manifest.inputs[0], manifest.outputs[0]
    layouts = _LAYOUTS[manifest.io]
    if (source.layout, output.layout) != layouts:
        raise UsageError(
            f"{artefact} has the layouts {source.layout} and {output.layout}, {layouts[0]} and {layouts[1]} were "
            "expected.",
            _REMEDY,
        )
    for tensor in (source, output):
        if len(tensor.shape) != len(tensor.layout):
            raise ArtefactError(f"{artefact}: {tensor} has not as many sizes as axes.", _REMEDY)
        if triton_type(tensor.dtype) == "BF16":
            raise UsageError(f"{artefact}: {tensor} is of a type that NumPy does not have.", _REMEDY)
    sides = [source.shape[source.layout.index(axis)] for axis in "HW"]
    if isinstance(sides[0], int) != isinstance(sides[1], int):
        raise UsageError(
            f"{artefact} leaves one side open ({sides[0]}x{sides[1]}), both or none was expected.", _REMEDY
        )
    if manifest.kind == "onnx":
        _check_graph(artefact, manifest)


def _check_graph(artefact: Path, manifest: Manifest) -> None:
    from ccdeploy.engine.onnx_files import load_graph

    graph = load_graph(artefact).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    outputs = [value for value in graph.output if value.name == manifest.outputs[0].name]
    for what, values, tensors in (("inputs", inputs, manifest.inputs), ("output", outputs, manifest.outputs)):
        seen, expected = _in_graph(values), _in_manifest(tensors)
        if seen != expected:
            raise ArtefactError(
                f"{artefact}: the graph's {what} are {seen or 'none'}, its manifest says {expected}.",
                "Another tool changed the file: export it again.",
            )


def _in_manifest(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{tensor.name} {tensor.dtype} {_shape(tensor.shape)}" for tensor in tensors)


def _in_graph(values: Iterable[Any]) -> str:
    from onnx.helper import tensor_dtype_to_np_dtype

    found = []
    for value in values:
        kind = value.type.tensor_type
        dtype = tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
        shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in kind.shape.dim]
        found.append(f"{value.name} {dtype} {_shape(shape)}")
    return ", ".join(found)


def _shape(shape: Iterable[int | str]) -> str:
    """Fixed sizes, and ? where one is open: tools rename open axes."""
    return "x".join(str(size) if isinstance(size, int) else "?" for size in shape)
