"""The emulator as a program and as a library: what it takes, what it refuses, and that schedules change no result."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import emulation
import numpy as np
import pytest
import torch
from emulation import EmulatedFault, Refused

from ccdeploy.op.cases import MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention
from ccdeploy.op.operands import random_operands

CASE = Case(2, 64, 24, 35, 19)
BOUNDS = {torch.float32: MAX_ERROR["fp32"], torch.float16: MAX_ERROR["fp16"], torch.bfloat16: MAX_ERROR["bf16"]}
SCHEDULES = range(8)
CUDA_ERROR = 5


def operands(case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    qkv, residual = (torch.from_numpy(operand).to(dtype) for operand in random_operands(case, seed=1))
    return qkv, residual


def error(y: torch.Tensor, case: Case, dtype: torch.dtype) -> float:
    qkv, residual = operands(case, dtype)
    exact = criss_cross_attention(qkv.double(), residual.double(), case.query_channels)
    return (y.double() - exact).abs().nan_to_num(nan=float("inf")).max().item()


@pytest.fixture(scope="module")
def program() -> Path:
    return emulation.build() / "criss_cross_emulator"


@pytest.fixture
def library() -> Iterator[ctypes.CDLL]:
    """The plugin library on the emulated device in its first state, and left so: other tests load it too."""
    loaded = ctypes.CDLL(str(emulation.build() / "libccdeploy_plugins_emulated.so"))
    loaded.ccdeploy_last_error.restype = ctypes.c_char_p
    loaded.ccdeploy_build_info.restype = ctypes.c_char_p
    loaded.ccdeploy_emulator_blocks.restype = ctypes.c_uint64
    configure(loaded, 86)
    yield loaded
    configure(loaded, 86)


def configure(library: ctypes.CDLL, architecture: int, seed: int = 1) -> None:
    library.ccdeploy_emulator_configure(
        ctypes.c_int32(architecture), ctypes.c_int32(16), ctypes.c_uint64(seed), ctypes.c_double(0.05)
    )


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_the_kernel_runs(dtype: torch.dtype, layout: str, sanitize: bool) -> None:
    y = emulation.run(CASE, *operands(CASE, dtype), dtype, layout=layout, sanitize=sanitize)
    assert error(y, CASE, dtype) <= BOUNDS[dtype]


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_no_schedule_changes_a_bit(dtype: torch.dtype) -> None:
    first = emulation.run(CASE, *operands(CASE, dtype), dtype, preempt=0)
    for seed in SCHEDULES:
        assert torch.equal(emulation.run(CASE, *operands(CASE, dtype), dtype, seed=seed, preempt=seed / 7), first)


@pytest.mark.parametrize("sanitize", [False, True], ids=["plain", "sanitized"])
def test_portable_fibers_compute_the_same(sanitize: bool) -> None:
    qkv, residual = operands(CASE, torch.float16)
    first = emulation.run(CASE, qkv, residual, torch.float16)
    assert torch.equal(
        emulation.run(CASE, qkv, residual, torch.float16, portable_fibers=True, sanitize=sanitize), first
    )


def test_the_program_says_what_a_problem_took(program: Path, tmp_path: Path) -> None:
    case = Case(1, 256, 16, 70, 3)
    request = tmp_path / "request"
    request.write_bytes(emulation.request_of(case, *operands(case, torch.float16), torch.float16, tile="narrow"))
    printed = emulation.call(program, str(request), str(tmp_path / "result"))
    statistics = emulation.statistics_of(printed)
    columns, rows = 3 * 2 * 2, 70 * 1 * 2  # lines x blocks of 64 queries x slices of 128 channels
    assert statistics.launches == 2
    assert statistics.blocks == columns + rows
    assert statistics.multiply_adds > 0
    assert statistics.collectives > statistics.multiply_adds


@pytest.mark.parametrize(
    ("architecture", "dtype", "tile", "words"),
    [
        (75, torch.bfloat16, "auto", "compute capability is 7.5, 8.0 or newer was expected for bfloat16"),
        (70, torch.float16, "auto", "compute capability is 7.0, 7.5 or newer was expected"),
        (85, torch.float16, "auto", "not built for this GPU: the emulator knows no compute capability 8.5"),
        (75, torch.float16, "wide", "tile is 2"),
    ],
)
def test_what_the_device_cannot_do_is_refused(architecture: int, dtype: torch.dtype, tile: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        emulation.run(CASE, *operands(CASE, dtype), dtype, architecture=architecture, tile=tile)


def test_a_problem_outside_the_limits_is_refused() -> None:
    case = Case(1, 40, 8, 3, 3)
    with pytest.raises(Refused, match=r"outside the limits of the kernel: channels is 40, a multiple of 32"):
        emulation.run(case, *operands(case, torch.float16), torch.float16)


def cut_in_header(request: bytes) -> bytes:
    return request[:20]


def cut_in_qkv(request: bytes) -> bytes:
    return request[:200]


def cut_in_residual(request: bytes) -> bytes:
    return request[:-1]


def too_long(request: bytes) -> bytes:
    return request + b"\0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut_in_header, "ends within the problem: 32 bytes were expected, 20 are there"),
        (cut_in_qkv, "ends within qkv"),
        (cut_in_residual, "ends within residual"),
        (too_long, "goes on behind residual"),
    ],
)
def test_a_file_of_another_size_is_refused(
    program: Path, tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:
    whole = emulation.request_of(CASE, *operands(CASE, torch.float16), torch.float16)
    request, result = tmp_path / "request", tmp_path / "result"
    request.write_bytes(change(whole))
    with pytest.raises(Refused, match=words):
        emulation.call(program, str(request), str(result))
    assert not result.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage: criss_cross_emulator REQUEST RESULT"),
        (["no-such-file", "result"], "cannot open no-such-file"),
        (["a", "b", "--sede", "1"], "usage"),
    ],
)
def test_a_wrong_command_line_is_refused(program: Path, arguments: list[str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        emulation.call(program, *arguments)


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, at an address that is a multiple of 16."""
    ordered = tensor.permute(0, 2, 3, 1).contiguous()
    assert ordered.data_ptr() % 16 == 0
    return ordered


