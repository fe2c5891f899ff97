"""Files as the kernels of some machines show them, planted below a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ccdeploy.machine.files import Files

_HWMON, _THERMAL = "sys/class/hwmon", "sys/class/thermal"


def plant(root: Path, tree: Mapping[str, object]) -> Files:
    """Writes the files of a tree; each ends as the kernel ends them."""
    for path, content in tree.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return Files(root)


def rails(chip: str, *channels: tuple[str, int, int]) -> dict[str, object]:
    """An INA3221 under hwmon: name, mV and mA of each channel."""
    tree: dict[str, object] = {f"{_HWMON}/{chip}/name": "ina3221"}
    for number, (name, millivolts, milliamperes) in enumerate(channels, 1):
        tree[f"{_HWMON}/{chip}/in{number}_label"] = name
        tree[f"{_HWMON}/{chip}/in{number}_input"] = millivolts
        tree[f"{_HWMON}/{chip}/curr{number}_input"] = milliamperes
    return tree


ORIN_NANO: dict[str, object] = {
    "proc/device-tree/model": b"NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": b"nvidia,p3768-0000+p3767-0003\0nvidia,tegra234\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x",
    "etc/nvpmodel.conf": (
        "# < POWER_MODEL ID=9 NAME=NOT_THIS >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n"
        "< POWER_MODEL ID=1 NAME=25W >\n< POWER_MODEL ID=2 NAME=MAXN_SUPER >\n"
    ),
    "var/lib/nvpmodel/status": "pmode:0001",
    **rails("hwmon10", ("VDD_IN", 5000, 1400), ("VDD_CPU_GPU_CV", 5000, 400), ("VDD_SOC", 5000, 300)),
    f"{_HWMON}/hwmon10/in7_label": "sum of shunt voltages",
    f"{_HWMON}/hwmon2/name": "soctherm_oc",
    f"{_HWMON}/hwmon2/oc1_event_cnt": 3,
    f"{_HWMON}/hwmon2/oc2_event_cnt": 0,
    f"{_HWMON}/hwmon2/oc3_event_cnt": 27390,
    f"{_THERMAL}/thermal_zone0/type": "cpu-thermal",
    f"{_THERMAL}/thermal_zone0/temp": 51500,
    f"{_THERMAL}/thermal_zone1/type": "gpu-thermal",
    f"{_THERMAL}/thermal_zone1/temp": 48250,
    f"{_THERMAL}/thermal_zone9/type": "tj-thermal",
    f"{_THERMAL}/thermal_zone9/temp": 51500,
    f"{_THERMAL}/cooling_device0/type": "pwm-fan",
    f"{_THERMAL}/cooling_device0/cur_state": 3,
    f"{_THERMAL}/cooling_device1/type": "gpu-throttle-alert",
    f"{_THERMAL}/cooling_device1/cur_state": 0,
    "sys/class/devfreq/15340000.vic/cur_freq": 115200000,
    "sys/class/devfreq/17000000.gpu/cur_freq": 1020000000,
    "sys/kernel/debug/bpmp/debug/clk/emc/rate": 3199000000,
}
NANO: dict[str, object] = {
    "proc/device-tree/model": b"NVIDIA Jetson Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref",
    "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=1 NAME=5W >",
    "var/lib/nvpmodel/status": "pmode:0000",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_0": "POM_5V_IN",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power0_input": 2875,
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_1": "POM_5V_GPU",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power1_input": 400,
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/rail_name_2": "POM_5V_CPU",
    "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0/in_power2_input": 900,
    f"{_THERMAL}/thermal_zone1/type": "CPU-therm",
    f"{_THERMAL}/thermal_zone1/temp": 39000,
    f"{_THERMAL}/thermal_zone2/type": "GPU-therm",
    f"{_THERMAL}/thermal_zone2/temp": 37500,
    "sys/class/devfreq/57000000.gpu/cur_freq": 921600000,
}
AGX_ORIN: dict[str, object] = {
    "proc/device-tree/model": b"Jetson AGX Orin\0",
    "etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref",
    **rails("hwmon3", ("VDD_GPU_SOC", 5000, 1000), ("VDD_CPU_CV", 5000, 500), ("VIN_SYS_5V0", 5000, 900)),
    **rails("hwmon4", ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 100), ("NC", 0, 0)),
}
THOR: dict[str, object] = {
    "proc/device-tree/model": b"NVIDIA Jetson AGX Thor Developer Kit\0",
    "etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1",
    **rails("hwmon3", ("VDD_GPU", 5000, 1000), ("VDD_CPU_SOC_MSS", 5000, 1000), ("VIN_SYS_5V0", 5000, 1000)),
    f"{_HWMON}/hwmon6/name": "ina238",
    f"{_HWMON}/hwmon6/power1_input": 42_500_000,
    "sys/class/devfreq/gpu-gpc-0/cur_freq": 1575000000,
    "sys/class/devfreq/gpu-nvd-0/cur_freq": 1692000000,
}
DESKTOP: dict[str, object] = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: A  Processor 9\nprocessor\t: 1\nmodel name\t: A  Processor 9",
    "proc/meminfo": "MemTotal:       16000000 kB\nMemFree: 1 kB",
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": 262_000_000_000,
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": 7,
    "sys/class/powercap/intel-rapl:1/name": "psys",
    "sys/class/powercap/intel-rapl:1/energy_uj": 9,
    f"{_HWMON}/hwmon0/name": "nvme",
    f"{_HWMON}/hwmon0/temp1_input": 99000,
    f"{_HWMON}/hwmon1/name": "k10temp",
    f"{_HWMON}/hwmon1/temp1_input": 61250,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": 3600000,
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": 4200000,
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": 5,
}
EVERY: dict[str, Mapping[str, object]] = {
    "Orin Nano": ORIN_NANO,
    "Nano": NANO,
    "AGX Orin": AGX_ORIN,
    "Thor": THOR,
    "desktop": DESKTOP,
}
