"""A GPU with TensorRT and pycuda, acted: an "engine" is an ONNX file that onnxruntime runs on "device" memory.

Every call that matters is written down, so that tests see the order. What real hardware leaves undefined is an error
here, or gives wrong values:

- TensorRT's objects, streams, events and memory are made, used and freed while the GPU's context is current;
- what is enqueued on a stream happens when the stream is waited for, and not before: a copy that is read too early is
  not there yet, and a buffer that is written too early spoils the copy before it;
- freed memory is gone; while a stream is captured nothing may be allocated or waited for.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import itertools
import sys
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import fake_tensorrt
import numpy as np
import pytest

from ccdeploy.engine.flavour import TENSORRT_RTX, Flavour
from ccdeploy.engine.gpu import Gpu, GpuReport

VERSION = "1.7.1.116"
CARD = Gpu("NVIDIA RTX 4090", "8.9", 24 << 30)
FIRST_STREAM = 77
"""The handle of the first stream that is made; those after it count up."""
COPY_MS, RUN_MS = 1.0, 5.0
CAPTURE_INVALIDATED = 901


class CudaError(Exception):
    """pycuda's."""


@dataclass
class FakeGpu:
    """Device memory, what happened, and how it shall misbehave."""

    flavour: str = TENSORRT_RTX
    misbehaviour: str = ""
    allocations_left: int = 10**9
    """How many more allocations, of either side, succeed."""
    calls: list[str] = field(default_factory=list)
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    pinned: set[int] = field(default_factory=set)
    """Addresses of page-locked memory that was not freed."""
    plugins: list[str] = field(default_factory=list)
    """Names of the plugins that TensorRT has after a library was loaded."""
    layers: list[Any] = field(default_factory=lambda: [{"Name": "conv1", "LayerType": "gemm"}, "relu1"])
    """What the inspector tells."""
    streams: weakref.WeakValueDictionary[int, Stream] = field(default_factory=weakref.WeakValueDictionary)
    handles: Any = field(default_factory=lambda: itertools.count(FIRST_STREAM))
    graphs: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    executables: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    capturing: Stream | None = None
    depth: int = 0
    """How often the context was pushed and not popped."""
    clock: float = 0.0
    """Milliseconds that the work took so far."""
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def note(self, call: str) -> None:
        self.calls.append(call)

    def named(self, *beginnings: str) -> list[str]:
        """The calls that begin so, in their order."""
        return [call for call in self.calls if call.startswith(beginnings)]

    def check_current(self, what: str) -> None:
        if self.depth == 0:
            raise AssertionError(f"{what} outside of the context")

    def check_not_capturing(self, what: str) -> None:
        if self.capturing is not None:
            raise CudaError(f"{what} failed: operation not permitted when stream is capturing")

    def allocate(self, what: str) -> None:
        """Counts an allocation, or fails."""
        self.check_current(what)
        self.check_not_capturing(what)
        if self.allocations_left == 0:
            raise CudaError(f"{what} failed: out of memory")
        self.allocations_left -= 1

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts the GPU, TensorRT and pycuda into this process."""
        flavour = Flavour(self.flavour, VERSION, fake_tensorrt.module(self), "it was asked for")
        monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport((CARD,), "13.0", "580.65"))
        monkeypatch.setattr("ccdeploy.runners.engine.load_flavour", lambda name: flavour)
        monkeypatch.setattr("ccdeploy.runners.graphs.load_driver", lambda: DriverApi(self))
        monkeypatch.setattr("ccdeploy.runners.cuda._retained", {})
        package, driver = types.ModuleType("pycuda"), _pycuda(self)
        package.__spec__ = importlib.machinery.ModuleSpec("pycuda", None)
        package.__path__ = []
        package.driver = driver  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)

    def check_all_freed(self) -> None:
        """Whether nothing is left, and nothing was freed outside of the context."""
        assert not [call for call in self.calls if "outside" in call]
        made = sorted(call.removeprefix("make ") for call in self.named("make "))
        assert made == sorted(call.removeprefix("free ") for call in self.named("free "))
        left = (self.memory, self.pinned, self.graphs, self.executables, self.depth)
        assert left == ({}, set(), {}, {}, 0)


class Held:
    """An object that must be made and freed while the context is current."""

    def __init__(self, gpu: FakeGpu, name: str) -> None:
        gpu.check_current(f"make {name}")
        self.gpu, self.name = gpu, name
        gpu.note(f"make {name}")

    def __del__(self) -> None:
        if hasattr(self, "gpu"):
            self.gpu.note(f"free {self.name}" + ("" if self.gpu.depth else " outside of the context"))


class Stream(Held):
    def __init__(self, gpu: FakeGpu, flags: int) -> None:
        assert flags == 1, "it would wait for the default stream"
        gpu.allocate("cuStreamCreate")
        super().__init__(gpu, "stream")
        self.handle = next(gpu.handles)
        gpu.streams[self.handle] = self
        self.pending: list[Callable[[], None]] = []

    def enqueue(self, work: Callable[[], None]) -> None:
        self.gpu.check_current("enqueue")
        self.pending.append(work)

    def synchronize(self) -> None:
        self.gpu.check_current("cuStreamSynchronize")
        self.gpu.check_not_capturing("cuStreamSynchronize")
        if self.gpu.misbehaviour == "interrupted":
            self.gpu.misbehaviour = ""
            raise KeyboardInterrupt
        if self.gpu.misbehaviour == "breaks":
            raise CudaError("cuStreamSynchronize failed: an illegal memory access was encountered")
        self.gpu.note(f"synchronize {self.handle}")
        pending, self.pending = self.pending, []
        for work in pending:
            work()


class Event(Held):
    def __init__(self, gpu: FakeGpu) -> None:
        gpu.allocate("cuEventCreate")
        super().__init__(gpu, "event")
        self.stream: Stream | None = None
        self.at: float | None = None

    def record(self, stream: Stream) -> Event:
        self.gpu.note(f"record {stream.handle}")
        self.stream, self.at = stream, None

        def stamp() -> None:
            self.at = self.gpu.clock

        stream.enqueue(stamp)
        return self

    def synchronize(self) -> Event:
        assert self.stream is not None
        self.stream.synchronize()
        return self

    def time_till(self, other: Event) -> float:
        if self.at is None or other.at is None:
            raise CudaError("cuEventElapsedTime failed: not ready")
        return other.at - self.at


class Allocation:
    """Device memory, full of 0xAB."""

    def __init__(self, gpu: FakeGpu, size: int) -> None:
        gpu.allocate("cuMemAlloc")
        gpu.note("make device memory")
        self.gpu, self.address = gpu, 4096 * next(gpu.numbers)
        gpu.memory[self.address] = np.full(size, 0xAB, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.check_current("cuMemFree")
        del self.gpu.memory[self.address]
        self.gpu.note("free device memory")


class Pinned:
    """Page-locked memory, full of 0xCD; of 0xDD once it was freed."""

    def __init__(self, gpu: FakeGpu, size: int) -> None:
        gpu.allocate("cuMemHostAlloc")
        gpu.note("make pinned memory")
        self.gpu, self.bytes = gpu, np.full(size, 0xCD, np.uint8)
        self.__array_interface__ = self.bytes.__array_interface__
        gpu.pinned.add(self.bytes.ctypes.data)

    def free(self) -> None:
        self.gpu.check_current("cuMemFreeHost")
        self.gpu.pinned.remove(self.bytes.ctypes.data)
        self.bytes[:] = 0xDD
        self.gpu.note("free pinned memory")


def _pycuda(gpu: FakeGpu) -> types.ModuleType:
    driver = types.ModuleType("pycuda.driver")

    class Primary:
        def push(self) -> None:
            gpu.depth += 1
            gpu.note("push")

        def pop(self) -> None:
            gpu.depth -= 1
            gpu.note("pop")

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 0

        def name(self) -> str:
            return CARD.name

        def retain_primary_context(self) -> Primary:
            gpu.note("retain")
            return Primary()

    def pagelocked_empty(size: int, dtype: type) -> np.ndarray:
        array = np.asarray(Pinned(gpu, size))
        assert array.dtype == dtype
        return array

    def is_pinned(array: np.ndarray) -> bool:
        owner = array
        while isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        return isinstance(owner, Pinned)

    def copy_in(destination: Allocation, array: np.ndarray, stream: Stream) -> None:
        gpu.note(f"copy in {array.dtype} {list(array.shape)}")
        assert is_pinned(array), "a copy from ordinary memory is not asynchronous"

        def later() -> None:
            gpu.memory[destination.address][: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
            gpu.clock += COPY_MS

        stream.enqueue(later)

    def copy_out(array: np.ndarray, source: Allocation, stream: Stream) -> None:
        gpu.note(f"copy out {array.dtype} {list(array.shape)}")
        assert is_pinned(array), "a copy to ordinary memory is not asynchronous"

        def later() -> None:
            content = gpu.memory[source.address][: array.nbytes].tobytes()
            array[...] = np.frombuffer(content, array.dtype).reshape(array.shape)
            gpu.clock += COPY_MS

        stream.enqueue(later)

    driver.__dict__.update(
        init=lambda: gpu.note("init"),
        Device=Device,
        Stream=lambda flags=0: Stream(gpu, flags),
        Event=lambda: Event(gpu),
        mem_alloc=lambda size: Allocation(gpu, size),
        pagelocked_empty=pagelocked_empty,
        memcpy_htod_async=copy_in,
        memcpy_dtoh_async=copy_out,
        Error=CudaError,
    )
    return driver


class DriverApi:
    """The functions of libcuda.so that capture and launch graphs."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def _status(self, function: str) -> int:
        self.gpu.check_current(function)
        return 2 if self.gpu.misbehaviour == f"{function} fails" else 0

    def cuGetErrorName(self, status: int, name: Any) -> int:
        name._obj.value = {2: b"CUDA_ERROR_OUT_OF_MEMORY", CAPTURE_INVALIDATED: b"CUDA_ERROR_STREAM_CAPTURE"}[status]
        return 0

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: int) -> int:
        self.gpu.note("begin capture")
        assert mode == 1, "another thread's allocation would spoil it"
        if not (status := self._status("cuStreamBeginCapture_v2")):
            self.gpu.capturing = self.gpu.streams[stream.value or 0]
            assert not self.gpu.capturing.pending, "what was enqueued before is not done yet"
        return status

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        self.gpu.note("end capture")
        assert self.gpu.capturing is self.gpu.streams[stream.value or 0]
        work, self.gpu.capturing.pending = self.gpu.capturing.pending, []
        self.gpu.capturing = None
        if self.gpu.misbehaviour == "invalidates the capture":
            return CAPTURE_INVALIDATED
        graph._obj.value = number = next(self.gpu.numbers)
        self.gpu.graphs[number] = work
        return self._status("cuStreamEndCapture")

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong) -> int:
        if status := self._status("cuGraphInstantiateWithFlags"):
            return status
        executable._obj.value = number = next(self.gpu.numbers)
        self.gpu.executables[number] = self.gpu.graphs[graph.value or 0]
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        del self.gpu.graphs[graph.value or 0]
        return self._status("cuGraphDestroy")

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        self.gpu.note("launch graph")
        if status := self._status("cuGraphLaunch"):
            return status
        for work in self.gpu.executables[executable.value or 0]:
            self.gpu.streams[stream.value or 0].enqueue(work)
        return 0

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:
        self.gpu.note("destroy graph")
        del self.gpu.executables[executable.value or 0]
        return self._status("cuGraphExecDestroy")
