"""One artefact, one runner, one interface: open it, infer, close it. NumPy arrays go in and come out, by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
_R = TypeVar("_R", bound="Runner")


class Runner(ABC):
    """What runs an artefact; a context manager."""

    how: str
    """The runtime, its version and device, as a report states it."""

    @abstractmethod
    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name for inputs by name; shapes and types are the manifest's."""

    @abstractmethod
    def close(self) -> None:
        """Frees what the runner holds; it cannot be used afterwards."""

    def __enter__(self: _R) -> _R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
