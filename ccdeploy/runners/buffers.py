"""Memory of one tensor on both sides: on the device, and page-locked on the host, so that copies run by themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ccdeploy.runners import Array


class Buffer:
    """A tensor's device memory and its page-locked twin. They only grow, and only when a larger tensor comes.

    Everything here happens with the GPU's context current, and while no work on the buffer is under way.

    Attributes:
        capacity: bytes of each of the two; 0 before `fit`, and after an allocation that failed.
        host: the tensor in page-locked memory. It must not reach the caller: it is freed with the buffer.
    """

    host: Array

    def __init__(self, driver: Any) -> None:
        """`driver` is `pycuda.driver`."""
        self._driver = driver
        self._device: Any = None
        self._pinned: Any = None
        self.capacity = 0

    def fit(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Makes room for a tensor of this shape and type, and makes `host` one.

        Raises:
            pycuda.driver.Error: there is no memory; the buffer is empty then.
        """
        size = math.prod(shape) * dtype.itemsize
        if size > self.capacity or self._device is None:
            self.free()  # first, so that both are never held at once
            capacity = max(1, size)
            self._device = self._driver.mem_alloc(capacity)
            self._pinned = self._driver.pagelocked_empty(capacity, np.uint8)
            self.capacity = capacity
        self.host = self._pinned[:size].view(dtype).reshape(shape)

    @property
    def address(self) -> int:
        """Of the device memory."""
        return int(self._device)

    def copy_in(self, stream: Any) -> None:
        """Enqueues the copy from the host to the device."""
        if self.host.nbytes:
            self._driver.memcpy_htod_async(self._device, self.host, stream)

    def copy_out(self, stream: Any) -> None:
        """Enqueues the copy from the device to the host; `host` holds it once the stream is done."""
        if self.host.nbytes:
            self._driver.memcpy_dtoh_async(self.host, self._device, stream)

    def free(self) -> None:
        """Gives both memories back, not leaving it to Python when; afterwards `fit` starts anew."""
        device, pinned, self._device, self._pinned, self.capacity = self._device, self._pinned, None, None, 0
        self.__dict__.pop("host", None)
        try:
            if device is not None:
                device.free()
        finally:
            if pinned is not None:
                pinned.base.free()
