"""Sensors of a Jetson: rails, thermal zones, clocks and throttling from sysfs; tegrastats for what is not there."""

from __future__ import annotations

import time

from ccdeploy.machine import jetson
from ccdeploy.machine.cpu import (
    Counts,
    clock_files,
    cpu_temperature_file,
    fastest_mhz,
    memory_used,
    temperature,
    zone_file,
)
from ccdeploy.machine.files import Files
from ccdeploy.machine.rails import find_rails, whole
from ccdeploy.machine.sensors import Reading, Sensors
from ccdeploy.machine.tegrastats import Line, Tegrastats

_GPU_ZONES = ("GPU-therm", "gpu-thermal")
_JUNCTION_ZONES = ("Tj-therm", "tj-thermal")
_MEMORY_CLOCKS = ("sys/kernel/debug/bpmp/debug/clk/emc/rate", "sys/kernel/debug/clk/emc/clk_rate")
"""Hz; for root only."""
_OVER_CURRENT = {
    "oc1_event_cnt": "under-voltage",
    "oc2_event_cnt": "over-current (mean)",
    "oc3_event_cnt": "over-current (peak)",
}
"""Counters of soctherm_oc, the hardware that slows the chip down when the supply does not suffice."""
_FIRST_LINE = 2.0
"""Seconds to wait for tegrastats' first line."""


