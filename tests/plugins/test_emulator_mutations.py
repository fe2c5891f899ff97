"""Mistakes planted in the real kernel are found: by the emulator's checks, by a sanitizer, or by the numbers.

Each mutant is the kernel's source with one piece of text replaced. It has to be there exactly once: whoever changes the
kernel's text is reminded here to plant the mistake anew. Only the unit that holds the mistake is compiled again.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import emulation
import pytest
import torch

from ccdeploy.op.cases import MAX_ERROR, STEEP, Case
from ccdeploy.op.definition import criss_cross_attention
from ccdeploy.op.operands import random_operands

TAILS = Case(1, 96, 24, 70, 37)
"""Two blocks of queries in a column, three steps; tails of queries, keys, channels and query channels."""

ONE_COLUMN = Case(1, 96, 24, 33, 1)
"""The rows beyond a line lie right behind the tensor, where the address sanitizer watches."""

ONE_LINE = Case(1, 32, 8, 1, 20)
"""Columns of one pixel: they have no key."""

STEEP_LINE = Case(1, 32, 32, 3, 100, STEEP)
"""The largest energy grows from step to step by more than the slack."""

TINY = Case(2, 32, 8, 5, 3)

RACE = "data race: .* no synchronize_block lies between"
IN_FLIGHT = "copy in flight: "
OUT_OF_BOUNDS = "out of bounds: .* of shared memory"
MISALIGNED = "misaligned: byte .* of shared memory"
UNINITIALISED = "uninitialised: "
DIVERGENT = "divergent collective: "
OUTSIDE_A_TENSOR = "AddressSanitizer: (heap-buffer-overflow|unknown-crash|SEGV)"
DIFFERS = None
"""No rule is broken, but the result is wrong."""


@dataclass(frozen=True)
class Mutant:
    """One mistake, and how it is found."""

    name: str
    file: str
    old: str
    new: str
    report: str | None
    case: Case = TAILS
    dtype: torch.dtype = torch.float16
    options: dict[str, str] = field(default_factory=dict)
    sanitize: bool = False

    @property
    def unit(self) -> str:
        if self.file == "transpose.cuh":
            return "launch.cu"
        return "pass_float.cu" if self.dtype == torch.float32 else "pass_half.cu"


def in_attention(name: str, old: str, new: str, report: str | None, case: Case = TAILS) -> Mutant:
    return Mutant(name, "attention_pass.cuh", old, new, report, case)


def in_layout(name: str, old: str, new: str, report: str) -> Mutant:
    return Mutant(name, "attention_layout.h", old, new, report)


def in_float(name: str, old: str, new: str, report: str | None, case: Case = TAILS) -> Mutant:
    return Mutant(f"float_{name}", "float_pass.cuh", old, new, report, case, torch.float32)


def in_transpose(name: str, old: str, new: str, report: str | None) -> Mutant:
    return Mutant(f"transpose_{name}", "transpose.cuh", old, new, report, options={"layout": "nchw"})


BARRIER = "synchronize_block();"
LAST_EXCHANGE = "            sum_[half] += exchange_with(sum_[half], 2);\n"
OTHERS_LEAVE = "            if (member_ != 0)\n                continue;\n"

MUTANTS = [
    # Barriers.
    in_attention("no_barrier_for_a_step", f"{BARRIER} // this step has landed", "// ", RACE),
    in_attention(
        "no_barrier_for_probabilities", f"{BARRIER} // probabilities and factors", "// ", f"{RACE}|{UNINITIALISED}"
    ),
    in_attention("no_barrier_before_the_sums", f"{BARRIER} // everybody is done", "// ", f"{RACE}|{IN_FLIGHT}"),
    in_attention(
        "no_barrier_behind_the_sums",
        f"{BARRIER} // the factors are there",
        "// ",
        f"{RACE}|{IN_FLIGHT}|{UNINITIALISED}",
    ),
    in_attention("no_barrier_before_the_store", f"{BARRIER} // y is there", "// ", RACE),
    # Copies.
    in_attention("no_wait_for_the_residual", "        wait_for_copies<0>();\n", "", IN_FLIGHT),
    in_attention(
        "wait_off_by_one", "wait_for_copies<Tile::kStages - 2>", "wait_for_copies<Tile::kStages - 1>", IN_FLIGHT
    ),
    in_attention("no_commit_before_the_loop", "commit_copies(); // one group a step", "// ", IN_FLIGHT),
    in_attention(
        "no_commit_in_the_loop",
        "            commit_copies();\n            if (warp_ <",
        "            if (warp_ <",
        IN_FLIGHT,
    ),
    in_attention(
        "a_step_too_early",
        "int const ahead = step + Tile::kStages - 1;",
        "int const ahead = step + Tile::kStages;",
        f"{RACE}|{IN_FLIGHT}|{UNINITIALISED}",
    ),
    in_attention("no_queries", "        copy_queries();\n", "", UNINITIALISED),
    # Shared memory.
    in_layout(
        "shared_memory_too_small",
        "kFirstStage + Tile::kStages * kStage;",
        "kFirstStage + Tile::kStages * kStage - 32;",
        OUT_OF_BOUNDS,
    ),
    in_layout(
        "rows_too_close", "Tile::kChannels * 2 + kPadding;", "Tile::kChannels * 2 - kPadding;", f"{IN_FLIGHT}|{RACE}"
    ),
    in_layout("rows_not_aligned", "kQueryChannels * 2 + kPadding;", "kQueryChannels * 2 + kPadding / 2;", MISALIGNED),
    in_layout(
        "parts_overlap",
        "kQueries + Tile::kQueries * kQueryStride;",
        "kQueries + Tile::kKeys * kQueryStride;",
        f"{RACE}|{IN_FLIGHT}",
    ),
    in_attention(
        "last_tile_of_keys_left_out",
        "if (tile / 2 * 16 >= keys_left) // not read",
        "if (tile / 2 * 16 + 16 > keys_left) // not read",
        UNINITIALISED,
        TINY,
    ),
    # Collectives.
    in_attention(
        "exchange_of_some_lanes",
        f"{LAST_EXCHANGE}{OTHERS_LEAVE}",
        f"{OTHERS_LEAVE}{LAST_EXCHANGE}",
        DIVERGENT,
    ),
    # Global memory.
    Mutant(
        "rows_of_nobody_are_read",
        "line.cuh",
        "valid = first_row + row < rows && offset < bytes",
        "valid = offset < bytes",
        OUTSIDE_A_TENSOR,
        ONE_COLUMN,
        sanitize=True,
    ),
    Mutant(
        "channels_of_others_are_read",
        "line.cuh",
        "valid = first_row + row < rows && offset < bytes",
        "valid = first_row + row < rows",
        DIFFERS,
    ),
    Mutant(
        "queries_of_nobody_are_stored",
        "line.cuh",
        "if (first_row + row < rows && offset < bytes)",
        "if (offset < bytes)",
        OUTSIDE_A_TENSOR,
        sanitize=True,
    ),
    Mutant(
        "channels_of_others_are_stored",
        "line.cuh",
        "if (first_row + row < rows && offset < bytes)",
        "if (first_row + row < rows)",
        OUTSIDE_A_TENSOR,
        sanitize=True,
    ),
    # Arithmetic.
    in_attention("itself_counts_twice", "!kRow && key == query(warp_, half);", "false;", DIFFERS),
    in_attention("keys_beyond_the_line_count", "if (key >= place_.length || itself)", "if (itself)", DIFFERS),
    in_attention(
        "no_residual",
        "unpack(first, second, load_shared_word(row + channels * 16), T{});",
        "first = second = 0;",
        DIFFERS,
    ),
    in_attention("sum_not_shrunk", "sum_[half] *= shrink;", ";", DIFFERS, STEEP_LINE),
    in_attention(
        "accumulator_not_shrunk", "accumulator_[tile][channels][i] *= shrink[i / 2];", ";", DIFFERS, STEEP_LINE
    ),
    in_attention("column_not_weighted", "two[0] *= sum;", ";", DIFFERS),
    in_attention(
        "infinity_minus_infinity",
        "maximum_[half] == kMinusInfinity ? 0.0f : maximum_[half];",
        "maximum_[half];",
        DIFFERS,
        ONE_LINE,
    ),
    in_attention(
        "division_by_no_sum", "sum_[half] == 0.0f ? 0.0f : 1.0f / sum_[half]", "1.0f / sum_[half]", DIFFERS, ONE_LINE
    ),
    in_attention(
        "channels_not_in_order",
        "warp_ * kWarpChannels * 2 + member_ * 4;",
        "warp_ * kWarpChannels * 2 + (member_ ^ 1) * 4;",
        DIFFERS,
    ),
    # The float32 kernel.
    in_float("no_barrier_before_a_step", f"{BARRIER} // the keys, values", "// ", RACE),
    in_float("no_barrier_for_copies", f"{BARRIER} // all copies have landed", "// ", f"{RACE}|{IN_FLIGHT}"),
    in_float(
        "no_barrier_for_probabilities", f"{BARRIER} // probabilities and factors", "// ", f"{RACE}|{UNINITIALISED}"
    ),
    in_float("no_barrier_before_the_sums", f"{BARRIER} // the factors of the last step", "// ", RACE),
    in_float("no_barrier_behind_the_sums", f"        }}\n        {BARRIER}\n    }}", "}\n}", RACE),
    in_float("wait_off_by_one", "wait_for_copies<0>", "wait_for_copies<1>", IN_FLIGHT),
    in_float("no_commit", "            commit_copies();\n", "", IN_FLIGHT),
    in_float("shared_memory_too_small", "kFactorsAt + kQueries * 4;", "kFactorsAt;", OUT_OF_BOUNDS),
    in_float(
        "rows_too_close", "kValueStride = kChannels * 4;", "kValueStride = kChannels * 4 - 16;", f"{IN_FLIGHT}|{RACE}"
    ),
    in_float(
        "channels_of_nobody_are_stored",
        "if (channel(part) >= operands_.channels)\n                    continue;",
        "",
        DIFFERS,
    ),
    in_float("itself_counts_twice", "!kRow && key == query;", "false;", DIFFERS),
    in_float("keys_beyond_the_line_count", "if (key >= place_.length || itself)", "if (itself)", DIFFERS),
    in_float("no_residual", "out = load_float4(operands_.residual + offset);", ";", DIFFERS),
    in_float("accumulator_not_shrunk", "accumulator_[row][part].x[i] *= shrink;", ";", DIFFERS, STEEP_LINE),
    # The transposes around them.
    in_transpose("no_barrier", BARRIER, "", f"{RACE}|{UNINITIALISED}"),
    in_transpose("shared_memory_too_small", "kSide * kStride;", "kSide * (kStride - 4);", OUT_OF_BOUNDS),
    in_transpose(
        "rows_and_columns_confused",
        "x * TransposeTile::kStride + i * 4",
        "i * TransposeTile::kStride + x * 4",
        f"{UNINITIALISED}|{RACE}",
    ),
    in_transpose(
        "columns_of_nobody_are_stored",
        " && column < matrices.columns)\n            from_bits",
        ")\n            from_bits",
        UNINITIALISED,
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutants")


def compile_object(plugins: Path, source: Path, target: Path, *, sanitize: bool) -> None:
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if sanitize else []
    includes = [f"-I{plugins / name}" for name in ("criss_cross", "include", "emulator")]
    # Not optimised: the run is short, the compiler takes most of the time.
    flags = ["-std=c++17", "-O0", "-ffp-contract=off", "-w", "-DCCDEPLOY_ALL_TILES", *includes, *sanitizers]
    subprocess.run(["c++", *flags, "-x", "c++", "-c", str(source), "-o", str(target)], check=True)


def build_program(folder: Path, unit: str, *, sanitize: bool, plugins: Path = emulation.PLUGINS) -> Path:
    """A criss_cross_emulator whose `unit` comes from `plugins`, and all else from the build of this checkout."""
    main = folder / f"main-{sanitize}.o"
    if not main.exists():
        source = emulation.PLUGINS / "emulator" / "criss_cross_emulator.cpp"
        compile_object(emulation.PLUGINS, source, main, sanitize=sanitize)
    changed, program = folder / "unit.o", folder / "program"
    compile_object(plugins, plugins / "criss_cross" / unit, changed, sanitize=sanitize)
    # The linker takes from the archive only what it still misses: not the unit's own object.
    parts = emulation.build(sanitize=sanitize) / "libemulator_parts.a"
    sanitizers = ["-fsanitize=address,undefined"] if sanitize else []
    subprocess.run(["c++", *sanitizers, str(main), str(changed), str(parts), "-o", str(program)], check=True)
    return program


def error_of(mutant: Mutant, program: Path) -> float:
    """The largest difference from float64, infinite where a value is no number. Raises EmulatedFault."""
    case = mutant.case
    qkv, residual = (torch.from_numpy(operand).to(mutant.dtype) for operand in random_operands(case, seed=5))
    y = emulation.run(case, qkv, residual, mutant.dtype, program=program, **mutant.options)  # type: ignore[arg-type]
    exact = criss_cross_attention(qkv.double(), residual.double(), case.query_channels)
    return (y.double() - exact).abs().nan_to_num(nan=float("inf")).max().item()


def bound(mutant: Mutant) -> float:
    return MAX_ERROR["fp32" if mutant.dtype == torch.float32 else "fp16"]


@pytest.mark.parametrize("unit", ["pass_half.cu", "pass_float.cu", "launch.cu"])
def test_without_a_mistake_nothing_is_found(unit: str, folder: Path) -> None:
    program = build_program(folder, unit, sanitize=False)
    ways = {(mutant.case, mutant.dtype, *mutant.options.items()): mutant for mutant in MUTANTS if mutant.unit == unit}
    for mutant in ways.values():
        assert error_of(mutant, program) <= bound(mutant)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_mistake_is_found(mutant: Mutant, folder: Path) -> None:
    plugins = folder / "plugins"
    shutil.rmtree(plugins, ignore_errors=True)
    shutil.copytree(emulation.PLUGINS, plugins)
    file = plugins / "criss_cross" / mutant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1, f"{mutant.file} holds {text.count(mutant.old)} times {mutant.old!r}; plant anew"
    file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    program = build_program(folder, mutant.unit, sanitize=mutant.sanitize, plugins=plugins)
    if mutant.report is DIFFERS:
        assert error_of(mutant, program) > 10 * bound(mutant)
        return
    with pytest.raises(emulation.EmulatedFault) as fault:
        error_of(mutant, program)
    assert re.search(mutant.report, str(fault.value)), fault.value
