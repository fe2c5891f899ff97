"""One inference at a time: an execution context of an engine with a stream, buffers, events and a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import numpy as np

from ccdeploy.errors import ArtefactError, CcdeployError, UsageError
from ccdeploy.runners import Array
from ccdeploy.runners.buffers import Buffer
from ccdeploy.runners.graphs import CaptureError, Graph
from ccdeploy.runners.loaded import Binding, LoadedEngine

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: work that others put on the default stream is not waited for, nor in the way of a capture."""


class Slot:
    """A context of an engine. All its slots run side by side; TensorRT 10 and newer let them share a profile.

    Attributes:
        owner: a token of the one whose inputs lie in the buffers.
        under_way: a token of the one whose inference was started and not waited for.
    """

    def __init__(self, loaded: LoadedEngine, cuda_graph: bool) -> None:
        """Makes the context. Its buffers come with the first inputs.

        Raises:
            MissingError: there is no memory for it.
            ArtefactError: TensorRT does not do what was asked for.
        """
        self._loaded, self._gpu = loaded, loaded.gpu
        self._capture = cuda_graph
        self._by_itself = cuda_graph and loaded.has_graph_strategy
        self.owner: object | None = None
        self.under_way: object | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._uploaded = self._finished = False
        """Whether the inputs have reached the device, and whether their outputs have come back."""
        self._graph: Graph | None = None
        self._ready_for: object = None
        """Shapes and addresses that the inference has been captured for."""
        self._buffers: dict[str, Buffer] = {}
        self._open = True
        try:
            with self._gpu.current():
                self._context = loaded.new_context(self._by_itself)
                self._stream = self._gpu.driver.Stream(_NON_BLOCKING)
                self._begin, self._end = self._gpu.driver.Event(), self._gpu.driver.Event()
                self._buffers = {binding.name: Buffer(self._gpu.driver) for binding in loaded.bindings}
                self._take_profile()
        except BaseException:
            self.close()
            raise

    def _take_profile(self) -> None:
        """Profile 0, which TensorRT gives by itself to the first context only."""
        if self._context.active_optimization_profile == 0:
            return
        taken = self._context.set_optimization_profile_async(0, self._stream.handle)
        self._stream.synchronize()
        if not taken:
            raise ArtefactError(
                f"{self._loaded.path}: TensorRT gives its profile to one context only{self._loaded.log()}.",
                "Open it with contexts=1.",
            )

    @property
    def device_bytes(self) -> int:
        """Of the engine, this context and its buffers."""
        buffers = sum(buffer.capacity for buffer in self._buffers.values())
        return self._loaded.weights_bytes + self._loaded.context_bytes + buffers

    def bind(self, inputs: Mapping[str, Array], owner: object) -> None:
        """Puts inputs into page-locked memory and makes the context ready for their shapes.

        Raises:
            UsageError: the slot is closed, or an inference is under way in it.
            ArtefactError: inputs that the engine does not take.
            MissingError: there is no memory for the buffers.
        """
        self._check_idle()
        self.owner = None
        arrays = self._checked(inputs)
        with self._gpu.current():
            for name, array in arrays.items():
                self._set_shape(name, array.shape)
            for binding in self._loaded.bindings:
                self._fit(binding, arrays)
            for name, array in arrays.items():
                np.copyto(self._buffers[name].host, array, casting="same_kind")
        self._uploaded = self._finished = False
        self.owner = owner

    def _checked(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        taken = {binding.name: binding.dtype for binding in self._loaded.bindings if binding.is_input}
        if set(inputs) != set(taken):
            what = f"The engine takes {', '.join(taken)}; {', '.join(inputs) or 'nothing'} was given."
            raise ArtefactError(what, "Give inputs by the names that `ccdeploy inspect` shows.")
        arrays = {name: np.asarray(inputs[name]) for name in taken}
        for name, array in arrays.items():
            if not np.can_cast(array.dtype, taken[name], casting="same_kind"):
                what = f"The engine takes {name} of {taken[name]}, {array.dtype} was given."
                raise ArtefactError(what, "Give it the type that `ccdeploy inspect` shows.")
        return arrays

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if self._shapes.get(name) == shape:
            return
        self._shapes.pop(name, None)
        if not self._context.set_input_shape(name, shape):
            raise ArtefactError(
                f"The engine does not take {name} of {list(shape)}{self._loaded.log()}.",
                "Give a shape within its profile.",
            )
        self._shapes[name] = shape

    def _fit(self, binding: Binding, arrays: Mapping[str, Array]) -> None:
        """Makes room for a tensor, and tells TensorRT where it lies."""
        name, buffer = binding.name, self._buffers[binding.name]
        shape = arrays[name].shape if binding.is_input else tuple(self._context.get_tensor_shape(name))
        if any(size < 0 for size in shape):
            what = f"The engine's output {name} has a shape that depends on its values: {list(shape)}."
            raise ArtefactError(what, "Build an engine of a network that `ccdeploy export` wrote.")
        buffer.fit(shape, binding.dtype)
        if self._addresses.get(name) != buffer.address:
            if not self._context.set_tensor_address(name, buffer.address):
                raise ArtefactError(f"TensorRT does not take the memory of {name}{self._loaded.log()}.", "Report this.")
            self._addresses[name] = buffer.address

    def start(self, owner: object) -> None:
        """Enqueues copies in, the inference, and copies out; returns before they are done.

        Raises:
            ArtefactError: TensorRT fails, or the inference cannot be captured.
            MissingError: the GPU fails.
        """
        self._check_idle()
        self._finished = False
        with self._gpu.current(), self._drained_on_error():
            self._get_ready()
            self._copy_in()
            self._infer()
            for binding in self._loaded.bindings:
                if not binding.is_input:
                    self._buffers[binding.name].copy_out(self._stream)
        self.under_way = owner

    def wait(self) -> None:
        """Returns when what was started is done; the outputs lie in host memory then."""
        self._check_open()
        try:
            with self._gpu.current(), self._drained_on_error():
                self._stream.synchronize()
            self._finished = True
        finally:
            self.under_way = None

    def timed_on_device(self) -> float:
        """Runs the inference alone, between two events; seconds between them."""
        self._check_idle()
        with self._gpu.current(), self._drained_on_error():
            self._get_ready()
            if not self._uploaded:
                self._copy_in()
            self._begin.record(self._stream)
            self._infer()
            self._end.record(self._stream)
            self._end.synchronize()
            return float(self._begin.time_till(self._end)) / 1e3

    def outputs(self) -> dict[str, Array]:
        """Copies of what the last inference gave; empty before the first one of these inputs."""
        self._check_idle()
        if not self._finished:
            return {}
        return {
            binding.name: self._buffers[binding.name].host.copy()
            for binding in self._loaded.bindings
            if not binding.is_input
        }

    def _copy_in(self) -> None:
        for binding in self._loaded.bindings:
            if binding.is_input:
                self._buffers[binding.name].copy_in(self._stream)
        self._uploaded = True

    def _infer(self) -> None:
        if self._graph is not None:
            try:
                self._graph.launch(self._stream.handle)
            except CaptureError as error:
                raise self._not_captured(str(error)) from error
        elif not self._execute():
            raise ArtefactError(
                f"TensorRT failed to run the engine{self._loaded.log()}.", "Build the engine again on this machine."
            )

    def _execute(self) -> bool:
        return bool(self._context.execute_async_v3(self._stream.handle))

    def _get_ready(self) -> None:
        """Captures the inference where that was asked for and shapes or addresses are new, after one plain run."""
        wanted = (tuple(sorted(self._shapes.items())), tuple(sorted(self._addresses.items())))
        if not self._capture or self._ready_for == wanted:
            return
        self._drop_graph()
        self._copy_in()
        self._infer()
        self._stream.synchronize()
        if self._by_itself:
            if not self._context.is_stream_capturable(self._stream.handle):
                raise self._not_captured(f"{self._loaded.flavour.title} says that it cannot{self._loaded.log()}")
        else:
            try:
                self._graph = Graph(self._stream.handle, self._execute)
            except CaptureError as error:
                raise self._not_captured(f"{error}{self._loaded.log()}") from error
        self._ready_for = wanted

    def _not_captured(self, reason: str) -> CcdeployError:
        return ArtefactError(
            f"{self._loaded.path} cannot be run as a CUDA graph: {reason}.", "Open it without cuda_graph."
        )

    def _drop_graph(self) -> None:
        graph, self._graph, self._ready_for = self._graph, None, None
        if graph is not None:
            graph.destroy()

    @contextmanager
    def _drained_on_error(self) -> Iterator[None]:
        """After an error in the block, Ctrl-C too, nothing of it is left on the stream: buffers may be freed then."""
        try:
            yield
        except BaseException:
            with suppress(self._gpu.driver.Error):
                self._stream.synchronize()
            raise

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(f"The runner of {self._loaded.path} is closed.", "Open it again.")

    def _check_idle(self) -> None:
        self._check_open()
        if self.under_way is not None:
            raise UsageError("An inference is under way in this slot.", "Call wait() before the next one.")

    def close(self) -> None:
        """Waits for what is under way, then frees everything. Twice is fine; nothing raises but a defect."""
        if not self._open:
            return
        self._open, self.owner, self.under_way = False, None, None
        # What is wrong with the GPU was told when it went wrong; each step is tried all the same.
        with suppress(CcdeployError), self._gpu.current():
            error = self._gpu.driver.Error
            if hasattr(self, "_stream"):
                with suppress(error):
                    self._stream.synchronize()
            self._drop_graph()
            self.__dict__.pop("_context", None)
            for buffer in self._buffers.values():
                with suppress(error):
                    buffer.free()
            for held in ("_end", "_begin", "_stream"):
                self.__dict__.pop(held, None)
