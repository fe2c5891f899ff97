"""Jetsons as their kernels show them: model, JetPack, power mode, the rail that is the whole, clocks, throttling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from planted import AGX_ORIN, DESKTOP, NANO, ORIN_NANO, THOR, plant, rails

from ccdeploy.machine import Sensors, describe_machine, jetson, open_sensors
from ccdeploy.machine.files import Files
from ccdeploy.machine.jetson_sensors import JetsonSensors


def sensors(root: Path, tree: dict[str, Any], device: Any = "cuda") -> Sensors:
    return open_sensors(device, plant(root, tree))


def test_orin_is_described(tmp_path: Path) -> None:
    machine = describe_machine(plant(tmp_path, ORIN_NANO))
    assert machine.jetson == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.jetpack == "JetPack 6 (L4T 36.4.3)"
    assert machine.power_mode == "25W"
    assert "power mode 25W" in machine.identity()


def test_a_desktop_is_no_jetson(tmp_path: Path) -> None:
    machine = describe_machine(plant(tmp_path, DESKTOP))
    assert (machine.jetson, machine.jetpack) == ("", "")
    assert (machine.cpu, machine.memory_bytes, machine.governor) == ("A Processor 9", 16_384_000_000, "powersave")


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("# R32 (release), REVISION: 7.4, GCID: 1", "JetPack 4 (L4T 32.7.4)"),
        ("# R99 (release), REVISION: 1.0", "L4T 99.1.0"),
        ("R36", ""),
        ("", ""),
    ],
)
def test_releases(tmp_path: Path, release: str, expected: str) -> None:
    assert jetson.jetpack(plant(tmp_path, {"etc/nv_tegra_release": release})) == expected


def test_a_board_of_another_maker_is_known_by_its_chip(tmp_path: Path) -> None:
    files = plant(tmp_path, {"proc/device-tree/compatible": b"acme,box\0nvidia,tegra194\0"})
    assert jetson.model(files) == "a board with NVIDIA Tegra"
    plant(tmp_path, {"proc/device-tree/model": b"Acme Box\0"})
    assert jetson.model(files) == "Acme Box"
    plant(tmp_path, {"proc/device-tree/compatible": b"acme,box\0"})
    assert jetson.model(files) == ""


def test_modes_and_which_is_faster(tmp_path: Path) -> None:
    files = plant(tmp_path, ORIN_NANO)
    assert [mode.name for mode in jetson.power_modes(files)] == ["15W", "25W", "MAXN_SUPER"]
    assert getattr(jetson.faster_mode(files, "25W"), "name", None) == "MAXN_SUPER"
    assert jetson.faster_mode(files, "MAXN_SUPER") is None
    assert jetson.faster_mode(files, "unheard of") is None
    plant(
        tmp_path, {"etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MODE_7W >\n< POWER_MODEL ID=1 NAME=MODE_15W_6CORE >"}
    )
    assert getattr(jetson.faster_mode(files, "MODE_7W"), "number", None) == 1
    assert jetson.faster_mode(files, "MODE_15W_6CORE") is None


def test_clocks_that_are_held(tmp_path: Path) -> None:
    assert not jetson.clocks_are_held(Files(tmp_path)), "not known is not held"
    clock = "sys/class/devfreq/gpu-{}/{}_freq"
    files = plant(tmp_path, {clock.format(name, end): 1000 for name in ("gpc-0", "nvd-0") for end in ("min", "max")})
    assert jetson.clocks_are_held(files)
    plant(tmp_path, {clock.format("nvd-0", "min"): 500})
    assert not jetson.clocks_are_held(files)
    plant(tmp_path, {clock.format("nvd-0", "min"): "?", clock.format("nvd-0", "max"): "?"})
    assert not jetson.clocks_are_held(files)


def test_an_unnamed_mode_has_its_number(tmp_path: Path) -> None:
    assert jetson.power_mode(plant(tmp_path, {"var/lib/nvpmodel/status": "pmode:0007"})) == "mode 7"
    assert jetson.power_mode(Files(tmp_path / "nothing")) == ""


@pytest.mark.parametrize(
    ("says", "mode"),
    [
        ("NV Power Mode: MAXN_SUPER\\n2", "MAXN_SUPER"),
        ("NVPM WARN: x\\nNV Power Mode: MODE_15W\\n0", "MODE_15W"),
        ("?", ""),
    ],
)
def test_nvpmodel_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, mode: str) -> None:
    command = tmp_path / "nvpmodel"
    command.write_text(f"#!/bin/sh\ntest \"$1\" = -q && printf '{says}\\n'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert jetson.power_mode(Files()) == mode
    command.write_text("#!/bin/sh\necho NV Power Mode: X; exit 1\n")
    assert jetson.power_mode(Files()) == ""


def test_orin_is_measured_at_its_input(tmp_path: Path) -> None:
    with sensors(tmp_path, ORIN_NANO) as orin:
        reading = orin.read()
        assert (orin.name, orin.power_scope) == ("Jetson INA3221 rails", "module (VDD_IN)")
        assert reading.power_w == pytest.approx(7.0)
        assert (reading.temperature_c, reading.clock_mhz, reading.memory_clock_mhz) == (48.25, 1020.0, 3199.0)
        assert reading.throttled == ()
        assert orin.missing == ()


def test_the_cpu_of_an_orin_has_its_own_temperature_and_clock(tmp_path: Path) -> None:
    tree = ORIN_NANO | {
        f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq": 1_500_000 + cpu for cpu in range(64)
    }
    reading = sensors(tmp_path, tree, "cpu").read()
    assert (reading.power_w, reading.temperature_c) == (pytest.approx(7.0), 51.5)
    assert reading.clock_mhz is not None
    assert 1500 <= reading.clock_mhz < 1501


def test_nano_is_measured_through_iio(tmp_path: Path) -> None:
    nano = sensors(tmp_path, NANO)
    reading = nano.read()
    assert nano.power_scope == "module (POM_5V_IN)"
    assert (reading.power_w, reading.temperature_c, reading.clock_mhz) == (pytest.approx(2.875), 37.5, 921.6)
    assert reading.memory_clock_mhz is None
    assert [line.split(":")[0] for line in nano.missing] == ["memory clock", "throttling"]


def test_agx_orin_is_the_sum_of_rails_that_do_not_hang_on_one_another(tmp_path: Path) -> None:
    orin = sensors(tmp_path, AGX_ORIN)
    assert orin.power_scope == "sum of the rails VDD_GPU_SOC, VDD_CPU_CV, VIN_SYS_5V0"
    assert orin.read().power_w == pytest.approx(12.0)


def test_thor_is_measured_at_the_board_s_input(tmp_path: Path) -> None:
    thor = sensors(tmp_path, THOR)
    assert thor.power_scope == "board (VIN)"
    assert thor.read().power_w == pytest.approx(42.5)
    assert thor.read().clock_mhz == 1692.0


def test_an_unreadable_rail_is_told_and_never_left_out_of_a_sum(tmp_path: Path) -> None:
    broken = sensors(tmp_path / "a", AGX_ORIN | {"sys/class/hwmon/hwmon3/curr2_input": "busy"})
    assert broken.read().power_w is None
    assert broken.power_scope == ""
    assert "power: /sys/class/hwmon/hwmon3/curr2_input holds 'busy', a number was expected" in broken.missing
    orin = sensors(tmp_path / "b", AGX_ORIN)
    assert not any(line.startswith("power") for line in orin.missing)
    (tmp_path / "b/sys/class/hwmon/hwmon3/in1_input").unlink()
    assert orin.read().power_w is None
    assert "power: a rail could not be read in some readings" in orin.missing


def test_a_channel_that_is_switched_off_is_no_rail(tmp_path: Path) -> None:
    tree = AGX_ORIN | rails("hwmon4", ("EXTRA", 0, 0)) | {"sys/class/hwmon/hwmon4/in1_enable": 0}
    assert "EXTRA" not in sensors(tmp_path / "off", tree).power_scope
    assert "EXTRA" in sensors(tmp_path / "on", tree | {"sys/class/hwmon/hwmon4/in1_enable": 1}).power_scope


def test_throttling_is_told_when_it_happens(tmp_path: Path) -> None:
    orin = sensors(tmp_path, ORIN_NANO)
    assert orin.read().throttled == (), "counts from before do not count"
    plant(tmp_path, {"sys/class/hwmon/hwmon2/oc1_event_cnt": 4, "sys/class/hwmon/hwmon2/oc3_event_cnt": 27399})
    assert orin.read().throttled == ("under-voltage", "over-current (peak)")
    assert orin.read().throttled == (), "counted once"
    plant(tmp_path, {"sys/class/thermal/cooling_device1/cur_state": 1})
    assert orin.read().throttled == orin.read().throttled == ("thermal",)


def test_a_gpu_that_sleeps_has_no_temperature(tmp_path: Path) -> None:
    orin = sensors(tmp_path, ORIN_NANO | {"sys/class/thermal/thermal_zone1/temp": -256000})
    assert orin.read().temperature_c is None
    plant(tmp_path, {"sys/class/thermal/thermal_zone1/temp": 40000})
    assert orin.read().temperature_c == 40.0


@pytest.fixture
def tegrastats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tegrastats on the PATH that repeats the text of a file."""
    said = tmp_path / "said"
    command = tmp_path / "tegrastats"
    command.write_text(f'#!/bin/sh\ntest "$1" = --interval || exit 2\nwhile cat {said}; do sleep 0.05; done\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return said


def _about(what: str, sensors: Sensors) -> str:
    return next((line for line in sensors.missing if line.startswith(what)), "")


class MachineFiles(Files):
    """A planted tree that passes for the machine's own."""

    are_the_machines = True  # type: ignore[assignment]


def test_tegrastats_serves_where_sysfs_does_not(tmp_path: Path, tegrastats: Path) -> None:
    tegrastats.write_text("RAM 1/2MB GR3D_FREQ 5%@[816] gpu@44.5C VDD_IN 4010mW/4000mW VDD_SOC 900mW/900mW\n")
    with JetsonSensors(MachineFiles(tmp_path), "cuda") as sensors:
        reading = sensors.read()
        assert (sensors.name, sensors.power_scope) == ("tegrastats", "module (VDD_IN)")
        assert (reading.power_w, reading.clock_mhz, reading.temperature_c) == (4.01, 816.0, 44.5)


def test_a_tegrastats_that_says_nothing_of_power_is_told(
    tmp_path: Path, tegrastats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tegrastats.write_text("RAM 1/2MB\n")
    with JetsonSensors(MachineFiles(tmp_path), "cuda") as sensors:
        assert sensors.read().power_w is None
        assert _about("power", sensors) == "power: the kernel shows no INA3221; tegrastats does not tell it"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with JetsonSensors(MachineFiles(tmp_path), "cuda") as sensors:
        assert _about("power", sensors) == "power: the kernel shows no INA3221; tegrastats is not on the PATH"


def test_tegrastats_serves_for_a_clock_alone(tmp_path: Path, tegrastats: Path) -> None:
    tegrastats.write_text("RAM 1/2MB GR3D_FREQ 5%@[816] gpu@44.5C VDD_IN 4010mW/4000mW\n")
    tree = {path: content for path, content in ORIN_NANO.items() if "devfreq" not in path}
    plant(tmp_path, tree)
    with JetsonSensors(MachineFiles(tmp_path), "cuda") as sensors:
        reading = sensors.read()
        assert (sensors.name, sensors.power_scope) == ("Jetson INA3221 rails", "module (VDD_IN)")
        assert (reading.power_w, reading.clock_mhz, reading.temperature_c) == (pytest.approx(7.0), 816.0, 48.25)
        assert sensors.missing == ()
    tegrastats.write_text("RAM 1/2MB\n")
    with JetsonSensors(MachineFiles(tmp_path), "cuda") as sensors:
        assert sensors.read().clock_mhz is None
        assert sensors.missing == ("clock: the kernel shows no clock of the GPU; tegrastats does not tell it",)


def test_tegrastats_ends_with_the_sensors(tmp_path: Path, tegrastats: Path) -> None:
    tegrastats.write_text("VDD_IN 1mW/1mW\n")
    sensors = JetsonSensors(MachineFiles(tmp_path), "cuda")
    process = sensors._tegrastats._process if sensors._tegrastats else None
    assert process is not None
    assert process.poll() is None
    sensors.close()
    sensors.close()
    assert process.poll() is not None
