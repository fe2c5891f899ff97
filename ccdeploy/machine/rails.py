"""The power rails of a Jetson, and which of them make up the whole."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ccdeploy.machine.files import Files

_WHOLE = {"VDD_IN": "module", "POM_5V_IN": "module", "VIN": "board"}
"""Rails that everything else hangs on: of Orin NX and Nano, Xavier NX and TX2; of the Nano; of the Thor, with what the
carrier board takes."""
_INSIDE = ("VDDQ_VDD2_1V8AO",)
"""Rails that hang on another one that is measured too: this one of AGX Orin hangs on VIN_SYS_5V0."""
_UNUSED = ("", "NC")
_HWMON = "sys/class/hwmon/hwmon*"
_IIO = ("sys/bus/i2c/drivers/ina3221x/*/iio:device*", "sys/bus/i2c/drivers/ina3221x/*/iio_device")
_CHANNELS = (1, 2, 3)


@dataclass(frozen=True)
class Rail:
    """One measured supply: files whose product (or only one) is its power, and what one unit of that is in watts."""

    name: str
    paths: tuple[str, ...]
    watts: float

    def power(self, files: Files) -> float | None:
        """Watts now; None where a file cannot be read."""
        product = self.watts
        for path in self.paths:
            value = files.number(path)
            if value is None:
                return None
            product *= value
        return product


def find_rails(files: Files) -> list[Rail]:
    """Every rail that the kernel shows."""
    return [*_hwmon(files), *_iio(files)]


def whole(names: Collection[str]) -> tuple[list[str], str]:
    """The rails whose sum is all of the power, and what to call that.

    One rail where the board measures its input; otherwise the sum of all that do not hang on one another.
    """
    for name, scope in _WHOLE.items():
        if name in names:
            return [name], f"{scope} ({name})"
    parts = [name for name in names if name not in _INSIDE]
    return parts, f"sum of the rails {', '.join(parts)}" if parts else ""


def _hwmon(files: Files) -> list[Rail]:
    """INA3221: voltage in mV times current in mA, a channel a rail. INA238 (Thor's input): power in microwatts."""
    rails = []
    for chip in files.matching(_HWMON):
        kind = files.text(f"{chip}/name")
        if kind == "ina238":
            rails.append(Rail(files.text(f"{chip}/label") or "VIN", (f"{chip}/power1_input",), 1e-6))
        if kind != "ina3221":
            continue
        for channel in _CHANNELS:
            name = files.text(f"{chip}/in{channel}_label")
            if name not in _UNUSED and files.number(f"{chip}/in{channel}_enable") != 0:
                paths = (f"{chip}/in{channel}_input", f"{chip}/curr{channel}_input")
                rails.append(Rail(name, paths, 1e-6))
    return rails


def _iio(files: Files) -> list[Rail]:
    """The driver of JetPack 4: power in milliwatts."""
    rails: dict[str, Rail] = {}
    for pattern in _IIO:
        for device in files.matching(pattern):
            for channel in range(len(_CHANNELS)):
                name = files.text(f"{device}/rail_name_{channel}")
                if name not in _UNUSED:
                    rails.setdefault(name, Rail(name, (f"{device}/in_power{channel}_input",), 1e-3))
    return list(rails.values())
