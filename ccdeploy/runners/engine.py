"""Runs TensorRT engines on the GPU, if this machine can; says why not otherwise."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.engine.flavour import load_flavour
from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.engine.manifest import Engine, Manifest
from ccdeploy.engine.plugin import CREATOR, find_for_engine
from ccdeploy.errors import ArtefactError, MissingError
from ccdeploy.native.library import ENVIRONMENT
from ccdeploy.runners import Array, Runner


def why_not_runnable(manifest: Manifest, path: Path) -> str:
    """Why an engine cannot run on this machine; empty if it can. TensorRT never sees the file for this.

    Args:
        manifest: what the engine is.
        path: its file, beside which its plugin may lie.
    """
    engine = _record(manifest)
    report = probe_gpus()
    if not report.gpus:
        return f"no GPU: {report.reason}"
    gpu = report.gpus[0]
    if gpu.compute_capability not in engine.compute_capabilities:
        built = ", ".join(engine.compute_capabilities)
        return f"built for compute capability {built}, {gpu.name} has {gpu.compute_capability}"
    try:
        flavour = load_flavour(engine.flavour)
    except MissingError as error:
        return error.what
    if flavour.version != engine.version:
        return f"built by {engine.flavour} {engine.version}, version {flavour.version} is installed"
    if engine.plugin is not None and engine.plugin.embedded:
        return "it carries native code (an embedded plugin), which is run only on request"
    if engine.plugin is not None and find_for_engine(engine.plugin, path, gpu.compute_capability) is None:
        return (
            f"its plugin {engine.plugin.file} (sha256 {engine.plugin.sha256[:16]}...) is not beside it, in the cache, "
            f"or named by {ENVIRONMENT}"
        )
    if importlib.util.find_spec("pycuda") is None:
        return 'pycuda is not installed: pip install "ccdeploy[pycuda]"'
    return ""


class EngineRunner(Runner):
    """An engine on the first GPU: inputs are copied to it and outputs back at each call."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Deserialises the engine.

        Raises:
            MissingError: this machine cannot run it.
            ArtefactError: TensorRT refuses it.
        """
        if reason := why_not_runnable(manifest, path):
            raise MissingError(f"{path} cannot run here: {reason}.", "`ccdeploy doctor` shows what this machine lacks.")
        try:
            import pycuda.driver as cuda
        except ImportError as error:
            remedy = "Install pycuda again, for the CUDA version of this machine."
            raise MissingError(f"pycuda is installed but does not load ({error}).", remedy) from error
        flavour = load_flavour(_record(manifest).flavour)
        self._trt, self._cuda = flavour.module, cuda
        cuda.init()
        device = cuda.Device(0)
        self.how = f"{flavour.title}, {device.name()}"
        self._primary = device.retain_primary_context()
        self._primary.push()
        try:
            # Everything that TensorRT frees must be freed while the context is current: keep it here, in close's order.
            self._logger = self._trt.Logger(self._trt.Logger.ERROR)
            self._runtime = self._trt.Runtime(self._logger)
            self._load_plugin(path, manifest)
            self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._engine is None:
                raise ArtefactError(f"{path} is refused by {flavour.title}.", "Build the engine again on this machine.")
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise MissingError(f"{path} does not fit into the GPU's memory.", "Free some, or use a smaller engine.")
            self._stream = cuda.Stream()
        except BaseException:
            self.close()
            raise

    def _load_plugin(self, path: Path, manifest: Manifest) -> None:
        """Gives TensorRT the plugin library that the engine was built with, and says which in `how`."""
        record, gpu = _record(manifest), probe_gpus().gpus[0]
        if record.plugin is None:
            return
        library = find_for_engine(record.plugin, path, gpu.compute_capability)
        assert library is not None  # why_not_runnable has looked
        registry = self._trt.get_plugin_registry()
        registry.load_library(str(library.path))
        if not any(creator.name == CREATOR for creator in registry.all_creators):  # it says nothing when it fails
            raise ArtefactError(
                f"TensorRT found no {CREATOR} plugin in {library.path}.", "Build it again: ccdeploy build-plugin."
            )
        self.how += f", plugin {library.path.name} (sha256 {library.sha256[:16]}...)"

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            ArtefactError: inputs that the engine's profile does not take, or a failed run.
            MissingError: the GPU has no memory left, or fails.
        """
        try:
            return self._infer(inputs)
        except self._cuda.Error as error:
            raise MissingError(f"The GPU failed ({error}).", "Free its memory, or use a smaller batch.") from error

    def _infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        engine, context, cuda, trt = self._engine, self._context, self._cuda, self._trt
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        ins = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        buffers: dict[str, Any] = {}
        for name in ins:
            if name not in inputs:
                what = f"The engine's input {name} is none of its manifest's ({', '.join(inputs)})."
                raise ArtefactError(what, "Build the engine again.")
            array = np.ascontiguousarray(inputs[name], dtype=trt.nptype(engine.get_tensor_dtype(name)))
            if not context.set_input_shape(name, array.shape):
                raise ArtefactError(
                    f"The engine does not take {name} of {list(array.shape)}.", "Give a shape within its profile."
                )
            buffers[name] = cuda.mem_alloc(max(1, array.nbytes))
            cuda.memcpy_htod_async(buffers[name], array, self._stream)
        outputs: dict[str, Array] = {}
        for name in names:
            if name not in buffers:
                outputs[name] = np.empty(
                    tuple(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name))
                )
                buffers[name] = cuda.mem_alloc(max(1, outputs[name].nbytes))
            context.set_tensor_address(name, int(buffers[name]))
        if not context.execute_async_v3(self._stream.handle):
            raise ArtefactError("TensorRT failed to run the engine.", "Run with --debug and look at TensorRT's log.")
        for name, array in outputs.items():
            cuda.memcpy_dtoh_async(array, buffers[name], self._stream)
        self._stream.synchronize()
        return outputs

    def close(self) -> None:
        """Frees the engine, then leaves the GPU's context."""
        for held in ("_stream", "_context", "_engine", "_runtime", "_logger"):
            self.__dict__.pop(held, None)
        self._primary.pop()


def _record(manifest: Manifest) -> Engine:
    if manifest.engine is None:
        raise ArtefactError(
            f"{manifest.file}: its manifest is of the kind {manifest.kind}, engine was expected.",
            "Build the engine again with `ccdeploy build-engine`.",
        )
    return manifest.engine
