"""From a deployable module to an ONNX graph in which a reader finds the network's own names."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx_ir as ir
import onnxscript
import torch

from ccdeploy import __version__
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.deployable import Deployable
from ccdeploy.op import onnx_op

SCOPES = "pkg.torch.onnx.name_scopes"
WRAPPER = "network."
"""The place of the network in `Deployable`; readers know nothing of it."""


def trace(
    module: Deployable, sample: torch.Tensor, axes: dict[int, str], opset: int, names: tuple[str, str]
) -> tuple[ir.Model, dict[str, str]]:
    """Traces a module into an ONNX model.

    Args:
        module: in its final float type.
        sample: an input; sizes not in `axes` are fixed to it.
        axes: dynamic axes of the input, by index, with their names.
        opset: version of the standard operators.
        names: of the graph's input and output.

    Returns:
        The model, and the name of the value that holds each stage of the network.
    """
    onnx_op.register_schema()
    domain = onnxscript.values.Opset(onnx_op.DOMAIN, onnx_op.VERSION)

    def node(qkv: Any, residual: Any, query_channels: int) -> Any:
        return domain.CrissCrossAttention(qkv, residual, query_channels=query_channels)

    with torch.no_grad(), CudaStaysOnCpu(), quiet():
        stages = {stage: stage.replace("-", "_").replace(" ", "_") for stage in module.stages}
        program = torch.onnx.export(
            module,
            (sample,),
            dynamo=True,
            opset_version=opset,
            input_names=[names[0]],
            output_names=[names[1], *stages.values()],
            dynamic_shapes=(dict(axes),) if axes else None,
            custom_translation_table={torch.ops.ccdeploy.criss_cross_attention.default: node},
            verbose=False,
        )
    assert program is not None
    model = program.model
    while len(model.graph.outputs) > 1:
        model.graph.outputs.pop()  # one by one: a slice would leave them marked as outputs
    model.functions[(onnx_op.DOMAIN, onnx_op.NAME, "")] = ir.serde.deserialize_function(onnx_op.function(opset))
    model.opset_imports[onnx_op.DOMAIN] = onnx_op.VERSION
    _name_after_modules(model)
    model.producer_name, model.producer_version = "ccdeploy", __version__
    return model, stages


def _name_after_modules(model: ir.Model) -> None:
    """Names nodes and weights after their modules, and drops the tracer's notes (they hold paths of this machine)."""
    used: Counter[str] = Counter()
    tensors = {value.name for value in model.graph.inputs}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):  # into the branches of a user's conditions too
        modules = [scope for scope in _scopes(node)[:-1] if scope and not scope.startswith("_")]  # _: the tracer's own
        place = modules[-1] if modules else ""
        name = f"{place}.".removeprefix(WRAPPER).rstrip(".") + f"/{node.op_type}"
        name = name.lstrip("/")
        used[name] += 1
        node.name = name if used[name] == 1 else f"{name}_{used[name]}"
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            tensors.add(value.name)
    for graph in model.graphs():
        graph.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()
    for value in list(model.graph.initializers.values()):
        if value.name is not None and value.name.startswith(WRAPPER):
            name = value.name.removeprefix(WRAPPER)
            value.name = value.name if name in tensors else name  # a weight may be called like the input, say
    model.metadata_props.clear()


def _scopes(node: ir.Node) -> list[str]:
    """Paths of the modules around a node, outermost first; the last entry is the operation itself."""
    try:
        scopes = ast.literal_eval(node.metadata_props.get(SCOPES, "[]"))
    except (ValueError, SyntaxError):
        return []
    return [str(scope) for scope in scopes]


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter's logs and warnings speak to its developers; what a user must know is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
