"""Which of the machine's GPUs is the one that CUDA calls device 0, by its place on the PCI bus.

NVML counts all GPUs by their place on the bus; CUDA counts those that CUDA_VISIBLE_DEVICES leaves, the fastest first.
An index of the one is none of the other, so the driver is asked.
"""

from __future__ import annotations

import ctypes

from ccdeploy.engine.gpu import DriverError, driver_call, load_driver

_LONGEST = 32
"""Bytes of a bus id with its closing zero: "0000:65:00.0" takes 13."""


def bus_id() -> tuple[str, str]:
    """The PCI bus id of CUDA device 0, such as "0000:65:00.0", and ""; or "" and the reason. Never raises."""
    device, text = ctypes.c_int(), ctypes.create_string_buffer(_LONGEST)
    try:
        driver = load_driver()
        driver_call(driver, "cuInit", 0)
        driver_call(driver, "cuDeviceGet", ctypes.byref(device), 0)
        driver_call(driver, "cuDeviceGetPCIBusId", text, _LONGEST, device)
    except OSError as error:
        return "", f"the NVIDIA driver does not load: {error}"
    except DriverError as error:
        return "", str(error)
    return text.value.decode("ascii", "replace"), ""
