"""GPUs are found through the driver alone, and whatever is wrong with it becomes a reason."""

from __future__ import annotations

from typing import Any

import pytest

from ccdeploy.engine import gpu
from ccdeploy.engine.gpu import Gpu, probe_gpus


class Driver:
    """Acts as libcuda with one Orin."""

    def __init__(self, init: int = 0, count: int = 1) -> None:
        self.init = init
        self.count = count

    def cuInit(self, flags: int) -> int:
        return self.init

    def cuDriverGetVersion(self, version: Any) -> int:
        version._obj.value = 12060
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.count
        return 0

    def cuDeviceGet(self, device: Any, index: int) -> int:
        device._obj.value = index + 40
        return 0

    def cuDeviceGetName(self, name: Any, length: int, device: int) -> int:
        assert device == 40
        name.value = b"Orin"
        return 0

    def cuDeviceTotalMem_v2(self, memory: Any, device: int) -> int:
        memory._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:
        value._obj.value = {75: 8, 76: 7}[attribute]
        return 0

    def cuGetErrorName(self, status: int, name: Any) -> int:
        if status == 100:
            name._obj.value = b"CUDA_ERROR_NO_DEVICE"
        return 0


def test_gpu_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "load_driver", Driver)
    report = probe_gpus()
    assert report.gpus == (Gpu("Orin", "8.7", 8 << 30),)
    assert report.cuda == "12.6"
    assert report.reason == ""


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(init=100), "cuInit answered CUDA_ERROR_NO_DEVICE (100)"),
        (Driver(init=999), "cuInit answered CUDA error 999"),
        (Driver(count=0), "sees no GPU"),
        (object(), "is not NVIDIA's driver library"),
    ],
)
def test_failing_driver_gives_a_reason(monkeypatch: pytest.MonkeyPatch, driver: Any, reason: str):
    monkeypatch.setattr(gpu, "load_driver", lambda: driver)
    report = probe_gpus()
    assert report.gpus == ()
    assert reason in report.reason


def test_missing_driver_gives_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpu, "_DRIVER_LIBRARY", "libabsent.so.1")
    assert "libabsent.so.1" in probe_gpus().reason
