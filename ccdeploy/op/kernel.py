"""The CUDA kernel for PyTorch's tensors: the library's C interface, called on data pointers and the current stream.

CCDEPLOY_KERNEL says what runs on CUDA tensors:
- "auto" (unless set): the kernel where a library that runs on the GPU lies in the cache (`ccdeploy build-plugin`) or
  is named by CCDEPLOY_PLUGIN, and the shape is within its limits. Otherwise PyTorch's definition, with a warning that
  says why, once a reason. Nothing is ever compiled here.
- "require": the kernel, or an error that says why not.
- "off": PyTorch's definition.
"""

from __future__ import annotations

import ctypes
import os
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.native.architectures import text_of, uncovered
from ccdeploy.native.library import Library, find_cached, named_library
from ccdeploy.op.definition import criss_cross_attention as definition
from ccdeploy.op.kernel_limits import why_unsupported

POLICY = "CCDEPLOY_KERNEL"
AUTO, REQUIRE, OFF = "auto", "require", "off"
API_VERSION = 1
"""Of include/ccdeploy/criss_cross.h."""

_TYPES = {torch.float32: ("fp32", 0), torch.float16: ("fp16", 1), torch.bfloat16: ("bf16", 2)}
"""Precision, and ccdeploy_type."""
_LAYOUTS = {torch.channels_last: 0, torch.contiguous_format: 1}
"""ccdeploy_layout: channels last is what the kernel reads; the other is transposed through the workspace."""
_ALIGNMENT = 16


class KernelWarning(UserWarning):
    """PyTorch's definition computes what the kernel was expected to."""


