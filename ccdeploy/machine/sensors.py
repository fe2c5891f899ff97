"""What sensors give: one reading at one time; and the interface of everything that can be read."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """What was seen at one moment; None where it could not be read."""

    time: float
    """Of time.perf_counter(), in seconds."""
    power_w: float | None = None
    energy_j: float | None = None
    """A cumulative counter from an arbitrary start, where the hardware has one."""
    temperature_c: float | None = None
    clock_mhz: float | None = None
    """Of the GPU's SMs; of the fastest CPU core where a CPU is timed."""
    memory_clock_mhz: float | None = None
    throttled: tuple[str, ...] = ()
    """Why the clocks were held down, in words: "thermal", "power cap"."""
    memory_bytes: int | None = None
    """Used on the device, by all processes."""


class Sensors(ABC):
    """Something that can be read again and again, from any thread. What it cannot read stands in `missing`."""

    name: str = "none"
    """Such as "NVML 13.580", "Jetson INA3221 rails" or "RAPL"."""
    power_scope: str = ""
    """What power and energy are of: "GPU board", "module (VDD_IN)", "CPU package"; empty where there is none."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}

    @property
    def missing(self) -> tuple[str, ...]:
        """What cannot be read, each with the reason: "power: ...". Grows when a reading fails for the first time."""
        return tuple(f"{what}: {why}" for what, why in list(self._missing.items()))

    def lacks(self, what: str, why: str) -> None:
        """Notes once that something cannot be read."""
        self._missing.setdefault(what, why)

    @abstractmethod
    def read(self) -> Reading:
        """One reading, now. Never raises: what fails is None."""

    def close(self) -> None:  # noqa: B027 - most sensors hold nothing
        """Gives back what reading needed; safe to call twice."""

    def __enter__(self) -> Sensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class NoSensors(Sensors):
    """Where nothing can be read: readings hold nothing but the time."""

    def __init__(self, **missing: str) -> None:
        """What is missing and why, such as NoSensors(power="no driver")."""
        super().__init__()
        for what, why in missing.items():
            self.lacks(what, why)

    def read(self) -> Reading:
        """The time."""
        return Reading(time.perf_counter())
