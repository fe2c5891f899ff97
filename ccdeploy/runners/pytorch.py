"""Runs a network in PyTorch: the reference that artefacts are compared with, and the plain network to be timed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.ccnet.loading import OWN_ARCHITECTURES, Model, does_not_run
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.stages import BACKBONE, FEATURES, LOGITS, recorded
from ccdeploy.deployable import enlarged, tensor_of
from ccdeploy.engine.manifest import Tensor
from ccdeploy.errors import ArtefactError, CcdeployError, MissingError, UsageError
from ccdeploy.runners import Array, Description, Prepared, Runner
from ccdeploy.runners.prepared import HostPrepared, check_slot


class PyTorchRunner(Runner):
    """The network as it was trained: separate projections, batch norms, gamma; on the CPU, in float32 or float64.

    Takes the normalised input [B, channels, H, W] under any one name, and gives every stage of the network by name:
    backbone, criss-cross passes, and logits at the input's size (or features, of a bare module).
    """

    def __init__(self, model: Model, double: bool = False) -> None:
        self.model = model
        self.dtype = torch.float64 if double else torch.float32
        self.how = f"PyTorch {torch.__version__}, CPU, {'float64' if double else 'float32'}"
        _, adoption = adopt(model.network)
        self.passes = [model.network.get_submodule(name) for name in adoption.replaced if name in self._paths()]
        self.passes = self.passes or [model.network]

    def _paths(self) -> set[str]:
        return {name for name, _ in self.model.network.named_modules()}

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See the class.

        Raises:
            ModelError: a user's network whose forward raised.
        """
        (picture,) = inputs.values()
        x = torch.from_numpy(np.ascontiguousarray(picture)).to(self.dtype)
        network = self.model.network.to(self.dtype)
        try:
            with torch.no_grad(), CudaStaysOnCpu(), recorded(network._modules.get(BACKBONE), self.passes) as values:
                output = tensor_of(network(x))
        except CcdeployError:
            raise
        except Exception as error:  # a user's code may raise anything
            raise does_not_run(self.model.name, error, tuple(x.shape)) from error
        finally:
            network.to(torch.float32)
        if self.model.card.network.architecture == "criss-cross":
            values = {stage: value for stage, value in values.items() if value is not output} | {FEATURES: output}
        else:
            if output.dim() == 4 and output.shape[-2:] != x.shape[-2:]:
                output = enlarged(output, x.shape[2], x.shape[3], self.model.card.output.align_corners)
            values = {**values, LOGITS: output}
        return {stage: value.numpy() for stage, value in values.items()}

    def describe(self) -> Description:
        """See the interface; the outputs are every stage."""
        return _described(self.model, self.dtype, self.how, "CPU", ())

    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """See the interface."""
        check_slot(slot, 1)
        return HostPrepared(self.infer, inputs)

    def close(self) -> None:
        """Nothing is held beyond the model."""


def open_model(
    model: Model, device: str = "cpu", dtype: torch.dtype = torch.float32, compiled: bool = False
) -> PlainRunner:
    """The network as it was trained, run plainly: no stage is recorded, so that it can be timed.

    Takes the normalised input float32 [B, channels, H, W] under any one name; gives float32 logits at the input's size
    (features of a bare criss-cross module). The network that is given stays as it is.

    Args:
        model: the network with its weights.
        device: "cpu", "cuda" or "cuda:1".
        dtype: what it computes in. 16-bit types by autocast, as PyTorch networks are run in practice: the weights stay
            float32, and so does what needs it. (The well-known criss-cross module raises in pure half precision.)
        compiled: whether torch.compile makes it faster; it compiles in the first inference of each shape.

    Raises:
        UsageError: another device.
        MissingError: PyTorch cannot use a GPU here.
    """
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdecimal()) or (kind == "cpu" and index):
        raise UsageError(f"{device!r} is no device to run a network on.", "Choose cpu, cuda, or cuda:1 and so on.")
    if kind == "cuda":
        if torch.version.cuda is None:
            raise MissingError(f"PyTorch {torch.__version__} is built without CUDA.", "Install its CUDA build.")
        if not torch.cuda.is_available() or int(index or 0) >= torch.cuda.device_count():
            what = f"PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs, {device} was asked for."
            raise MissingError(what, "`ccdeploy doctor` shows the driver and the GPU.")
    return PlainRunner(model, torch.device(device), dtype, compiled)