class Problem(ctypes.Structure):
    """ccdeploy_criss_cross of the C interface."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("tile", ctypes.c_int32),
        ("batch", ctypes.c_int32),
        ("channels", ctypes.c_int32),
        ("query_channels", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
    )


class Kernel:
    """A library that is loaded into this process. May be used from any thread."""

    def __init__(self, path: Path) -> None:
        """Loads it; native code runs from here on.

        Raises:
            ArtefactError: it does not load, lacks the C interface, or has another version of it.
        """
        self.path = path
        remedy = "Build it with this ccdeploy: `ccdeploy build-plugin`."
        try:
            library = ctypes.CDLL(str(path))
            self._version = library.ccdeploy_api_version
            self._workspace = library.ccdeploy_criss_cross_workspace
            self._launch = library.ccdeploy_criss_cross_launch
            self._last_error = library.ccdeploy_last_error
        except (OSError, AttributeError) as error:
            raise ArtefactError(f"The library {path} does not load: {error}.", remedy) from error
        self._version.argtypes, self._version.restype = [], ctypes.c_int32
        if (version := self._version()) != API_VERSION:
            raise ArtefactError(
                f"The library {path} has version {version} of the C interface, {API_VERSION} was expected.", remedy
            )
        problem, pointer = ctypes.POINTER(Problem), ctypes.c_void_p
        self._workspace.argtypes, self._workspace.restype = [problem, ctypes.POINTER(ctypes.c_size_t)], ctypes.c_int
        self._launch.argtypes = [problem, pointer, pointer, pointer, pointer, ctypes.c_size_t, pointer]
        self._launch.restype = ctypes.c_int
        self._last_error.argtypes, self._last_error.restype = [], ctypes.c_char_p

    def run(self, qkv: torch.Tensor, residual: torch.Tensor, query_channels: int, stream: int) -> torch.Tensor:
        """Computes the packed operator on a CUDA stream, of the current device.

        Args:
            qkv: [B, 2 * Cq + C, H, W].
            residual: [B, C, H, W], of qkv's type (float32, float16 or bfloat16) and device.
            query_channels: Cq.
            stream: a cudaStream_t; the tensors' memory must be of a device that it belongs to.

        Returns:
            [B, C, H, W], in the memory format of `memory_format_of(residual)`.

        Raises:
            MissingError: the library refused; says what it saw and expected.
        """
        layout = memory_format_of(residual)
        qkv, residual = _dense(qkv, layout), _dense(residual, layout)
        batch, channels, height, width = residual.shape
        _, type_ = _TYPES[residual.dtype]
        problem = Problem(type_, _LAYOUTS[layout], 0, batch, channels, query_channels, height, width)
        size = ctypes.c_size_t()
        self._check(self._workspace(problem, size))
        y = torch.empty_like(residual, memory_format=layout)
        # PyTorch's allocator gives memory of the current stream, and gives it away again only to work that comes later
        # on that stream: copies and workspace may be dropped as soon as the launch is enqueued.
        workspace = torch.empty(size.value, dtype=torch.uint8, device=residual.device)
        self._check(
            self._launch(
                problem, qkv.data_ptr(), residual.data_ptr(), y.data_ptr(), workspace.data_ptr(), size.value, stream
            )
        )
        return y

    def _check(self, status: int) -> None:
        if status != 0:
            said = (self._last_error() or b"").decode("utf-8", "replace")
            raise MissingError(
                f"The criss-cross kernel refused: {said} (status {status}).",
                f"{POLICY}=off computes it by PyTorch's definition.",
            )


def memory_format_of(residual: torch.Tensor) -> torch.memory_format:
    """The memory format of the operator's result: channels last if the residual is, else contiguous."""
    nchw = residual.is_contiguous()  # first: a tensor of one channel or one pixel is both
    if not nchw and residual.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def on_gpu(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    """The packed operator on CUDA tensors, by what CCDEPLOY_KERNEL says; see the module.

    Raises:
        MissingError: "require", and the kernel cannot run.
        UsageError: CCDEPLOY_KERNEL or CCDEPLOY_PLUGIN holds something else than expected.
    """
    policy = os.environ.get(POLICY) or AUTO
    if policy not in (AUTO, REQUIRE, OFF):
        raise UsageError(
            f"{POLICY} is {policy!r}, {AUTO}, {REQUIRE} or {OFF} was expected.", f"Correct or unset {POLICY}."
        )
    if policy != OFF:
        choice = choose(qkv, residual, query_channels, torch.cuda.get_device_capability(residual.device))
        if choice.kernel is not None:
            with torch.cuda.device(residual.device):
                stream = torch.cuda.current_stream().cuda_stream
                return choice.kernel.run(qkv, residual, query_channels, stream)
        if policy == REQUIRE:
            raise MissingError(f"The criss-cross kernel cannot run: {choice.why_not}.", choice.remedy)
        _warn_once(choice)
    return definition(qkv, residual, query_channels).contiguous(memory_format=memory_format_of(residual))


@dataclass(frozen=True)
class Choice:
    """The kernel to use, or why there is none and what to do about it."""

    kernel: Kernel | None
    why_not: str = ""
    remedy: str = ""


def choose(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int, capability: tuple[int, int]) -> Choice:
    """Whether the kernel computes these operands on a GPU of a compute capability, such as (8, 9).

    Raises:
        UsageError: CCDEPLOY_PLUGIN names no library.
    """
    batch, channels, height, width = residual.shape
    architecture = 10 * capability[0] + capability[1]
    precision, _ = _TYPES.get(residual.dtype, (str(residual.dtype).removeprefix("torch."), -1))
    limit = why_unsupported(
        precision,
        channels=channels,
        query_channels=query_channels,
        batch=batch,
        height=height,
        width=width,
        architecture=architecture,
    )
    if limit:
        return Choice(None, limit, f"{POLICY}=off computes it by PyTorch's definition and says nothing.")
    return _kernel_for(architecture, os.environ.get("CCDEPLOY_PLUGIN", ""))


@cache
def _kernel_for(architecture: int, named: str) -> Choice:
    """Looked for once a GPU type: a forward pass has no time to search. `named` is CCDEPLOY_PLUGIN."""
    target = text_of(architecture)
    library: Library | None = named_library() if named else find_cached([target])
    remedy = f"ccdeploy build-plugin --arch {architecture}, then start this program again."
    if library is None:
        return Choice(None, f"no library for compute capability {target} has been built", remedy)
    if library.info is not None and uncovered(library.info.architectures, [target]):
        held = library.info.architectures
        return Choice(None, f"{library.path} holds code for {held}, the GPU has compute capability {target}", remedy)
    return Choice(load(library.path))


@cache
def load(path: Path) -> Kernel:
    """The library of a file, loaded once a process."""
    return Kernel(path)


_warned: set[str] = set()
_warned_lock = threading.Lock()


def _warn_once(choice: Choice) -> None:
    with _warned_lock:
        if choice.why_not in _warned:
            return
        _warned.add(choice.why_not)
    warnings.warn(
        f"criss-cross attention runs by PyTorch's definition, not by the kernel: {choice.why_not}. {choice.remedy}",
        KernelWarning,
        stacklevel=3,
    )


def _dense(tensor: torch.Tensor, layout: torch.memory_format) -> torch.Tensor:
    """The tensor in a layout, aligned as the kernel reads it; itself where it already is."""
    tensor = tensor.contiguous(memory_format=layout)
    return tensor if tensor.data_ptr() % _ALIGNMENT == 0 else tensor.clone(memory_format=layout)
