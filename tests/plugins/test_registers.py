"""No kernel spills on any architecture, and the table in the docs is what the compiler says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ccdeploy.native.toolchain import find_nvcc

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import registers  # noqa: E402

DOCUMENTED_COMPILER = "13.0"
REPORT = """
ptxas info    : Compiling entry function '{name}' for 'sm_87'
ptxas info    : Function properties for {name}
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 8 bytes cumulative stack size, 408 bytes cmem[0]
"""


@pytest.fixture(scope="module")
def kernels() -> list[registers.Kernel]:
    return registers.compile_all(str(find_nvcc().path))


def test_no_kernel_spills(kernels: list[registers.Kernel]) -> None:
    assert {kernel.architecture for kernel in kernels} == set(registers.ARCHITECTURES)
    assert [kernel for kernel in kernels if kernel.spilled_bytes] == []


def test_every_architecture_holds_what_the_launch_chooses(kernels: list[registers.Kernel]) -> None:
    held = {(kernel.architecture, kernel.name, kernel.tile, kernel.query_channels) for kernel in kernels}
    widest = {80: "wide", 87: "wide", 90: "deep", 100: "deep"}
    for architecture in registers.ARCHITECTURES:
        for channels in (32, 64, 128):
            assert (architecture, "fp32", "", channels) in held
            for name in ("fp16", "bf16") if architecture >= 80 else ("fp16",):
                for tile in {"narrow", widest.get(architecture, "narrow")}:
                    assert (architecture, name, tile, channels) in held
    assert (75, "bf16", "narrow", 64) not in held


def test_the_documented_table_is_the_compilers(kernels: list[registers.Kernel]) -> None:
    page = (ROOT / "docs" / "kernel.md").read_text(encoding="utf-8")
    assert f"nvcc {DOCUMENTED_COMPILER}" in page
    if find_nvcc().version.startswith(f"{DOCUMENTED_COMPILER}."):  # another compiler gives other numbers
        assert registers.table(kernels) in page


def test_a_spill_in_the_report_is_seen() -> None:
    name = "_ZN8ccdeploy12float_kernelILi64ELNS_9DirectionE0EEEvNS_8OperandsIfEE"
    (kernel,) = registers.parse(REPORT.format(name=name))
    assert kernel == registers.Kernel("fp32", "", 64, 87, 168, 16)


def test_a_kernel_of_unknown_name_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="_Z7unknown"):
        list(registers.parse(REPORT.format(name="_Z7unknownv")))
