"""What Jetson this is: model, JetPack, power mode; everything empty on another machine."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import subprocess
from dataclasses import dataclass

from ccdeploy.machine.files import Files

_RELEASE = re.compile(r"# R(\d+) \(release\), REVISION: ([\d.]+)")
_JETPACK = {"32": "4", "34": "5", "35": "5", "36": "6", "38": "7"}
_MODE = re.compile(r"^NV Power Mode: *(\S+) *$", re.MULTILINE)
_STATUS = re.compile(r"pmode:(\d+)")
_GPUS = ("gpu", "ga10b", "gv11b", "gp10b", "gm20b")
"""In the names of the GPU's devfreq folders, which differ with chip and kernel: 17000000.ga10b, 57000000.gpu, ..."""
_DEFINED = re.compile(r"< *POWER_MODEL +ID=(\d+) +NAME=(\S+) *>")


def model(files: Files) -> str:
    """Such as "NVIDIA Jetson Orin Nano Developer Kit"; empty where this is none."""
    name = files.text("proc/device-tree/model").splitlines()
    if name and "jetson" in name[0].lower():
        return name[0]
    if "nvidia,tegra" in files.text("proc/device-tree/compatible"):  # a carrier board that gives itself a name
        return name[0] if name else "a board with NVIDIA Tegra"
    return ""


def jetpack(files: Files) -> str:
    """Such as "JetPack 6 (L4T 36.4.3)"; empty where there is none."""
    match = _RELEASE.match(files.text("etc/nv_tegra_release"))
    if match is None:
        return ""
    release = f"L4T {match[1]}.{match[2]}"
    return f"JetPack {_JETPACK[match[1]]} ({release})" if match[1] in _JETPACK else release


@dataclass(frozen=True)
class PowerMode:
    """A mode of nvpmodel."""

    number: int
    name: str


def power_modes(files: Files) -> tuple[PowerMode, ...]:
    """The modes that this board has, as its nvpmodel.conf defines them."""
    text = files.text("etc/nvpmodel.conf")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return tuple(PowerMode(int(match[1]), match[2]) for line in lines if (match := _DEFINED.search(line)))


def power_mode(files: Files) -> str:
    """The name of the mode that is set: by `nvpmodel -q`, or by the state that nvpmodel keeps; empty if unknown."""
    return (_asked() if files.are_the_machines else "") or _kept(files)


def _kept(files: Files) -> str:
    status = _STATUS.search(files.text("var/lib/nvpmodel/status"))
    if status is None:
        return ""
    number = int(status[1])
    names = {mode.number: mode.name for mode in power_modes(files)}
    return names.get(number, f"mode {number}")


def _asked() -> str:
    command = shutil.which("nvpmodel")
    if command is None:
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([command, "-q"], capture_output=True, timeout=5, check=True, stdin=subprocess.DEVNULL)
        if match := _MODE.search(done.stdout.decode("utf-8", "replace")):
            return match[1]
    return ""


def faster_mode(files: Files, current: str) -> PowerMode | None:
    """A mode that lets the board run faster than the current one does; None if there is none, or it is unknown.

    MAXN modes have no limit; among the others the watts in the name decide.
    """
    modes = {mode.name: mode for mode in power_modes(files)}
    if current not in modes:
        return None
    fastest = max(modes.values(), key=lambda mode: _speed(mode.name))
    return fastest if _speed(fastest.name) > _speed(current) else None


def _speed(name: str) -> float:
    if "MAXN" in name.upper():
        return math.inf
    watts = re.search(r"(\d+)W", name.upper())
    return float(watts[1]) if watts else 0.0


def gpu_folders(files: Files) -> list[str]:
    """The devfreq folders of the GPU: one, or one a cluster."""
    folders = files.matching("sys/class/devfreq/*")
    return [folder for folder in folders if any(name in folder.rsplit("/", 1)[1] for name in _GPUS)]


def clocks_are_held(files: Files) -> bool:
    """Whether the GPU's clock is held at one frequency, as jetson_clocks does; False where the kernel does not tell."""
    limits = [(files.number(f"{folder}/min_freq"), files.number(f"{folder}/max_freq")) for folder in gpu_folders(files)]
    return bool(limits) and all(low == high is not None for low, high in limits)
