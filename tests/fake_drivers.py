"""Compiles stand-ins of the driver's libraries: a process with their folder in LD_LIBRARY_PATH sees two cards."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_driver.c")


def libraries(folder: Path, *flags: str) -> Path:
    """libcuda.so.1 and libnvidia-ml.so.1 in a folder; see fake_driver.c for the flags."""
    folder.mkdir(exist_ok=True)
    for name in ("libcuda.so.1", "libnvidia-ml.so.1"):
        command = ["g++", "-x", "c", "-shared", "-fPIC", "-w", *flags, str(SOURCE), "-o", str(folder / name)]
        subprocess.run(command, check=True)
    return folder
