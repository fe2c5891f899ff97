"""The C interface on PyTorch's tensors, with every choice open: tile, layout, and memory that shows stray writes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch

from ccdeploy.op.cases import Case
from ccdeploy.op.kernel import API_VERSION, Problem

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
TYPES = {"fp32": 0, "fp16": 1, "bf16": 2}
LAYOUTS = {"nhwc": 0, "nchw": 1}
TILES = {"auto": 0, "narrow": 1, "wide": 2, "deep": 3}
UNSUPPORTED = 2
"""CCDEPLOY_UNSUPPORTED: also the answer to a tile that the library does not hold for this GPU."""

_GUARD = 1024
"""Elements before and behind y, and bytes around the workspace, that nobody may write."""
_GUARD_BYTE = 0x5A
_POISON_BYTE = 0xFF
"""Four of them are a NaN of float32, two a NaN of either 16-bit type."""


class RefusedError(RuntimeError):
    """The library refused; holds the status of the C interface and its sentence."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{said} (status {status})")
        self.status = status


@dataclass(frozen=True)
class Device:
    """Where tensors lie and kernels run: "cuda", or "cpu" for an emulated library."""

    name: str

    @property
    def is_gpu(self) -> bool:
        """Whether there is a GPU behind it."""
        return self.name == "cuda"

    def stream(self) -> int:
        """The current stream, as a cudaStream_t."""
        return torch.cuda.current_stream().cuda_stream if self.is_gpu else 0

    def wait(self) -> None:
        """Until all launches have ended; raises RuntimeError if one of them failed."""
        if self.is_gpu:
            torch.cuda.synchronize()


@dataclass(frozen=True)
class Operands:
    """qkv and residual in the memory order of a layout, and the sizes that the kernel is told."""

    case: Case
    precision: str
    layout: str
    qkv: torch.Tensor
    residual: torch.Tensor

    @staticmethod
    def of(case: Case, precision: str, layout: str, qkv: torch.Tensor, residual: torch.Tensor) -> Operands:
        """From NCHW tensors of any float type, [B, 2 * Cq + C, H, W] and [B, C, H, W]."""
        dtype = PRECISIONS[precision]
        ordered = [t.permute(0, 2, 3, 1) if layout == "nhwc" else t for t in (qkv.to(dtype), residual.to(dtype))]
        return Operands(case, precision, layout, *(t.contiguous() for t in ordered))

    def problem(self, tile: str) -> Problem:
        """As the C interface takes it."""
        case = self.case
        return Problem(
            TYPES[self.precision],
            LAYOUTS[self.layout],
            TILES[tile],
            case.batch,
            case.channels,
            case.query_channels,
            case.height,
            case.width,
        )

    def nchw(self, y: torch.Tensor) -> torch.Tensor:
        """A result in this layout as [B, C, H, W]."""
        return y.permute(0, 3, 1, 2) if self.layout == "nhwc" else y


class GuardedMemory:
    """Memory full of NaNs between two guards."""

    def __init__(self, size: int, device: Device) -> None:
        """`size` is in bytes."""
        self.size = size
        self.whole = torch.empty(size + 2 * _GUARD, dtype=torch.uint8, device=device.name)
        self.poison()

    def poison(self) -> None:
        """Everything as at the beginning."""
        self.whole.fill_(_GUARD_BYTE)
        self.inside.fill_(_POISON_BYTE)

    @property
    def inside(self) -> torch.Tensor:
        """The memory itself: uint8 [size]."""
        return self.whole[_GUARD : _GUARD + self.size]

    @property
    def guards_hold(self) -> bool:
        """Whether nobody has written beyond the memory."""
        return bool((self.whole[:_GUARD] == _GUARD_BYTE).all() and (self.whole[-_GUARD:] == _GUARD_BYTE).all())


