"""What this machine is: the card and everything else that a number depends on."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator

import torch

from gpu_steps.context import Context
from gpu_steps.record import NOT_RUN, OK, Row

_ASKED = (
    "name", "driver_version", "compute_cap", "power.limit", "power.draw", "clocks.max.sm", "clocks.max.mem",
    "clocks.sm", "clocks.mem", "temperature.gpu", "persistence_mode", "ecc.mode.current", "mig.mode.current",
    "utilization.gpu",
)  # fmt: skip


def run(context: Context) -> Iterator[Row]:
    """The step."""
    yield Row(
        "software",
        OK,
        f"torch {torch.__version__} (CUDA {torch.version.cuda}), Python {platform.python_version()}",
        {
            "torch": torch.__version__,
            "torch CUDA": torch.version.cuda,
            "python": platform.python_version(),
            "system": platform.platform(),
            "nvcc": context.nvcc,
        },
    )
    if context.build.device != "cuda":
        yield Row("card", NOT_RUN, "a rehearsal: the emulator takes the place of the GPU")
        return
    properties = torch.cuda.get_device_properties(0)
    numbers = {
        "card": properties.name,
        "compute capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory GiB": round(properties.total_memory / 2**30, 1),
        "L2 MiB": round(getattr(properties, "L2_cache_size", 0) / 2**20, 1),
    }
    yield Row("card", OK, ", ".join(f"{name} {value}" for name, value in numbers.items()), numbers)
    yield nvidia_smi()


def nvidia_smi() -> Row:
    """Driver, clocks and power, as nvidia-smi tells them."""
    told: dict[str, str] = {}
    for field in _ASKED:  # one by one: an older driver refuses a list with one name that it does not know
        try:
            done = subprocess.run(
                ["nvidia-smi", "--id=0", f"--query-gpu={field}", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=20,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Row("nvidia-smi", NOT_RUN, f"{type(error).__name__}: {error}", dict(told))
        if done.returncode == 0 and done.stdout.strip():
            told[field] = done.stdout.strip().splitlines()[0]
    said = ", ".join(f"{name} {value}" for name, value in told.items())
    return Row("nvidia-smi", OK if told else NOT_RUN, said or "it answers nothing", dict(told))