class JetsonSensors(Sensors):
    """A Jetson. Power is of CPU and GPU together, whichever of them works.

    Args:
        files: the machine's files.
        device: whose temperature and clock are read, "cpu" or "cuda".
    """

    def __init__(self, files: Files, device: str) -> None:
        super().__init__()
        self.files = files
        self.device = device
        self.name = "Jetson"
        self._tegrastats: Tegrastats | None = None
        lacking = self._find_rails() | self._find_temperature_and_clocks()
        if lacking:
            self._ask_tegrastats(lacking)
        alerts = files.matching("sys/class/thermal/cooling_device*")
        self._alerts = [alert for alert in alerts if files.text(f"{alert}/type").endswith("-throttle-alert")]
        chips = [
            chip for chip in files.matching("sys/class/hwmon/hwmon*") if files.text(f"{chip}/name") == "soctherm_oc"
        ]
        self._over_current = Counts(files, [f"{chip}/{counter}" for chip in chips for counter in _OVER_CURRENT])
        if not self._alerts and not chips:
            self.lacks("throttling", "the kernel shows neither throttle alerts nor over-current counters")

    def read(self) -> Reading:
        """One reading, now."""
        line = self._newest_line()
        power = self._power(line)
        return Reading(
            time.perf_counter(),
            power_w=power,
            temperature_c=self._temperature_now(line),
            clock_mhz=self._clock(line),
            memory_clock_mhz=self._memory_clock_now(line),
            throttled=self._throttled(),
            memory_bytes=memory_used(),
        )

    def close(self) -> None:
        """Ends tegrastats where it runs."""
        if self._tegrastats is not None:
            self._tegrastats.close()

    def _find_rails(self) -> dict[str, str]:
        """Finds the rails; gives what sysfs lacks, with the reason."""
        rails = {rail.name: rail for rail in find_rails(self.files)}
        names, self.power_scope = whole(list(rails))
        self._rails = [rails[name] for name in names]
        why = _why_not_readable(self.files, [path for rail in self._rails for path in rail.paths])
        if self._rails and not why:
            self.name = "Jetson INA3221 rails"
            return {}
        self._rails, self.power_scope = [], ""
        return {"power": why or "the kernel shows no INA3221"}

    def _find_temperature_and_clocks(self) -> dict[str, str]:
        """Finds the rest; gives what sysfs lacks, with the reason."""
        files, lacking = self.files, {}
        self._memory_clock = next((path for path in _MEMORY_CLOCKS if files.number(path) is not None), "")
        if not self._memory_clock:  # nor would tegrastats tell it to others than root
            self.lacks("memory clock", "the kernel shows it to root only")
        if self._on_gpu:
            self._temperature = zone_file(files, _GPU_ZONES) or zone_file(files, _JUNCTION_ZONES)
            clocks = [f"{folder}/cur_freq" for folder in jetson.gpu_folders(files)]
            self._clocks = [clock for clock in clocks if files.number(clock) is not None]
            if not self._clocks:
                lacking["clock"] = "the kernel shows no clock of the GPU"
        else:
            self._temperature = cpu_temperature_file(files)
            self._clocks = clock_files(files)
            if not self._clocks:
                self.lacks("clock", "the kernel shows no clock of the CPU")
        if not self._temperature:
            lacking["temperature"] = f"the kernel shows no thermal zone of the {'GPU' if self._on_gpu else 'CPU'}"
        return lacking

    def _ask_tegrastats(self, lacking: dict[str, str]) -> None:
        """Starts tegrastats for what sysfs lacks; notes what it does not tell either."""
        line, failure = Line(), ""
        if self.files.are_the_machines:
            try:
                self._tegrastats = Tegrastats()
                self._tegrastats.wait(_FIRST_LINE)
                line, failure = self._newest_line(), "; tegrastats does not tell it"
            except OSError as error:
                failure = f"; {error}"
        names, scope = whole(list(line.rails_w))
        told = {
            "power": bool(names),
            "temperature": self._zone in line.temperatures_c,
            "clock": line.gpu_mhz is not None,
        }
        for what, why in lacking.items():
            if not told[what]:
                self.lacks(what, why + failure)
        if "power" in lacking and names:
            self.name, self.power_scope = "tegrastats", scope

    @property
    def _on_gpu(self) -> bool:
        return self.device == "cuda"

    @property
    def _zone(self) -> str:
        """tegrastats' name of the thermal zone."""
        return "gpu" if self._on_gpu else "cpu"

    def _newest_line(self) -> Line:
        return (self._tegrastats and self._tegrastats.newest()) or Line()

    def _power(self, line: Line) -> float | None:
        if not self._rails:
            names, _ = whole(list(line.rails_w))
            return sum(line.rails_w[name] for name in names) if names else None
        powers = [rail.power(self.files) for rail in self._rails]
        known = [power for power in powers if power is not None]
        if len(known) < len(powers):  # the sum of some rails would pass for the whole
            self.lacks("power", "a rail could not be read in some readings")
            return None
        return sum(known)

    def _temperature_now(self, line: Line) -> float | None:
        """Of sysfs, or of tegrastats: a GPU's zone cannot be read while it sleeps."""
        seen = temperature(self.files, self._temperature)
        return seen if seen is not None else line.temperatures_c.get(self._zone)

    def _clock(self, line: Line) -> float | None:
        seen = fastest_mhz(self.files, self._clocks)
        if not self._on_gpu:
            return seen
        return seen / 1000 if seen is not None else line.gpu_mhz  # devfreq gives Hz, cpufreq kHz

    def _memory_clock_now(self, line: Line) -> float | None:
        seen = self.files.number(self._memory_clock) if self._memory_clock else None
        return seen / 1e6 if seen is not None else line.memory_mhz

    def _throttled(self) -> tuple[str, ...]:
        hot = any((self.files.number(f"{alert}/cur_state") or 0) > 0 for alert in self._alerts)
        events = [_OVER_CURRENT[path.rsplit("/", 1)[1]] for path in self._over_current.advanced()]
        return (*(["thermal"] if hot else []), *dict.fromkeys(events))


def _why_not_readable(files: Files, paths: list[str]) -> str:
    for path in paths:
        content = files.content(path)
        if isinstance(content, OSError):
            return f"/{path} cannot be read: {content.strerror}"
        if files.number(path) is None:
            return f"/{path} holds {content[:40]!r}, a number was expected"
    return ""
