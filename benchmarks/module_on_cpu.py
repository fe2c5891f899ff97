"""ccdeploy's criss-cross module against the well-known one exported as it stands, in onnxruntime on the CPU.

Both are whole modules with their 1x1 convolutions, fp32, in one process with two threads, and run alternately: the
ratio of paired runs is little disturbed by what else a machine does. A pause before each turn lets the threads of
the session before it come to rest.

    python benchmarks/module_on_cpu.py [--rounds N]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from ccdeploy.ccnet.criss_cross import CrissCrossAttention
from ccdeploy.ccnet.loading import load_model
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.export import ExportOptions, export
from ccdeploy.op.cases import DEPLOYED, Case
from ccdeploy.op.well_known import WellKnownCrissCross

THREADS = 2
PAUSE_SECONDS = 0.04
TURN = 3
"""Timed runs a turn, after one that is not."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each session (default 7)")
    parser.add_argument("--dynamic", action="store_true", help="export ccdeploy's module with dynamic sizes")
    rounds, dynamic = (arguments := parser.parse_args()).rounds, arguments.dynamic
    rows = [race(case, rounds, dynamic) for case in DEPLOYED if case.height in (97, 128)]
    print(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "onnxruntime": onnxruntime.__version__,
                "rows": rows,
            },
            indent=2,
        )
    )


def race(case: Case, rounds: int, dynamic: bool) -> dict[str, object]:
    model = load_model("criss_cross_c512", seed=0)
    x = torch.randn(case.batch, case.channels, case.height, case.width, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder) / "ours.onnx", Path(folder) / "theirs.onnx"
        export(model, ours, ExportOptions(size=(case.height, case.width), dynamic="all" if dynamic else "none"))
        well_known = WellKnownCrissCross(case.channels)
        assert isinstance(model.network.cca, CrissCrossAttention)
        well_known.load_state_dict(model.network.cca.state_dict())
        with torch.no_grad(), CudaStaysOnCpu():
            torch.onnx.export(well_known.eval(), (x,), theirs, dynamo=True, verbose=False, input_names=["input"])
        sessions = {"ccdeploy": session(ours), "well-known": session(theirs)}
    feed = {"input": x.numpy()}
    outputs = [s.run(None, feed)[0] for s in sessions.values()]
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, contestant in sessions.items():
            time.sleep(PAUSE_SECONDS)
            contestant.run(None, feed)
            for _ in range(TURN):
                start = time.perf_counter()
                contestant.run(None, feed)
                times[name].append(time.perf_counter() - start)
    paired = [a / b for a, b in zip(times["ccdeploy"], times["well-known"], strict=True)]
    return {
        "size": f"{case.batch}x{case.channels}x{case.height}x{case.width}",
        **{f"{name} ms": round(1e3 * statistics.median(values), 1) for name, values in times.items()},
        "ratio of medians": round(statistics.median(times["ccdeploy"]) / statistics.median(times["well-known"]), 3),
        "ratio of minima": round(min(times["ccdeploy"]) / min(times["well-known"]), 3),
        "median of paired ratios": round(statistics.median(paired), 3),
        "max abs difference": float(np.abs(outputs[0] - outputs[1]).max()),
    }


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
