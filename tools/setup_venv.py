"""Prepares a virtual environment with ccdeploy: a CPU build of PyTorch where there is no NVIDIA GPU.

    python3 tools/setup_venv.py .venv --editable --compiler --server ".[dev]"
    python3 tools/setup_venv.py /tmp/empty dist/ccdeploy-0.1.0-py3-none-any.whl

Runs with any Python 3.10 or newer and nothing installed. PyTorch's version is fixed here and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch publishes its CPU builds; asked only if the ordinary index would give a CUDA build of several GB."""
TRITON = "nvidia-pytriton==0.7.0"
"""The wheel that carries Triton Inference Server, for tests with the real server. Installed without what it requires:
that is NumPy 1, for a part of it that ccdeploy does not use."""
STAMP = "ccdeploy-setup"


def main() -> None:
    """Makes the environment, or leaves it as it is if it was made from the same files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the virtual environment")
    parser.add_argument("requirement", help="what to install: a folder with extras, or a wheel")
    parser.add_argument("--editable", action="store_true", help="install a folder so that changes to it take effect")
    parser.add_argument(
        "--compiler", action="store_true", help="add pip's CUDA compiler (the extra nvcc) where the machine has none"
    )
    parser.add_argument("--server", action="store_true", help="add Triton Inference Server where it has a wheel")
    arguments = parser.parse_args()
    if arguments.compiler and not _has_nvcc():
        arguments.requirement = arguments.requirement.rstrip("]") + ",nvcc]"
    if sys.version_info < (3, 10):  # noqa: UP036  (this script is what meets an old Python)
        sys.exit(f"Python {sys.version.split()[0]} was found, 3.10 or newer is needed: make setup PYTHON=python3.12")
    wanted = _fingerprint(arguments.requirement)
    stamp = arguments.folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    stamp.unlink(missing_ok=True)
    if not (arguments.folder / "bin" / "python").exists():
        venv.EnvBuilder(with_pip=True).create(arguments.folder)
    pip = [str(arguments.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "install", "--quiet", "--upgrade", "pip"])
    _run([*pip, "install", "--quiet", *_torch(pip)])
    editable = ["--editable"] if arguments.editable else []
    _run([*pip, "install", "--quiet", *editable, arguments.requirement])
    if arguments.server and subprocess.run([*pip, "install", "--quiet", "--no-deps", TRITON]).returncode:
        print(f"{TRITON} has no wheel for this machine: what needs a server says so, or is skipped.", file=sys.stderr)
    stamp.write_text(wanted, encoding="utf-8")


def _has_nvcc() -> bool:
    """Whether the machine has a CUDA compiler of its own; `ccdeploy.native.toolchain` looks at the same places."""
    homes = (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda")
    return shutil.which("nvcc") is not None or any(home and Path(home, "bin", "nvcc").is_file() for home in homes)


def _fingerprint(requirement: str) -> str:
    """Changes when what is to be installed does."""
    digest = hashlib.sha256(f"{requirement} {sys.version}".encode())
    for name in (__file__, "pyproject.toml"):
        if Path(name).is_file():
            digest.update(Path(name).read_bytes())
    return digest.hexdigest()


def _torch(pip: list[str]) -> list[str]:
    """pip's arguments for PyTorch: with a GPU whatever the index has, without one a CPU build."""
    if shutil.which("nvidia-smi") is not None or os.environ.get("CCDEPLOY_TORCH") == "cuda":
        return [TORCH]
    report = subprocess.run(
        [*pip, "install", "--quiet", "--dry-run", "--no-deps", "--report", "-", TORCH],
        capture_output=True,
        text=True,
    )
    if report.returncode == 0:
        needs = json.loads(report.stdout)["install"]
        if not any(
            "nvidia" in need or "cuda" in need for item in needs for need in item["metadata"].get("requires_dist", [])
        ):
            return [TORCH]
    return ["--index-url", CPU_INDEX, TORCH]


def _run(command: list[str]) -> None:
    print("+", " ".join(command[1:]), file=sys.stderr)
    code = subprocess.run(command).returncode
    if code:
        sys.exit(f"pip ended with {code}; what it said stands above.")


if __name__ == "__main__":
    main()
