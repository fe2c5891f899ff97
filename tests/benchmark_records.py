"""A record of a benchmark with everything in it, drawn from a seed: for tests of what reads and shows records.

`python tests/benchmark_records.py` writes tests/benchmark/sample.json.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ccdeploy.benchmark.figures import boundary, median_interval, verdict
from ccdeploy.benchmark.record import (
    DEVICE,
    HOST,
    NOT_RUN,
    RUN,
    Boundary,
    Comparison,
    Contestant,
    Energy,
    Execution,
    Memory,
    Operator,
    OperatorCase,
    Record,
    Roof,
    SensorsUsed,
    SweepPoint,
    WarmUp,
    write_record,
)
from ccdeploy.benchmark.settings import Settings
from ccdeploy.machine import Conditions, Machine

SAMPLE = Path(__file__).parent / "benchmark" / "sample.json"
GPU = "NVIDIA Sample GPU"


def times(generator: np.random.Generator, typical_ms: float, count: int = 120) -> list[float]:
    """Seconds of runs: a floor, a tail to the right, as real ones have."""
    return [float(value) for value in 1e-3 * typical_ms * (0.97 + generator.gamma(2.0, 0.015, count))]


def contestant(name: str, kind: str, precision: str, boundaries: tuple[Boundary, ...], **others: object) -> Contestant:
    """A contestant of one network, that ran unless told otherwise."""
    on_gpu = kind == "engine"
    values: dict[str, object] = {
        "sha256": hashlib.sha256(name.encode()).hexdigest(),
        "kind": kind,
        "precision": precision,
        "runtime": "TensorRT 11.4.0, sample" if on_gpu else "onnxruntime 1.32.0, CPU",
        "device": GPU if on_gpu else "CPU",
        "model": "ccnet_r18-d8_streets",
        "weights": "5" * 64,
        "recurrence": 2,
        "io": "tensor",
        "input": (1, 3, 256, 512),
        "input_type": "float32 NCHW",
        "threads": None,
        "outcome": RUN if boundaries else NOT_RUN,
    }
    return Contestant(name=name, artefact=name, boundaries=boundaries, **{**values, **others})  # type: ignore[arg-type]


def sample_record(seed: int = 0) -> Record:
    """The record; figures are drawn, no machine measured them."""
    generator = np.random.default_rng(seed)
    cpu = boundary(HOST, times(generator, 27.0))
    host, device = boundary(HOST, times(generator, 3.1, 400)), boundary(DEVICE, times(generator, 2.4, 400))
    conditions = Conditions(30.0, 4500.0, 150.0, (48.0, 71.5), (1410.0, 1695.0, 1755.0), None, ("power cap",), 300)
    contestants = (
        contestant(
            "ccnet.fp32.onnx",
            "onnx",
            "fp32",
            (cpu,),
            load_s=0.041,
            first_inference_s=0.043,
            warm_up=WarmUp(40, 1.2, True),
            pictures_per_s=1e3 / cpu.mean_ms,
            memory=Memory(162_000_000, 88_000_000, None),
            energy_reason="power: no RAPL counter that may be read",
        ),
        contestant(
            "ccnet.int8.engine",
            "engine",
            "int8+fp16",
            (host, device),
            load_s=0.312,
            first_inference_s=0.0061,
            warm_up=WarmUp(300, 10.0, False),
            pictures_per_s=1e3 / host.mean_ms,
            memory=Memory(912_000_000, 95_000_000, 61_000_000),
            energy=Energy(0.465, 150.0, "GPU board", 31.5, 10.0),
            conditions=conditions,
            notes=("not stable after 10.0 s of warm-up",),
        ),
        contestant(
            "ccnet.fp16.engine",
            "engine",
            "fp16",
            (boundary(HOST, times(generator, 3.4, 400)), boundary(DEVICE, times(generator, 2.65, 400))),
            load_s=0.298,
            first_inference_s=0.0058,
            warm_up=WarmUp(180, 0.6, True),
            pictures_per_s=294.0,
            memory=Memory(909_000_000, 95_000_000, 74_000_000),
            energy=Energy(0.502, 148.0, "GPU board", 31.5, 10.0),
            conditions=conditions,
        ),
        contestant("ccnet.bf16.engine", "engine", "bf16", (), reason="built for compute capability 9.0, it has 8.6"),
    )
    ratios = tuple(float(value) for value in generator.normal(1.101, 0.02, 60))
    interval = median_interval(ratios)
    compared = Comparison(
        "ccnet.int8.engine",
        "ccnet.fp16.engine",
        HOST,
        interval.value,
        interval.low,
        interval.high,
        len(ratios),
        verdict("ccnet.int8.engine", "ccnet.fp16.engine", interval),
        "median of the ratios of pairs of turns, ABBA; 95 % bootstrap interval",
        (float(np.percentile(ratios, 25)), float(np.percentile(ratios, 75))),
        ratios,
    )
    executions = (
        Execution("kernel", RUN, "", 0.021, 0.023, 45700.0, 1490.0, 200, 1.2e-3),
        Execution("definition, PyTorch", RUN, "", 0.31, 0.33, 3096.0, 101.0, 60, 9.0e-4),
        Execution("definition, torch.compile", NOT_RUN, "BackendCompilerFailed: no C compiler"),
    )
    case = OperatorCase(
        "1x512x97x97-cq64",
        {"batch": 1, "channels": 512, "query_channels": 64, "height": 97, "width": 97},
        "fp16",
        2 * 9409 * 576 * 194,
        9409 * 3328,
        executions,
    )
    return Record(
        ccdeploy="0.1.0",
        date="2026-01-02T03:04:05+00:00",
        machine=Machine(
            cpu="Sample CPU",
            cores=8,
            memory_bytes=32 << 30,
            system="Linux 6.1, x86_64",
            python="3.11.2",
            gpu=GPU,
            compute_capability="8.6",
            gpu_memory_bytes=12 << 30,
            driver="580.1",
            cuda="13.0",
            jetson="",
            jetpack="",
            power_mode="170 W of 200 W",
            governor="performance",
        ),
        sensors=SensorsUsed("NVML 13.580", "GPU board", ("memory clock: not supported",)),
        settings=Settings(),
        order="interleaved: turns of 5 timed runs after one that is not, order reversed every round, seed 0",
        contestants=contestants,
        sweep=(
            SweepPoint("ccnet.int8.engine", 1, 1, host.p50_ms, host.p99_ms, 322.0),
            SweepPoint("ccnet.int8.engine", 1, 2, 4.2, 5.0, 476.0),
            SweepPoint("ccnet.int8.engine", 4, 1, 9.8, 10.4, 408.0),
            SweepPoint("ccnet.fp32.onnx", 4, 1, reason="the batch is fixed at 1"),
        ),
        comparisons=(compared,),
        operator=Operator(GPU, None, Roof(1800.0, 71000.0, "copy of 1 GiB; product of 4096x4096, fp16"), (case,)),
        versions={"onnxruntime": "1.32.0", "tensorrt": "11.4.0"},
        command="ccdeploy benchmark ccnet.fp32.onnx ccnet.int8.engine ccnet.fp16.engine",
    )


if __name__ == "__main__":
    write_record(sample_record(), SAMPLE)
