"""One artefact, one runner, one interface: open it, infer, close it. NumPy arrays go in and come out, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

Array = npt.NDArray[np.generic]


class Runner(Protocol):
    """What runs an artefact; a context manager."""

    how: str
    """The runtime, its version and device, as a report states it."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name; shapes and types are the manifest's."""
        ...

    def close(self) -> None:
        """Frees what the runner holds; it cannot be used afterwards."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
