"""One GPU through pycuda: its primary context, made current for as long as a call lasts.

The primary context is the one that TensorRT and PyTorch use too, so memory and streams are shared with them. It is
current only inside `Gpu.current()`: a runner may be used from any thread, and what a caller had current stays so.
"""

from __future__ import annotations

import atexit
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ccdeploy.errors import MissingError

_retained: dict[int, Any] = {}
"""Primary contexts by device. They are kept until the process ends: pycuda makes a context current while it releases it
and leaves it so, which would pull it from under its other users."""
_retaining = threading.Lock()
atexit.register(_retained.clear)


def why_no_pycuda() -> str:
    """Why pycuda cannot be used; empty if it is installed. Does not import it."""
    if importlib.util.find_spec("pycuda") is None:
        return 'pycuda is not installed: pip install "ccdeploy[pycuda]"'
    return ""


class Gpu:
    """A GPU and pycuda's driver module.

    Attributes:
        driver: `pycuda.driver`; to be used inside `current`.
        name: the GPU's.
    """

    def __init__(self, index: int) -> None:
        """Retains the GPU's primary context.

        Args:
            index: its number, as CUDA counts.

        Raises:
            MissingError: pycuda does not load, or the driver refuses.
        """
        try:
            import pycuda.driver as driver
        except ImportError as error:
            remedy = "Install pycuda again, for the CUDA version of this machine."
            raise MissingError(f"pycuda is installed but does not load ({error}).", remedy) from error
        self.driver = driver
        with self._told(), _retaining:
            driver.init()
            device = driver.Device(index)
            self.name = str(device.name())
            if index not in _retained:
                _retained[index] = device.retain_primary_context()
            self._context = _retained[index]

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside the block the context is this thread's current one; errors of CUDA become MissingError."""
        with self._told():
            self._context.push()
            try:
                yield
            finally:
                self._context.pop()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self.driver.Error as error:
            raise MissingError(
                f"The GPU failed ({error}).", "Free its memory, or use a smaller batch or fewer contexts."
            ) from error
