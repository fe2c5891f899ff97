"""Where a network's weights came from, as the manifest records it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """Weights of a file, or drawn from a seed."""

    source: str
    """"file" or "random"."""
    sha256: str = ""
    """Of the file."""
    file: str = ""
    layout: str = ""
    seed: int | None = None
    path: str = ""
    """Where the file lay on the machine that exported: a hint that no ONNX file carries."""
