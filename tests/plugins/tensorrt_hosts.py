"""The TensorRTs that the plugin is loaded into: TensorRT-RTX, and the lean runtimes of TensorRT 10 and 11.

A lean runtime has the plugin registry of its TensorRT and needs no GPU to show it. The wheels of 10 and 11 hold the
same folders, so that one environment cannot have both: each is installed by pip into a folder of its own under
.pytest_cache, once (90 MB to download and 220 MB on disk for both).
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CACHE = Path(__file__).parent.parent.parent / ".pytest_cache" / "ccdeploy-tensorrt"
OFFLINE = "CCDEPLOY_TESTS_OFFLINE"
"""Set to 1, it skips what would have to be downloaded."""

REGISTRY_SCRIPT = Path(__file__).parent / "tensorrt_registry.py"


@dataclass(frozen=True)
class Host:
    """One TensorRT."""

    module: str
    """Of its Python bindings."""
    version: str
    packages: tuple[str, ...] = ()
    """To be installed by the tests; empty for one of the environment."""

    def folder(self) -> Path | None:
        """Where its packages lie; None for the environment. Skips or fails the test if it cannot be had."""
        if not self.packages:
            if importlib.util.find_spec(self.module) is None:
                pytest.skip(f"{self.module} is not installed")
            return None
        if (sys.platform, platform.machine()) != ("linux", "x86_64"):
            pytest.skip(f"there is no {self.packages[0]} for this platform")
        python = f"{sys.version_info.major}{sys.version_info.minor}"
        target = CACHE / f"{self.module}-{self.version}-cp{python}"
        CACHE.mkdir(parents=True, exist_ok=True)
        with (CACHE / f"{target.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.exists():
                _install(self.packages, target)
        return target


RTX = Host("tensorrt_rtx_bindings", "1.7")
HOSTS = {
    "TensorRT-RTX 1.7": RTX,
    "TensorRT 11.4 lean": Host(
        "tensorrt_lean_bindings",
        "11.4.0.106",
        ("tensorrt-lean-cu13-libs==11.4.0.106", "tensorrt-lean-cu13-bindings==11.4.0.106"),
    ),
    "TensorRT 10.16 lean": Host(
        "tensorrt_lean_bindings",
        "10.16.1.11",
        ("tensorrt-lean-cu12-libs==10.16.1.11", "tensorrt-lean-cu12-bindings==10.16.1.11"),
    ),
}


def _install(packages: tuple[str, ...], target: Path) -> None:
    if os.environ.get(OFFLINE) == "1":
        pytest.skip(f"{OFFLINE}=1, and {', '.join(packages)} is not in {CACHE}")
    half = target.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run([*command, "--target", str(half), *packages], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.fail(
            f"{', '.join(packages)} cannot be installed into {half}; {OFFLINE}=1 skips what needs it.\n{done.stderr}"
        )
    half.rename(target)


def registry_reports(host: Host, library: Path, *actions: str) -> tuple[list[dict[str, Any]], str]:
    """What the registry holds after each action, and the process's standard error.

    A process that ends with an error, as one that crashes at its end does, fails the test.
    """
    folder = host.folder()
    environment = dict(os.environ)
    if folder is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH", "")]))
    command = [sys.executable, str(REGISTRY_SCRIPT), host.module, str(library), *actions]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [report["action"] for report in reports] == list(actions)
    assert all(report["version"].startswith(host.version) for report in reports)
    return reports, done.stderr + "\n".join(x for x in done.stdout.splitlines() if not x.startswith("{"))
