"""The emulator of the GPU, for tests: built once for each state of the sources, run as a process of its own.

A build takes half a minute on a slow core. It is kept under .pytest_cache by the digest of all that it is made of, and
a lock lets the workers of pytest-xdist share it.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ccdeploy.op.cases import Case

ROOT = Path(__file__).parent.parent.parent
PLUGINS = ROOT / "plugins"
SOURCES = ("criss_cross", "emulator", "include", "tensorrt", "exports.map")
"""What a build is made of, under plugins/."""

CACHE = ROOT / ".pytest_cache" / "ccdeploy-emulator"
KEPT_BUILDS = 4

TYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
LAYOUTS = {"nhwc": 0, "nchw": 1}
TILES = {"auto": 0, "narrow": 1, "wide": 2, "deep": 3}
REFUSED = 2
"""The exit code of the emulator's programs; that of a fault is 1, but a sanitizer has its own."""

# Leaks count too; whatever the environment says about sanitizers is not for these processes.
SANITIZER_OPTIONS = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}

UNTRUE_WARNING = re.compile(r"==\d+==WARNING: ASan doesn't fully support makecontext/swapcontext .*\n")
"""The address sanitizer says so at the first switch of a portable fiber, whether it is told of all of them or not."""


class EmulatedFault(Exception):
    """The emulator, or a sanitizer, found that the kernel breaks a rule; the text is its report."""


class Refused(Exception):
    """The C interface refused the problem; the text is its status and its last error."""


@dataclass(frozen=True)
class Statistics:
    """What one problem took."""

    launches: int
    blocks: int
    collectives: int
    """Of warps."""
    multiply_adds: int
    """Products of matrices, 16 x 8 x 16."""
    seconds: float


def digest(plugins: Path) -> str:
    """Of everything that a build is made of, the compiler included."""
    summary = hashlib.sha256()
    for source in SOURCES:
        path = plugins / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                summary.update(f"{file.relative_to(plugins)}\0{file.stat().st_size}\0".encode())
                summary.update(file.read_bytes())
    compiler = os.environ.get("CXX", "c++")
    version = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout
    summary.update(f"{compiler}\0{version}".encode())
    return summary.hexdigest()[:20]


@functools.cache
def build(*, sanitize: bool = False) -> Path:
    """The folder of the built emulator: programs and, without sanitizers, the shared libraries.

    Sources that change while the tests run are not looked at again.

    Raises:
        RuntimeError: it does not compile; the text is what the compiler said.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    kind = "sanitized" if sanitize else "plain"
    with _locked(CACHE / f"{kind}.lock"):
        folder = CACHE / f"{kind}-{digest(PLUGINS)}"
        finished = folder / "finished"
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            compile_emulator(PLUGINS, folder, sanitize=sanitize)
            finished.touch()
        os.utime(folder)
        newest_first = sorted(CACHE.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in newest_first[KEPT_BUILDS:]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def compile_emulator(plugins: Path, folder: Path, *, sanitize: bool = False) -> None:
    """Configures and builds plugins/emulator into a folder."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    option = f"-DCCDEPLOY_SANITIZE={'ON' if sanitize else 'OFF'}"
    _checked(["cmake", "-S", str(plugins / "emulator"), "-B", str(folder), option, *generator])
    _checked(["cmake", "--build", str(folder), "--parallel", "2"])


