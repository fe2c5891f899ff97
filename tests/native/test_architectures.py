"""CUDA's rules of compatibility, and what --arch means for a compiler that does not know every GPU."""

from __future__ import annotations

import pytest

from ccdeploy.errors import MissingError, UsageError
from ccdeploy.native.architectures import (
    Known,
    choose,
    cmake_list,
    covers,
    for_targets,
    holds_machine_code,
    in_words,
    number_of,
    uncovered,
)

CUDA_12 = Known("nvcc 12.6.85", (50, 60, 75, 80, 86, 87, 89, 90))
CUDA_13 = Known("nvcc 13.0.88", (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121))


@pytest.mark.parametrize(
    ("code", "runs", "does_not_run"),
    [
        ("86-real", ["8.6", "8.9"], ["7.5", "8.0", "8.7", "9.0", "12.0"]),
        ("80-real", ["8.0", "8.6", "8.9"], ["7.5", "8.7", "9.0"]),
        ("87-real", ["8.7"], ["8.0", "8.6", "8.9", "9.0"]),
        ("120-real", ["12.0", "12.1"], ["10.0", "11.0"]),
        ("100-real", ["10.0", "10.3"], ["11.0", "12.0"]),
        ("110-real", ["11.0"], ["10.0", "12.0"]),
        ("86-virtual", ["8.6", "8.7", "9.0", "11.0", "12.1"], ["8.0", "7.5"]),
        ("86", ["8.6", "8.7", "8.9", "9.0", "12.0"], ["8.0"]),
        ("80-real;87", ["8.0", "8.6", "8.7", "8.9", "12.0"], ["7.5"]),
        ("80-real,87-real", ["8.0", "8.7", "8.9"], ["7.5", "9.0"]),
        ("90a-real", ["9.0"], ["8.9", "10.0"]),
        ("", [], ["8.6"]),
        ("OFF;native", [], ["8.6"]),
    ],
)
def test_code_runs_where_cuda_promises_it(code: str, runs: list[str], does_not_run: list[str]):
    assert [capability for capability in (*runs, *does_not_run) if covers(code, capability)] == runs
    assert uncovered(code, (*runs, *does_not_run)) == does_not_run


def test_machine_code_is_told_from_ptx():
    assert holds_machine_code("80-real;86", "8.6")
    assert not holds_machine_code("80-real;86-virtual", "8.6")
    assert not holds_machine_code("80-real;86", "8.9")


def test_ptx_is_made_of_the_newest_alone():
    assert cmake_list([120, 75, 87]) == "75-real;87-real;120"
    assert cmake_list([87]) == "87"


@pytest.mark.parametrize(
    ("code", "words"),
    [("87", "8.7 and newer"), ("80-real;86", "8.0, 8.6 and newer"), ("80-real;120-real", "8.0, 12.0"), ("", "")],
)
def test_code_is_told_in_words(code: str, words: str):
    assert in_words(code) == words


@pytest.mark.parametrize(("text", "number"), [("8.7", 87), ("87", 87), ("12.0", 120), ("120", 120), (" 7.5 ", 75)])
def test_both_ways_to_write_an_architecture_are_taken(text: str, number: int):
    assert number_of(text) == number


@pytest.mark.parametrize("text", ["", "8", "8.", ".7", "sm_87", "8.7.1", "8,7", "1200", "-87", "8.77", "\u0668\u0667"])
def test_what_is_no_architecture_is_refused(text: str):
    with pytest.raises(UsageError, match="no compute capability"):
        number_of(text)


@pytest.mark.parametrize(
    ("choice", "known", "chosen"),
    [
        ("87", CUDA_12, (87,)),
        ("8.7", CUDA_12, (87,)),
        ("90,80", CUDA_12, (80, 90)),
        ("8.0, 9.0,80", CUDA_12, (80, 90)),
        ("all", CUDA_12, (75, 80, 86, 87, 89, 90)),
        ("all", CUDA_13, (75, 80, 86, 87, 89, 90, 100, 110, 120)),
        ("native", CUDA_13, (89,)),
    ],
)
def test_arch_means(choice: str, known: Known, chosen: tuple[int, ...]):
    assert choose(choice, known, ["8.9"], "") == chosen


@pytest.mark.parametrize("choice", ["120", "6.0", "86,120"])
def test_arch_that_the_compiler_or_the_kernel_lacks_is_refused_with_what_there_is(choice: str):
    """nvcc 12 compiles for 6.0; the kernel is not written for it."""
    with pytest.raises(UsageError, match=r"compiles the kernel for 7\.5, 8\.0, 8\.6, 8\.7, 8\.9, 9\.0") as error:
        choose(choice, CUDA_12, [], "no driver")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("choice", ["", ",", "nativ", "86,", "all,86"])
def test_arch_that_is_nothing_is_refused(choice: str):
    if choice == "86,":
        assert choose(choice, CUDA_12, [], "") == (86,)
        return
    with pytest.raises(UsageError, match="no compute capability"):
        choose(choice, CUDA_12, [], "no driver")


def test_native_without_a_gpu_says_to_name_one():
    with pytest.raises(MissingError, match="there is none: no driver") as error:
        choose("native", CUDA_12, [], "no driver")
    assert "--arch 87" in error.value.remedy
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("targets", "known", "chosen"),
    [
        (["8.0", "8.6", "8.9", "12.0", "12.1"], CUDA_13, (80, 86, 89, 120, 121)),
        (["12.1"], Known("nvcc 12.8", (75, 90, 100, 120)), (120,)),
        (["8.9"], CUDA_12, (89,)),
        (["12.0"], CUDA_12, (90,)),
        (["8.9", "8.6"], Known("nvcc", (75, 80, 86, 87)), (86,)),
    ],
)
def test_targets_get_their_own_code_or_the_nearest_older(targets: list[str], known: Known, chosen: tuple[int, ...]):
    assert for_targets(targets, known) == chosen
    assert uncovered(cmake_list(chosen), targets) == []


@pytest.mark.parametrize("targets", [["7.0"], ["8.6", "6.1"]])
def test_targets_that_no_code_serves_are_named(targets: list[str]):
    with pytest.raises(MissingError, match=r"needed for compute capability (7\.0|6\.1)"):
        for_targets(targets, CUDA_13)
