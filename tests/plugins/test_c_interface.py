"""The C interface checks what it is given: a status, and a sentence with the value and the limit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import emulation
import numpy as np
import pytest

from ccdeploy.op.kernel import Problem

OK, BAD_ARGUMENT, UNSUPPORTED, NO_CODE, WORKSPACE_TOO_SMALL, CUDA_ERROR = range(6)
FLOAT32, FLOAT16, BFLOAT16 = range(3)
NHWC, NCHW = range(2)
GOOD = {"type": FLOAT16, "batch": 2, "channels": 64, "query_channels": 8, "height": 3, "width": 5}


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(emulation.build() / "libccdeploy_plugins_emulated.so"))
    loaded.ccdeploy_last_error.restype = ctypes.c_char_p
    loaded.ccdeploy_status_string.restype = ctypes.c_char_p
    pointer = ctypes.c_void_p
    loaded.ccdeploy_criss_cross_launch.argtypes = [pointer, *[pointer] * 4, ctypes.c_size_t, pointer]
    return loaded


def problem(**changed: int) -> Problem:
    return Problem(**{**GOOD, **changed})


def workspace_of(library: ctypes.CDLL, of: Problem) -> int:
    size = ctypes.c_size_t()
    assert library.ccdeploy_criss_cross_workspace(ctypes.byref(of), ctypes.byref(size)) == OK
    return size.value


@contextmanager
def buffers(library: ctypes.CDLL) -> Iterator[dict[str, int]]:
    """Aligned memory for the good problem, by the names of the launch's arguments; each 64 bytes longer than needed."""
    elements = {"qkv": 2 * 80 * 15, "residual": 2 * 64 * 15, "y": 2 * 64 * 15}
    sizes = {name: 2 * count for name, count in elements.items()} | {"workspace": workspace_of(library, problem())}
    arrays = {name: np.zeros(size + 64, np.uint8) for name, size in sizes.items()}
    yield {name: (array.ctypes.data + 15) // 16 * 16 for name, array in arrays.items()} | {"bytes": sizes["workspace"]}


@contextmanager
def emulated_architecture(library: ctypes.CDLL, architecture: int) -> Iterator[None]:
    def configure(value: int) -> None:
        library.ccdeploy_emulator_configure(
            ctypes.c_int32(value), ctypes.c_int32(16), ctypes.c_uint64(1), ctypes.c_double(0)
        )

    configure(architecture)
    try:
        yield
    finally:
        configure(86)


def launch(library: ctypes.CDLL, given: dict[str, int], **changed: int) -> tuple[int, str]:
    order = ("qkv", "residual", "y", "workspace", "bytes")
    values = [{**given, **changed}[name] for name in order]
    status = library.ccdeploy_criss_cross_launch(ctypes.byref(problem()), *values, None)
    return status, library.ccdeploy_last_error().decode()


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"type": 3}, BAD_ARGUMENT, ("type is 3",)),
        ({"type": -1}, BAD_ARGUMENT, ("type is -1",)),
        ({"layout": 2}, BAD_ARGUMENT, ("layout is 2",)),
        ({"tile": 4}, BAD_ARGUMENT, ("tile is 4",)),
        ({"batch": 0}, UNSUPPORTED, ("batch is 0", "1 or more")),
        ({"height": -5}, UNSUPPORTED, ("height is -5", "1 or more")),
        ({"width": 0}, UNSUPPORTED, ("width is 0", "1 or more")),
        ({"channels": 48}, UNSUPPORTED, ("channels is 48", "multiple of 32 from 32 to 2048")),
        ({"channels": 2080}, UNSUPPORTED, ("channels is 2080", "2048")),
        ({"channels": 0}, UNSUPPORTED, ("channels is 0",)),
        ({"query_channels": 12}, UNSUPPORTED, ("query_channels is 12", "multiple of 8 from 8 to 128")),
        ({"query_channels": 136}, UNSUPPORTED, ("query_channels is 136", "128")),
        ({"height": 2**31 - 1, "width": 2**31 - 1, "batch": 2**31 - 1}, UNSUPPORTED, ("16777216 pixels",)),
        ({"batch": 2**23 + 1, "height": 1, "width": 2}, UNSUPPORTED, ("8388609 x 1 x 2",)),
    ],
    ids=str,
)
def test_what_is_outside_the_limits_is_named(
    library: ctypes.CDLL, changed: dict[str, int], status: int, words: tuple[str, ...]
) -> None:
    outside = problem(**changed)
    assert library.ccdeploy_criss_cross_supported(ctypes.byref(outside), 0) == status
    said = library.ccdeploy_last_error().decode()
    assert all(word in said for word in words), said
    size = ctypes.c_size_t(123)
    assert library.ccdeploy_criss_cross_workspace(ctypes.byref(outside), ctypes.byref(size)) == status
    assert size.value == 123


