"""Runs TensorRT engines on the GPU, if this machine can; says why not otherwise."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ccdeploy.engine.flavour import load_flavour, needed_cuda
from ccdeploy.engine.gpu import GpuReport, probe_gpus
from ccdeploy.engine.manifest import Engine, Manifest
from ccdeploy.engine.plugin import find_for_engine
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.native.library import ENVIRONMENT
from ccdeploy.runners import Array, Description, Prepared, Runner
from ccdeploy.runners.cuda import why_no_pycuda
from ccdeploy.runners.loaded import LoadedEngine
from ccdeploy.runners.prepared import check_slot
from ccdeploy.runners.slots import Slot


def why_not_runnable(manifest: Manifest, path: Path, device: int = 0) -> str:
    """Why an engine cannot run on this machine; empty if it can. TensorRT never sees the file for this.

    Args:
        manifest: what the engine is.
        path: its file, beside which its plugin may lie.
        device: the GPU's number.
    """
    engine = _record(manifest)
    report = probe_gpus()
    if not report.gpus:
        return f"no GPU: {report.reason}"
    if device >= len(report.gpus):
        return f"GPU {device} was asked for, this machine has {len(report.gpus)}, counted from 0"
    gpu = report.gpus[device]
    if gpu.compute_capability not in engine.compute_capabilities:
        built = ", ".join(engine.compute_capabilities)
        return f"built for compute capability {built}, {gpu.name} has {gpu.compute_capability}"
    try:
        flavour = load_flavour(engine.flavour)
    except MissingError as error:
        return error.what
    if flavour.version != engine.version:
        return f"built by {engine.flavour} {engine.version}, version {flavour.version} is installed"
    if reason := _why_too_old(report, flavour.title, needed_cuda(flavour)):
        return reason
    if engine.plugin is not None and engine.plugin.embedded:
        return "it carries native code (an embedded plugin), which is run only on request"
    if engine.plugin is not None and find_for_engine(engine.plugin, path, gpu.compute_capability) is None:
        return (
            f"its plugin {engine.plugin.file} (sha256 {engine.plugin.sha256[:16]}...) is not beside it, in the cache, "
            f"or named by {ENVIRONMENT}"
        )
    return why_no_pycuda()


def _why_too_old(report: GpuReport, title: str, needed: int | None) -> str:
    """Why the driver does not serve a TensorRT: CUDA's minor versions go together, its major versions do not."""
    served = report.cuda.partition(".")[0]
    if needed is None or not served.isdecimal() or int(served) >= needed:
        return ""
    driver = f"the driver {report.driver}" if report.driver else "the driver"
    return f"{title} is built for CUDA {needed}, {driver} serves CUDA {report.cuda}"


def load_engine(manifest: Manifest, path: Path, device: int = 0) -> LoadedEngine:
    """An engine in the GPU's memory, after everything that its manifest says was checked against this machine.

    Raises:
        MissingError: this machine cannot run it.
        ArtefactError: TensorRT refuses it.
    """
    if reason := why_not_runnable(manifest, path, device):
        raise MissingError(f"{path} cannot run here: {reason}.", "`ccdeploy doctor` shows what this machine lacks.")
    record = _record(manifest)
    plugin = None
    if record.plugin is not None:
        plugin = find_for_engine(record.plugin, path, probe_gpus().gpus[device].compute_capability)
    return LoadedEngine(path, load_flavour(record.flavour), plugin, device)


