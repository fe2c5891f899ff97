"""RAPL: the energy counters of x86 processors, as Linux shows them (Documentation/power/powercap)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ccdeploy.machine.files import Files, number_in

_ZONES = "sys/class/powercap/intel-rapl:*"  # AMD's counters are shown under the same name
_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")
REMEDY = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start)"


@dataclass
class _Counter:
    """One counter that starts again from 0 beyond its range; `total` does not."""

    path: str
    range_uj: float
    last: float
    total: float = 0.0


class Rapl:
    """The energy of all CPU packages together. Without any, `why_none` says why."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.why_none = ""
        self._counters: list[_Counter] = []
        zones = [zone for zone in files.matching(_ZONES) if _PACKAGE.fullmatch(files.text(f"{zone}/name"))]
        if not zones:
            self.why_none = "the kernel shows no RAPL counter of a CPU package (a virtual machine, or not x86)"
        for zone in zones:
            path = f"{zone}/energy_uj"
            content = files.content(path)
            value = None if isinstance(content, OSError) else number_in(content)
            if isinstance(content, PermissionError):
                self.why_none = f"/{path} is for root only; to allow it: {REMEDY}"
            elif value is None:
                seen = content.strerror if isinstance(content, OSError) else f"it holds {content[:40]!r}"
                self.why_none = f"/{path} cannot be read: {seen}"
            else:
                self._counters.append(_Counter(path, files.number(f"{zone}/max_energy_range_uj") or 0.0, value))
        if self.why_none:  # energy of some of the packages would pass for that of all
            self._counters = []

    @property
    def packages(self) -> int:
        """How many packages are counted."""
        return len(self._counters)

    def joules(self) -> float | None:
        """Energy since the counters were opened; None where there are none, or one can no longer be read."""
        if not self._counters:
            return None
        for counter in self._counters:
            now = self.files.number(counter.path)
            if now is None:
                return None
            step = now - counter.last
            if step < 0:
                step += counter.range_uj
            if step < 0:  # no counter of that range: it was set back
                step = 0.0
            counter.total += step
            counter.last = now
        return sum(counter.total for counter in self._counters) / 1e6