class PlainRunner(Runner):
    """See `open_model`."""

    def __init__(self, model: Model, device: torch.device, dtype: torch.dtype, compiled: bool) -> None:
        self._model, self._device, self._dtype = model, device, dtype
        self._device_name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self._autocast = dtype in (torch.float16, torch.bfloat16)
        kind = str(dtype).removeprefix("torch.")
        self.how = f"PyTorch {torch.__version__}, {self._device_name}, {'autocast to ' * self._autocast}{kind}"
        self._stored = torch.float32 if self._autocast else dtype
        moved = device.type != "cpu" or self._stored != torch.float32
        network = copy.deepcopy(model.network).to(device, self._stored) if moved else model.network
        self._forward: Any = network
        if compiled:
            self._forward = torch.compile(network)
            self.how += ", torch.compile"
        if device.type == "cuda":
            # cuDNN's default would multiply float32 with float16's mantissa. These are switches of the whole process.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        own = model.card.network.architecture in OWN_ARCHITECTURES
        self._needs_guard = device.type == "cpu" and not own  # it costs time, and only users' networks call .cuda()
        self._output = FEATURES if model.card.network.architecture == "criss-cross" else LOGITS

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `open_model`.

        Raises:
            ModelError: the network raised, or torch.compile cannot compile it.
            UsageError: the runner is closed.
        """
        with torch.inference_mode():
            y = self.forward(self.entered(inputs).to(self._device))
            return {self._output: y.float().cpu().numpy()}

    def entered(self, inputs: Mapping[str, Array]) -> torch.Tensor:
        """The input as a tensor in host memory; an error if there is not exactly one."""
        if len(inputs) != 1:
            what = f"{self._model.name} takes one input, {', '.join(inputs) or 'none'} was given."
            raise ArtefactError(what, "Give the normalised picture alone.")
        (picture,) = inputs.values()
        return torch.from_numpy(np.array(picture, np.float32, order="C"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output for an input on the device; nothing is copied."""
        if self._forward is None:
            raise UsageError(f"The runner of {self._model.name} is closed.", "Open it again.")
        guard: AbstractContextManager[Any] = CudaStaysOnCpu() if self._needs_guard else nullcontext()
        try:
            with guard, self._precision():
                y = tensor_of(self._forward(x.to(self._stored)))
                if self._output == LOGITS and y.dim() == 4 and y.shape[-2:] != x.shape[-2:]:
                    y = enlarged(y, x.shape[2], x.shape[3], self._model.card.output.align_corners)
                return y
        except Exception as error:  # a user's code may raise anything, torch.compile's backends too
            raise does_not_run(self._model.name, error, tuple(x.shape)) from error

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, self._dtype) if self._autocast else nullcontext()

    def describe(self) -> Description:
        """See the interface."""
        sizes = ("batch", self._model.card.num_classes or "classes", "height", "width")
        outputs = (Tensor(self._output, "float32", "NCHW", sizes),) if self._output == LOGITS else ()
        return _described(self._model, self._dtype, self.how, self._device_name, outputs)

    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """See the interface."""
        check_slot(slot, 1)
        if self._device.type == "cuda":
            return CudaPrepared(self, self._device, self._output, inputs)
        self.entered(inputs)
        return HostPrepared(self.infer, inputs)

    def close(self) -> None:
        """Drops the network."""
        self._forward = None


class CudaPrepared(Prepared):
    """A network's inference on a GPU, on a stream of its own, with page-locked memory on the host."""

    def __init__(self, runner: PlainRunner, device: torch.device, output: str, inputs: Mapping[str, Array]) -> None:
        self._runner, self._device, self._output = runner, device, output
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._source = runner.entered(inputs).pin_memory()
        self._x = self._source.to(device)
        self._result: torch.Tensor | None = None
        self._under_way = False

    @property
    def outputs(self) -> dict[str, Array]:
        """See the interface; copies."""
        self._check_idle()
        return {} if self._result is None else {self._output: self._result.numpy().copy()}

    @property
    def device_bytes(self) -> int | None:
        """The most that PyTorch has had allocated on the device in this process."""
        return int(torch.cuda.max_memory_allocated(self._device))

    def run(self) -> None:
        """See the interface."""
        self.start()
        self.wait()

    def run_on_device(self) -> float | None:
        """See the interface."""
        self._check_idle()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record(self._stream)
            self._runner.forward(self._x)
            end.record(self._stream)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def start(self) -> None:
        """See the interface."""
        self._check_idle()
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            self._x.copy_(self._source, non_blocking=True)
            y = self._runner.forward(self._x).float()
            if self._result is None or self._result.shape != y.shape:
                self._result = torch.empty(y.shape, dtype=torch.float32).pin_memory()
            self._result.copy_(y, non_blocking=True)
        self._under_way = True

    def wait(self) -> None:
        """See the interface."""
        if not self._under_way:
            raise UsageError("wait() was called, nothing was started.", "Call start() before.")
        self._under_way = False
        self._stream.synchronize()

    def close(self) -> None:
        """See the interface."""
        if self._under_way:
            self.wait()

    def _check_idle(self) -> None:
        if self._under_way:
            raise UsageError("An inference is under way in this slot.", "Call wait() before the next one.")


def _described(model: Model, dtype: torch.dtype, how: str, device: str, outputs: tuple[Tensor, ...]) -> Description:
    """What is known of a network before it has run."""
    precision = _PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
    source = Tensor("input", "float32", "NCHW", ("batch", model.card.input.channels, "height", "width"))
    return Description(model.name, "pytorch", precision, how, device, (source,), outputs)


_PRECISIONS = {torch.float64: "fp64", torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
