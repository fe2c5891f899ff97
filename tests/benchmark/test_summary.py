"""The block that people paste into issues: it stands by itself, and fits."""

from __future__ import annotations

import dataclasses

import pytest
from benchmark_records import sample_record

from ccdeploy.benchmark.summary import ALARM, WIDTH, summary


def test_it_is_plain_text_under_a_hundred_columns() -> None:
    record = sample_record()
    long = dataclasses.replace(record.contestants[0], name="a/very/long/folder/" * 6 + "net.onnx", reason="x" * 300)
    text = summary(dataclasses.replace(record, contestants=(long, *record.contestants[1:]), command="word " * 60))
    assert max(map(len, text.splitlines())) <= WIDTH < 100
    assert "\x1b" not in text
    assert text.endswith("\n")


@pytest.mark.parametrize(
    "needed",
    [
        "ccdeploy 0.1.0 benchmark, 2026-01-02T03:04:05+00:00",
        "Sample CPU, 8 CPUs, 34.4 GB, Linux 6.1, x86_64, Python 3.11.2",
        "NVIDIA Sample GPU, compute capability 8.6, driver 580.1",
        "170 W of 200 W, governor performance",
        "onnxruntime 1.32.0, tensorrt 11.4.0",
        "warm-up until stable",
        "NVML 13.580; not read: memory clock: not supported",
        "ccdeploy benchmark ccnet.fp32.onnx",
        "1. ccnet.fp32.onnx: fp32, float32 NCHW 1x3x256x512, onnxruntime 1.32.0, CPU",
        "ccnet_r18-d8_streets, 2 criss-cross passes, weights 5555555555555555; sha256 ",
        "   not run: built for compute capability 9.0, it has 8.6",
        "host to host, ms a run (inputs in host memory to outputs in host memory)",
        "device, ms a run (between two events around the inference alone, nothing copied)",
        "energy: of the GPU board, which took 31.5 W before anything ran; nothing is subtracted",
        "energy: not measured: power: no RAPL counter that may be read",
        f"{ALARM}THROTTLED while it was timed: power cap",
        "while timed: clock 1695 MHz (1410 to 1755), 48 °C at first, 72 °C at most",
        f"{ALARM}ccnet.int8.engine: times were not stable after a warm-up of 10.0 s",
        "ccnet.int8.engine against ccnet.fp16.engine, host to host: ccnet.int8.engine is 9.",
        "ccnet.fp32.onnx               4          1  not run: the batch is fixed at 1",
        "roof: 1800 GB/s, 7.1e+04 GFLOP/s",
        "definition, torch.compile        not run: BackendCompilerFailed: no C compiler",
    ],
)
def test_it_says_what_where_and_how(needed: str) -> None:
    assert needed in summary(sample_record())


def test_figures_are_those_of_the_record() -> None:
    record = sample_record()
    host = record.contestants[0].boundaries[0]
    line = next(line for line in summary(record).splitlines() if line.startswith("ccnet.fp32.onnx ") and "120" in line)
    values = (host.p50_ms, host.p90_ms, host.p95_ms, host.p99_ms, host.mean_ms, host.std_ms, host.iqr_ms)
    expected = [f"{value:.3f}" for value in (*values, host.min_ms, host.max_ms)]
    assert line.split() == ["ccnet.fp32.onnx", *expected, "120"]


def test_without_a_process_of_its_own_it_does_not_say_that_there_was_one() -> None:
    record = sample_record()
    bare = tuple(dataclasses.replace(each, memory=None) for each in record.contestants)
    text = summary(dataclasses.replace(record, contestants=bare))
    assert "of a process of its own" not in text
    assert "in one process with the others" in text


def test_the_share_of_the_roof_is_that_of_the_nearer_limit() -> None:
    text = summary(sample_record())
    kernel = next(line for line in text.splitlines() if line.startswith("  kernel"))
    assert kernel.endswith("83 % of roof")  # 1490 of 1800 GB/s; of the peak it is 64 %
