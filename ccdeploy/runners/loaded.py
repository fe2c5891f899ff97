"""An engine that TensorRT has deserialised, with all that must outlive it, freed in the order that TensorRT needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.engine.flavour import Flavour
from ccdeploy.engine.plugin import CREATOR
from ccdeploy.errors import ArtefactError, MissingError
from ccdeploy.native.library import Library
from ccdeploy.runners.cuda import Gpu

_LOG_LINES = 3
"""How many of TensorRT's own lines an error quotes."""


@dataclass(frozen=True)
class Binding:
    """One tensor that goes into an engine or comes out."""

    name: str
    is_input: bool
    dtype: np.dtype[Any]


class LoadedEngine:
    """An engine in a GPU's memory.

    TensorRT's objects live in attributes only, never in variables of a function that may raise: an error keeps the
    variables of its frames alive, and they would be freed late, in whatever context is current then.

    Attributes:
        path: the file.
        gpu: what it was loaded into.
        flavour: the TensorRT that holds it.
        how: flavour, GPU and plugin, as a report states them.
        engine: TensorRT's object; only until `close`.
        bindings: what goes in and comes out, in the engine's order.
        weights_bytes: that it takes on the device; the file's size where TensorRT does not tell.
        context_bytes: that each execution context takes, the workspaces of its layers included.
    """

    engine: Any

    def __init__(self, path: Path, flavour: Flavour, plugin: Library | None, device: int) -> None:
        """Loads the plugin library, then the engine.

        Raises:
            ArtefactError: TensorRT refuses one of the two.
            MissingError: pycuda or the driver does not work.
        """
        self.path, self.flavour, self.gpu = path, flavour, Gpu(device)
        self.how = f"{flavour.title}, {self.gpu.name}"
        self._trt = flavour.module
        self._told: list[str] = []
        try:
            with self.gpu.current():
                self._logger = logger_for(self._trt, self._told)
                self._runtime = self._trt.Runtime(self._logger)
                if plugin is not None:
                    self._load_plugin(plugin)
                content = path.read_bytes()
                self.engine = self._runtime.deserialize_cuda_engine(content)
                if self.engine is None:
                    raise ArtefactError(
                        f"{path} is refused by {flavour.title}{self.log()}.", "Build the engine again on this machine."
                    )
                self.bindings = self._find_bindings()
                self.weights_bytes = self._weights_bytes(len(content))
                self.context_bytes = int(self._stat("device_memory_size_v2", "device_memory_size") or 0)
        except BaseException:
            self.close()
            raise

    def _load_plugin(self, library: Library) -> None:
        """Gives TensorRT the plugin library that the engine was built with, and says which in `how`."""
        registry = self._trt.get_plugin_registry()
        registry.load_library(str(library.path))
        if not any(creator.name == CREATOR for creator in registry.all_creators):  # it says nothing when it fails
            raise ArtefactError(
                f"TensorRT found no {CREATOR} plugin in {library.path}{self.log()}.",
                "Build it again: ccdeploy build-plugin.",
            )
        self.how += f", plugin {library.path.name} (sha256 {library.sha256[:16]}...)"

    def _find_bindings(self) -> tuple[Binding, ...]:
        bindings = []
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            kind = self.engine.get_tensor_dtype(name)
            try:
                dtype = np.dtype(self._trt.nptype(kind))
            except TypeError as error:
                what = f"{self.path}: its tensor {name} is of the type {kind}, which NumPy does not have."
                raise ArtefactError(what, "Build an engine that takes and gives float32 or integers.") from error
            if self.engine.get_tensor_location(name) != self._trt.TensorLocation.DEVICE:
                what = f"{self.path}: its tensor {name} is a shape, in host memory."
                raise ArtefactError(what, "Build an engine of a network that `ccdeploy export` wrote.")
            is_input = self.engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
            bindings.append(Binding(name, is_input, dtype))
        return tuple(bindings)

    def _weights_bytes(self, file_bytes: int) -> int:
        if not hasattr(self._trt, "EngineStat"):
            return file_bytes
        told = int(self.engine.get_engine_stat(self._trt.EngineStat.TOTAL_WEIGHTS_SIZE))
        return told if told >= 0 else file_bytes

    def _stat(self, *names: str) -> Any:
        """The first of these attributes that this TensorRT's engines have."""
        return next((getattr(self.engine, name) for name in names if hasattr(self.engine, name)), None)

    @property
    def has_graph_strategy(self) -> bool:
        """Whether execution contexts can capture CUDA graphs by themselves: TensorRT-RTX's do."""
        return hasattr(self._trt, "CudaGraphStrategy")

    def new_context(self, capture: bool) -> Any:
        """A new execution context, to be stored in an attribute at once.

        Args:
            capture: whether it shall capture CUDA graphs by itself; only where `has_graph_strategy`.

        Raises:
            MissingError: there is no memory for it.
            ArtefactError: TensorRT does not take the strategy.
        """
        context = self._capturing_context() if capture else self.engine.create_execution_context()
        if context is None:
            raise MissingError(
                f"{self.path} does not fit into the GPU's memory{self.log()}.",
                "Free some, or use a smaller engine or fewer contexts.",
            )
        return context

    def _capturing_context(self) -> Any:
        trt, config = self._trt, self.engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        # At dynamic shapes it would otherwise run fallback kernels first, and capture some time later.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        taken = config.cuda_graph_strategy == trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        context = self.engine.create_execution_context(config) if taken else None
        del config
        if not taken:
            what = f"{self.flavour.title} does not take the CUDA graph strategy{self.log()}."
            raise ArtefactError(what, "Open it without cuda_graph.")
        return context

    def log(self) -> str:
        """What TensorRT has complained of since this was last asked, to be put into brackets of an error."""
        lines = list(dict.fromkeys(" ".join(line.split()) for line in self._told))[:_LOG_LINES]
        self._told.clear()
        return f" ({'; '.join(lines)})" if lines else ""

    def close(self) -> None:
        """Frees the engine, then what it needs. Twice is fine."""
        if not any(hasattr(self, held) for held in _IN_ORDER):
            return
        with suppress(MissingError), self.gpu.current():  # what is wrong with the GPU was told when it went wrong
            for held in _IN_ORDER:
                self.__dict__.pop(held, None)


_IN_ORDER: Sequence[str] = ("engine", "_runtime", "_logger")


def logger_for(trt: Any, told: list[str]) -> Any:
    """A logger for a TensorRT module that adds its errors to a list."""
    severity = trt.ILogger.Severity

    class Log(trt.ILogger):  # type: ignore[misc]  # the base class is known at run time only
        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR):
                told.append(message)

    return Log()