def launch(library: ctypes.CDLL, case: Case, dtype: torch.dtype) -> tuple[int, torch.Tensor]:
    """The status and y, through the C interface."""
    sizes = (case.batch, case.channels, case.query_channels, case.height, case.width)
    problem = (ctypes.c_int32 * 8)(emulation.TYPES[dtype], 0, 0, *sizes)
    needed = ctypes.c_size_t()
    assert library.ccdeploy_criss_cross_workspace(problem, ctypes.byref(needed)) == 0
    qkv, residual = (aligned(operand) for operand in operands(case, dtype))
    y = torch.full_like(residual, float("nan"))
    workspace = torch.empty(needed.value, dtype=torch.uint8)
    status = library.ccdeploy_criss_cross_launch(
        problem,
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in (qkv, residual, y, workspace)),
        needed,
        None,
    )
    return status, y.permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
def test_the_library_computes_what_the_program_does(library: ctypes.CDLL, dtype: torch.dtype) -> None:
    before = library.ccdeploy_emulator_blocks()
    status, y = launch(library, CASE, dtype)
    assert status == 0
    assert library.ccdeploy_emulator_blocks() > before
    assert torch.equal(y, emulation.run(CASE, *operands(CASE, dtype), dtype))


def test_the_library_says_that_it_is_the_emulator(library: ctypes.CDLL) -> None:
    assert b'"architectures": "emulator"' in library.ccdeploy_build_info()


def test_launches_of_several_threads_do_not_disturb_each_other(library: ctypes.CDLL) -> None:
    case = Case(1, 64, 16, 33, 9)
    dtypes = [*BOUNDS] * 3
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda dtype: launch(library, case, dtype), dtypes))
    for dtype, (status, y) in zip(dtypes, results, strict=True):
        assert status == 0
        assert error(y, case, dtype) <= BOUNDS[dtype]


def test_an_unknown_architecture_is_a_status_of_the_library(library: ctypes.CDLL) -> None:
    configure(library, 85)
    status, _ = launch(library, CASE, torch.float16)
    assert status == 3
    assert library.ccdeploy_last_error() == b"the emulator knows no compute capability 8.5"


def test_a_fault_is_a_status_of_a_library(capfd: pytest.CaptureFixture[str]) -> None:
    primitives = ctypes.CDLL(str(emulation.build() / "libemulator_primitives.so"))
    primitives.ccdeploy_last_error.restype = ctypes.c_char_p
    values, pairs = np.ones(1, np.float32), np.zeros(1, np.uint32)
    floats = ctypes.c_void_p(values.ctypes.data)
    configure(primitives, 75)
    try:
        status = primitives.emulated_pack(2, floats, floats, ctypes.c_void_p(pairs.ctypes.data), ctypes.c_int64(1))
    finally:
        configure(primitives, 86)
    assert status == CUDA_ERROR
    assert b"trap: compute capability 7.5 has no bfloat16" in primitives.ccdeploy_last_error()
    assert "trap: compute capability 7.5 has no bfloat16" in capfd.readouterr().err


def test_a_fault_of_a_program_is_an_exception() -> None:
    with pytest.raises(EmulatedFault, match="uninitialised"):
        emulation.call(emulation.build() / "emulator_faults", "uninitialised")


def test_a_compiler_error_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "emulator"
    folder.mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(p CXX)\nadd_library(a a.cpp)\n"
    )
    (folder / "a.cpp").write_text("this is not C++\n")
    with pytest.raises(RuntimeError, match="error"):
        emulation.compile_emulator(tmp_path / "plugins", tmp_path / "build")
