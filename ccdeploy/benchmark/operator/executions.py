"""Every execution of the operator that can be timed here: prepared on the same operands, or the reason why not.

All compute y from qkv and residual, which lie in memory before; no projection is timed. On a CPU a run is from operands
in memory to the result in memory. On a GPU operands and result stay on the device, and a run is timed between two
events; before them the GPU overwrites more memory than its caches hold, so that operands come from memory and the host
has enqueued everything in time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ccdeploy.benchmark.operator.on_gpu import CudaRuns
from ccdeploy.benchmark.timing import Runs
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.errors import MissingError
from ccdeploy.op.cases import MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention
from ccdeploy.op.operands import random_operands
from ccdeploy.op.well_known import attention_part, infinite_diagonal
from ccdeploy.runners import Array, open_runner
from ccdeploy.tracing import quiet

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
KERNEL = "kernel"
EAGER = "definition, PyTorch"
COMPILED = "definition, torch.compile"
WELL_KNOWN = "well-known module, PyTorch"
WELL_KNOWN_ONNX = "well-known module, onnxruntime"
OURS_ONNX = "ONNX function, onnxruntime"
SLACK = 4.0
"""How far an execution may be from float64, in units of MAX_ERROR, which is the kernel's: others round elsewhere."""


@dataclass(frozen=True)
class Work:
    """Operands of one case, and what the operator gives in float64 for them as they were rounded."""

    case: Case
    dtype: str
    on_gpu: bool
    threads: int | None
    qkv: torch.Tensor
    residual: torch.Tensor
    expected: npt.NDArray[np.float64]

    @staticmethod
    def of(case: Case, dtype: str, on_gpu: bool, threads: int | None, seed: int) -> Work:
        """Random operands (see ccdeploy.op.operands), on the device."""
        wide = [torch.from_numpy(operand).to(DTYPES[dtype]) for operand in random_operands(case, seed)]
        expected = criss_cross_attention(wide[0].double(), wide[1].double(), case.query_channels).numpy()
        device = "cuda" if on_gpu else "cpu"
        return Work(case, dtype, on_gpu, threads, wide[0].to(device), wide[1].to(device), expected)

    def error_of(self, y: Array) -> float:
        """The largest difference from float64; infinite where y is of another shape or not finite."""
        wide = y.astype(np.float64)
        if wide.shape != self.expected.shape or not np.isfinite(wide).all():
            return float("inf")
        return float(np.abs(wide - self.expected).max())

    def limit_for(self, name: str) -> float:
        """The largest difference that is taken for rounding."""
        return MAX_ERROR[self.dtype] * (1.0 if name == KERNEL else SLACK)


@dataclass(frozen=True)
class Ready:
    """An execution that may be timed, and its result."""

    runs: Runs
    result: Callable[[], Array]


Prepare = Callable[[Work, ExitStack], Ready]


def _definition(work: Work, stack: ExitStack) -> Ready:
    return _in_torch(work, criss_cross_attention, (work.qkv, work.residual, work.case.query_channels))


def _compiled(work: Work, stack: ExitStack) -> Ready:
    torch.compiler.reset()
    function = torch.compile(criss_cross_attention, dynamic=False)
    return _in_torch(work, function, (work.qkv, work.residual, work.case.query_channels))


def _well_known(work: Work, stack: ExitStack) -> Ready:
    """Its mask is made before, of the operands' type: as people paste it, it does not run in 16 bits at all."""
    case = work.case
    sizes = [case.query_channels, case.query_channels, case.channels]
    parts = [part.contiguous() for part in torch.split(work.qkv, sizes, dim=1)]
    with CudaStaysOnCpu():
        mask = infinite_diagonal(case.batch, case.height, case.width)
    gamma = torch.ones(1, dtype=work.qkv.dtype, device=work.qkv.device)
    return _in_torch(work, attention_part, (*parts, mask.to(work.qkv), gamma, work.residual))


