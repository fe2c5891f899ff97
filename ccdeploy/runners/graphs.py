"""CUDA graphs through the driver's own interface: pycuda has no stream capture.

A graph holds every launch of an inference, with the addresses it was captured with; launching it costs the host one
call. https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ccdeploy.engine.gpu import DriverError, driver_call, load_driver

_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile neither spoils the capture nor is refused."""


class CaptureError(Exception):
    """What a stream was given cannot be captured; says what the driver or the work itself answered."""


class Graph:
    """A captured piece of work, ready to be launched. To be used and destroyed with the GPU's context current."""

    def __init__(self, stream: int, enqueue: Callable[[], bool]) -> None:
        """Captures what `enqueue` puts on a stream; nothing of it runs.

        Args:
            stream: its handle; not the default stream.
            enqueue: returns whether all of it was accepted. It must have run before, so that nothing is left to load.

        Raises:
            CaptureError: it cannot be captured. The stream is as it was.
        """
        self._executable = ctypes.c_void_p()
        try:
            self._driver: Any = load_driver()
            template = self._captured(ctypes.c_void_p(stream), enqueue)
            try:
                flags = ctypes.c_ulonglong(0)
                driver_call(
                    self._driver, "cuGraphInstantiateWithFlags", ctypes.byref(self._executable), template, flags
                )
            finally:
                driver_call(self._driver, "cuGraphDestroy", template)
        except (DriverError, OSError) as error:
            self._executable = ctypes.c_void_p()
            raise CaptureError(str(error)) from error

    def _captured(self, stream: ctypes.c_void_p, enqueue: Callable[[], bool]) -> ctypes.c_void_p:
        template = ctypes.c_void_p()
        driver_call(self._driver, "cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        accepted = False
        try:
            accepted = enqueue()
        finally:  # whatever happens, the stream must not stay in capture mode
            try:
                driver_call(self._driver, "cuStreamEndCapture", stream, ctypes.byref(template))
            except DriverError:
                if accepted:  # otherwise the reason is what `enqueue` answered
                    raise
            if not accepted and template:
                driver_call(self._driver, "cuGraphDestroy", template)
        if not accepted:
            raise CaptureError("TensorRT refused to run while its stream was captured")
        if not template:
            raise CaptureError("the capture was invalidated")
        return template

    def launch(self, stream: int) -> None:
        """Enqueues the whole graph.

        Raises:
            CaptureError: the driver refuses.
        """
        try:
            driver_call(self._driver, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream))
        except DriverError as error:
            raise CaptureError(str(error)) from error

    def destroy(self) -> None:
        """Frees it; its work must be done. Twice is fine. A driver that fails here fails in the next call, too."""
        executable, self._executable = self._executable, ctypes.c_void_p()
        if executable:
            with suppress(DriverError):
                driver_call(self._driver, "cuGraphExecDestroy", executable)
