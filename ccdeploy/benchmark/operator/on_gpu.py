"""Functions of CUDA tensors, timed between two events after a flush of the caches."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

FLUSH_BYTES = 512 << 20
"""More than any L2 cache holds."""
FLUSH_SECONDS = 1e-3
"""About so long the GPU is kept busy before the first event: the host has enqueued the whole run by then, so that the
time of launches is in nobody's figure."""


class CudaRuns:
    """A function of tensors on the GPU, on the current stream."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.y: torch.Tensor | None = None

    @torch.no_grad()
    def run(self) -> None:
        """Waits for the GPU before and after: what is in it is launches and work."""
        torch.cuda.synchronize()
        self.y = self.function(*self.arguments)
        torch.cuda.synchronize()

    @torch.no_grad()
    def run_on_device(self) -> float | None:
        """Seconds between the events."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        flush()
        start.record()
        self.y = self.function(*self.arguments)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3


@cache
def _scratch() -> tuple[torch.Tensor, int]:
    """Memory to overwrite, and how often that must be done to take FLUSH_SECONDS."""
    free, _ = torch.cuda.mem_get_info()
    memory = torch.empty(min(FLUSH_BYTES, free // 8), dtype=torch.uint8, device="cuda")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    memory.zero_()
    start.record()
    memory.zero_()
    end.record()
    end.synchronize()
    return memory, max(1, math.ceil(FLUSH_SECONDS / (float(start.elapsed_time(end)) / 1e3)))


def flush() -> None:
    """Enqueues the flush."""
    memory, repeats = _scratch()
    for _ in range(repeats):
        memory.zero_()