class EngineRunner(Runner):
    """An engine on a GPU.

    Buffers on both sides are allocated when shapes first come, and kept. `infer` uses slot 0. A slot belongs to one
    thread at a time; several threads may each use their own.
    """

    def __init__(
        self, path: Path, manifest: Manifest, contexts: int = 1, cuda_graph: bool = False, device: int = 0
    ) -> None:
        """Deserialises the engine.

        Args:
            path: the engine's file.
            manifest: the one that belongs to it, see `ccdeploy.artefacts.manifest_of`.
            contexts: how many inferences may be under way at once.
            cuda_graph: whether the inference is captured in a CUDA graph and launched as a whole. It is captured
                anew when shapes change or a buffer grows.
            device: the GPU's number.

        Raises:
            MissingError: this machine cannot run it.
            ArtefactError: TensorRT refuses it.
        """
        self._manifest, self._path = manifest, path
        self._slots: list[Slot] = []
        self._loaded = load_engine(manifest, path, device)
        self._release = weakref.finalize(self, _release, self._slots, self._loaded)  # if nobody closes it, too
        self.how = self._loaded.how + (", CUDA graph" if cuda_graph else "")
        try:
            for _ in range(contexts):
                self._slots.append(Slot(self._loaded, cuda_graph))
        except BaseException:
            self.close()
            raise

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            UsageError: the runner is closed, or an inference is under way in slot 0.
            ArtefactError: inputs that the engine's profile does not take, or a failed run.
            MissingError: the GPU has no memory left, or fails.
        """
        slot = self._slots[0]
        slot.bind(inputs, owner=None)
        slot.start(owner=object())
        slot.wait()
        return slot.outputs()

    def describe(self) -> Description:
        """See the interface."""
        manifest = self._manifest
        return Description(
            artefact=str(self._path),
            kind="engine",
            precision=manifest.types,
            runtime=self.how,
            device=self._loaded.gpu.name,
            inputs=manifest.inputs,
            outputs=manifest.outputs,
            contexts=len(self._slots),
        )

    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """See the interface; inputs that the engine does not take are told at once."""
        check_slot(slot, len(self._slots))
        return EnginePrepared(self, self._slots[slot], inputs)

    def close(self) -> None:
        """Waits for what is under way, frees every slot, then the engine."""
        self._release()


def _release(slots: list[Slot], loaded: LoadedEngine) -> None:
    for slot in slots:
        slot.close()
    loaded.close()


class EnginePrepared(Prepared):
    """An inference in a slot. It puts its inputs back where another inference has used the slot meanwhile."""

    def __init__(self, runner: EngineRunner, slot: Slot, inputs: Mapping[str, Array]) -> None:
        self._runner = runner  # which would free the slot if it were forgotten
        self._slot = slot
        self._token = object()  # not itself: a slot that knew it would keep it, and with it the runner, alive
        self._inputs = {name: np.array(array, order="C") for name, array in inputs.items()}
        slot.bind(self._inputs, self._token)

    @property
    def outputs(self) -> dict[str, Array]:
        """See the interface; copies."""
        if self._slot.owner is not self._token:
            what = "The outputs are gone: another inference has used the slot."
            raise UsageError(what, "Read them before, or use another slot.")
        return self._slot.outputs()

    @property
    def device_bytes(self) -> int | None:
        """See the interface."""
        return self._slot.device_bytes

    def run(self) -> None:
        """See the interface."""
        self.start()
        self.wait()

    def run_on_device(self) -> float | None:
        """See the interface."""
        self._bind()
        return self._slot.timed_on_device()

    def start(self) -> None:
        """See the interface."""
        self._bind()
        self._slot.start(self._token)

    def wait(self) -> None:
        """See the interface."""
        if self._slot.under_way is not self._token:
            raise UsageError("wait() was called, nothing was started.", "Call start() before.")
        self._slot.wait()

    def close(self) -> None:
        """See the interface."""
        if self._slot.under_way is self._token:
            self._slot.wait()
        if self._slot.owner is self._token:
            self._slot.owner = None

    def _bind(self) -> None:
        if self._slot.owner is not self._token:
            self._slot.bind(self._inputs, self._token)


def _record(manifest: Manifest) -> Engine:
    if manifest.engine is None:
        raise ArtefactError(
            f"{manifest.file}: its manifest is of the kind {manifest.kind}, engine was expected.",
            "Build the engine again with `ccdeploy build-engine`.",
        )
    return manifest.engine
