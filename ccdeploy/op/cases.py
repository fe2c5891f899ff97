"""The one table of criss-cross cases: tests, benchmarks and checks of every execution read their rows here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One shape of the operator: qkv [batch, 2 * query_channels + channels, height, width]."""

    batch: int
    channels: int
    query_channels: int
    height: int
    width: int
    energy_scale: float = 2.25
    """The standard deviation that the energies q . k of random operands should have."""

    def __str__(self) -> str:
        energies = "" if self.energy_scale == Case.energy_scale else f"-energy{self.energy_scale:g}"
        return f"{self.batch}x{self.channels}x{self.height}x{self.width}-cq{self.query_channels}{energies}"


SMALL = (
    Case(1, 8, 1, 1, 1),
    Case(1, 16, 2, 1, 7),
    Case(2, 16, 2, 7, 1),
    Case(2, 24, 3, 5, 9),
    Case(1, 64, 8, 33, 17),
    Case(3, 32, 16, 13, 2),
    Case(1, 40, 40, 11, 11),
)
"""Odd sizes, lines of one pixel, every key ratio: for correctness."""

STEEP = 15.0
"""An energy scale that reaches +-60: the softmax then nearly picks one value, and exp(60) fits no 16-bit type."""

KERNEL = (
    # Lines of one pixel, and the smallest of everything.
    Case(1, 32, 8, 1, 1),
    Case(3, 32, 8, 1, 1),
    Case(1, 64, 8, 1, 7),
    Case(2, 64, 16, 9, 1),
    Case(1, 512, 64, 1, 33),
    Case(1, 512, 64, 33, 1),
    Case(3, 32, 16, 2, 2),
    # Odd sizes, primes, batches.
    Case(1, 64, 8, 3, 5),
    Case(3, 64, 8, 5, 3),
    Case(1, 64, 24, 7, 11),
    Case(1, 96, 40, 13, 17),
    Case(3, 32, 8, 11, 6),
    Case(2, 160, 16, 19, 4),
    Case(1, 32, 8, 23, 29),
    # Both sides of 16 and 32 keys (a tile of the tensor cores, a step) and of 64 queries (a block).
    Case(1, 32, 8, 15, 16),
    Case(1, 32, 8, 16, 15),
    Case(1, 32, 8, 17, 31),
    Case(1, 32, 8, 31, 17),
    Case(1, 32, 8, 32, 33),
    Case(1, 32, 8, 33, 32),
    Case(1, 32, 8, 47, 49),
    Case(1, 32, 8, 63, 3),
    Case(1, 32, 8, 3, 63),
    Case(1, 32, 8, 64, 2),
    Case(1, 32, 8, 2, 65),
    Case(1, 32, 8, 65, 5),
    Case(1, 32, 8, 1, 129),
    Case(1, 32, 8, 130, 1),
    Case(1, 64, 16, 97, 3),
    Case(1, 64, 16, 2, 161),
    # Slices of 128 and of 256 channels, full and not.
    Case(1, 96, 8, 5, 7),
    Case(1, 128, 16, 7, 5),
    Case(1, 160, 16, 5, 6),
    Case(1, 256, 32, 6, 5),
    Case(1, 288, 32, 5, 4),
    Case(1, 480, 56, 4, 5),
    Case(1, 512, 64, 9, 10),
    Case(1, 544, 64, 3, 4),
    Case(1, 1024, 128, 3, 4),
    Case(1, 2048, 128, 2, 3),
    # Query channels that fill their tile, and that do not.
    Case(1, 64, 24, 9, 9),
    Case(1, 64, 32, 9, 9),
    Case(1, 64, 48, 9, 9),
    Case(1, 64, 72, 9, 9),
    Case(1, 64, 104, 9, 9),
    Case(1, 32, 128, 34, 9),
    # The published ratio on more than one block of queries.
    Case(1, 512, 64, 20, 70),
    # Large energies.
    Case(1, 64, 8, 33, 17, STEEP),
    Case(1, 128, 64, 40, 35, STEEP),
    Case(3, 64, 32, 7, 66, STEEP),
    Case(1, 64, 128, 65, 3, STEEP),
    Case(1, 32, 16, 1, 100, STEEP),
)
"""What the GPU kernel takes: multiples of 32 channels and of 8 query channels; every edge of its tiles."""

DEPLOYED = (
    Case(1, 512, 64, 97, 97),
    Case(1, 512, 64, 64, 128),
    Case(1, 512, 64, 128, 256),
)
"""The feature maps of published CCNets at output stride 8: for speed (and for correctness where it is cheap)."""

MAX_ERROR = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 2e-2}
"""The largest difference from float64 that the kernel may show for values and residuals of unit scale."""
