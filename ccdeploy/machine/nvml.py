"""Sensors of NVIDIA cards through NVML (the library behind nvidia-smi), by NVIDIA's own binding `pynvml`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

from ccdeploy.errors import first_line
from ccdeploy.machine.cuda_device import bus_id
from ccdeploy.machine.sensors import NoSensors, Reading, Sensors

REMEDY = "pip install nvidia-ml-py"
_REASONS = {
    "SwPowerCap": "power cap",
    "SwThermalSlowdown": "thermal",
    "HwThermalSlowdown": "thermal (hardware)",
    "HwPowerBrakeSlowdown": "power brake",
    "HwSlowdown": "hardware slowdown",
}
"""NVML's reasons for lower clocks that mean throttling. Left out: an idle GPU, clocks that a user set, and clocks held
equal to those of other cards or to a display's."""


class _NoNvml(Exception):
    """Why NVML cannot be used."""


def open_nvml() -> Sensors:
    """The sensors of the GPU that CUDA calls device 0. Never raises: without NVML or a GPU, NoSensors says why."""
    bus, reason = bus_id()
    if not bus:
        return NoSensors(power=reason, temperature=reason, clock=reason)
    try:
        return NvmlSensors(bus)
    except _NoNvml as error:
        reason = str(error)
        return NoSensors(power=reason, temperature=reason, clock=reason)


def driver_and_power_limit() -> tuple[str, str]:
    """The driver's version and, as "300 W of 350 W", the power limit of CUDA device 0 and its default; "" if unknown.

    Never raises.
    """
    bus, _ = bus_id()
    if not bus:
        return "", ""
    try:
        sensors = NvmlSensors(bus)
    except _NoNvml:
        return "", ""
    with sensors:
        return sensors.driver(), sensors.power_limit()


class NvmlSensors(Sensors):
    """One card.

    Energy is the card's own counter where there is one (Volta and newer). Power is what NVML gives, on newer cards the
    mean of the last second; it serves where there is no counter.
    """

    def __init__(self, bus: str) -> None:
        """Opens the card at this PCI bus id.

        Raises:
            _NoNvml: NVML does not load, or does not know the card.
        """
        super().__init__()
        try:
            import pynvml
        except Exception as error:  # not installed, or damaged
            raise _NoNvml(f"the package nvidia-ml-py does not load ({first_line(error)}): {REMEDY}") from error
        self._nvml: Any = pynvml
        try:
            pynvml.nvmlInit()
        except Exception as error:
            raise _NoNvml(f"NVML does not start: {_said(error)}") from error
        self._open = True
        try:
            self._handle = pynvml.nvmlDeviceGetHandleByPciBusId(bus)
        except Exception as error:
            self.close()
            raise _NoNvml(f"NVML does not know the GPU at {bus}: {_said(error)}") from error
        self.name = f"NVML {_text(self._ask('NVML version', pynvml.nvmlSystemGetNVMLVersion))}".strip()
        self.power_scope = "GPU board"
        with contextlib.suppress(Exception):  # most cards have no such mode
            if pynvml.nvmlDeviceGetMigMode(self._handle)[0] == 1:
                self.power_scope = "GPU board, all of its MIG instances"
        self._reasons = self._known_reasons()

    def read(self) -> Reading:
        """One reading, now."""
        nvml, handle = self._nvml, self._handle
        energy = self._ask("energy counter", lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        moment = time.perf_counter()  # of the counter: energy is a difference of two, and each call may take long
        power = self._ask("power", lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        temperature = self._ask("temperature", self._temperature)
        clock = self._ask("clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))
        memory_clock = self._ask("memory clock", lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))
        memory = self._ask("memory", lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)
        return Reading(
            moment,
            power_w=None if power is None else power / 1000,
            energy_j=None if energy is None else energy / 1000,
            temperature_c=temperature,
            clock_mhz=None if clock is None else float(clock),
            memory_clock_mhz=None if memory_clock is None else float(memory_clock),
            throttled=self._throttled(),
            memory_bytes=None if memory is None else int(memory),
        )

    def driver(self) -> str:
        """The driver's version."""
        return _text(self._ask("driver version", self._nvml.nvmlSystemGetDriverVersion))

    def power_limit(self) -> str:
        """The limit that is in force and the card's default: "300 W of 350 W"; empty where the card has none."""
        nvml, handle = self._nvml, self._handle
        limit = self._ask("power limit", lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        default = self._ask("power limit", lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle))
        if limit is None:
            return ""
        return f"{limit / 1000:.0f} W" + (f" of {default / 1000:.0f} W" if default is not None else "")

    def close(self) -> None:
        """Gives NVML back."""
        if self._open:
            self._open = False
            with contextlib.suppress(Exception):
                self._nvml.nvmlShutdown()

    def _throttled(self) -> tuple[str, ...]:
        mask = self._ask("throttling", self._current_reasons)
        return tuple(words for bit, words in self._reasons.items() if mask is not None and mask & bit)

    def _current_reasons(self) -> int:
        """The bits of what holds the clocks down; the call had another name before driver 535."""
        nvml, handle = self._nvml, self._handle
        return int(
            _either(
                lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
                lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
            )
        )

    def _temperature(self) -> float:
        """Degrees Celsius of the chip; the older call is to go with CUDA 14."""
        nvml, handle = self._nvml, self._handle
        return float(
            _either(
                lambda: nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU),
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            )
        )

    def _known_reasons(self) -> dict[int, str]:
        """NVML's bits and our words; a constant is looked for under its newer and its older name."""
        known = {}
        for name, words in _REASONS.items():
            for constant in (f"nvmlClocksEventReason{name}", f"nvmlClocksThrottleReason{name}"):
                bit = getattr(self._nvml, constant, None)
                if isinstance(bit, int):
                    known[bit] = words
                    break
        return known

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        """An answer; None where it fails, with a note the first time."""
        try:
            return question()
        except Exception as error:  # NVMLError, or AttributeError of an old binding
            self.lacks(what, _said(error))
            return None


def _either(newer: Callable[[], Any], older: Callable[[], Any]) -> Any:
    """What the newer name of a call answers, or the older one where driver or binding does not have that."""
    try:
        return newer()
    except Exception:  # what is wrong with both is told of the older one
        return older()


def _said(error: Exception) -> str:
    return f"NVML answered {first_line(error)}" if type(error).__name__.startswith("NVML") else first_line(error)


def _text(value: Any) -> str:
    """Old bindings give bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
