"""A GPU with TensorRT-RTX and pycuda, acted: an "engine" is an ONNX file that onnxruntime runs on "device" memory.

Every call that matters is written down, so that tests see the order: TensorRT's objects may only be made, used and
freed while the GPU's context is current, and results may only be read once the stream is done.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
import pytest

from ccdeploy.engine.flavour import Flavour
from ccdeploy.engine.gpu import Gpu, GpuReport

VERSION = "1.7.1.116"
CARD = Gpu("NVIDIA RTX 4090", "8.9", 24 << 30)


class CudaError(Exception):
    """pycuda's."""


@dataclass
class FakeGpu:
    """Device memory, what happened, and how it shall misbehave."""

    calls: list[str] = field(default_factory=list)
    memory: dict[int, np.ndarray] = field(default_factory=dict)
    misbehaviour: str = ""
    current: bool = False
    pending: list[Any] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    """Names of the plugins that TensorRT has after a library was loaded."""

    def note(self, call: str) -> None:
        self.calls.append(call)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Puts the GPU, TensorRT-RTX and pycuda into this process."""
        flavour = Flavour("tensorrt-rtx", VERSION, _tensorrt(self), "it was asked for")
        monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport((CARD,), "13.0", "580.65"))
        monkeypatch.setattr("ccdeploy.runners.engine.load_flavour", lambda name: flavour)
        package, driver = types.ModuleType("pycuda"), _driver(self)
        package.__spec__ = importlib.machinery.ModuleSpec("pycuda", None)
        package.__path__ = []
        package.driver = driver  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pycuda", package)
        monkeypatch.setitem(sys.modules, "pycuda.driver", driver)


class Held:
    """An object that must be made and freed while the context is current."""

    def __init__(self, gpu: FakeGpu, name: str) -> None:
        self.gpu, self.name = gpu, name
        assert gpu.current, f"{name} is made outside of the context"
        gpu.note(f"make {name}")

    def __del__(self) -> None:
        self.gpu.note(f"free {self.name}" + ("" if self.gpu.current else " outside of the context"))


def _driver(gpu: FakeGpu) -> types.ModuleType:
    driver = types.ModuleType("pycuda.driver")

    class Primary:
        def push(self) -> None:
            gpu.current = True
            gpu.note("push")

        def pop(self) -> None:
            gpu.current = False
            gpu.note("pop")

    class Device:
        def __init__(self, index: int) -> None:
            assert index == 0

        def name(self) -> str:
            return CARD.name

        def retain_primary_context(self) -> Primary:
            return Primary()

    class Stream(Held):
        handle = 77

        def __init__(self) -> None:
            super().__init__(gpu, "stream")

        def synchronize(self) -> None:
            gpu.note("synchronize")
            for work in gpu.pending:
                work()
            gpu.pending.clear()

    class Allocation(Held):
        def __init__(self, size: int) -> None:
            super().__init__(gpu, "buffer")
            self.address = 4096 + 256 * len(gpu.memory)
            gpu.memory[self.address] = np.full(size, 0xAB, np.uint8)

        def __int__(self) -> int:
            return self.address

    def mem_alloc(size: int) -> Allocation:
        if gpu.misbehaviour == "no memory":
            raise CudaError("cuMemAlloc failed: out of memory")
        return Allocation(size)

    def copy_in(destination: Allocation, array: np.ndarray, stream: Stream) -> None:
        gpu.note(f"copy in {array.dtype} {list(array.shape)}")
        gpu.memory[int(destination)][:] = np.frombuffer(array.tobytes(), np.uint8)

    def copy_out(array: np.ndarray, source: Allocation, stream: Stream) -> None:
        gpu.note(f"copy out {array.dtype} {list(array.shape)}")

        def later() -> None:  # an asynchronous copy arrives with the synchronisation, not before
            array[...] = np.frombuffer(gpu.memory[int(source)].tobytes(), array.dtype).reshape(array.shape)

        gpu.pending.append(later)

    driver.__dict__.update(
        init=lambda: gpu.note("init"),
        Device=Device,
        Stream=Stream,
        mem_alloc=mem_alloc,
        memcpy_htod_async=copy_in,
        memcpy_dtoh_async=copy_out,
        Error=CudaError,
    )
    return driver


def _tensorrt(gpu: FakeGpu) -> types.ModuleType:
    trt = types.ModuleType("tensorrt_rtx")
    types_of = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}

    class Logger(Held):
        ERROR = 1

        def __init__(self, severity: int) -> None:
            super().__init__(gpu, "logger")

    class Context(Held):
        def __init__(self, session: onnxruntime.InferenceSession) -> None:
            super().__init__(gpu, "context")
            self.session = session
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            gpu.note(f"shape {name} {list(shape)}")
            self.shapes[name] = tuple(shape)
            (entry,) = self.session.get_inputs()
            return all(isinstance(said, str) or said == size for said, size in zip(entry.shape, shape, strict=True))

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            (entry,), (output,) = self.session.get_inputs(), self.session.get_outputs()
            known = dict(zip(entry.shape, self.shapes[entry.name], strict=True))
            return tuple(known[size] if isinstance(size, str) else size for size in output.shape)

        def set_tensor_address(self, name: str, address: int) -> bool:
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream: int) -> bool:
            gpu.note("execute")
            assert stream == 77
            if gpu.misbehaviour == "fails to run":
                return False
            (entry,), (output,) = self.session.get_inputs(), self.session.get_outputs()
            dtype, shape = types_of[entry.type], self.shapes[entry.name]
            value = np.frombuffer(gpu.memory[self.addresses[entry.name]].tobytes(), dtype).reshape(shape)
            (result,) = self.session.run(None, {entry.name: value})
            gpu.memory[self.addresses[output.name]][:] = np.frombuffer(result.tobytes(), np.uint8)
            return True

    class Engine(Held):
        def __init__(self, session: onnxruntime.InferenceSession) -> None:
            super().__init__(gpu, "engine")
            self.session = session
            self.values = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
            self.num_io_tensors = len(self.values)

        def get_tensor_name(self, index: int) -> str:
            return list(self.values)[index]

        def get_tensor_mode(self, name: str) -> str:
            return "in" if name in [value.name for value in self.session.get_inputs()] else "out"

        def get_tensor_dtype(self, name: str) -> str:
            return str(self.values[name].type)

        def create_execution_context(self) -> Context | None:
            return None if gpu.misbehaviour == "no context" else Context(self.session)

    class Runtime(Held):
        def __init__(self, logger: Logger) -> None:
            super().__init__(gpu, "runtime")

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            if gpu.misbehaviour == "refuses the engine":
                return None
            return Engine(onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]))

    class Registry:
        all_creators: tuple[Any, ...] = ()

        def load_library(self, path: str) -> None:
            gpu.note(f"load {path}")
            self.all_creators = tuple(types.SimpleNamespace(name=name) for name in gpu.plugins)

    registry = Registry()
    trt.__dict__.update(
        get_plugin_registry=lambda: registry,
        Logger=Logger,
        Runtime=Runtime,
        TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"),
        nptype=types_of.__getitem__,
    )
    return trt
