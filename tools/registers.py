"""What ptxas reports of every kernel, architecture by architecture: registers, spills, shared memory, as Markdown.

`python tools/registers.py` prints the table of docs/kernel.md; it needs nvcc, and no GPU. One row a kernel and tile,
one column a compute capability: the registers of a thread (the larger of the column and the row pass).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
SOURCES = ("pass_half.cu", "pass_bfloat16.cu", "pass_float.cu", "launch.cu")
PLUGINS = Path(__file__).resolve().parent.parent / "plugins"

_TILES = {1: "narrow", 2: "wide", 3: "deep"}
_ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_ATTENTION = re.compile(r"attention_kernelINS_\d+(Half|Bfloat16)ELi(\d+)E.*13ccdeploy_tileE?(\d)E")
_FLOAT = re.compile(r"float_kernelILi(\d+)E")
_UNUSED = 16  # a kernel whose tile this architecture does not hold only traps: it takes fewer registers than this


@dataclass(frozen=True)
class Kernel:
    """One compiled kernel; `name` and `tile` are for people."""

    name: str
    tile: str
    query_channels: int
    architecture: int
    registers: int
    spilled_bytes: int


def parse(report: str) -> Iterator[Kernel]:
    """Reads the output of `nvcc -Xptxas -v`.

    Raises:
        ValueError: a kernel whose name this file does not know.
    """
    entry: tuple[str, int] | None = None
    spilled = 0
    for line in report.splitlines():
        if match := _ENTRY.search(line):
            entry, spilled = (match[1], int(match[2])), 0
        elif match := _SPILLS.search(line):
            spilled = int(match[1]) + int(match[2])
        elif (match := _REGISTERS.search(line)) and entry is not None:
            yield _kernel(*entry, int(match[1]), spilled)
            entry = None


def _kernel(mangled: str, architecture: int, registers: int, spilled: int) -> Kernel:
    if match := _ATTENTION.search(mangled):
        kind = {"Half": "fp16", "Bfloat16": "bf16"}[match[1]]
        return Kernel(kind, _TILES[int(match[3])], int(match[2]), architecture, registers, spilled)
    if match := _FLOAT.search(mangled):
        return Kernel("fp32", "", int(match[1]), architecture, registers, spilled)
    if "transpose_kernel" in mangled:
        return Kernel("transpose", "", 0, architecture, registers, spilled)
    raise ValueError(f"the kernel {mangled} is unknown to {__file__}")


def compile_all(nvcc: str, architectures: Sequence[int] = ARCHITECTURES) -> list[Kernel]:
    """Compiles every source for every architecture and returns what ptxas reports.

    Raises:
        RuntimeError: nvcc refused a source; with its output.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:

        def compile_one(job: tuple[int, str]) -> list[Kernel]:
            architecture, source = job
            command = [nvcc, "-std=c++17", "-O3", "-cubin", f"-arch=sm_{architecture}", "-Xptxas=-v"]
            command += [f"-I{PLUGINS / 'include'}", '-DCCDEPLOY_ARCHITECTURES=""']
            command += ["-o", f"{folder}/{architecture}-{source}.cubin", str(PLUGINS / "criss_cross" / source)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
            return list(parse(done.stdout + done.stderr))

        jobs = [(architecture, source) for architecture in architectures for source in SOURCES]
        return [kernel for found in pool.map(compile_one, jobs) for kernel in found if kernel.registers >= _UNUSED]


def table(kernels: Iterable[Kernel]) -> str:
    """The kernels as a Markdown table; an empty cell: not held by that architecture."""
    cells: dict[tuple[str, str, int], dict[int, int]] = {}
    for kernel in kernels:
        row = cells.setdefault((kernel.name, kernel.tile, kernel.query_channels), {})
        row[kernel.architecture] = max(row.get(kernel.architecture, 0), kernel.registers)
    architectures = sorted({architecture for row in cells.values() for architecture in row})
    lines = ["| kernel | tile | Cq up to | " + " | ".join(f"{a / 10:.1f}" for a in architectures) + " |"]
    lines.append("|---|---|---|" + "---|" * len(architectures))
    order = ("fp16", "bf16", "fp32", "transpose")
    tiles = ("", *_TILES.values())
    for name, tile, channels in sorted(cells, key=lambda key: (order.index(key[0]), tiles.index(key[1]), key[2])):
        row = cells[name, tile, channels]
        numbers = " | ".join(str(row.get(architecture, "")) for architecture in architectures)
        lines.append(f"| {name} | {tile} | {channels or ''} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; exit code 1 if a kernel spills."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nvcc", default=shutil.which("nvcc"), help="the CUDA compiler; default: that of the PATH")
    arguments = parser.parse_args()
    if arguments.nvcc is None:
        sys.exit("nvcc is not on the PATH. Install the CUDA toolkit, or name it with --nvcc.")
    kernels = compile_all(arguments.nvcc)
    print(table(kernels))
    spilling = [kernel for kernel in kernels if kernel.spilled_bytes]
    for kernel in spilling:
        print(f"spills: {kernel}", file=sys.stderr)
    sys.exit(1 if spilling else 0)


if __name__ == "__main__":
    main()
