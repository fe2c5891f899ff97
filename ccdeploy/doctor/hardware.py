"""The machine itself: processor and memory, Jetson, the modes that decide how fast it runs, and what it can measure."""

from __future__ import annotations

import platform
import re
from typing import Literal

from ccdeploy import __version__
from ccdeploy.ccnet.cards import card_names
from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.machine import describe_machine, jetson, open_sensors
from ccdeploy.machine.description import Machine
from ccdeploy.machine.files import Files

GROUP = "machine"
POWER = "power of the {}"
_LIMIT = re.compile(r"(\d+) W of (\d+) W")


def findings(files: Files, report: GpuReport) -> list[Finding]:
    """All of the group. Never raises."""
    machine: list[Machine] = []

    def look() -> list[Finding]:
        machine.append(describe_machine(files))
        return [Finding("system", True, machine[0].system), _cpu(machine[0])]

    found = guarded("ccdeploy", GROUP, _ccdeploy) + guarded("models", GROUP, _cards) + guarded("CPU", GROUP, look)
    if machine:
        found += guarded("power mode", GROUP, lambda: _modes(files, machine[0]))
    found += guarded(POWER.format("CPU"), GROUP, lambda: [_power(files, "cpu")])
    if report.gpus:
        found += guarded(POWER.format("GPU"), GROUP, lambda: [_power(files, "cuda")])
    return found


def _ccdeploy() -> list[Finding]:
    return [Finding("ccdeploy", True, f"{__version__}, Python {platform.python_version()}, {platform.machine()}")]


def _cards() -> list[Finding]:
    try:
        return [Finding("models", True, f"{len(card_names())} cards")]
    except FileNotFoundError as error:
        return [Finding("models", False, str(error), "Reinstall ccdeploy.")]


def _cpu(machine: Machine) -> Finding:
    governor = f", governor {machine.governor}" if machine.governor else ""
    seen = f"{machine.cpu}, {machine.cores} CPUs, {machine.memory_bytes / 1e9:.0f} GB of memory{governor}"
    slow = machine.governor not in ("", "performance") and not machine.jetson
    hint = "For benchmarks: sudo cpupower frequency-set -g performance" if slow else ""
    return Finding("CPU", True, seen, hint)


def _modes(files: Files, machine: Machine) -> list[Finding]:
    if machine.jetson:
        release = machine.jetpack or "its JetPack is not known: /etc/nv_tegra_release is missing"
        return [Finding("Jetson", True, f"{machine.jetson}, {release}"), _jetson_mode(files, machine.power_mode)]
    if limit := _LIMIT.fullmatch(machine.power_mode):
        low = int(limit[1]) < int(limit[2])
        hint = f"For benchmarks: sudo nvidia-smi -pl {limit[2]}" if low else ""
        return [Finding("power mode", True, f"power limit {machine.power_mode}", hint)]
    return []


def _jetson_mode(files: Files, mode: str) -> Finding:
    if not mode:
        remedy = "Run `sudo nvpmodel -q`: without the mode, two benchmarks cannot be compared."
        return Finding("power mode", False, "nvpmodel does not tell", remedy)
    faster = jetson.faster_mode(files, mode)
    held = jetson.clocks_are_held(files)
    steps = [f"sudo nvpmodel -m {faster.number} ({faster.name})"] if faster else []
    steps += [] if held else ["sudo jetson_clocks, which holds the clocks"]
    seen = f"{mode}, {'clocks held' if held else 'clocks vary with the load'}"
    return Finding("power mode", True, seen, f"For benchmarks: {', then '.join(steps)}" if steps else "")


def _power(files: Files, device: Literal["cpu", "cuda"]) -> Finding:
    """Whether a benchmark can tell energy here."""
    subject = POWER.format("CPU" if device == "cpu" else "GPU")
    with open_sensors(device, files) as sensors:
        reading = sensors.read()
        others = {
            "temperature": reading.temperature_c,
            "clock": reading.clock_mhz,
            "memory clock": reading.memory_clock_mhz,
        }
        also = ", ".join(name for name, value in others.items() if value is not None)
        if reading.power_w is not None or reading.energy_j is not None:
            return Finding(subject, True, f"{sensors.name}: {sensors.power_scope}" + (f"; also {also}" if also else ""))
        about = [line.partition(": ")[2] for line in sensors.missing if line.startswith(("power", "energy"))]
        why = "; ".join(about) or "the sensors tell none"
    seen, _, command = why.partition("; to allow it: ")
    remedy = f"To allow it: {command}" if command else "Benchmarks tell no energy here; all else works."
    return Finding(subject, False, seen, remedy)
