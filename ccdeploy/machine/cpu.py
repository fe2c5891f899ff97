"""Sensors of a CPU: RAPL's energy, temperature, the fastest core's clock, thermal throttling, memory in use."""

from __future__ import annotations

import os
import time

from ccdeploy.machine.files import Files
from ccdeploy.machine.rapl import Rapl
from ccdeploy.machine.sensors import Reading, Sensors

_CPUS = "sys/devices/system/cpu"
_MOST_CPUS = 16
"""CPUs whose files are read at a time: reading those of a hundred would disturb what is timed."""
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""hwmon's names of the sensors in Intel's, AMD's and small ARM processors; their first input is the whole chip."""
_ZONES = ("x86_pkg_temp", "cpu-thermal", "CPU-therm")
"""Thermal zones of a processor; the last two are those of Jetsons."""


class CpuSensors(Sensors):
    """The CPU that this process runs on."""

    def __init__(self, files: Files) -> None:
        super().__init__()
        self.files = files
        self._rapl = Rapl(files)
        if self._rapl.packages:
            self.name = "RAPL"
            self.power_scope = "CPU package" if self._rapl.packages == 1 else f"{self._rapl.packages} CPU packages"
        else:
            self.lacks("power", self._rapl.why_none)
        self._temperature = cpu_temperature_file(files)
        if not self._temperature:
            self.lacks("temperature", "the kernel shows no sensor of the CPU")
        self._clocks = clock_files(files)
        if not self._clocks:
            self.lacks("clock", "the kernel shows no cpufreq (a virtual machine?)")
        self._throttles = Counts(files, _throttle_files(files))

    def read(self) -> Reading:
        """One reading, now."""
        energy = self._rapl.joules()
        if energy is None and self._rapl.packages:
            self.lacks("power", "RAPL's counter can no longer be read")
        return Reading(
            time.perf_counter(),
            energy_j=energy,
            temperature_c=temperature(self.files, self._temperature),
            clock_mhz=fastest_mhz(self.files, self._clocks),
            throttled=("thermal",) if self._throttles.advanced() else (),
            memory_bytes=memory_used(),
        )


class Counts:
    """Counters of events in files."""

    def __init__(self, files: Files, paths: list[str]) -> None:
        self.files = files
        self._last = {path: files.number(path) for path in paths}

    def advanced(self) -> list[str]:
        """The counters that have advanced since they were last looked at."""
        moved = []
        for path, last in self._last.items():
            now = self.files.number(path)
            if now is not None and last is not None and now > last:
                moved.append(path)
            self._last[path] = now
        return moved


def cpu_temperature_file(files: Files) -> str:
    """The file that holds the CPU's temperature in thousandths of a degree; empty if there is none."""
    for chip in files.matching("sys/class/hwmon/hwmon*"):
        if files.text(f"{chip}/name") in _CHIPS and files.number(f"{chip}/temp1_input") is not None:
            return f"{chip}/temp1_input"
    return zone_file(files, _ZONES)


def zone_file(files: Files, types: tuple[str, ...]) -> str:
    """The temperature file of the first thermal zone whose type is one of these; empty if there is none."""
    for zone in files.matching("sys/class/thermal/thermal_zone*"):
        if files.text(f"{zone}/type") in types:
            return f"{zone}/temp"
    return ""


def temperature(files: Files, path: str) -> float | None:
    """Degrees Celsius; None for what no chip has (sensors that sleep give values such as -256)."""
    value = files.number(path) if path else None
    return value / 1000 if value is not None and -60_000 < value < 200_000 else None


def fastest_mhz(files: Files, paths: list[str]) -> float | None:
    """The largest of some clocks that files hold in kHz."""
    clocks = [clock for path in paths if (clock := files.number(path)) is not None]
    return max(clocks) / 1000 if clocks else None


def memory_used() -> int | None:
    """Bytes of main memory that programs use and would not give back."""
    try:
        import psutil

        memory = psutil.virtual_memory()
        return int(memory.total - memory.available)
    except Exception:  # psutil missing or damaged: a reading never raises
        return None


def usable_cpus() -> list[int]:
    """The numbers of the CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def clock_files_of(cpus: list[int], file: str) -> list[str]:
    """The files of this name of some CPUs, spread over all where there are many."""
    step = -(-len(cpus) // _MOST_CPUS)
    return [f"{_CPUS}/cpu{cpu}/{file}" for cpu in cpus[::step]]


def clock_files(files: Files) -> list[str]:
    """The files that hold the clocks, in kHz, of CPUs that this process may use; empty without cpufreq."""
    paths = clock_files_of(usable_cpus(), "cpufreq/scaling_cur_freq")
    return [path for path in paths if files.number(path) is not None]


def _throttle_files(files: Files) -> list[str]:
    paths = clock_files_of(usable_cpus(), "thermal_throttle/package_throttle_count")
    return [path for path in paths if files.number(path) is not None]
