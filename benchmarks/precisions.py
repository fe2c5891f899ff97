"""One network in every precision: size, speed in onnxruntime on the CPU, and mean IoU against PyTorch.

    python benchmarks/precisions.py [--limit N] [--rounds N] [--engines]

Exports the trained CCNet that ships with ccdeploy, quantises it on scenes of the training seed, and measures each file
on held-out scenes. Files are timed as they stand, alternately in one process; what is told is the median of paired
ratios to fp32, which other work on the machine disturbs little. Speed on a CPU says nothing about a GPU.

--engines also builds each file with TensorRT-RTX and the plugin, for every compute capability that takes it; a build
fails unless each criss-cross pass became a plugin layer.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from ccdeploy.accuracy import Accuracy
from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.loading import load_model
from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.datasets.streets import TRAINING_SEED, Streets
from ccdeploy.engine.build import build_engine
from ccdeploy.evaluate import evaluate
from ccdeploy.export import ExportOptions, export
from ccdeploy.quantize.files import QuantizeOptions, quantize
from ccdeploy.quantize.sources import PictureSource
from ccdeploy.segmenters import Passing

CARD = "ccnet_r18-d8_streets"
THREADS = 2
PAUSE_SECONDS = 0.04
CALIBRATION = 32
"""Scenes that ranges are measured on."""


@dataclass(frozen=True)
class Contestant:
    """A file: which export it is made from, and how it is quantised."""

    title: str
    precision: str
    quantized: QuantizeOptions | None = None
    capabilities: tuple[str, ...] = ("8.6", "8.9", "12.0")


CONTESTANTS = (
    Contestant("fp32", "fp32"),
    Contestant("fp16", "fp16"),
    Contestant("bf16", "bf16"),
    Contestant("int8 + fp16", "fp16", QuantizeOptions()),
    Contestant("int8 + fp32", "fp32", QuantizeOptions()),
    Contestant("int8 + fp32, placed for the CPU", "fp32", QuantizeOptions(placement="cpu")),
    Contestant("fp8 + fp16", "fp16", QuantizeOptions(type="fp8"), ("8.9", "12.0")),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=100, help="held-out scenes (default 100)")
    parser.add_argument("--rounds", type=int, default=15, help="timed runs of each file (default 15)")
    parser.add_argument("--engines", action="store_true", help="build engines with TensorRT-RTX and the plugin")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = made(Path(folder))
        for path in files.values():
            if arguments.engines:
                engines(path)
        times = raced(files, arguments.rounds)
        report = evaluate(list(files.values()), lambda card: Streets(arguments.limit, card.input.size), Passing())
        (measurement,) = report.measurements
        assert measurement.reference is not None
        print(f"{measurement.dataset}; PyTorch: {measurement.reference.miou:.2%} mean IoU", flush=True)
        for found, (contestant, path) in zip(measurement.artefacts, files.items(), strict=True):
            print(json.dumps(row(contestant, path, found, times.get(contestant))))


def made(folder: Path) -> dict[Contestant, Path]:
    """Every contestant's file."""
    model = load_model(CARD)
    size = model.card.input.size
    source = PictureSource(dataset=(scenes := Streets(CALIBRATION, size, TRAINING_SEED)), title=scenes.title)
    files: dict[Contestant, Path] = {}
    for number, contestant in enumerate(CONTESTANTS):
        files[contestant] = folder / f"{number}.onnx"
        if contestant.quantized is None:
            export(model, files[contestant], ExportOptions(precision=contestant.precision))
        else:
            plain = next(
                path
                for other, path in files.items()
                if other.precision == contestant.precision and other.quantized is None
            )
            quantize(plain, files[contestant], source, contestant.quantized)
    return files


def engines(path: Path) -> None:
    """Builds a file with the plugin for each compute capability of its contestant, and prints what came of it."""
    contestant = CONTESTANTS[int(path.stem)]
    for capability in contestant.capabilities:
        target = path.with_suffix(f".{capability}.engine")
        manifest = build_engine(path, target, flavour="tensorrt-rtx", compute_capabilities=(capability,))
        assert manifest.engine is not None
        if manifest.engine.plugin_layers != manifest.criss_cross_nodes or not manifest.criss_cross_nodes:
            raise SystemExit(f"{contestant.title}, {capability}: {manifest.engine.plugin_layers} plugin layers")
        size = target.stat().st_size
        print(
            f"{contestant.title}, {capability}: {manifest.engine.plugin_layers} plugin layers, {size} bytes", flush=True
        )


def raced(files: dict[Contestant, Path], rounds: int) -> dict[Contestant, tuple[float, float]]:
    """Median milliseconds and median paired ratio to the first, of the files that onnxruntime runs as they stand."""
    sessions = {contestant: session(path) for contestant, path in files.items() if contestant.precision != "bf16"}
    scene = Streets(1, load_model(CARD).card.input.size)[0]
    feed = {"input": np.ascontiguousarray(normalise(scene.picture[None], load_model(CARD).card))}
    times: dict[Contestant, list[float]] = {contestant: [] for contestant in sessions}
    for _ in range(rounds):
        for contestant, runner in sessions.items():
            time.sleep(PAUSE_SECONDS)
            runner.run(None, feed)
            start = time.perf_counter()
            runner.run(None, feed)
            times[contestant].append(time.perf_counter() - start)
    first = times[CONTESTANTS[0]]
    return {
        contestant: (
            1e3 * statistics.median(values),
            statistics.median(mine / base for mine, base in zip(values, first, strict=True)),
        )
        for contestant, values in times.items()
    }


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def row(contestant: Contestant, path: Path, found: Accuracy, timed: tuple[float, float] | None) -> dict[str, object]:
    """One line of the table."""
    assert found.figures is not None
    assert found.drop is not None
    assert found.agreement is not None
    return {
        "file": contestant.title,
        "bytes": path.stat().st_size,
        "mIoU": round(100 * found.figures.miou, 3),
        "drop": round(found.drop, 3),
        "labels equal": round(100 * found.agreement, 3),
        "outcome": found.outcome,
        "ms": round(timed[0], 1) if timed else None,
        "time, fp32 = 1": round(timed[1], 3) if timed else None,
        "types": manifest_of(path).types,
    }


if __name__ == "__main__":
    main()
