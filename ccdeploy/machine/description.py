"""What a machine is: processor, memory, GPU, driver, Jetson, and the modes that decide how fast it runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from ccdeploy.engine.gpu import probe_gpus
from ccdeploy.machine import jetson
from ccdeploy.machine.cpu import usable_cpus
from ccdeploy.machine.files import Files
from ccdeploy.machine.nvml import driver_and_power_limit


@dataclass(frozen=True)
class Machine:
    """What decides how fast work runs here; "" or None where it is unknown or does not apply."""

    cpu: str
    cores: int
    """CPUs, as the kernel counts them, that this process may use."""
    memory_bytes: int
    system: str
    python: str
    gpu: str
    """The first that CUDA sees."""
    compute_capability: str
    gpu_memory_bytes: int | None
    driver: str
    cuda: str
    """The newest CUDA version that the driver serves."""
    jetson: str
    """The model; empty elsewhere."""
    jetpack: str
    """Such as "JetPack 6 (L4T 36.4.3)"."""
    power_mode: str
    """nvpmodel's mode, such as "15W"; of other GPUs the power limit and its default, "300 W of 350 W"."""
    governor: str
    """Of the CPU's clock."""

    def identity(self) -> str:
        """What must be equal for two timings to be comparable."""
        parts = {
            "CPU": f"{self.cpu} ({self.cores} CPUs)",
            "GPU": self.gpu,
            "driver": self.driver,
            "JetPack": self.jetpack,
            "power mode": self.power_mode,
            "governor": self.governor,
        }
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self)


def describe_machine(files: Files | None = None) -> Machine:
    """Looks at this machine; takes well under a second. Never raises.

    Args:
        files: the machine's files; a test gives others.
    """
    files = files or Files()
    report = probe_gpus()
    gpu = report.gpus[0] if report.gpus else None
    model = jetson.model(files)
    driver, limit = ("", "") if model or not gpu else driver_and_power_limit()
    return Machine(
        cpu=cpu_name(files),
        cores=len(usable_cpus()),
        memory_bytes=_memory(files),
        system=_system(),
        python=platform.python_version(),
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        gpu_memory_bytes=gpu.memory_bytes if gpu else None,
        driver=report.driver or driver,
        cuda=report.cuda,
        jetson=model,
        jetpack=jetson.jetpack(files),
        power_mode=jetson.power_mode(files) if model else limit,
        governor=files.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    )


def cpu_name(files: Files) -> str:
    """The processor's name: of /proc/cpuinfo; where the kernel tells only numbers (ARM), what lscpu knows of them."""
    for line in files.text("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return " ".join(value.split())
    return (_name_of_lscpu() if files.are_the_machines else "") or platform.machine()


def _name_of_lscpu() -> str:
    command = shutil.which("lscpu")
    if command is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        done = subprocess.run([command, "--json"], capture_output=True, timeout=5, check=True)
        names = [entry["data"] for entry in json.loads(done.stdout)["lscpu"] if entry["field"] == "Model name:"]
        return ", ".join(dict.fromkeys(names))
    return ""


def _memory(files: Files) -> int:
    for line in files.text("proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdecimal():
            return int(words[1]) * 1024
    return 0


def _system() -> str:
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel
