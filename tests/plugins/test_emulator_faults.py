"""The emulator finds every planted fault, says what it is, and finds nothing in the twin without it."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import emulation
import pytest

RACE = r"data race: it (reads|writes) byte \d+ of shared memory, which thread \d+ .* no synchronize_block lies between"
UNINITIALISED = r"uninitialised: it reads byte \d+ of shared memory"
OUT_OF_BOUNDS = r"out of bounds: {} bytes at byte {} of shared memory; the block has 4096 bytes"
SHARED_MISALIGNED = r"misaligned: byte \d+ of shared memory; a multiple of {} was expected"
GLOBAL_MISALIGNED = r"misaligned: address 0x[0-9a-f]+ of global memory; a multiple of 16 was expected"
IN_FLIGHT = r"copy in flight: it {} byte \d+ of shared memory, the target of thread \d+ .* has not waited for that copy"
DIVERGENT = r"divergent collective: \d+ other lanes of its warp "

EXPECTED = {
    "write_then_read": (r"load_shared|store_shared", RACE),
    "write_then_read_across_warps": (r"load_shared|store_shared", RACE),
    "read_then_write": (r"load_shared|store_shared", RACE),
    "two_writers": (r"store_shared", RACE),
    "shuffle_is_no_barrier": (r"load_shared", RACE),
    "matrix_of_own_rows": (r"load_matrices", RACE),
    "write_behind_matrix": (r"store_shared", RACE + r"|and others have read; no synchronize_block"),
    "uninitialised": (r"load_shared", UNINITIALISED),
    "partly_uninitialised": (r"load_shared", UNINITIALISED),
    "left_by_another_block": (r"load_shared", UNINITIALISED),
    "behind_the_end": (r"store_shared", OUT_OF_BOUNDS.format(4, 4096)),
    "matrix_behind_the_end": (r"load_matrices", OUT_OF_BOUNDS.format(16, 4096)),
    "before_the_beginning": (r"store_shared", OUT_OF_BOUNDS.format(4, -4)),
    "offset_for_address": (r"store_shared", OUT_OF_BOUNDS.format(4, r"-\d+")),
    "misaligned_word": (r"store_shared", SHARED_MISALIGNED.format(4)),
    "misaligned_float4": (r"load_shared", SHARED_MISALIGNED.format(16)),
    "misaligned_matrix": (r"load_matrices", SHARED_MISALIGNED.format(16)),
    "wait_off_by_one": (r"load_shared", IN_FLIGHT.format("reads")),
    "no_wait": (r"load_shared", IN_FLIGHT.format("reads")),
    "no_commit": (r"load_shared", IN_FLIGHT.format("reads") + r" \(a wait covers committed groups\)"),
    "no_empty_group": (r"load_shared", IN_FLIGHT.format("reads")),
    "landed_but_not_published": (r"load_shared", RACE),
    "store_over_copy_in_flight": (r"store_shared", IN_FLIGHT.format("overwrites")),
    "copy_over_copy_in_flight": (r"copy_16_bytes_async", IN_FLIGHT.format("overwrites")),
    "copy_over_what_is_read": (r"copy_16_bytes_async|load_shared", RACE),
    "in_flight_at_exit": (r"exit", r"copy in flight: it exits with 1 copies that it has not waited for"),
    "uncommitted_at_exit": (r"exit", r"copy in flight: it exits with 1 copies that no commit_copies has closed"),
    "copy_behind_the_end": (r"copy_16_bytes_async", OUT_OF_BOUNDS.format(16, 4096)),
    "copy_to_misaligned": (r"copy_16_bytes_async", SHARED_MISALIGNED.format(16)),
    "copy_from_misaligned": (r"copy_16_bytes_async", GLOBAL_MISALIGNED),
    "load_misaligned": (r"load from global memory", GLOBAL_MISALIGNED),
    "store_misaligned": (r"store to global memory", GLOBAL_MISALIGNED),
    "two_collectives": (r"any_lane|exchange_with", DIVERGENT + "wait in (any_lane|exchange_with)"),
    "two_lines": (r"multiply_add \(half\)", DIVERGENT + r"wait in multiply_add \(half\)"),
    "exited_lanes": (r"exchange_with|exit", DIVERGENT + "(have exited|wait in exchange_with)"),
    "lanes_at_barrier": (r"synchronize_block|any_lane", DIVERGENT + "wait in (synchronize_block|any_lane)"),
    "lanes_missing_at_barrier": (r"synchronize_block|exit", DIVERGENT + "(have exited|wait in synchronize_block)"),
    "warp_missing_at_barrier": (r"synchronize_block|exit", "threads missing at a barrier: .* 32 threads of the block"),
    "barrier_in_loop": (r"synchronize_block|exit", "threads missing at a barrier: .* 32 threads of the block"),
    "two_barriers": (r"synchronize_block", "divergent barrier: 32 threads of the block wait at another"),
    "trap": (r"trap", "trap: code that must never be reached"),
}
"""The instruction that is blamed, and the words."""

ON_75 = {
    "multiply_bfloat16_on_75": (r"multiply_add \(bfloat16\)", r"trap: compute capability 7\.5 has no bfloat16"),
    "pack_bfloat16_on_75": (r"pack \(bfloat16\)", r"trap: compute capability 7\.5 has no bfloat16"),
}

REFUSED = {
    "too_much_shared_memory": r"asks for {} bytes of shared memory a block, compute capability {} has {}$",
    "odd_threads": r"48 threads a block, a multiple of 32 up to 1024 was expected",
}

SHARED_KILOBYTES = {75: 64, 80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 110: 227, 120: 99, 121: 99}
NO_FAULT_WHEN_COPIES_ARE_DONE_AT_ONCE = (
    "wait_off_by_one",
    "no_wait",
    "no_commit",
    "no_empty_group",
    "store_over_copy_in_flight",
    "copy_over_copy_in_flight",
    "in_flight_at_exit",
    "uncommitted_at_exit",
)

VARIANTS = [
    pytest.param([], False, id="plain"),
    pytest.param(["--portable-fibers"], False, id="portable-fibers"),
    pytest.param([], True, id="sanitized"),
    pytest.param(["--portable-fibers"], True, id="sanitized-portable-fibers"),
]


@functools.cache
def program(*, sanitize: bool = False) -> Path:
    return emulation.build(sanitize=sanitize) / "emulator_faults"


def report(name: str, *options: str, sanitize: bool = False) -> str:
    """What the emulator says of a faulty kernel."""
    with pytest.raises(emulation.EmulatedFault) as fault:
        emulation.call(program(sanitize=sanitize), name, *options)
    return str(fault.value)


def assert_reported(text: str, instruction: str, words: str) -> None:
    # One report, nothing of a sanitizer behind it; its place first.
    place = r"launch \d+ \(\d+ blocks of 64 threads\), block [01], thread \d+ \(warp [01], lane \d+\), "
    at = r" at ([a-z_]+\.(cpp|h):\d+|its end): "
    assert re.fullmatch(f"{place}({instruction}){at}.*", text), text
    assert re.search(words, text), text


def test_every_fault_has_its_expectation() -> None:
    listed = emulation.call(program(), "--list").split()
    assert sorted(listed) == sorted([*EXPECTED, *ON_75, *REFUSED])


@pytest.mark.parametrize(("options", "sanitize"), VARIANTS)
def test_faults_are_reported_in_the_right_words(options: list[str], sanitize: bool) -> None:
    for name, (instruction, words) in EXPECTED.items():
        assert_reported(report(name, *options, sanitize=sanitize), instruction, words)
    for name, (instruction, words) in ON_75.items():
        assert_reported(report(name, "--architecture", "75", *options, sanitize=sanitize), instruction, words)


@pytest.mark.parametrize(("options", "sanitize"), VARIANTS)
def test_corrected_kernels_raise_no_alarm(options: list[str], sanitize: bool) -> None:
    for name in (*EXPECTED, *ON_75, *REFUSED):
        for architecture in ("75", "86"):
            arguments = [name, "--corrected", "--architecture", architecture, *options]
            assert emulation.call(program(sanitize=sanitize), *arguments) == ""


@pytest.mark.parametrize("seed", range(2, 10))
def test_no_schedule_hides_a_fault_or_raises_an_alarm(seed: int) -> None:
    schedule = ["--seed", str(seed), "--preempt", str(seed % 3 / 2)]
    for name, (instruction, words) in EXPECTED.items():
        assert_reported(report(name, *schedule), instruction, words)
        assert emulation.call(program(), name, "--corrected", *schedule) == ""


def test_schedules_differ_by_seed_and_repeat_with_it() -> None:
    def first_to_come(seed: int) -> str:
        return report("uninitialised", "--seed", str(seed))

    reports = [first_to_come(seed) for seed in range(20)]
    assert reports == [first_to_come(seed) for seed in range(20)]
    threads = {re.search(r"thread (\d+)", text)[1] for text in reports}  # type: ignore[index]
    blocks = {re.search(r"block (\d+)", text)[1] for text in reports}  # type: ignore[index]
    assert len(threads) > 5
    assert blocks == {"0", "1"}


def test_bfloat16_is_no_fault_from_80_on() -> None:
    for name in ON_75:
        emulation.call(program(), name, "--architecture", "80")


def test_75_copies_at_once() -> None:
    for name in NO_FAULT_WHEN_COPIES_ARE_DONE_AT_ONCE:
        assert emulation.call(program(), name, "--architecture", "75") == ""
    for name in ("landed_but_not_published", "copy_over_what_is_read"):  # still writes, which want a barrier
        assert re.search(RACE, report(name, "--architecture", "75"))


@pytest.mark.parametrize(("architecture", "kilobytes"), SHARED_KILOBYTES.items())
def test_a_launch_gets_no_more_shared_memory_than_the_architecture_has(architecture: int, kilobytes: int) -> None:
    options = ["--architecture", str(architecture)]
    emulation.call(program(), "too_much_shared_memory", "--corrected", *options)  # all of it
    limit = kilobytes * 1024
    capability = f"{architecture // 10}.{architecture % 10}"
    with pytest.raises(
        emulation.Refused, match=REFUSED["too_much_shared_memory"].format(limit + 1, re.escape(capability), limit)
    ):
        emulation.call(program(), "too_much_shared_memory", *options)


def test_a_warp_that_is_not_full_is_refused() -> None:
    with pytest.raises(emulation.Refused, match=REFUSED["odd_threads"]):
        emulation.call(program(), "odd_threads")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "usage"),
        (["no_such_fault"], "no fault has the name no_such_fault"),
        (["trap", "--seed", "one"], "--seed is 'one', a whole number"),
        (["trap", "--seed"], "--seed is '', a whole number"),
        (["trap", "--preempt", "2"], "--preempt is '2', a number from 0 to 1"),
        (["trap", "--architecture", "8.6"], "--architecture is '8.6', a whole number"),
    ],
)
def test_a_wrong_command_line_is_no_fault(arguments: list[str], words: str) -> None:
    with pytest.raises(emulation.Refused, match=re.escape(words)):
        emulation.call(program(), *arguments)