def test_bfloat16_needs_8_0(library: ctypes.CDLL) -> None:
    assert library.ccdeploy_criss_cross_supported(ctypes.byref(problem(type=BFLOAT16)), 75) == UNSUPPORTED
    assert "compute capability is 7.5, 8.0 or newer was expected for bfloat16" in library.ccdeploy_last_error().decode()
    assert library.ccdeploy_criss_cross_supported(ctypes.byref(problem(type=BFLOAT16)), 80) == OK
    assert library.ccdeploy_criss_cross_supported(ctypes.byref(problem(type=FLOAT16)), 75) == OK
    assert library.ccdeploy_criss_cross_supported(ctypes.byref(problem(type=FLOAT16)), 61) == UNSUPPORTED


def test_a_good_launch_succeeds(library: ctypes.CDLL) -> None:
    with buffers(library) as given:
        assert launch(library, given)[0] == OK


@pytest.mark.parametrize("name", ["qkv", "residual", "y", "workspace"])
def test_pointers_are_checked(library: ctypes.CDLL, name: str) -> None:
    with buffers(library) as given:
        status, said = launch(library, given, **{name: 0})
        assert (status, f"{name} is a null pointer") == (BAD_ARGUMENT, said)
        status, said = launch(library, given, **{name: given[name] + 8})
        assert status == BAD_ARGUMENT
        assert said.startswith(f"{name} is 0x")
        assert "aligned to 16 bytes" in said


@pytest.mark.parametrize("name", ["qkv", "residual"])
@pytest.mark.parametrize("offset", [0, 16])
def test_y_over_an_input_is_refused(library: ctypes.CDLL, name: str, offset: int) -> None:
    with buffers(library) as given:
        status, said = launch(library, given, y=given[name] + offset)
        assert (status, "y overlaps an input" in said) == (BAD_ARGUMENT, True)


def test_a_workspace_that_is_too_small_is_refused_with_both_sizes(library: ctypes.CDLL) -> None:
    with buffers(library) as given:
        status, said = launch(library, given, bytes=given["bytes"] - 1)
        assert status == WORKSPACE_TOO_SMALL
        assert said == f"the workspace has {given['bytes'] - 1} bytes, {given['bytes']} were expected"


def test_null_pointers_to_the_problem_are_refused(library: ctypes.CDLL) -> None:
    assert library.ccdeploy_criss_cross_supported(None, 0) == BAD_ARGUMENT
    assert library.ccdeploy_criss_cross_workspace(ctypes.byref(problem()), None) == BAD_ARGUMENT


def test_the_workspace_grows_with_every_size_and_counts_the_transposes(library: ctypes.CDLL) -> None:
    for layout in (NHWC, NCHW):
        small = workspace_of(library, problem(layout=layout))
        for name, larger in {
            "batch": 400,
            "height": 300,
            "width": 500,
            "channels": 2048,
            "query_channels": 128,
        }.items():
            changed = workspace_of(library, problem(layout=layout, **{name: larger}))
            grows = layout == NCHW or name not in ("channels", "query_channels")
            assert (changed > small) if grows else (changed == small), name
    pixels = 97 * 97
    sizes = {"batch": 1, "channels": 512, "query_channels": 64, "height": 97, "width": 97}
    last = workspace_of(library, problem(**sizes))
    first = workspace_of(library, problem(layout=NCHW, **sizes))
    assert 8 * pixels <= last < 8 * pixels + 256
    assert first >= last + pixels * 2 * (640 + 512 + 512)


def test_a_tile_that_the_code_does_not_hold_is_refused(library: ctypes.CDLL) -> None:
    with emulated_architecture(library, 75), buffers(library) as given:
        values = [given[name] for name in ("qkv", "residual", "y", "workspace", "bytes")]
        assert library.ccdeploy_criss_cross_launch(ctypes.byref(problem(tile=2)), *values, None) == UNSUPPORTED
        assert "tile is 2" in library.ccdeploy_last_error().decode()


def test_bfloat16_is_not_launched_where_the_code_has_none(library: ctypes.CDLL) -> None:
    with emulated_architecture(library, 75), buffers(library) as given:
        values = [given[name] for name in ("qkv", "residual", "y", "workspace", "bytes")]
        brain = problem(type=BFLOAT16)
        assert library.ccdeploy_criss_cross_launch(ctypes.byref(brain), *values, None) == UNSUPPORTED
        assert "7.5, 8.0 or newer was expected for bfloat16" in library.ccdeploy_last_error().decode()


def test_every_status_has_words(library: ctypes.CDLL) -> None:
    words = {library.ccdeploy_status_string(status) for status in range(6)}
    assert len(words) == 6
    assert library.ccdeploy_status_string(99) == b"unknown status"
