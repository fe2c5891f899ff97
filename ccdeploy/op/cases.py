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

    def __str__(self) -> str:
        return f"{self.batch}x{self.channels}x{self.height}x{self.width}-cq{self.query_channels}"


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

DEPLOYED = (
    Case(1, 512, 64, 97, 97),
    Case(1, 512, 64, 64, 128),
    Case(1, 512, 64, 128, 256),
)
"""The feature maps of published CCNets at output stride 8: for speed (and for correctness where it is cheap)."""
