"""CPUs: RAPL with its wrap-around and its permissions, temperature, clock, throttling."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from planted import DESKTOP, plant

from ccdeploy.errors import UsageError
from ccdeploy.machine import Sensors, cpu, describe_machine, open_sensors
from ccdeploy.machine.description import cpu_name
from ccdeploy.machine.files import Files

ENERGY = "sys/class/powercap/intel-rapl:0/energy_uj"
RANGE = 262_143_328_850


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "usable_cpus", lambda: [0, 1])


def sensors(root: Path, tree: dict[str, Any]) -> Sensors:
    return open_sensors("cpu", plant(root, tree))


def test_a_desktop_is_read(tmp_path: Path) -> None:
    with sensors(tmp_path, DESKTOP) as desktop:
        reading = desktop.read()
    assert (desktop.name, desktop.power_scope, desktop.missing) == ("RAPL", "CPU package", ())
    assert (reading.energy_j, reading.power_w) == (0.0, None)
    assert (reading.temperature_c, reading.clock_mhz, reading.memory_clock_mhz) == (61.25, 4200.0, None)
    assert reading.throttled == ()
    assert (reading.memory_bytes or 0) > 0


def test_energy_goes_on_where_the_counter_starts_again(tmp_path: Path) -> None:
    desktop = sensors(tmp_path, DESKTOP)
    total = 0
    value = 262_000_000_000
    for step in (1_000_000, 100_000_000, 60_000_000, 200_000_000_000, 200_000_000_000):
        value, total = (value + step) % RANGE, total + step
        plant(tmp_path, {ENERGY: value})
        assert desktop.read().energy_j == pytest.approx(total / 1e6)


def test_a_counter_of_unknown_range_that_falls_adds_nothing(tmp_path: Path) -> None:
    desktop = sensors(tmp_path, DESKTOP | {"sys/class/powercap/intel-rapl:0/max_energy_range_uj": "?"})
    plant(tmp_path, {ENERGY: 5})
    assert desktop.read().energy_j == 0.0
    plant(tmp_path, {ENERGY: 1_000_005})
    assert desktop.read().energy_j == 1.0


def test_two_packages_are_added(tmp_path: Path) -> None:
    second = "sys/class/powercap/intel-rapl:2"
    tree = DESKTOP | {f"{second}/name": "package-1", f"{second}/energy_uj": 10, f"{second}/max_energy_range_uj": 1000}
    both = sensors(tmp_path, tree)
    plant(tmp_path, {ENERGY: 262_000_000_000 + 2_000_000, f"{second}/energy_uj": 500_010})
    assert (both.power_scope, both.read().energy_j) == ("2 CPU packages", 2.5)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permission_is_asked_for(tmp_path: Path) -> None:
    files = plant(tmp_path, DESKTOP)
    (tmp_path / ENERGY).chmod(0)
    check_permission(open_sensors("cpu", files))


def test_permission_is_asked_for_whoever_runs_this(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Files.content

    def guarded(self: Files, path: str) -> str | OSError:
        return PermissionError(13, "Permission denied") if path == ENERGY else content(self, path)

    monkeypatch.setattr(Files, "content", guarded)
    check_permission(sensors(tmp_path, DESKTOP))


def check_permission(refused: Sensors) -> None:
    assert (refused.name, refused.power_scope, refused.read().energy_j) == ("none", "", None)
    assert refused.missing == (
        f"power: /{ENERGY} is for root only; to allow it: "
        "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next start)",
    )


def test_one_package_that_cannot_be_read_is_not_left_out_of_the_sum(tmp_path: Path) -> None:
    second = "sys/class/powercap/intel-rapl:2"
    one = sensors(tmp_path, DESKTOP | {f"{second}/name": "package-1", f"{second}/energy_uj": "x"})
    assert one.read().energy_j is None
    assert one.missing == (f"power: /{second}/energy_uj cannot be read: it holds 'x'",)


def test_a_counter_that_goes_away_is_told(tmp_path: Path) -> None:
    desktop = sensors(tmp_path, DESKTOP)
    (tmp_path / ENERGY).unlink()
    assert desktop.read().energy_j is None
    assert desktop.missing == ("power: RAPL's counter can no longer be read",)


def test_throttling_is_told_when_it_happens(tmp_path: Path) -> None:
    desktop = sensors(tmp_path, DESKTOP)
    plant(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 6})
    assert [desktop.read().throttled, desktop.read().throttled] == [("thermal",), ()]
    plant(tmp_path, {"sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 0})
    assert desktop.read().throttled == (), "a counter that was set back tells of nothing"


def test_a_virtual_machine_says_what_it_lacks(tmp_path: Path) -> None:
    nothing = open_sensors("cpu", Files(tmp_path))
    reading = nothing.read()
    assert (reading.power_w, reading.energy_j, reading.temperature_c, reading.clock_mhz) == (None,) * 4
    assert [line.split(":")[0] for line in nothing.missing] == ["power", "temperature", "clock"]


def test_of_many_cpus_some_are_read() -> None:
    few = cpu.clock_files_of(list(range(128)), "x")
    assert len(few) == 16
    assert few[-1] == "sys/devices/system/cpu/cpu120/x"
    assert cpu.clock_files_of([3, 5], "x") == ["sys/devices/system/cpu/cpu3/x", "sys/devices/system/cpu/cpu5/x"]


def test_an_arm_processor_is_named_by_lscpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Arm(Files):
        are_the_machines = True  # type: ignore[assignment]

    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nCPU part\t: 0xd42\n")
    command = tmp_path / "lscpu"
    command.write_text('#!/bin/sh\necho \'{"lscpu": [{"field": "Model name:", "data": "Cortex-A78AE"}]}\'\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cpu_name(Arm(tmp_path)) == "Cortex-A78AE"
    command.write_text("#!/bin/sh\necho garbage\n")
    assert cpu_name(Arm(tmp_path)) == os.uname().machine
    assert cpu_name(Files(tmp_path)) == os.uname().machine


def test_two_machines_that_differ_in_what_decides_speed_are_not_the_same(tmp_path: Path) -> None:
    governor = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    slow = describe_machine(plant(tmp_path, DESKTOP))
    fast = describe_machine(plant(tmp_path, {governor: "performance"}))
    assert slow.identity() != fast.identity()
    assert slow.identity() == describe_machine(plant(tmp_path, DESKTOP)).identity()
    assert "A Processor 9" in slow.identity()


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    device: Any = "tpu"
    with pytest.raises(UsageError, match="no sensors of 'tpu'"):
        open_sensors(device, Files(tmp_path))
