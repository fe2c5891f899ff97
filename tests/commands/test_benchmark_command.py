"""`ccdeploy benchmark`: a block for people, strict JSON for programs, a code that says whether anything ran."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from benchmark_records import SAMPLE, sample_record

from ccdeploy.benchmark import Record, read_record, write_record
from ccdeploy.engine.gpu import GpuReport

SHORT = ("--runs", "6", "--block", "2", "--warm-up", "0.2", "--no-alone", "--threads", "1")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport((), "none in a test"))


def test_two_files_side_by_side_and_pytorch(ccdeploy, exports, tmp_path: Path) -> None:
    fp32, fp16 = exports.file("ccnet"), exports.file("ccnet", precision="fp16")
    output = tmp_path / "record.json"
    ended = ccdeploy("benchmark", fp32, fp16, "--pytorch", *SHORT, "-o", output)
    assert ended.code == 0, ended.err
    assert f"1. {fp32.name}: fp32, float32 NCHW 1x3x65x97, onnxruntime" in ended.out
    assert f"2. {fp16.name}: fp16" in ended.out
    assert "3. PyTorch: fp32, float32 NCHW 1x3x65x97, PyTorch" in ended.out
    assert "host to host, ms a run" in ended.out
    assert "device, ms a run" not in ended.out
    assert f"wrote {output}" in ended.out
    record = read_record(output)
    assert [len(each.boundaries[0].samples_ms) for each in record.contestants] == [6, 6, 6]
    assert {each.device for each in record.contestants} == {"CPU"}
    assert {each.threads for each in record.contestants} == {1}
    assert record.command.startswith("ccdeploy benchmark ")


def test_json_is_one_strict_document(ccdeploy, exports) -> None:
    ended = ccdeploy(
        "benchmark", exports.file("ccnet", dynamic="all"), *SHORT, "--batches", "1,2", "--streams", "2,2", "--json"
    )
    assert ended.code == 0, ended.err
    record = Record.from_dict(json.loads(ended.out, parse_constant=pytest.fail))
    assert [(point.batch, point.streams, point.reason) for point in record.sweep] == [
        (1, 1, ""),
        (2, 1, ""),
        (1, 2, ""),
    ]
    assert all(point.pictures_per_s and point.pictures_per_s > 0 for point in record.sweep)


def test_a_comparison_of_a_file_with_itself_is_made_in_pairs(ccdeploy, exports) -> None:
    path = exports.file("ccnet")
    ended = ccdeploy("benchmark", "--compare", path, path, "--pairs", "7", *SHORT, "--json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)["comparisons"]
    assert (found["a"], found["b"], found["pairs"]) == (path.name, f"{path.name} (2)", 7)
    assert found["low"] <= found["ratio"] <= found["high"]


@pytest.mark.usefixtures("no_gpu")
def test_what_cannot_run_is_told_and_the_rest_goes_on(ccdeploy, exports) -> None:
    fp32, bf16 = exports.file("ccnet"), exports.file("ccnet", precision="bf16")
    ended = ccdeploy("benchmark", bf16, fp32, *SHORT)
    assert ended.code == 0, ended.err
    assert "not run: onnxruntime has no bfloat16 convolution for the CPU" in ended.out
    assert f"{fp32.name}" in ended.out
    ended = ccdeploy("benchmark", bf16, *SHORT)
    assert ended.code == 3
    assert "not run: onnxruntime has no bfloat16 convolution" in ended.out
    ended = ccdeploy("benchmark", "--compare", fp32, bf16, *SHORT)
    assert ended.code == 3
    assert f"not run: {fp32.name} against {bf16.name}: one of them did not run" in ended.out


def test_a_provider_that_is_not_there_is_not_run(ccdeploy, exports) -> None:
    ended = ccdeploy("benchmark", exports.file("ccnet"), "--provider", "cuda", "--runs", "2", "--no-alone", "--json")
    (contestant,) = json.loads(ended.out)["contestants"]
    if contestant["outcome"] == "run":
        pytest.skip("this machine has it")
    assert ended.code == 3
    assert "CUDAExecutionProvider" in contestant["reason"]


def test_the_bare_operator(ccdeploy, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccdeploy.benchmark.operator import executions, measuring
    from ccdeploy.op.cases import SMALL

    monkeypatch.setitem(measuring.CASES, "small", SMALL[1:2])  # type: ignore[arg-type]
    light = {name: executions.EXECUTIONS[name] for name in (executions.KERNEL, executions.EAGER, executions.OURS_ONNX)}
    monkeypatch.setattr(
        measuring.measure_operator, "__defaults__", (light, *measuring.measure_operator.__defaults__[1:])
    )
    ended = ccdeploy(
        "benchmark", "--op", "--cases", "small", "--runs", "3", "--warm-up", "0.1", "--threads", "1", "--json"
    )
    assert ended.code == 0, ended.err
    record = Record.from_dict(json.loads(ended.out))
    assert record.operator is not None
    (case,) = record.operator.cases
    assert case.case == "1x16x1x7-cq2"
    outcomes = {each.name: each.outcome for each in case.executions}
    assert outcomes[executions.EAGER] == outcomes[executions.OURS_ONNX] == "run"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "No artefact was given, one or more were expected."),
        (("--cases", "small", "x.onnx"), "--cases needs --op."),
        (("--dtype", "fp16", "x.onnx"), "--dtype needs --op."),
        (("--op", "x.onnx"), "--op was given with x.onnx"),
        (("--compare", "a.json", "b.onnx"), "--compare was given a record and b.onnx, which is none."),
        (("--compare", "a.json", "b.json", "x.onnx"), "nothing is measured then"),
        (("--compare", "none.onnx", "other.onnx"), "--compare names none.onnx, which is no file"),
        (("none.onnx",), "none.onnx does not exist"),
    ],
)
def test_what_does_not_go_together_is_refused(ccdeploy, arguments: tuple[str, ...], said: str) -> None:
    ended = ccdeploy("benchmark", *arguments)
    assert ended.code == 2
    assert said in ended.err
    assert ended.err.count("\n       ") == 1  # and what to do


@pytest.mark.parametrize(
    "arguments",
    [
        ("--batches", "1,,2"),
        ("--batches", "0"),
        ("--streams", "two"),
        ("--streams", "99999"),
        ("--runs", "0"),
        ("--duration", "nan"),
    ],
)
def test_values_outside_what_an_option_takes(ccdeploy, arguments: tuple[str, ...]) -> None:
    ended = ccdeploy("benchmark", "x.onnx", *arguments)
    assert ended.code == 2
    assert arguments[0].strip("-") in ended.err


def test_weights_need_pytorch(ccdeploy, exports) -> None:
    ended = ccdeploy("benchmark", exports.file("ccnet"), "--weights", "w.pth")
    assert ended.code == 2
    assert "--weights needs --pytorch" in ended.err


def test_two_records_are_compared_without_measuring(ccdeploy, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    write_record(sample_record(1), other)
    ended = ccdeploy("benchmark", "--compare", SAMPLE, other)
    assert ended.code == 0, ended.err
    assert f"ccnet.fp32.onnx ({SAMPLE})" in ended.out.replace("\n  ", " ")
    ended = ccdeploy("benchmark", "--compare", SAMPLE, other, "--json")
    assert len(json.loads(ended.out)["comparisons"]) == 5
    moved = dataclasses.replace(sample_record(1), machine=dataclasses.replace(sample_record().machine, cpu="Other"))
    write_record(moved, other)
    ended = ccdeploy("benchmark", "--compare", SAMPLE, other)
    assert ended.code == 2
    assert "are of different machines" in ended.err


def test_ctrl_c_writes_nothing(ccdeploy, exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ccdeploy.benchmark.running.in_turns", interrupted)
    ended = ccdeploy("benchmark", exports.file("ccnet"), *SHORT, "-o", tmp_path / "record.json")
    assert ended.code == 130
    assert list(tmp_path.iterdir()) == []
