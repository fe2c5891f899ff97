"""One artefact, one runner, one interface: open it, infer, close it. NumPy arrays go in and come out, by name.

with open_runner("ccnet.engine") as runner:
    logits = runner.infer({"input": batch})["logits"]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ccdeploy.engine.manifest import Tensor

Array = npt.NDArray[np.generic]
_R = TypeVar("_R", bound="Runner")
_P = TypeVar("_P", bound="Prepared")


@dataclass(frozen=True)
class Description:
    """What a runner runs, and on what."""

    artefact: str
    """The file's path, or the model's name."""
    kind: str
    """"onnx", "engine" or "pytorch"."""
    precision: str
    """What it computes in, such as "int8+fp16"; "unknown" of files that ccdeploy did not write."""
    runtime: str
    """`Runner.how`: the runtime, its version, provider, device and plugin."""
    device: str
    """"CPU", or the GPU's name."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    contexts: int = 1
    """How many inferences it can have under way at once."""


class Runner(ABC):
    """What runs an artefact; a context manager. Closing it twice is fine, using it afterwards is an error."""

    how: str
    """The runtime, its version and device, as a report states it."""

    @abstractmethod
    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name; shapes and types are the manifest's. The arrays are the caller's own."""

    @abstractmethod
    def describe(self) -> Description:
        """What it runs, and on what."""

    @abstractmethod
    def prepare(self, inputs: Mapping[str, Array], slot: int = 0) -> Prepared:
        """One inference to be repeated, with its inputs in host memory already.

        Args:
            inputs: as of `infer`; they are copied.
            slot: which of the `contexts` of the description runs it, from 0. Inferences of different slots overlap;
                a slot serves one at a time.

        Raises:
            UsageError: there is no such slot.
            ArtefactError: inputs that the artefact does not take.
        """

    @abstractmethod
    def close(self) -> None:
        """Frees what the runner holds; it cannot be used afterwards."""

    def __enter__(self: _R) -> _R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Prepared(ABC):
    """One inference with its inputs fixed, to be repeated: what a benchmark times. A context manager."""

    @property
    @abstractmethod
    def outputs(self) -> dict[str, Array]:
        """Of the last `run` or `wait`, by name."""

    @property
    @abstractmethod
    def device_bytes(self) -> int | None:
        """Device memory that the engine, this context and its buffers take; None on a CPU or where nobody tells."""

    @abstractmethod
    def run(self) -> None:
        """From inputs in host memory to outputs in host memory; returns when they are there."""

    @abstractmethod
    def run_on_device(self) -> float | None:
        """Seconds of the inference alone, between two events on the device around it; nothing is copied.

        None where the runtime has no such boundary. `outputs` stay as they were.
        """

    @abstractmethod
    def start(self) -> None:
        """Begins what `run` does, and returns. Inferences of other slots go on meanwhile; `wait` must follow."""

    @abstractmethod
    def wait(self) -> None:
        """Returns when what `start` began is done."""

    @abstractmethod
    def close(self) -> None:
        """Waits for what is under way, and gives the slot back."""

    def __enter__(self: _P) -> _P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_runner(
    artefact: Path | str,
    *,
    provider: str | None = None,
    contexts: int = 1,
    cuda_graph: bool = False,
    threads: int | None = None,
    device: int = 0,
) -> Runner:
    """Opens an ONNX file or an engine, as it stands.

    Args:
        artefact: the file.
        provider: of ONNX files, what onnxruntime runs them on: "cpu" (the default), "cuda" or "tensorrt". The one that
            is asked for runs the network, or it is an error.
        contexts: how many inferences shall be possible at once, see `Runner.prepare`.
        cuda_graph: of engines: whether the inference is captured in a CUDA graph once and launched as a whole.
        threads: of ONNX files on the CPU: how many threads work on one node; None: onnxruntime's choice.
        device: the GPU's number, where one is used.

    Raises:
        UsageError: options that do not go with the artefact.
        ArtefactError: a file that is damaged, of another manifest, or that the runtime refuses.
        MissingError: this machine cannot run it; says why.
    """
    from ccdeploy.runners.opening import Options, opened

    return opened(Path(artefact), Options(provider, contexts, cuda_graph, threads, device))


def why_not_openable(artefact: Path | str, *, provider: str | None = None) -> str:
    """Why this machine cannot run an artefact as it stands; empty if it can. No runtime sees the file for this.

    Raises:
        UsageError: a provider that does not exist, or one for an engine.
        ArtefactError: the file is damaged, or its manifest is not its own.
    """
    from ccdeploy.runners.opening import Options, why_not

    return why_not(Path(artefact), Options(provider))
