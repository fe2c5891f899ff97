"""What this device reaches at most, measured: the bandwidth of a copy, and the rate of a large matrix product.

A roofline (Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009) says that work of so many operations a byte
runs at min(peak, bandwidth x operations a byte) at best. Both limits are measured here with PyTorch, in the same run
as what stands under them; a data sheet's are not reached by anybody.
"""

from __future__ import annotations

import torch

from ccdeploy.benchmark.operator.executions import DTYPES
from ccdeploy.benchmark.record import Roof
from ccdeploy.benchmark.timing import Clock

REPEATS = 7


def measure_roof(dtype: str, on_gpu: bool, clock: Clock) -> Roof:
    """The roof of the CPU (with PyTorch's number of threads) or of the GPU, for products of a type."""
    device = "cuda" if on_gpu else "cpu"
    size = 1 << 30 if on_gpu else 1 << 28  # far more than caches hold
    side = 4096 if on_gpu else 1536
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    a, b = torch.randn(2, side, side, generator=torch.Generator().manual_seed(0)).to(device, DTYPES[dtype])
    copying = _seconds(lambda: target.copy_(source), on_gpu, clock)
    product = _seconds(lambda: torch.mm(a, b), on_gpu, clock)
    how = f"best of {REPEATS}: copy of {size >> 20} MiB, read and written together; {side}x{side} product, {dtype}"
    if not on_gpu:
        how += f"; PyTorch, threads: {torch.get_num_threads()}"
    return Roof(2 * size / copying / 1e9, 2 * side**3 / product / 1e9, how)


def _seconds(run: object, on_gpu: bool, clock: Clock) -> float:
    """The shortest time of a call, after one that is not timed: a roof is what is reached at best."""
    assert callable(run)
    times = []
    for _ in range(REPEATS + 1):
        if on_gpu:
            torch.cuda.synchronize()
        start = clock()
        run()
        if on_gpu:
            torch.cuda.synchronize()
        times.append((clock() - start) / 1e9)
    return min(times[1:])
