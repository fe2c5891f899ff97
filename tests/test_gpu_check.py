"""The GPU check without a GPU: rehearsed on the emulator, made to fail, and its pages from a recorded result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gpu_check_parts as parts
import pytest
import torch
from gpu_steps import correctness, plan, plugin_abi, programs, speed, timing
from gpu_steps.contestants import COMPILED, EAGER, KERNEL, NCHW, Contestant, WellKnown
from gpu_steps.context import Build, Context, read_build
from gpu_steps.library import PRECISIONS, CrissCrossLibrary, Device, Prepared
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row, StepResult, write_rows
from gpu_steps.report import Result, markdown, summary

from ccdeploy.op.cases import KERNEL as KERNEL_CASES
from ccdeploy.op.cases import Case
from ccdeploy.op.definition import criss_cross_attention

SPOIL_LARGELY = "static_cast<uint16_t*>(y)[0] ^= 0x4000"
SPOIL_LAST_BIT = "static_cast<uint16_t*>(y)[0] ^= 1"


@pytest.fixture(scope="session")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.rehearsal_build(tmp_path_factory.mktemp("rehearsal"))


def check(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, dict[str, Any]]:
    """Runs the script; returns its exit code, what it printed and its result."""
    command = [sys.executable, str(parts.SCRIPT), "--output", str(folder / "out"), "--work", str(folder / "work")]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    results = list((folder / "out").glob("*.json"))
    result = json.loads(results[0].read_text()) if results else {}
    return done.returncode, done.stdout + done.stderr, result


def statuses(result: dict[str, Any]) -> dict[str, str]:
    return {step.name: step.status for step in Result.from_json(result).steps}


def test_a_rehearsal_on_the_emulator_passes_and_says_what_was_not_run(rehearsal: Path, tmp_path: Path) -> None:
    code, said, result = check(tmp_path, "--use-build", str(rehearsal), "--few", "--seed", "5")
    assert code == 0, said
    assert statuses(result) == {
        "machine": OK, "build": NOT_RUN, "golden": OK, "correctness": OK,
        "sanitizer": NOT_RUN if not programs.find_sanitizer("") else OK, "plugin": OK, "engine": NOT_RUN,
        "speed": NOT_RUN,
    }  # fmt: skip
    assert result["seed"] == 5
    assert "GPU check: emulator" in said
    page = next((tmp_path / "out").glob("*.md")).read_text()
    assert "| two streams at once | not run | the emulator has no streams |" in page


def test_a_wrong_result_ends_with_exit_code_1_and_is_named(rehearsal: Path, tmp_path: Path) -> None:
    fault = "problem->type == CCDEPLOY_FLOAT16 && problem->layout == CCDEPLOY_NCHW"
    library = parts.planted_library(tmp_path, fault, SPOIL_LARGELY)
    build = {**json.loads(rehearsal.read_text()), "library": str(library), "driver": ""}
    (tmp_path / "build.json").write_text(json.dumps(build))
    code, said, result = check(
        tmp_path, "--use-build", str(tmp_path / "build.json"), "--few", "--skip", "golden", "--skip", "sanitizer"
    )
    assert code == 1, said
    step = Result.from_json(result).step("correctness")
    assert step is not None
    assert [row.name for row in step.rows if row.status == DIFFERS] == ["fp16 nchw auto"]
    assert "DIFFERS" in said
    assert statuses(result)["golden"] == NOT_RUN


def test_a_crash_in_one_step_leaves_the_others_their_results(rehearsal: Path, tmp_path: Path) -> None:
    library = parts.planted_library(tmp_path, "problem->type == CCDEPLOY_BFLOAT16", "__builtin_trap()")
    build = {**json.loads(rehearsal.read_text()), "library": str(library)}
    (tmp_path / "build.json").write_text(json.dumps(build))
    code, said, result = check(tmp_path, "--use-build", str(tmp_path / "build.json"), "--few")
    assert code == 1, said
    assert statuses(result)["golden"] == OK
    assert statuses(result)["correctness"] == FAILED
    assert statuses(result)["speed"] == NOT_RUN
    step = Result.from_json(result).step("correctness")
    assert step is not None
    assert step.rows[0].name == "library", "what was found before the crash is kept"


def run_correctness(folder: Path, fault: str, spoil: str) -> list[Row]:
    library = parts.planted_library(folder, fault, spoil)
    build = Build("cpu", library=str(library))
    return write_rows(correctness.run(Context(str(folder), build, seed=3, few=True)), folder / "rows.json")


def test_a_result_that_is_not_repeated_differs(tmp_path: Path) -> None:
    rows = run_correctness(tmp_path, "problem->type == CCDEPLOY_FLOAT16 && calls % 2 == 0", SPOIL_LAST_BIT)
    row = next(row for row in rows if row.name == "fp16 nhwc auto")
    assert row.status == DIFFERS
    assert "other bits the second time" in row.said
    assert row.numbers["beyond"] == 0


def test_an_element_that_is_not_written_differs(tmp_path: Path) -> None:
    rows = run_correctness(tmp_path, "problem->type == CCDEPLOY_FLOAT16", "static_cast<uint16_t*>(y)[0] = 0xffff")
    row = next(row for row in rows if row.name == "fp16 nhwc auto")
    assert row.status == DIFFERS
    assert row.numbers["largest error"] == float("inf")


def test_a_write_beyond_the_result_is_found(tmp_path: Path) -> None:
    rows = run_correctness(tmp_path, "problem->height == 1", "static_cast<char*>(y)[-1] = 0")
    assert rows[-1].status == FAILED
    assert "wrote beyond y" in rows[-1].said
    assert str(KERNEL_CASES[0]) in rows[-1].said


def test_a_nan_that_spreads_is_found(tmp_path: Path) -> None:
    """Two images of 37 x 21: the case in which a NaN has been planted."""
    spoil = "static_cast<uint16_t*>(y)[0] = 0x7fff"
    rows = run_correctness(tmp_path, "problem->type == CCDEPLOY_FLOAT16 && problem->height == 37", spoil)
    row = next(row for row in rows if row.name == "fp16: a NaN stays in its criss-cross")
    assert row.status == DIFFERS
    assert "1 elements are what they must not be" in row.said


def run_plugin(rehearsal: Path, folder: Path, **changes: str) -> list[Row]:
    build = replace(read_build(rehearsal), **changes)
    return write_rows(plugin_abi.run(Context(str(folder), build, seed=3, few=True)), folder / "rows.json")


def test_a_plugin_that_computes_something_else_differs(
    rehearsal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CrissCrossLibrary.run_guarded

    def one_bit_off(*arguments: Any) -> torch.Tensor:
        y = right(*arguments)
        y.view(torch.int16 if y.element_size() == 2 else torch.int32).flatten()[7] ^= 1
        return y

    monkeypatch.setattr(CrissCrossLibrary, "run_guarded", one_bit_off)
    rows = run_plugin(rehearsal, tmp_path)
    assert {row.status for row in rows} == {DIFFERS}
    assert all("NOT the bits of the C interface" in row.said for row in rows)


def test_a_format_that_the_plugin_refuses_differs(
    rehearsal: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_abi, "WAYS", (("fp16", plugin_abi.Format.LINEAR, "nchw"),))
    rows = run_plugin(rehearsal, tmp_path)
    assert {row.status for row in rows} == {DIFFERS}
    assert all("kLINEAR is refused for fp16" in row.said for row in rows)


def test_a_library_without_the_plugin_fails_and_it_is_said(rehearsal: Path, tmp_path: Path) -> None:
    """The kernel with its C interface alone."""
    rows = run_plugin(rehearsal, tmp_path, library=str(parts.planted_library(tmp_path, "false", "(void)0")))
    assert rows[-1].status == FAILED
    assert "does not export getCreators" in rows[-1].said


def test_without_a_gpu_it_says_what_is_missing(tmp_path: Path) -> None:
    code, said, result = check(tmp_path, CUDA_VISIBLE_DEVICES="")
    assert code == 3
    assert "missing: " in said
    assert "CUDA" in said
    assert result == {}, "nothing is written where nothing was run"


def test_without_pytorch_it_says_what_is_missing(tmp_path: Path) -> None:
    """-S: no installed package is found."""
    command = [sys.executable, "-S", "-E", str(parts.SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "missing: the Python package torch" in done.stderr


def test_it_needs_no_package_but_torch_and_numpy() -> None:
    """What a machine with a GPU may lack must not be imported."""
    absent = ["click", "rich", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "PIL", "safetensors", "tomli", "google"]
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({absent!r}))
runpy.run_path({str(parts.SCRIPT)!r}, run_name="imported")
import gpu_steps.plan, gpu_steps.building, gpu_steps.report
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_step_that_hangs_is_ended_and_keeps_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tmp_path / "entry.py"
    row = '[{"name": "first", "status": "ok", "said": "", "numbers": {}}]'
    entry.write_text(f"import time, pathlib\npathlib.Path({str(tmp_path / 'machine.json')!r}).write_text({row!r})\n")
    with entry.open("a") as file:
        file.write("time.sleep(600)\n")
    monkeypatch.setitem(plan.STEPS, "machine", plan.Step(plan.machine.run, 3))
    context = Context(str(tmp_path), Build("cpu"), nvcc="")
    result = plan.run_step("machine", context, entry)
    assert [each.status for each in result.rows] == [OK, FAILED]
    assert "not finished after 3 s" in result.rows[1].said
    assert result.seconds < 60


def test_a_step_whose_part_was_not_built_is_not_run(tmp_path: Path) -> None:
    result = plan.run_step("golden", Context(str(tmp_path), Build("cpu")), tmp_path / "none.py")
    assert result.status == NOT_RUN
    assert "golden" in result.rows[0].said


def test_rows_before_an_error_are_kept(tmp_path: Path) -> None:
    def rows() -> Iterator[Row]:
        yield Row("first", OK)
        raise ValueError("the second has no leg to stand on")

    found = write_rows(rows(), tmp_path / "rows.json")
    assert [row.status for row in found] == [OK, FAILED]
    assert "no leg to stand on" in found[1].said
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 2


def test_the_page_holds_the_speed_table_and_what_did_not_run() -> None:
    page = markdown(parts.recorded())
    assert "| fp16 1x512x97x97-cq64 | 12.5 | 20.0 (19.0, 21.0) | 45.0 (44.0, 46.0) | 800.0 (790.0, 820.0) |" in page
    assert "| 1.60 | 40.00 | 15.00 | 15.0 |" in page
    assert "19.0 (18.5, 19.5)" in page, "the tiles of the tuning build"
    assert "no triton | here" in page
    assert "| compute-sanitizer | not run | compute-sanitizer was not found |" in page


def test_a_missed_speed_is_told_and_changes_no_exit_code() -> None:
    fast, slow = parts.recorded(kernel_us=20.0), parts.recorded(kernel_us=200.0)
    assert "at least 10 wanted, 40.00 in the worst of 1 rows, reached in 1" in summary(fast)
    assert "at least 10 wanted, 4.00 in the worst of 1 rows, reached in 0" in summary(slow)
    assert "at most 2.5 wanted, 15.97 in the worst of 1 rows, reached in 0" in summary(slow)
    assert (fast.exit_code, slow.exit_code) == (0, 0)


@pytest.mark.parametrize(("status", "code"), [(OK, 0), (NOT_RUN, 0), (DIFFERS, 1), (FAILED, 1)])
def test_the_exit_code_is_that_of_the_worst_step(status: str, code: int) -> None:
    result = parts.recorded(steps=(StepResult("plugin", 1.0, (Row("enqueue", OK), Row("other", status))),))
    assert result.exit_code == code


def test_where_nothing_ran_nothing_is_true() -> None:
    step = StepResult("golden", 0.0, (Row("golden", NOT_RUN, "left out by --skip"),))
    assert Result("A card", "2025-06-30T12:00:00+00:00", "unknown", 1, (step,)).exit_code == 1


def test_a_result_survives_its_file() -> None:
    result = parts.recorded()
    assert Result.from_json(json.loads(json.dumps(result.as_json()))) == result


SANITIZER = """#!/bin/sh
echo "========= COMPUTE-SANITIZER"
{report}
exit {code}
"""


@pytest.mark.parametrize(
    ("report", "code", "status", "said"),
    [
        ('echo "========= ERROR SUMMARY: 0 errors"', 0, OK, "0 errors"),
        ('echo "========= Invalid __global__ read"; echo "========= ERROR SUMMARY: 1 error"', 99, DIFFERS, "Invalid"),
        ('echo "========= Target application returned an error"', 1, FAILED, "exit code 1"),
    ],
)
def test_the_sanitizers_verdict_is_read(
    report: str, code: int, status: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "compute-sanitizer"
    tool.write_text(SANITIZER.format(report=report, code=code))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    build = Build("cpu", golden="golden", small_case="small_case")
    rows = list(programs.sanitizer(Context(str(tmp_path), build)))
    assert len(rows) == len(programs.SANITIZER_TOOLS) + 2
    assert {row.status for row in rows} == {status}
    assert all(said in row.said for row in rows)


@pytest.mark.parametrize("precision", list(PRECISIONS))
def test_the_contestants_compute_the_same_function(precision: str) -> None:
    """A race between different functions would be none."""
    device, case = Device("cpu"), Case(2, 64, 8, 9, 13)
    qkv, residual = correctness.random_tensors(case, 1, precision, device)
    exact = criss_cross_attention(qkv.double(), residual.double(), case.query_channels)
    y = WellKnown(case, precision, qkv, residual, device).eager().run()
    # Its energies and weights are rounded to the type; the kernel's are not.
    limit = {"fp32": 1e-5, "fp16": 2e-2, "bf16": 1.5e-1}[precision]
    assert y.dtype == PRECISIONS[precision]
    assert (y.double() - exact).abs().max().item() < limit


class FakeEvent:
    """Stands for an event of CUDA: what was recorded before it, in microseconds."""

    now = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.at = 0.0

    def record(self) -> None:
        self.at = FakeEvent.now

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.at - self.at) / 1e3


def test_contestants_take_turns_and_each_starts_with_a_cold_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timing, "SECONDS_A_TABLE_ROW", 0.0)
    calls: list[str] = []

    def contestant(name: str, microseconds: float) -> Contestant:
        def run() -> None:
            calls.append(name)
            FakeEvent.now += microseconds

        return Contestant(name, run)

    def flush() -> None:
        calls.append("flush")
        FakeEvent.now += 1000

    times = timing.in_turns([contestant("a", 20), contestant("b", 400)], flush)
    assert {name: round(each.median, 6) for name, each in times.items()} == {"a": 20.0, "b": 400.0}
    warm_up = timing.WARM_UP_CALLS
    assert calls[: 2 * warm_up] == ["a"] * warm_up + ["b"] * warm_up
    assert calls[2 * warm_up :] == ["flush", "a", "flush", "b"] * timing.FEWEST_ROUNDS


def test_a_row_of_the_speed_table_needs_no_compiler_and_no_graph(
    rehearsal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A race on the emulator, by a clock that stands still but for the kernel: all of it but CUDA's own functions."""

    class NeverCompiles:
        def run(self) -> None:
            raise RuntimeError("no triton\nhere")

    def no_graph(contestant: Contestant) -> float:
        if contestant.name == EAGER:
            raise RuntimeError("operation not permitted when stream is capturing")
        return 2.0

    launch = Prepared.__call__

    def counted(prepared: Prepared) -> None:
        launch(prepared)
        FakeEvent.now += 3.0

    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(timing, "SECONDS_A_TABLE_ROW", 0.0)
    monkeypatch.setattr(speed, "Flush", lambda bandwidth: lambda: None)
    monkeypatch.setattr(speed, "in_a_graph", no_graph)
    monkeypatch.setattr(WellKnown, "compiled", lambda self: NeverCompiles())
    monkeypatch.setattr(Prepared, "__call__", counted)
    device, library = Device("cpu"), CrissCrossLibrary(Path(read_build(rehearsal).library))
    row = speed.race("a row", Case(1, 64, 8, 5, 7), "fp16", library, library, ["narrow"], 1e12, device)
    times = row.numbers["times"]
    assert {name: each["median us"] for name, each in times.items() if name != EAGER} == {
        KERNEL: 3.0, NCHW: 3.0, f"{KERNEL}, narrow": 3.0,
    }  # fmt: skip
    assert row.numbers["floor us"] == pytest.approx(35 * 2 * (2 * 8 + 3 * 64) / 1e12 * 1e6)
    assert row.numbers["in a graph us"] == {KERNEL: 2.0}
    assert row.numbers["remarks"][COMPILED] == "RuntimeError: no triton"
    assert "not permitted" in row.numbers["remarks"][f"{EAGER}, in a graph"]
    assert row.numbers["difference from eager"] < 2e-2


def test_percentiles_are_of_single_calls() -> None:
    times = timing.Times.of([float(value) for value in range(1, 11)])
    assert (times.median, times.low, times.high, times.rounds) == (5.5, 2.0, 10.0, 10)


def test_the_names_in_the_table_are_those_of_the_contestants() -> None:
    numbers = parts.recorded().step("speed").rows[1].numbers  # type: ignore[union-attr]
    assert {KERNEL, EAGER, COMPILED} <= set(numbers["times"])
