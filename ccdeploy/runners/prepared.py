"""Inferences to be repeated, for runtimes that are called on host memory and return when they are done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ccdeploy.errors import UsageError
from ccdeploy.runners import Array, Prepared

Infer = Callable[[Mapping[str, Array]], dict[str, Array]]


def check_slot(slot: int, contexts: int) -> None:
    """Raises UsageError where a runner of so many contexts has no such slot."""
    if not 0 <= slot < contexts:
        raise UsageError(
            f"Slot {slot} was asked for, there are {contexts} (0 to {contexts - 1}).",
            f"Open it with contexts={slot + 1} or more." if slot > 0 else "Slots are counted from 0.",
        )


class HostPrepared(Prepared):
    """A blocking `infer` to be repeated; `start` calls it in a thread of its own (runtimes release Python's lock).

    Args:
        infer: of the runner.
        inputs: are copied.
        timed_on_device: `infer` that also tells the seconds between two events on the device, where there are such.
    """

    def __init__(
        self,
        infer: Infer,
        inputs: Mapping[str, Array],
        timed_on_device: Callable[[Mapping[str, Array]], float | None] = lambda inputs: None,
    ) -> None:
        self._outputs: dict[str, Array] = {}
        self._infer, self._timed = infer, timed_on_device
        self._inputs = {name: np.array(array, order="C") for name, array in inputs.items()}
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[dict[str, Array]] | None = None

    @property
    def outputs(self) -> dict[str, Array]:
        """See the interface; each run makes new arrays."""
        return self._outputs

    @property
    def device_bytes(self) -> int | None:
        """See the interface."""
        return None

    def run(self) -> None:
        """See the interface; in the caller's thread."""
        self._check_idle()
        self._outputs = self._infer(self._inputs)

    def run_on_device(self) -> float | None:
        """See the interface."""
        self._check_idle()
        return self._timed(self._inputs)

    def start(self) -> None:
        """See the interface."""
        self._check_idle()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ccdeploy-slot")
        self._under_way = self._thread.submit(self._infer, self._inputs)

    def wait(self) -> None:
        """See the interface; raises what the inference raised."""
        if self._under_way is None:
            raise UsageError("wait() was called, nothing was started.", "Call start() before.")
        future, self._under_way = self._under_way, None
        self._outputs = future.result()

    def close(self) -> None:
        """See the interface."""
        self._under_way = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None

    def _check_idle(self) -> None:
        if self._under_way is not None:
            raise UsageError("An inference is under way in this slot.", "Call wait() before the next one.")
