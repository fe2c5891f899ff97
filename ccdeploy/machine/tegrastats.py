"""tegrastats, NVIDIA's tool on every Jetson: a line of text an interval, in formats that changed with JetPack."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field

INTERVAL_MS = 100
_STALE = 2.0
"""Seconds after which a line says nothing about now."""
_POWER = re.compile(r"(?<!\S)([A-Za-z]\w*) (-?\d{1,9})(?:mW)?/-?\d{1,9}(?:mW)?(?!\S)")  # now/mean, in mW
_TEMPERATURE = re.compile(r"(?<!\S)([A-Za-z]\w*)@(-?\d{1,4}(?:\.\d{1,6})?)C(?!\S)")
_GPU_CLOCK = re.compile(r"(?<!\S)GR3D(?:_FREQ)? \d{1,3}%@(?:(\d{1,6})|\[(\d{1,6}(?:,\d{1,6})*)\])(?!\S)")
_MEMORY_CLOCK = re.compile(r"(?<!\S)EMC(?:_FREQ)? \d{1,3}%@(\d{1,6})(?!\S)")


@dataclass(frozen=True)
class Line:
    """What one line says."""

    rails_w: dict[str, float] = field(default_factory=dict)
    temperatures_c: dict[str, float] = field(default_factory=dict)
    """By the sensor's name in lower case: "gpu", "cpu", "tj"."""
    gpu_mhz: float | None = None
    """Of the fastest cluster, where the line tells of several."""
    memory_mhz: float | None = None


def parse(line: str) -> Line:
    """Reads a line of JetPack 3 to 7. What is not understood is left out.

    Power stands as "VDD_IN 4010mW/4010mW" (JetPack 5 on) or "POM_5V_IN 1032/1032"; the GPU's clock as
    "GR3D_FREQ 5%@1300", "5%@[1300]" or "5%@[1300,1300]", or not at all.
    """
    gpu = _GPU_CLOCK.search(line)
    memory = _MEMORY_CLOCK.search(line)
    return Line(
        rails_w={match[1]: int(match[2]) / 1000 for match in _POWER.finditer(line)},
        temperatures_c={match[1].lower(): float(match[2]) for match in _TEMPERATURE.finditer(line)},
        gpu_mhz=max(float(clock) for clock in (gpu[1] or gpu[2]).split(",")) if gpu else None,
        memory_mhz=float(memory[1]) if memory else None,
    )


class Tegrastats:
    """A running tegrastats, and its newest line."""

    def __init__(self) -> None:
        """Starts it.

        Raises:
            OSError: it is not installed or does not start.
        """
        command = shutil.which("tegrastats")
        if command is None:
            raise FileNotFoundError("tegrastats is not on the PATH")
        self._process = subprocess.Popen(
            [command, "--interval", str(INTERVAL_MS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._newest: tuple[float, Line] | None = None
        self._first = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="ccdeploy tegrastats", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Waits for the first line; False where none comes."""
        self._first.wait(seconds)
        return self._newest is not None

    def newest(self) -> Line | None:
        """The newest line; None where it is old or there is none."""
        if self._newest is None or time.monotonic() - self._newest[0] > _STALE:
            return None
        return self._newest[1]

    def close(self) -> None:
        """Ends it; safe to call twice."""
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(2)

    def _follow(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(ValueError, OSError), stdout:
            for line in stdout:
                self._newest = (time.monotonic(), parse(line.decode("utf-8", "replace")))
                self._first.set()
        self._first.set()
