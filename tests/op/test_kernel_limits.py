"""Python's limits of the kernel are those of the C interface, value by value."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable

import pytest

from ccdeploy.native.library import Library
from ccdeploy.op.cases import DEPLOYED, KERNEL, Case
from ccdeploy.op.kernel import Problem
from ccdeploy.op.kernel_limits import MOST_PIXELS, OLDEST, why_unsupported

TYPES = {"fp32": 0, "fp16": 1, "bf16": 2}
SIDE = 1 << 12
SIZES = [
    (1, 1, 1),
    (3, 97, 65),
    (0, 1, 1),
    (1, 0, 1),
    (1, 1, -1),
    (1, SIDE, SIDE),
    (1, SIDE, SIDE + 1),
    (2, SIDE, SIDE),
    (MOST_PIXELS, 1, 1),
    (MOST_PIXELS + 1, 1, 1),
    (2**31 - 1, 2**31 - 1, 2**31 - 1),
]
CHANNELS = [-32, 0, 1, 16, 31, 32, 33, 48, 64, 512, 2040, 2048, 2080, 4096]
QUERY_CHANNELS = [-8, 0, 1, 4, 7, 8, 9, 12, 16, 64, 127, 128, 136, 256]
ARCHITECTURES = [0, 53, 70, 75, 80, 87, 90, 121]


@pytest.fixture(scope="module")
def in_c(plugin_library: Library) -> Callable[..., str]:
    """What the C interface says of a problem: why it is unsupported, or nothing."""
    library = ctypes.CDLL(str(plugin_library.path))
    library.ccdeploy_criss_cross_supported.argtypes = [ctypes.POINTER(Problem), ctypes.c_int32]
    library.ccdeploy_last_error.restype = ctypes.c_char_p

    def ask(precision: str, architecture: int, **sizes: int) -> str:
        problem = Problem(type=TYPES[precision], layout=1, **sizes)
        if library.ccdeploy_criss_cross_supported(problem, architecture) == 0:
            return ""
        return str(library.ccdeploy_last_error().decode())

    return ask


@pytest.mark.parametrize("precision", TYPES)
def test_limits_are_those_of_the_c_interface(in_c: Callable[..., str], precision: str):
    grid = itertools.chain(
        itertools.product([(1, 9, 9)], CHANNELS, QUERY_CHANNELS, [0, 86]),
        itertools.product(SIZES, [64, 33], [8], ARCHITECTURES),
    )
    verdicts = set()
    for (batch, height, width), channels, query_channels, architecture in grid:
        sizes = {
            "batch": batch,
            "height": height,
            "width": width,
            "channels": channels,
            "query_channels": query_channels,
        }
        said = why_unsupported(precision, architecture=architecture, **sizes)
        in_c_said = in_c(precision, architecture, **sizes)
        assert bool(said) == bool(in_c_said), (sizes, architecture, said, in_c_said)
        verdicts.add(bool(said))
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"channels": 48}, "channels is 48, a multiple of 32 from 32 to 2048 was expected"),
        ({"query_channels": 136}, "query_channels is 136, a multiple of 8 from 8 to 128 was expected"),
        ({"height": 0}, "height is 0, 1 or more was expected"),
        ({"batch": 2, "height": SIDE, "width": SIDE}, "2 x 4096 x 4096, at most 16777216 pixels"),
    ],
)
def test_value_and_limit_are_named_alike(in_c: Callable[..., str], changes: dict[str, int], what: str):
    sizes = {"batch": 1, "height": 9, "width": 9, "channels": 64, "query_channels": 8, **changes}
    assert what in why_unsupported("fp16", **sizes)
    assert what in in_c("fp16", 0, **sizes)


@pytest.mark.parametrize("case", [*KERNEL, *DEPLOYED], ids=str)
def test_every_case_of_the_table_is_within_the_limits(case: Case):
    for precision, oldest in OLDEST.items():
        assert not why_unsupported(
            precision,
            batch=case.batch,
            height=case.height,
            width=case.width,
            channels=case.channels,
            query_channels=case.query_channels,
            architecture=oldest,
        )


def test_bfloat16_needs_ampere_and_float64_is_no_type_of_the_kernel():
    assert "7.5, 8.0 or newer was expected for bf16" in why_unsupported(
        "bf16", channels=32, query_channels=8, architecture=75
    )
    assert "the type is float64" in why_unsupported("float64", channels=32, query_channels=8)
