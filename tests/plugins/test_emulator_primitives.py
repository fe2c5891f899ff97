"""The emulated primitives compute what the GPU's do: against numpy, exhaustively where there are few values."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import emulation
import numpy as np
import numpy.typing as npt
import pytest

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]

FLOAT16, BFLOAT16 = 1, 2  # ccdeploy_type
LANES = 32
ALL_16_BITS = np.arange(0x10000, dtype=np.uint32)
NOT_A_NUMBER = 0x7FFF  # what the GPU makes of any NaN


@pytest.fixture(scope="module")
def primitives() -> ctypes.CDLL:
    return ctypes.CDLL(str(emulation.build() / "libemulator_primitives.so"))


def pointer(array: npt.NDArray[np.generic]) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


def unpack(primitives: ctypes.CDLL, kind: int, pairs: Words) -> tuple[Floats, Floats]:
    first, second = np.empty((2, pairs.size), np.float32)
    status = primitives.emulated_unpack(
        kind, pointer(pairs), pointer(first), pointer(second), ctypes.c_int64(pairs.size)
    )
    assert status == 0
    return first, second


def pack(primitives: ctypes.CDLL, kind: int, first: Floats, second: Floats) -> tuple[Words, Words]:
    pairs = np.empty(first.size, np.uint32)
    status = primitives.emulated_pack(kind, pointer(first), pointer(second), pointer(pairs), ctypes.c_int64(first.size))
    assert status == 0
    return pairs & np.uint32(0xFFFF), pairs >> np.uint32(16)


def decoded(kind: int, bits: Words) -> Floats:
    if kind == FLOAT16:
        return bits.astype(np.uint16).view(np.float16).astype(np.float32)
    return (bits << 16).astype(np.uint32).view(np.float32)


def same(first: Floats, second: Floats) -> bool:
    """Bit for bit, signs of zeros included; any NaN equals any other."""
    both_nan = np.isnan(first) & np.isnan(second)
    return bool(np.all(both_nan | (first.view(np.uint32) == second.view(np.uint32))))


def nearest(kind: int, values: Floats) -> Words:
    """The rounding, from the table of all values of the type: the nearest one, in a tie the one with the even bits."""
    positive = ALL_16_BITS[: 0x7C00 if kind == FLOAT16 else 0x7F80]  # finite, in rising order
    table = decoded(kind, positive).astype(np.float64)
    beyond = 2.0**16 if kind == FLOAT16 else 2.0**128  # what infinity stands for in a tie
    table = np.append(table, beyond)
    magnitude = np.minimum(np.nan_to_num(np.abs(values.astype(np.float64))), beyond)
    above = np.searchsorted(table, magnitude)  # table[above - 1] < magnitude <= table[above]
    below = np.maximum(above - 1, 0)
    down, up = magnitude - table[below], table[above] - magnitude
    chosen = np.where((down < up) | ((down == up) & (below % 2 == 0)), below, above).astype(np.uint32)
    signed = chosen | (np.signbit(values).astype(np.uint32) << 15)
    rounded: Words = np.where(np.isnan(values), np.uint32(NOT_A_NUMBER), signed)
    return rounded


@pytest.mark.parametrize("kind", [FLOAT16, BFLOAT16])
def test_unpack_decodes_all_16_bits_in_both_halves(primitives: ctypes.CDLL, kind: int) -> None:
    others = ALL_16_BITS[::-1]
    first, second = unpack(primitives, kind, ALL_16_BITS | others << np.uint32(16))
    assert same(first, decoded(kind, ALL_16_BITS))
    assert same(second, decoded(kind, others))


@pytest.mark.parametrize("kind", [FLOAT16, BFLOAT16])
def test_pack_gives_back_every_value_of_the_type(primitives: ctypes.CDLL, kind: int) -> None:
    values = decoded(kind, ALL_16_BITS)
    expected = np.where(np.isnan(values), np.uint32(NOT_A_NUMBER), ALL_16_BITS)
    first, second = pack(primitives, kind, values, values[::-1].copy())
    assert np.array_equal(first, expected)
    assert np.array_equal(second, expected[::-1])


@pytest.mark.parametrize("kind", [FLOAT16, BFLOAT16])
def test_pack_rounds_to_nearest_and_ties_to_even(primitives: ctypes.CDLL, kind: int) -> None:
    # Between any two neighbours of the type: the middle (exact in float32), and its float32 neighbours.
    finite = decoded(kind, ALL_16_BITS[: 0x7C00 if kind == FLOAT16 else 0x7F80]).astype(np.float64)
    upper = np.append(finite[1:], 2.0**16 if kind == FLOAT16 else 2.0**128)
    middle = ((finite + upper) / 2).astype(np.float32)
    assert np.array_equal(middle.astype(np.float64), (finite + upper) / 2)
    largest = np.float32(np.finfo(np.float32).max)
    edges = np.array([0.0, 1e-45, 2.0**-25, 2.0**-24, 65504, 65519.996, 65520, 65536, largest, np.inf], np.float32)
    values = np.concatenate([middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, largest), edges])
    values = np.concatenate([values, -values, np.array([np.nan, -np.nan], np.float32)])
    first, second = pack(primitives, kind, values, -values)
    assert np.array_equal(first, nearest(kind, values))
    assert np.array_equal(second, nearest(kind, -values))


def test_pack_rounds_random_floats_as_numpy_does(primitives: ctypes.CDLL) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    values = bits.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        by_numpy = values.astype(np.float16).view(np.uint16).astype(np.uint32)
    expected = np.where(np.isnan(values), np.uint32(NOT_A_NUMBER), by_numpy)
    first, _ = pack(primitives, FLOAT16, values, values)
    assert np.array_equal(first, expected)


def test_exp2_is_within_the_bound_of_the_gpu(primitives: ctypes.CDLL) -> None:
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.uniform(-150, 129, 100_000), generator.uniform(-1, 1, 100_000)]).astype(np.float32)
    result = exp2(primitives, x)
    exact = np.exp2(x.astype(np.float64))
    normal = (exact >= 2.0**-126) & (exact < 2.0**128)
    unit = np.spacing(exact[normal].astype(np.float32)).astype(np.float64)
    assert np.max(np.abs(result[normal] - exact[normal]) / unit) <= 2
    assert np.all(result[exact < 2.0**-127] == 0)  # subnormal results are 0
    assert np.all(np.isinf(result[exact >= 2.0**128]))


def test_exp2_of_special_values(primitives: ctypes.CDLL) -> None:
    x = np.array([-np.inf, np.inf, np.nan, 0.0, -0.0, 1e-45, -1e-45, -126, -126.5, 127, 128], np.float32)
    expected = [0, np.inf, np.nan, 1, 1, 1, 1, 2.0**-126, 0, 2.0**127, np.inf]
    assert np.array_equal(exp2(primitives, x), np.array(expected, np.float32), equal_nan=True)


def exp2(primitives: ctypes.CDLL, x: Floats) -> Floats:
    result = np.empty_like(x)
    assert primitives.emulated_exp2(pointer(x), pointer(result), ctypes.c_int64(x.size)) == 0
    return result


@pytest.mark.parametrize("mask", [1, 2, 4, 8, 16, 31])
def test_exchange_takes_the_value_of_the_other_lane(primitives: ctypes.CDLL, mask: int) -> None:
    values = np.random.default_rng(mask).integers(0, 1 << 24, LANES, dtype=np.uint32)  # exact as floats too
    words, floats = np.empty(LANES, np.uint32), np.empty(LANES, np.float32)
    assert primitives.emulated_exchange(pointer(values), mask, pointer(words), pointer(floats)) == 0
    assert np.array_equal(words, values[np.arange(LANES) ^ mask])
    assert np.array_equal(floats, values[np.arange(LANES) ^ mask].astype(np.float32))


@pytest.mark.parametrize("lane", [None, *range(LANES)])
def test_any_lane_asks_all_of_them(primitives: ctypes.CDLL, lane: int | None) -> None:
    conditions = np.zeros(LANES, np.uint8)
    if lane is not None:
        conditions[lane] = 1
    results = np.full(LANES, 7, np.uint8)
    assert primitives.emulated_any_lane(pointer(conditions), pointer(results)) == 0
    assert np.all(results == (lane is not None))


@pytest.mark.parametrize("transposed", [False, True])
def test_load_matrices_hands_two_values_of_a_row_to_each_lane(primitives: ctypes.CDLL, transposed: bool) -> None:
    values = np.random.default_rng(2).permutation(ALL_16_BITS)[:256].astype(np.uint16).reshape(4, 8, 8)
    aligned = on_16_bytes(values)
    registers = np.empty((LANES, 4), np.uint32)
    assert primitives.emulated_load_matrices(pointer(aligned), int(transposed), pointer(registers)) == 0
    for lane in range(LANES):
        group, member = divmod(lane, 4)
        for i in range(4):
            matrix = values[i].T if transposed else values[i]
            low, high = (int(matrix[group, 2 * member + part]) for part in range(2))
            assert registers[lane, i] == low | high << 16


def on_16_bytes(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """A copy of its bytes at an address that is a multiple of 16."""
    room = np.empty(array.nbytes + 16, np.uint8)
    offset = -room.ctypes.data % 16
    aligned = room[offset : offset + array.nbytes]
    aligned[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return aligned


def fragments(a: Floats, b: Floats, c: Floats, bits_of: Callable[[Floats], Words]) -> tuple[Words, Words, Floats]:
    """What each lane holds of a [16, 16], b [16, 8] and c [16, 8], by the PTX manual's tables for mma.m16n8k16."""
    lane = np.arange(LANES)
    group, member = lane // 4, lane % 4

    def pair(matrix: Words, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], *, down: bool) -> Words:
        second = matrix[rows + 1, columns] if down else matrix[rows, columns + 1]
        both: Words = matrix[rows, columns] | second << np.uint32(16)
        return both

    wide_a, wide_b = bits_of(a), bits_of(b)
    places = ((group, 2 * member), (group + 8, 2 * member), (group, 2 * member + 8), (group + 8, 2 * member + 8))
    of_a = np.stack([pair(wide_a, rows, columns, down=False) for rows, columns in places], axis=1)
    of_b = np.stack([pair(wide_b, 2 * member + first, group, down=True) for first in (0, 8)], axis=1)
    of_c = np.stack([c[group + 8 * (i // 2), 2 * member + i % 2] for i in range(4)], axis=1)
    return of_a, of_b, of_c


@pytest.mark.parametrize("kind", [FLOAT16, BFLOAT16])
def test_multiply_add_is_a_product_of_matrices(primitives: ctypes.CDLL, kind: int) -> None:
    def bits_of(values: Floats) -> Words:
        return pack(primitives, kind, values.reshape(-1), values.reshape(-1))[0].reshape(values.shape)

    generator = np.random.default_rng(3)
    for _ in range(20):
        a, b, c = (generator.standard_normal(shape).astype(np.float32) for shape in ((16, 16), (16, 8), (16, 8)))
        of_a, of_b, of_c = fragments(a, b, c, bits_of)
        assert primitives.emulated_multiply_add(kind, pointer(of_a), pointer(of_b), pointer(of_c)) == 0
        wide_a, wide_b = (decoded(kind, bits_of(matrix)).astype(np.float64) for matrix in (a, b))
        expected = wide_a @ wide_b + c
        _, _, of_expected = fragments(a, b, expected.astype(np.float32), bits_of)
        # 16 sums, each rounded to float32.
        bound = 16 * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b) + np.abs(c)).max()
        assert np.max(np.abs(of_c - of_expected)) <= bound


def test_multiply_add_rounds_no_product(primitives: ctypes.CDLL) -> None:
    # (1 + 2 ** -10) ** 2 has more bits than a half, and the second product takes all but its last one away.
    def bits_of(values: Floats) -> Words:
        return pack(primitives, FLOAT16, values.reshape(-1), values.reshape(-1))[0].reshape(values.shape)

    a, b, c = (np.zeros(shape, np.float32) for shape in ((16, 16), (16, 8), (16, 8)))
    a[:, 0] = b[0, :] = 1 + 2.0**-10
    a[:, 1], b[1, :] = -1, 1 + 2.0**-9
    of_a, of_b, of_c = fragments(a, b, c, bits_of)
    assert primitives.emulated_multiply_add(FLOAT16, pointer(of_a), pointer(of_b), pointer(of_c)) == 0
    assert np.all(of_c == 2.0**-20)


def test_memory_primitives_move_16_bytes_unchanged(primitives: ctypes.CDLL) -> None:
    source = on_16_bytes(np.random.default_rng(4).integers(0, 1 << 32, LANES * 4, dtype=np.uint32))
    target = on_16_bytes(np.zeros(LANES * 4, np.uint32))
    assert primitives.emulated_move(pointer(source), 1, pointer(target)) == 0
    assert np.array_equal(target, source)
    assert primitives.emulated_move(None, 0, pointer(target)) == 0  # zeros; the source is not read
    assert not target.any()
