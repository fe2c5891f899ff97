"""The golden tests of the GPU's primitives: right ones pass, and every single one of them can fail.

On a GPU they tell whether the PTX means what its name says. Here the emulator takes the GPU's place, so that what they
expect is tested too: it was derived from the PTX manual, and the emulator was written without it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import emulation
import golden_program as golden
import pytest
from golden_program import Mutant

SEEDS = (1, 2, 4294967295)
SWAP_WORDS = """
    uint32_t words[4];
    __builtin_memcpy(words, source, sizeof words);
    uint32_t const first = words[0];
    words[0] = words[3];
    words[3] = first;
    T value;
    __builtin_memcpy(&value, words, sizeof value);
    return value;"""
MULTIPLY_ADD = ("multiply_add (half)", "multiply_add (bfloat16)")

IN_SOURCES = (
    Mutant("primitives.cpp", "(i ^ lane.mask) % kLanes", "(i + lane.mask) % kLanes",
           ("exchange_with (word)", "exchange_with (float)")),
    Mutant("primitives.cpp", "any = any || *static", "any = *static", ("any_lane",)),
    Mutant("primitives.cpp", "    return *static_cast<T const*>(source);", SWAP_WORDS,
           ("load_16_bytes", "load_float4")),
    Mutant("primitives.cpp", "*static_cast<T*>(target) = value;", "*static_cast<T*>(target) = T{};",
           ("store_16_bytes", "store_float4")),
    Mutant("primitives.cpp", "read(&value, source, sizeof value,", "read(&value, source ^ 16, sizeof value,",
           ("store_shared and load_shared_word", "store_shared and load_shared_float", "load_shared_float4",
            "load_shared_16_bytes")),
    Mutant("primitives.cpp", "= valid ? *static", "= true ? *static", ("copy_16_bytes_async",)),
    Mutant("primitives.cpp", "wait(block.shared_memory(), groups)", "wait(block.shared_memory(), groups + 1)",
           ("commit_copies and wait_for_copies",)),
    Mutant("primitives.cpp", "block.copies().commit();", "block.copies();", ("commit_copies and wait_for_copies",)),
    Mutant("primitives.cpp", "round_to_half(second).bits} << 16", "round_to_half(second).bits} << 15",
           ("pack (half)",)),
    Mutant("rounding.cpp", "magnitude + 0xfff + (magnitude >> 13 & 1)", "magnitude + 0x1000", ("pack (half)",)),
    Mutant("rounding.cpp", "sign | 0x7c00)", "sign | 0x7bff)", ("pack (half)",)),
    Mutant("rounding.cpp", "0x7fff + (bits >> 16 & 1)", "0x8000", ("pack (bfloat16)",)),
    Mutant("rounding.cpp", "std::ldexp(fraction, -24)", "0.0f", ("unpack (half)",)),
    Mutant("rounding.cpp", "std::exp2(x);", "std::exp2(x) * 1.0000005f;", ("exp2_fast",)),
    Mutant("rounding.cpp", "return result < std::numeric_limits<float>::min() ? 0.0f : result;", "return result;",
           ("exp2_fast",)),
    Mutant("matrices.cpp", "== Instruction::kLoadMatricesTransposed;", "!= Instruction::kLoadMatricesTransposed;",
           ("load_matrices", "load_matrices_transposed")),
    Mutant("matrices.cpp", "->matrix[matrix]", "->matrix[matrix ^ 3 * (matrix % 3 != 0)]",
           ("load_matrices", "load_matrices_transposed")),
    Mutant("matrices.cpp", "value(lane.a[1])", "value(lane.a[2])", MULTIPLY_ADD),
    Mutant("matrices.cpp", "b[two][group] = value(lane.b[0])", "b[two][group] = value(lane.b[1])", MULTIPLY_ADD),
    Mutant("matrices.cpp", "c[group + 8][two] = lane.c[part + 2]", "c[group + 8][two] = 0", MULTIPLY_ADD),
    Mutant("matrices.cpp", "c[row][column] += a[row][k] * b[k][column];",
           "c[row][column] = float_of(round_to_half(c[row][column] + a[row][k] * b[k][column]));", MULTIPLY_ADD),
)  # fmt: skip
IN_HEADERS = (
    Mutant("primitives.h", "emulator::Block::current().index()", "(emulator::Block::current().index() + 1) / 2",
           ("thread_index and block_index",)),
    Mutant("primitives.h", "return emulator::SharedMemory::kBase;", "return emulator::SharedMemory::kBase + 4;",
           ("shared_memory",)),
    Mutant("primitives.h", "emulator::Block::current().synchronize(site);", "(void)site;", ("synchronize_block",)),
    Mutant("primitives.h", "emulator::float_of_bits(pair << 16)", "emulator::float_of_bits(pair)",
           ("unpack (bfloat16)",)),
    Mutant("primitives.h", "[[noreturn]] void trap(emulator::Site site = emulator::Site::here());",
           "inline void trap(emulator::Site = emulator::Site::here()) {}", ("trap",)),
)  # fmt: skip


@pytest.fixture(scope="session")
def parts() -> Path:
    return emulation.build() / "libemulator_parts.a"


@pytest.fixture(scope="session")
def golden_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    return golden.compile_object(emulation.PLUGINS / "gpu_check" / "golden.cu", folder / "golden.o")


@pytest.fixture(scope="session")
def program(golden_object: Path, parts: Path) -> Path:
    return golden.link([golden_object], parts, golden_object.with_name("golden"))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_golden_tests_and_the_emulator_agree(program: Path, seed: int) -> None:
    code, tests = golden.run(program, "--seed", str(seed))
    assert {name: test for name, test in tests.items() if test["ok"] is not True} == {}
    assert code == 0


def test_every_function_of_the_primitives_has_a_golden_test() -> None:
    """Whoever adds a function must say how it is known to work."""
    primitives = (emulation.PLUGINS / "criss_cross" / "primitives.cuh").read_text()
    functions = set(re.findall(r"^__device__ __forceinline__ \S+ (\w+)\(", primitives, re.MULTILINE))
    kernels = (emulation.PLUGINS / "gpu_check" / "golden.cuh").read_text()
    assert len(functions) > 20
    assert {name for name in functions if not re.search(rf"\b{name}\b[(<]", kernels)} == set()


def test_every_golden_test_is_seen_to_fail_by_some_fault(program: Path) -> None:
    _, tests = golden.run(program)
    seen = {name for mutant in IN_SOURCES + IN_HEADERS for name in mutant.seen_by}
    assert seen == set(tests)


@pytest.mark.parametrize("mutant", IN_SOURCES, ids=str)
def test_a_fault_in_a_primitive_is_seen(mutant: Mutant, golden_object: Path, parts: Path, tmp_path: Path) -> None:
    program = golden.link([golden_object, golden.mutated(mutant, tmp_path)], parts, tmp_path / "golden")
    assert_seen(mutant, program)


@pytest.mark.parametrize("mutant", IN_HEADERS, ids=str)
def test_a_fault_in_an_inline_primitive_is_seen(mutant: Mutant, parts: Path, tmp_path: Path) -> None:
    for folder in ("criss_cross", "emulator", "gpu_check", "include"):
        shutil.copytree(emulation.PLUGINS / folder, tmp_path / folder)
    header = tmp_path / "emulator" / mutant.file
    text = header.read_text()
    assert text.count(mutant.right) == 1, mutant
    header.write_text(text.replace(mutant.right, mutant.wrong))
    includes = [f"-I{tmp_path / folder}" for folder in ("criss_cross", "emulator")]
    command = [
        golden.compiler(),
        "-std=c++17",
        "-O1",
        "-ffp-contract=off",
        "-w",
        *includes,
        f"-I{tmp_path / 'include'}",
    ]
    source, target = tmp_path / "gpu_check" / "golden.cu", tmp_path / "golden.o"
    subprocess.run([*command, "-x", "c++", "-c", str(source), "-o", str(target)], check=True)
    assert_seen(mutant, golden.link([target], parts, tmp_path / "golden"))


def assert_seen(mutant: Mutant, program: Path) -> None:
    code, tests = golden.run(program)
    failed = {name: test for name, test in tests.items() if test["ok"] is False}
    assert set(mutant.seen_by) <= set(failed)
    assert code == 1
    for test in failed.values():
        assert test.get("failed") or (test["wrong"] > 0 and test["seen"] != test["expected"])


def test_bfloat16_is_not_asked_of_a_gpu_that_lacks_it(golden_object: Path, parts: Path, tmp_path: Path) -> None:
    older = Mutant("settings.h", "int architecture = 86;", "int architecture = 75;", ())
    text = (emulation.PLUGINS / "emulator" / older.file).read_text()
    assert text.count(older.right) == 1
    (tmp_path / older.file).write_text(text.replace(older.right, older.wrong))
    (tmp_path / "settings.cpp").write_text((emulation.PLUGINS / "emulator" / "settings.cpp").read_text())
    settings = golden.compile_object(tmp_path / "settings.cpp", tmp_path / "settings.o")
    code, tests = golden.run(golden.link([golden_object, settings], parts, tmp_path / "golden"))
    assert code == 0
    not_run = {name for name, test in tests.items() if test["ok"] is None}
    assert not_run == {"multiply_add (bfloat16)", "pack (bfloat16)"}
    assert all("8.0" in tests[name]["why"] for name in not_run)


def test_the_trap_can_be_left_out(program: Path) -> None:
    code, tests = golden.run(program, "--without-trap")
    assert code == 0
    assert "trap" not in tests
    assert "unpack (half)" in tests


def test_an_unknown_option_is_wrong_usage(program: Path) -> None:
    done = subprocess.run([str(program), "--fast"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--fast" in done.stderr


def test_small_case_computes_what_it_expects(parts: Path, tmp_path: Path) -> None:
    source = emulation.PLUGINS / "gpu_check" / "small_case.cu"
    program = golden.link([golden.compile_object(source, tmp_path / "small_case.o")], parts, tmp_path / "small_case")
    done = subprocess.run([str(program)], capture_output=True, text=True)
    assert done.stdout == "24 problems, 0 wrong\n"
    assert done.returncode == 0


def test_small_case_sees_a_kernel_that_loses_a_probability(parts: Path, tmp_path: Path) -> None:
    mutant = Mutant("matrices.cpp", "b[two + 8][group] = value(lane.b[1])", "b[two + 8][group] = 0", ())
    source = emulation.PLUGINS / "gpu_check" / "small_case.cu"
    objects = [golden.compile_object(source, tmp_path / "small_case.o"), golden.mutated(mutant, tmp_path)]
    done = subprocess.run([str(golden.link(objects, parts, tmp_path / "small_case"))], capture_output=True, text=True)
    assert done.returncode == 1
    assert "was expected" in done.stdout


@pytest.mark.parametrize("architecture", [75, 90])
def test_nvcc_compiles_the_golden_tests(architecture: int, tmp_path: Path) -> None:
    """Every program of the check, without a warning, for the oldest GPU and for one that is at hand in data centres."""
    nvcc = shutil.which("nvcc")
    assert nvcc is not None, "nvcc is not on the PATH: the tests need the CUDA compiler"
    for name in ("golden", "small_case"):
        command = [nvcc, "-std=c++17", "-O1", f"-arch=sm_{architecture}", "-Xcompiler=-Wall,-Wextra,-Werror"]
        command += ["-Werror=all-warnings", f'-DCCDEPLOY_ARCHITECTURES="{architecture}"', "-c"]
        command += [f"-I{emulation.PLUGINS / folder}" for folder in ("criss_cross", "include")]
        command += [str(emulation.PLUGINS / "gpu_check" / f"{name}.cu"), "-o", str(tmp_path / f"{name}.o")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
