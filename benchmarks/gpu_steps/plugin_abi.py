"""The TensorRT plugin without TensorRT: made, configured, serialised, made again and enqueued through its ABI.

`tools/plugin_driver.py` calls each function by its place in the virtual table. What the plugin computes must be what
the C interface computes, bit for bit, and no further from float64 than that may be.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from plugin_driver import DataType, Format, Library, loaded_plugin, operands

from ccdeploy.op.cases import MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention
from gpu_steps.context import Context
from gpu_steps.correctness import random_tensors, same_bits
from gpu_steps.library import CrissCrossLibrary, Device, GuardedMemory, Operands
from gpu_steps.record import DIFFERS, NOT_RUN, OK, Row

NAMESPACES = ("", "ccdeploy")
TYPES = {"fp16": DataType.HALF, "bf16": DataType.BF16, "fp32": DataType.FLOAT}
WAYS = (
    ("fp16", Format.HWC8, "nhwc"),
    ("bf16", Format.HWC8, "nhwc"),
    ("fp32", Format.HWC, "nhwc"),
    ("fp32", Format.LINEAR, "nchw"),
)
"""Precision, TensorRT's format, and the layout of the C interface that it is."""
_LIKE_TENSORRT = 101600
"""10.16: the plugin logs as it would there."""
_OLDEST_FOR_BF16 = (8, 0)


class PluginError(RuntimeError):
    """The plugin refused a step of an engine's life."""


def run(context: Context) -> Iterator[Row]:
    """The step."""
    device = Device(context.build.device)
    library = Library(Path(context.build.driver), Path(context.build.library))
    library.listen(_LIKE_TENSORRT)
    direct = CrissCrossLibrary(Path(context.build.library))
    case = Case(2, 64, 16, 9, 13) if context.few else Case(2, 512, 64, 97, 65)
    for namespace in NAMESPACES:
        for precision, format_, layout in WAYS:
            name = f"{precision} k{format_.name}" + (f", namespace {namespace}" if namespace else "")
            if precision == "bf16" and device.is_gpu and torch.cuda.get_device_capability() < _OLDEST_FOR_BF16:
                yield Row(name, NOT_RUN, "it needs compute capability 8.0")
                continue
            qkv, residual = random_tensors(case, context.seed, precision, device)
            given = Operands.of(case, precision, layout, qkv, residual)
            try:
                y = enqueue(library, namespace, given, format_, device)
            except PluginError as error:
                yield Row(name, DIFFERS, f"{error} {'; '.join(library.log())}".strip())
                continue
            expected = criss_cross_attention(qkv.double(), residual.double(), case.query_channels)
            distance = (given.nchw(y).double() - expected).abs().max().item()
            same = same_bits(y, direct.run_guarded(given, "auto", device))
            good = same and distance <= MAX_ERROR[precision]
            said = f"largest error {distance:.2e}, {MAX_ERROR[precision]:.0e} allowed; "
            said += "the bits of the C interface" if same else "NOT the bits of the C interface"
            yield Row(name, OK if good else DIFFERS, said, {"largest error": distance, "same bits": same})


def enqueue(library: Library, namespace: str, given: Operands, format_: Format, device: Device) -> torch.Tensor:
    """The result of a plugin that went through an engine's life, in the operands' layout.

    Raises:
        PluginError: the plugin refused one of its steps.
        RuntimeError: something was written beyond y or the workspace.
    """
    case = given.case
    tensors = operands(
        case.batch, case.channels, case.query_channels, case.height, case.width, TYPES[given.precision], format_
    )
    creator = library.creator(namespace)
    if creator is None:
        raise PluginError(f"the library has no creator in namespace {namespace!r}.")
    with loaded_plugin(creator, case.query_channels) as plugin:
        if not all(plugin.supports(position, tensors) for position in range(len(tensors))):
            raise PluginError(f"k{format_.name} is refused for {given.precision}.")
        inputs, outputs = ([each.profile() for each in part] for part in (tensors[:2], tensors[2:]))
        known = [each.desc() for each in tensors]
        if plugin.configure(inputs, outputs) != 0 or plugin.shape_change(known[:2], known[2:]) != 0:
            raise PluginError("the shapes are refused.")
        y = GuardedMemory(given.residual.numel() * given.residual.element_size(), device)
        workspace = GuardedMemory(plugin.workspace(inputs, outputs), device)
        qkv, residual = given.qkv.data_ptr(), given.residual.data_ptr()
        result, scratch = y.inside.data_ptr(), workspace.inside.data_ptr()
        device.wait()  # the operands are there, whatever stream comes next
        with torch.cuda.stream(torch.cuda.Stream()) if device.is_gpu else nullcontext():  # type: ignore[no-untyped-call]
            failed = plugin.enqueue(known, qkv, residual, result, scratch, device.stream())
        device.wait()
    if failed:
        raise PluginError(f"enqueue returned {failed}.")
    for name, memory in (("y", y), ("the workspace", workspace)):
        if not memory.guards_hold:
            raise RuntimeError(f"the plugin wrote beyond {name}")
    return y.inside.view(given.residual.dtype).reshape(given.residual.shape).clone()
