"""The interface of what can take part in a benchmark: what it is, its inputs, how it is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ccdeploy.benchmark.record import Contestant
from ccdeploy.runners import Array, Runner

UNSTATED_SIZE = 128
"""Height and width where neither the artefact, nor its card, nor the settings state them."""


class Subject(ABC):
    """Something to measure; not opened yet."""

    name: str
    on_gpu: bool
    """Whether it runs on a GPU, by what was asked for."""

    @abstractmethod
    def facts(self) -> Contestant:
        """All that is known before it is opened; as a contestant that was not run."""

    @abstractmethod
    def why_not(self) -> str:
        """Why it cannot run here; empty as far as that can be told without opening it."""

    @abstractmethod
    def open(self, contexts: int = 1) -> Runner:
        """Opens it. Raises CcdeployError where it cannot run."""

    @abstractmethod
    def inputs(self, batch: int | None = None) -> dict[str, Array]:
        """Fresh noise of its contract, by name; the same for all subjects of a shape and contract."""

    @abstractmethod
    def fixed_batch(self) -> int | None:
        """Its batch size, if it takes no other."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What `subject_from_spec` makes the same subject from, in another process; JSON can hold it."""

    @abstractmethod
    def import_runtime(self) -> None:
        """Imports what runs it, which is no part of loading it."""
