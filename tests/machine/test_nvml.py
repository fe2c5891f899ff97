"""NVIDIA's own binding against a compiled stand-in of the driver's libraries, and against bindings that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from fake_drivers import libraries

from ccdeploy.machine import cuda_device, nvml, open_sensors
from ccdeploy.machine.files import Files

pytest.importorskip("pynvml")
PROBE = """
import dataclasses, json
from ccdeploy.machine import describe_machine, open_sensors
with open_sensors("cuda") as sensors:
    reading = sensors.read()
    sensors.close()
document = {"name": sensors.name, "scope": sensors.power_scope, "missing": sensors.missing}
print(json.dumps(document | dataclasses.asdict(reading) | {"machine": describe_machine().to_dict()}))
"""


@pytest.fixture(scope="module")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("drivers")
    return {"new": libraries(root / "new"), "old": libraries(root / "old", "-DOLD")}


def ask(driver: Path, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-c", PROBE]
    variables = os.environ | {"LD_LIBRARY_PATH": str(driver)} | environment
    done = subprocess.run(command, env=variables, check=True, capture_output=True, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_card_that_cuda_counts_first_is_read(drivers: dict[str, Path]) -> None:
    seen = ask(drivers["new"])
    assert (seen["name"], seen["scope"], seen["missing"]) == ("NVML 13.580.65.06", "GPU board", [])
    assert (seen["power_w"], seen["energy_j"]) == (123.456, 987654.321)
    assert (seen["temperature_c"], seen["clock_mhz"], seen["memory_clock_mhz"]) == (67.0, 1905.0, 9501.0)
    assert seen["throttled"] == ["thermal (hardware)"]
    assert seen["memory_bytes"] == 5 << 30
    machine = seen["machine"]
    assert (machine["gpu"], machine["compute_capability"], machine["gpu_memory_bytes"]) == ("Fake RTX", "8.6", 24 << 30)
    assert (machine["driver"], machine["cuda"], machine["power_mode"]) == ("580.65.06", "13.0", "300 W of 350 W")


def test_an_old_driver_is_read_under_the_old_names(drivers: dict[str, Path]) -> None:
    seen = ask(drivers["old"])
    assert (seen["power_w"], seen["energy_j"], seen["temperature_c"]) == (123.456, None, 66.0)
    assert seen["throttled"] == ["power cap", "thermal"]
    assert seen["missing"] == ["energy counter: NVML answered Not Supported"]


def test_the_scope_of_a_divided_card_is_told(drivers: dict[str, Path]) -> None:
    assert ask(drivers["new"], FAKE_MIG="1")["scope"] == "GPU board, all of its MIG instances"


def test_a_driver_without_a_device_is_told(drivers: dict[str, Path]) -> None:
    seen = ask(drivers["new"], FAKE_NO_DEVICE="1")
    assert (seen["name"], seen["power_w"]) == ("none", None)
    assert seen["missing"][0] == "power: cuInit answered CUDA_ERROR_NO_DEVICE (100)"
    assert seen["machine"]["gpu"] == ""


def test_without_a_driver_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> Any:
        raise OSError("libcuda.so.1: no such file")

    monkeypatch.setattr(cuda_device, "load_driver", fail)
    sensors = open_sensors("cuda", Files(tmp_path))
    assert sensors.read().power_w is None
    assert sensors.missing[0] == "power: the NVIDIA driver does not load: libcuda.so.1: no such file"
    monkeypatch.setattr(cuda_device, "load_driver", lambda: types.SimpleNamespace(cuInit=lambda flags: 0))
    assert cuda_device.bus_id() == ("", "libcuda.so.1 has no cuDeviceGet: it is not NVIDIA's driver library")


class NVMLError(Exception):
    pass


def binding(**calls: Any) -> types.ModuleType:
    module = types.ModuleType("pynvml")
    module.__dict__.update(
        {
            "nvmlInit": lambda: None,
            "nvmlShutdown": lambda: None,
            "nvmlDeviceGetHandleByPciBusId": lambda bus: bus,
            "nvmlSystemGetNVMLVersion": lambda: b"12.1",
        }
        | calls
    )
    return module


@pytest.fixture
def one_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "bus_id", lambda: ("0000:65:00.0", ""))


def test_what_a_binding_lacks_is_told_once(one_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", binding(nvmlDeviceGetPowerUsage=lambda handle: 5000))
    sensors = nvml.open_nvml()
    assert [sensors.read().power_w for _ in range(3)] == [5.0] * 3
    assert sensors.name == "NVML 12.1"
    assert [line.split(":")[0] for line in sensors.missing] == [
        "energy counter",
        "temperature",
        "clock",
        "memory clock",
        "memory",
        "throttling",
    ]


def test_a_reading_that_fails_later_is_none_and_told(one_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([7000])

    def power(handle: str) -> int:
        for answer in answers:
            return answer
        raise NVMLError("GPU is lost")

    monkeypatch.setitem(sys.modules, "pynvml", binding(nvmlDeviceGetPowerUsage=power))
    sensors = nvml.open_nvml()
    assert [sensors.read().power_w, sensors.read().power_w] == [7.0, None]
    assert "power: NVML answered GPU is lost" in sensors.missing


def refuse(*_: Any) -> Any:
    raise NVMLError("Driver Not Loaded")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, "power: the package nvidia-ml-py does not load"),
        (binding(nvmlInit=refuse), "power: NVML does not start: NVML answered Driver Not Loaded"),
        (
            binding(nvmlDeviceGetHandleByPciBusId=refuse),
            "power: NVML does not know the GPU at 0000:65:00.0: NVML answered Driver Not Loaded",
        ),
    ],
)
def test_nvml_that_does_not_serve_gives_no_sensors(
    one_card: None, monkeypatch: pytest.MonkeyPatch, module: Any, reason: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    sensors = nvml.open_nvml()
    assert sensors.name == "none"
    assert sensors.missing[0].startswith(reason)
    assert nvml.driver_and_power_limit() == ("", "")


def test_nvml_is_given_back_where_it_does_not_know_the_card(one_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    module = binding(nvmlShutdown=lambda: ended.append(1), nvmlDeviceGetHandleByPciBusId=refuse)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    nvml.open_nvml()
    assert ended == [1]


def test_nvml_is_given_back_once(one_card: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setitem(sys.modules, "pynvml", binding(nvmlShutdown=lambda: ended.append(1)))
    with nvml.open_nvml() as sensors:
        assert not ended
        sensors.close()
    assert ended == [1]