class CrissCrossLibrary:
    """A library that is loaded; every call says what the library says."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._workspace = library.ccdeploy_criss_cross_workspace
        self._workspace.argtypes = [ctypes.POINTER(Problem), ctypes.POINTER(ctypes.c_size_t)]
        self._launch = library.ccdeploy_criss_cross_launch
        pointer = ctypes.c_void_p
        self._launch.argtypes = [
            ctypes.POINTER(Problem), pointer, pointer, pointer, pointer, ctypes.c_size_t, pointer,
        ]  # fmt: skip
        self._last_error = library.ccdeploy_last_error
        self._last_error.restype = ctypes.c_char_p
        self._build_info = library.ccdeploy_build_info
        self._build_info.restype = ctypes.c_char_p
        if (version := int(library.ccdeploy_api_version())) != API_VERSION:
            raise RuntimeError(f"{path} has version {version} of the C interface, {API_VERSION} was expected")

    def build_info(self) -> str:
        """What it was built from, as its own line of JSON."""
        return str(self._build_info().decode())

    def workspace_bytes(self, problem: Problem) -> int:
        """Scratch memory for a problem, in bytes."""
        size = ctypes.c_size_t()
        self._check(self._workspace(problem, size))
        return size.value

    def launch(
        self,
        problem: Problem,
        qkv: torch.Tensor,
        residual: torch.Tensor,
        y: torch.Tensor,
        workspace: torch.Tensor,
        stream: int,
    ) -> None:
        """One launch on a stream; tensors are dense and in the layout of the problem. Raises RefusedError."""
        tensors = (qkv, residual, y, workspace)
        self._check(self._launch(problem, *(each.data_ptr() for each in tensors), workspace.numel(), stream))

    def run_guarded(self, operands: Operands, tile: str, device: Device) -> torch.Tensor:
        """The result in the layout of the operands, from memory that was all NaN before; waits for it.

        Raises:
            RefusedError: the library refuses the problem.
            RuntimeError: something was written beyond y or the workspace, or the GPU reports an error.
        """
        problem = operands.problem(tile)
        y = GuardedMemory(operands.residual.numel() * operands.residual.element_size(), device)
        workspace = GuardedMemory(self.workspace_bytes(problem), device)
        self.launch(problem, operands.qkv, operands.residual, y.inside, workspace.inside, device.stream())
        device.wait()
        for name, memory in (("y", y), ("the workspace", workspace)):
            if not memory.guards_hold:
                raise RuntimeError(f"the kernel wrote beyond {name}")
        return y.inside.view(operands.residual.dtype).reshape(operands.residual.shape).clone()

    def _check(self, status: int) -> None:
        if status != 0:
            raise RefusedError(status, (self._last_error() or b"").decode("utf-8", "replace"))


class Prepared:
    """A launch with its memory: to call many times, on the stream that is current then."""

    def __init__(self, library: CrissCrossLibrary, operands: Operands, tile: str, device: Device) -> None:
        self.library, self.operands, self.device = library, operands, device
        self.problem = operands.problem(tile)
        size = library.workspace_bytes(self.problem)
        self.workspace = torch.empty(size, dtype=torch.uint8, device=device.name)
        self.y = torch.empty_like(operands.residual)

    def __call__(self) -> None:
        """Launches; does not wait."""
        operands = self.operands
        stream = self.device.stream()
        self.library.launch(self.problem, operands.qkv, operands.residual, self.y, self.workspace, stream)


def held_tiles(library: CrissCrossLibrary, device: Device) -> list[str]:
    """The tiles that the library holds for the current device, by trying each."""
    case = Case(1, 32, 8, 2, 3)
    tensors = (torch.zeros(1, channels, 2, 3, device=device.name) for channels in (48, 32))
    operands = Operands.of(case, "fp16", "nhwc", *tensors)
    held = []
    for tile in list(TILES)[1:]:
        try:
            library.run_guarded(operands, tile, device)
        except RefusedError as error:
            if error.status != UNSUPPORTED:
                raise
        else:
            held.append(tile)
    return held