def run(
    case: Case,
    qkv: torch.Tensor,
    residual: torch.Tensor,
    dtype: torch.dtype,
    *,
    layout: str = "nhwc",
    tile: str = "auto",
    architecture: int = 86,
    multiprocessors: int = 16,
    seed: int = 1,
    preempt: float = 0.05,
    portable_fibers: bool = False,
    sanitize: bool = False,
    program: Path | None = None,
) -> torch.Tensor:
    """Criss-cross attention by the kernel itself, on the emulated GPU.

    Args:
        case: the sizes that the kernel is told.
        qkv: [B, 2 * Cq + C, H, W], any float type.
        residual: [B, C, H, W].
        dtype: to which the operands are rounded, and of the result.
        layout: in which the kernel gets its tensors, "nhwc" or "nchw"; here qkv, residual and the result are NCHW.
        tile: "auto", "narrow", "wide" or "deep".
        architecture: compute capability, major * 10 + minor.
        multiprocessors: of the GPU, which the choice of a tile depends on.
        seed: of the schedule.
        preempt: probability that another warp goes on after a collective.
        portable_fibers: without the switch of stacks that is made for x86-64.
        sanitize: with the address and the undefined behaviour sanitizer.
        program: a criss_cross_emulator; by default that of this checkout.

    Returns:
        [B, C, H, W], of type `dtype`.

    Raises:
        EmulatedFault: the kernel breaks a rule of the GPU or of C++.
        Refused: the C interface refuses the problem.
    """
    if program is None:
        program = build(sanitize=sanitize) / "criss_cross_emulator"
    with tempfile.TemporaryDirectory(prefix="ccdeploy-emulator-") as folder:
        request, result = Path(folder, "request"), Path(folder, "result")
        request.write_bytes(request_of(case, qkv, residual, dtype, layout=layout, tile=tile))
        options = ["--architecture", str(architecture), "--multiprocessors", str(multiprocessors)]
        options += ["--seed", str(seed), "--preempt", str(preempt)]
        options += ["--portable-fibers"] if portable_fibers else []
        call(program, str(request), str(result), *options)
        return _tensor_of(result.read_bytes(), case, dtype, layout)


def request_of(
    case: Case,
    qkv: torch.Tensor,
    residual: torch.Tensor,
    dtype: torch.dtype,
    *,
    layout: str = "nhwc",
    tile: str = "auto",
) -> bytes:
    """The file that criss_cross_emulator reads."""
    sizes = (case.batch, case.channels, case.query_channels, case.height, case.width)
    return b"".join(
        (
            struct.pack("=8i", TYPES[dtype], LAYOUTS[layout], TILES[tile], *sizes),
            *(_bytes_of(operand.to(dtype), layout) for operand in (qkv, residual)),
        )
    )


def call(program: Path, *arguments: str) -> str:
    """Runs one of the emulator's programs; returns what it prints.

    Raises:
        EmulatedFault: it, or a sanitizer in it, reports a fault, or it dies of a signal.
        Refused: it was refused.
    """
    environment = {**os.environ, **SANITIZER_OPTIONS}
    # The limit is for kernels that never end; nothing here takes a minute.
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, env=environment, timeout=900)
    if done.returncode == 0:
        return done.stdout
    complaint = UNTRUE_WARNING.sub("", done.stderr)
    if done.returncode == REFUSED and complaint.startswith("refused: "):
        raise Refused(complaint.removeprefix("refused: ").strip())
    raise EmulatedFault(complaint.removeprefix("fault: ").strip() or f"exit code {done.returncode}")


def statistics_of(printed: str) -> Statistics:
    """What criss_cross_emulator prints."""
    return Statistics(**json.loads(printed))


def _bytes_of(tensor: torch.Tensor, layout: str) -> bytes:
    ordered = tensor.permute(0, 2, 3, 1) if layout == "nhwc" else tensor
    raw: npt.NDArray[np.uint8] = ordered.contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.tobytes()


def _tensor_of(raw: bytes, case: Case, dtype: torch.dtype, layout: str) -> torch.Tensor:
    shape = [case.batch, case.channels, case.height, case.width]
    elements = math.prod(shape)
    if len(raw) != elements * dtype.itemsize:
        raise RuntimeError(f"the result has {len(raw)} bytes, {elements} x {dtype.itemsize} were expected")
    flat = torch.frombuffer(bytearray(raw), dtype=dtype)
    if layout == "nchw":
        return flat.reshape(shape)
    return flat.reshape([case.batch, case.height, case.width, case.channels]).permute(0, 3, 1, 2).contiguous()


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-8000:]}{done.stderr[-8000:]}")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file lets go
