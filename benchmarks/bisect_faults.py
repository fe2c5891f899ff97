"""Does `ccdeploy verify --bisect` name the node that is at fault, in how many runs, how long, with how much memory?

Exports a CCNet with random weights, plants one fault after the other in a copy of the file, and asks the command line:

    python benchmarks/bisect_faults.py --model ccnet_r50-d8_512x1024_40k_cityscapes --size 512x1024

Each row is one process; its memory is the most that was resident, as the operating system counts it (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

MOST_RUNS = 12
BEYOND_FLOAT16 = 1.2e5
Change = Callable[[onnx.ModelProto], None]


@dataclass(frozen=True)
class Fault:
    """What is planted, in the file of which precision, and the node that must be named (none: nothing departs)."""

    text: str
    precision: str
    node: str
    change: Change
    in_reference: Change | None = None


def scaled(name: str, factor: float, channel: int | None = None) -> Change:
    """A stored weight times a factor: all of it, or one output channel."""

    def change(model: onnx.ModelProto) -> None:
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
        array = numpy_helper.to_array(tensor).copy()
        part = slice(None) if channel is None else channel
        array[part] = (array[part].astype(np.float32) * factor).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, name))

    return change


def grown(layer: str, factor: float) -> Change:
    """A convolution whose results are larger by a factor."""

    def change(model: onnx.ModelProto) -> None:
        for part in ("weight", "bias"):
            scaled(f"{layer}.{part}", factor)(model)

    return change


def miscounted(name: str) -> Change:
    """A criss-cross node with one query channel more than its operand holds."""

    def change(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.name == name]
        node.attribute[0].i += 1

    return change


def coarse(name: str) -> Change:
    """A Resize that takes the nearest value instead of interpolating."""

    def change(model: onnx.ModelProto) -> None:
        (node,) = [node for node in model.graph.node if node.name == name]
        (mode,) = [attribute for attribute in node.attribute if attribute.name == "mode"]
        mode.s = b"nearest"

    return change


def faults(reference: Path, height: int, width: int) -> list[Fault]:
    """The rows of the table, for an exported CCNet."""
    convolutions = [node.name for node in onnx.load(reference, load_external_data=False).graph.node]
    convolutions = [name.removesuffix("/Conv") for name in convolutions if name.endswith("/Conv")]
    first, deep = convolutions[0], next(name for name in convolutions if ".layer3.1." in name)
    late = [name for name in convolutions if ".layer4." in name][-1]
    factor = BEYOND_FLOAT16 / largest_output(reference, deep, height, width)
    attention = "head.cca.qkv_conv"
    return [
        Fault("none", "fp16", "", lambda model: None),
        Fault(f"{first}.weight x 1.05", "fp32", f"{first}/Conv", scaled(f"{first}.weight", 1.05)),
        Fault(f"{deep}.weight x 1.02", "fp16", f"{deep}/Conv", scaled(f"{deep}.weight", 1.02)),
        Fault(f"{late}.weight x 1.3 in channel 7", "fp16", f"{late}/Conv", scaled(f"{late}.weight", 1.3, 7)),
        Fault(f"{deep} beyond float16", "fp16", f"{deep}/Conv", grown(deep, factor), grown(deep, factor)),
        Fault(f"{attention}.weight x 1.1", "fp16", f"{attention}/Conv", scaled(f"{attention}.weight", 1.1)),
        Fault(
            "query_channels + 1 in pass 2",
            "fp32",
            "head.cca/CrissCrossAttention_2",
            miscounted("head.cca/CrissCrossAttention_2"),
        ),
        Fault("head.classifier.weight x 1.02", "fp32", "head.classifier/Conv", scaled("head.classifier.weight", 1.02)),
        Fault("Resize takes the nearest", "fp32", "Resize", coarse("Resize")),
    ]


def largest_output(reference: Path, layer: str, height: int, width: int) -> float:
    """The largest absolute value that a convolution gives, on the noise that the bisection runs on."""
    from ccdeploy.artefacts import manifest_of
    from ccdeploy.bisect.networks import Network
    from ccdeploy.ccnet.cards import card_from_dict
    from ccdeploy.ccnet.preprocessing import noise_batch

    manifest = manifest_of(reference)
    noise = noise_batch(card_from_dict(manifest.model, manifest.card), 1, height, width, seed=0)
    network = Network(reference)
    (output,) = [node.output[0] for node in network.nodes if node.name == f"{layer}/Conv"]
    return float(np.abs(network.run([output], {manifest.inputs[0].name: noise})[output].astype(np.float64)).max())


def planted(source: Path, target: Path, change: Change | None) -> Path:
    """A copy of a file with a change; the file itself where there is none."""
    if change is None:
        return source
    model = onnx.load(source)
    change(model)
    onnx.save(model, target)
    return target


def bisected(reference: Path, artefact: Path) -> tuple[dict[str, object], float, int]:
    """The command's report, seconds, and bytes that its process had resident at most."""
    command = [sys.executable, "-m", "ccdeploy", "verify", str(reference), str(artefact), "--bisect", "--json"]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    document: dict[str, object] = json.loads(output)
    return document, time.perf_counter() - start, usage.ru_maxrss * 1024


def main() -> int:
    """Prints the table; 1 if a fault is not named, or takes too many runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="ccnet_r50-d8_512x1024_40k_cityscapes")
    parser.add_argument("--size", default="512x1024")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))

    from ccdeploy.ccnet.loading import load_model
    from ccdeploy.export import ExportOptions, export

    with tempfile.TemporaryDirectory(prefix="ccdeploy-") as name:
        folder = Path(name)
        model = load_model(options.model, seed=options.seed)
        files = {}
        for precision in ("fp32", "fp16"):
            files[precision] = folder / f"{precision}.onnx"
            export(model, files[precision], ExportOptions((height, width), precision=precision))
        del model
        print(
            f"{options.model} with random weights (seed {options.seed}), {options.size}, on {os.cpu_count()} CPU cores"
        )
        print(f"reference: fp32, {files['fp32'].stat().st_size / 1e6:.0f} MB\n")
        print(f"{'fault':<45} {'file':<5} {'node named':<38} {'runs':>4} {'seconds':>8} {'MB':>6}")
        missed = 0
        for fault in faults(files["fp32"], height, width):
            reference = planted(files["fp32"], folder / "reference.onnx", fault.in_reference)
            artefact = planted(files[fault.precision], folder / "faulty.onnx", fault.change)
            document, seconds, peak = bisected(reference, artefact)
            blame, runs = document.get("blame"), document.get("runs")
            node = str(blame["node"]) if isinstance(blame, dict) and blame["proved"] else ""
            count = len(runs) if isinstance(runs, list) else 0
            right = node == fault.node and "error" not in document and count <= MOST_RUNS
            missed += not right
            wrong = "" if right else f"  WRONG: {fault.node or 'none'} in {MOST_RUNS} runs was expected"
            named = f"{fault.text:<45} {fault.precision:<5} {node or 'none':<38}"
            print(f"{named} {count:>4} {seconds:>8.1f} {peak / 1e6:>6.0f}{wrong}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
