"""Which NVIDIA GPUs this machine has, asked of the driver alone: no TensorRT, torch or pycuda is needed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DRIVER_LIBRARY = "libcuda.so.1"
_DRIVER_VERSION_FILE = Path("/sys/module/nvidia/version")

# CUdevice_attribute values of the CUDA driver API (cuda.h); part of its ABI.
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76


@dataclass(frozen=True)
class Gpu:
    """One GPU, in the order in which CUDA numbers them."""

    name: str
    compute_capability: str
    """Such as "8.6"."""
    memory_bytes: int


@dataclass(frozen=True)
class GpuReport:
    """What the driver answered. Without a GPU, `reason` says why."""

    gpus: tuple[Gpu, ...] = ()
    cuda: str = ""
    """The newest CUDA version the driver serves, such as "13.0"; empty without a driver."""
    driver: str = ""
    """The kernel driver's version, such as "580.65.06"; empty where the kernel does not tell."""
    reason: str = ""


class DriverError(Exception):
    """A call of the driver API that did not succeed."""


def probe_gpus() -> GpuReport:
    """The GPUs that CUDA may use here (CUDA_VISIBLE_DEVICES is honoured). Never raises."""
    try:
        driver = load_driver()
    except OSError as error:
        return GpuReport(reason=f"the NVIDIA driver does not load: {error}")
    try:
        version = _integer(driver, "cuDriverGetVersion")
        cuda = f"{version // 1000}.{version % 1000 // 10}"
    except DriverError as error:
        return GpuReport(reason=str(error))
    kernel = _kernel_driver_version()
    try:
        driver_call(driver, "cuInit", 0)
        gpus = tuple(_gpu(driver, index) for index in range(_integer(driver, "cuDeviceGetCount")))
    except DriverError as error:
        return GpuReport(cuda=cuda, driver=kernel, reason=str(error))
    reason = "" if gpus else "the NVIDIA driver sees no GPU"
    return GpuReport(gpus, cuda, kernel, reason)


def load_driver() -> Any:
    """NVIDIA's driver library; OSError where there is none."""
    return ctypes.CDLL(_DRIVER_LIBRARY)


def _kernel_driver_version() -> str:
    try:
        return _DRIVER_VERSION_FILE.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _gpu(driver: Any, index: int) -> Gpu:
    device = _integer(driver, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(256)
    driver_call(driver, "cuDeviceGetName", name, len(name), device)
    memory = ctypes.c_size_t()
    driver_call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major = _integer(driver, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MAJOR, device)
    minor = _integer(driver, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MINOR, device)
    return Gpu(name.value.decode("utf-8", "replace"), f"{major}.{minor}", memory.value)


def _integer(driver: Any, function: str, *arguments: int) -> int:
    """Calls a driver function whose first parameter is an int to fill in."""
    value = ctypes.c_int()
    driver_call(driver, function, ctypes.byref(value), *arguments)
    return value.value


def driver_call(driver: Any, function: str, *arguments: Any) -> None:
    """Calls a function of the driver API that returns a CUresult; raises DriverError if that is not success."""
    try:
        status = getattr(driver, function)(*arguments)
    except AttributeError as error:
        raise DriverError(f"{_DRIVER_LIBRARY} has no {function}: it is not NVIDIA's driver library") from error
    if status != 0:
        raise DriverError(f"{function} answered {_error_name(driver, status)}")


def _error_name(driver: Any, status: int) -> str:
    name = ctypes.c_char_p()
    if driver.cuGetErrorName(status, ctypes.byref(name)) == 0 and name.value:
        return f"{name.value.decode('ascii', 'replace')} ({status})"
    return f"CUDA error {status}"
