"""TensorRT on the acted GPU of fake_gpu: its runtime's objects, as far as a runner uses them."""

from __future__ import annotations

import json
import types
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from ccdeploy.engine.flavour import TENSORRT_RTX

if TYPE_CHECKING:
    from fake_gpu import FakeGpu

TYPES = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32}
WEIGHTS_BYTES, CONTEXT_BYTES = 1000, 300
COMPLAINT = "[executionContext.cpp::x::1] Error Code 3:\n  so it is"


def module(gpu: FakeGpu) -> types.ModuleType:
    """The module `tensorrt` or `tensorrt_rtx`, whichever the GPU's flavour is."""
    from fake_gpu import RUN_MS, Held

    trt = types.ModuleType("tensorrt_rtx" if gpu.flavour == TENSORRT_RTX else "tensorrt")
    said: list[Any] = []
    """The loggers that were made."""

    def complain() -> None:
        said[-1].log("warning", "this is of no matter")
        said[-1].log("error", COMPLAINT)

    class ILogger(Held):
        Severity = types.SimpleNamespace(INTERNAL_ERROR="internal", ERROR="error")

        def __init__(self) -> None:
            super().__init__(gpu, "logger")
            said[:] = [_Weak(self)]

    class Context(Held):
        def __init__(self, engine: Engine, captures: bool) -> None:
            super().__init__(gpu, "context")
            self.session, self.captures = engine.session, captures
            self.shapes: dict[str, tuple[int, ...]] = {}
            self.addresses: dict[str, int] = {}
            self.active_optimization_profile = -1 if engine.contexts else 0
            engine.contexts += 1

        def set_optimization_profile_async(self, index: int, stream: int) -> bool:
            gpu.note(f"profile {index} on {stream}")
            self.active_optimization_profile = index
            return gpu.misbehaviour != "shares no profile"

        def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
            gpu.note(f"shape {name} {list(shape)}")
            assert self.active_optimization_profile == 0
            self.shapes[name] = tuple(shape)
            (entry,) = self.session.get_inputs()
            fits = len(entry.shape) == len(shape) and all(
                isinstance(said, str) or said == size for said, size in zip(entry.shape, shape, strict=True)
            )
            if not fits:
                complain()
            return fits

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            (entry,), (output,) = self.session.get_inputs(), self.session.get_outputs()
            if gpu.misbehaviour == "shape of values":
                return (-1,) * len(output.shape)
            known = dict(zip(entry.shape, self.shapes[entry.name], strict=True))
            return tuple(known[size] if isinstance(size, str) else size for size in output.shape)

        def set_tensor_address(self, name: str, address: int) -> bool:
            gpu.note(f"address {name}")
            self.addresses[name] = address
            return gpu.misbehaviour != "refuses memory"

        def is_stream_capturable(self, stream: int) -> bool:
            gpu.note("capturable?")
            return gpu.misbehaviour != "not capturable"

        def execute_async_v3(self, stream: int) -> bool:
            gpu.check_current("enqueueV3")
            gpu.note(f"execute on {stream}" + (" by graph" if self.captures else ""))
            if gpu.misbehaviour == "fails to run" or (gpu.capturing and gpu.misbehaviour == "not capturable"):
                complain()
                return False
            (entry,), (output,) = self.session.get_inputs(), self.session.get_outputs()
            dtype, shape = np.dtype(TYPES[entry.type]), self.shapes[entry.name]
            source, target = self.addresses[entry.name], self.addresses[output.name]
            size = int(np.prod(shape)) * dtype.itemsize
            session = self.session

            def later() -> None:
                value = np.frombuffer(gpu.memory[source][:size].tobytes(), dtype).reshape(shape)
                (result,) = session.run(None, {entry.name: value})
                gpu.memory[target][: result.nbytes] = np.frombuffer(result.tobytes(), np.uint8)
                gpu.clock += RUN_MS

            gpu.streams[stream].enqueue(later)
            return True

    class Config:
        cuda_graph_strategy = "disabled"
        dynamic_shapes_kernel_specialization_strategy = "lazy"

        def __setattr__(self, name: str, value: str) -> None:
            assert hasattr(Config, name)
            if gpu.misbehaviour != "takes no strategy":
                super().__setattr__(name, value)

    class Inspector:
        def get_engine_information(self, kind: str) -> str:
            assert kind == "json"
            return json.dumps({"Layers": gpu.layers, "Bindings": ["input"]})

    class Engine(Held):
        device_memory_size_v2 = CONTEXT_BYTES

        def __init__(self, session: onnxruntime.InferenceSession) -> None:
            super().__init__(gpu, "engine")
            self.session, self.contexts = session, 0
            self.values = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
            self.num_io_tensors = len(self.values)

        def get_tensor_name(self, index: int) -> str:
            return list(self.values)[index]

        def get_tensor_mode(self, name: str) -> str:
            return "in" if name in [value.name for value in self.session.get_inputs()] else "out"

        def get_tensor_location(self, name: str) -> str:
            return "host" if gpu.misbehaviour == "takes a shape" else "device"

        def get_tensor_dtype(self, name: str) -> str:
            return "bfloat16" if gpu.misbehaviour == "gives bfloat16" else str(self.values[name].type)

        def get_engine_stat(self, which: str) -> int:
            assert which == "weights"
            return WEIGHTS_BYTES

        def create_runtime_config(self) -> Config:
            return Config()

        def create_engine_inspector(self) -> Inspector:
            return Inspector()

        def create_execution_context(self, config: Config | None = None) -> Context | None:
            if gpu.misbehaviour == "no context" or (gpu.misbehaviour == "one context" and self.contexts):
                complain()
                return None
            if config is not None:
                assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
            return Context(self, config is not None and config.cuda_graph_strategy == "whole")

    class Runtime(Held):
        def __init__(self, logger: ILogger) -> None:
            super().__init__(gpu, "runtime")

        def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
            if gpu.misbehaviour == "refuses the engine":
                complain()
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
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=types.SimpleNamespace(INPUT="in", OUTPUT="out"),
        TensorLocation=types.SimpleNamespace(DEVICE="device", HOST="host"),
        EngineStat=types.SimpleNamespace(TOTAL_WEIGHTS_SIZE="weights"),
        LayerInformationFormat=types.SimpleNamespace(JSON="json"),
        nptype=_nptype,
    )
    if gpu.flavour == TENSORRT_RTX:
        trt.__dict__.update(
            CudaGraphStrategy=types.SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole"),
            DynamicShapesKernelSpecializationStrategy=types.SimpleNamespace(EAGER="eager"),
        )
    return trt


class _Weak:
    """A logger that is told of things without being kept alive."""

    def __init__(self, logger: Any) -> None:
        import weakref

        self.logger = weakref.ref(logger)

    def log(self, level: str, message: str) -> None:
        logger = self.logger()
        assert logger is not None
        logger.log(level, message)


def _nptype(kind: str) -> type:
    if kind not in TYPES:
        raise TypeError(f"Could not resolve TensorRT datatype {kind}")
    return TYPES[kind]