def _kernel(work: Work, stack: ExitStack) -> Ready:
    if not work.on_gpu:
        raise MissingError("there is no GPU; the emulator tells nothing of speed", "Run on a machine with a GPU.")
    from ccdeploy.op.kernel import choose

    qkv, residual = (operand.contiguous(memory_format=torch.channels_last) for operand in (work.qkv, work.residual))
    choice = choose(qkv, residual, work.case.query_channels, torch.cuda.get_device_capability())
    if choice.kernel is None:
        raise MissingError(choice.why_not, choice.remedy)
    kernel = choice.kernel
    stream = torch.cuda.current_stream().cuda_stream
    return _in_torch(work, kernel.run, (qkv, residual, work.case.query_channels, stream))


def _ours_in_onnxruntime(work: Work, stack: ExitStack) -> Ready:
    import onnx

    from ccdeploy.op.onnx_op import OPSET, function, operator_model

    elements = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
    qkv, residual = tuple(work.qkv.shape), tuple(work.residual.shape)
    definition = function(OPSET[work.dtype])
    model = operator_model(definition, work.case.query_channels, qkv, residual, 10, elements[work.dtype])
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccdeploy-"))) / "operator.onnx"
    onnx.save(model, path)
    return _in_onnxruntime(work, path, stack)


class _WellKnownOperator(torch.nn.Module):
    """The well-known module's attention on stacked operands, with the mask that it builds itself."""

    def __init__(self, query_channels: int, channels: int) -> None:
        super().__init__()
        self.sizes = [query_channels, query_channels, channels]

    def forward(self, qkv: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        query, key, value = torch.split(qkv, self.sizes, dim=1)
        mask = infinite_diagonal(value.shape[0], value.shape[2], value.shape[3]).to(qkv.dtype)
        return attention_part(query, key, value, mask, torch.ones(1, dtype=qkv.dtype), residual)


def _well_known_in_onnxruntime(work: Work, stack: ExitStack) -> Ready:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccdeploy-"))) / "well_known.onnx"
    module = _WellKnownOperator(work.case.query_channels, work.case.channels).eval()
    operands = (work.qkv.cpu(), work.residual.cpu())
    with torch.no_grad(), CudaStaysOnCpu(), quiet():
        torch.onnx.export(module, operands, path, dynamo=True, verbose=False, input_names=["qkv", "residual"])
    return _in_onnxruntime(work, path, stack)


EXECUTIONS: Mapping[str, Prepare] = {
    KERNEL: _kernel,
    EAGER: _definition,
    COMPILED: _compiled,
    WELL_KNOWN: _well_known,
    OURS_ONNX: _ours_in_onnxruntime,
    WELL_KNOWN_ONNX: _well_known_in_onnxruntime,
}
"""In the order of the report."""


class _TorchRuns:
    """A function of tensors on the CPU."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.y: torch.Tensor | None = None

    @torch.no_grad()
    def run(self) -> None:
        self.y = self.function(*self.arguments)

    def run_on_device(self) -> float | None:
        return None


def _in_torch(work: Work, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Ready:
    runs = CudaRuns(function, arguments) if work.on_gpu else _TorchRuns(function, arguments)

    def result() -> Array:
        assert runs.y is not None
        values: Array = runs.y.float().cpu().numpy()
        return values

    return Ready(runs, result)


def _in_onnxruntime(work: Work, path: Path, stack: ExitStack) -> Ready:
    if work.dtype == "bf16":
        raise MissingError("NumPy has no bfloat16 to feed it with", "Time fp32 or fp16.")
    provider, threads = ("cuda", None) if work.on_gpu else ("cpu", work.threads)
    runner = stack.enter_context(open_runner(path, provider=provider, threads=threads))
    inputs = {"qkv": work.qkv.cpu().numpy(), "residual": work.residual.cpu().numpy()}
    prepared = stack.enter_context(runner.prepare(inputs))
    if work.on_gpu and prepared.run_on_device() is None:
        raise MissingError("this runtime gives no time on the device alone", "Compare it on whole networks instead.")
    return Ready(prepared, lambda: next(iter(prepared.outputs.values())))
