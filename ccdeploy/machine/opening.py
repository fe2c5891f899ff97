"""Which sensors to read for work on a device."""

from __future__ import annotations

from typing import Literal

from ccdeploy.errors import UsageError
from ccdeploy.machine import jetson
from ccdeploy.machine.cpu import CpuSensors
from ccdeploy.machine.files import Files
from ccdeploy.machine.jetson_sensors import JetsonSensors
from ccdeploy.machine.nvml import open_nvml
from ccdeploy.machine.sensors import Sensors


def open_sensors(device: Literal["cpu", "cuda"], files: Files | None = None) -> Sensors:
    """The sensors for work on "cpu" or "cuda", the first GPU that CUDA sees.

    A Jetson's rails measure CPU and GPU together: there, both devices give the same power. Whatever the machine is,
    this gives sensors; what they cannot read stands in their `missing`.

    Args:
        device: "cpu" or "cuda".
        files: the machine's files; a test gives others.

    Raises:
        UsageError: `device` is neither.
    """
    files = files or Files()
    if device not in ("cpu", "cuda"):
        raise UsageError(f"There are no sensors of {device!r}.", 'Use "cpu" or "cuda".')
    if jetson.model(files):
        return JetsonSensors(files, device)
    return CpuSensors(files) if device == "cpu" else open_nvml()
