"""What the CUDA kernel does not compute: one function with every limit, for whoever must know before calling it.

The same limits are in the C interface (ccdeploy_criss_cross_supported); a test holds the two together.
"""

from __future__ import annotations

OLDEST = {"fp32": 75, "fp16": 75, "bf16": 80}
"""Oldest compute capability (major * 10 + minor) of each float type."""
CHANNEL_STEP, MOST_CHANNELS = 32, 2048
QUERY_CHANNEL_STEP, MOST_QUERY_CHANNELS = 8, 128
MOST_PIXELS = 1 << 24
"""Of all images together."""


def why_unsupported(
    precision: str,
    *,
    channels: int,
    query_channels: int,
    batch: int = 1,
    height: int = 1,
    width: int = 1,
    architecture: int = 0,
) -> str:
    """Which limit a problem is outside of: the value seen and the value expected; empty if it is within all.

    Args:
        precision: "fp32", "fp16" or "bf16".
        channels: C.
        query_channels: Cq.
        batch: B.
        height: H, in pixels.
        width: W, in pixels.
        architecture: the GPU's compute capability, major * 10 + minor; 0: any.
    """
    oldest = OLDEST.get(precision)
    if oldest is None:
        return f"the type is {precision}, one of {', '.join(OLDEST)} was expected"
    if architecture and architecture < oldest:
        return (
            f"the compute capability is {architecture // 10}.{architecture % 10}, "
            f"{oldest // 10}.{oldest % 10} or newer was expected for {precision}"
        )
    for name, size in (("batch", batch), ("height", height), ("width", width)):
        if size < 1:
            return f"{name} is {size}, 1 or more was expected"
    if batch * height * width > MOST_PIXELS:
        return (
            f"batch x height x width is {batch} x {height} x {width}, at most {MOST_PIXELS} pixels in all were expected"
        )
    for name, size, step, most in (
        ("channels", channels, CHANNEL_STEP, MOST_CHANNELS),
        ("query_channels", query_channels, QUERY_CHANNEL_STEP, MOST_QUERY_CHANNELS),
    ):
        if not 1 <= size <= most or size % step:
            return f"{name} is {size}, a multiple of {step} from {step} to {most} was expected"
    return ""
