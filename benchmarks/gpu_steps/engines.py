"""Whole engines: the network that ships, exported, built with the plugin of this run, and run as users run it.

This step alone needs the rest of ccdeploy, TensorRT and pycuda; where one of them is missing it says so and runs
nothing. Each engine is compared with PyTorch in float64 and with onnxruntime; then with itself: run again, on two
streams at once, as a CUDA graph, and after smaller batches. Those must give the same bits.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ccdeploy.errors import CcdeployError, MissingError, UsageError
from gpu_steps.context import Context
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model

MODEL = "ccnet_r18-d8_streets"
PRECISIONS = ("fp32", "fp16")
PASSES = 2
"""Criss-cross passes of the network, a plugin layer each."""
NEEDED = ("onnx", "onnx_ir", "onnxscript", "onnxruntime", "safetensors", "PIL", "pycuda")
BATCH = 2


@dataclass(frozen=True)
class Given:
    """What engines are run on, and what must come out.

    Attributes:
        batch: normalised pictures [2, 3, H, W].
        expected: logits of them in float64, [2, classes, H, W].
    """

    batch: np.ndarray[Any, np.dtype[np.float32]]
    expected: np.ndarray[Any, np.dtype[np.float64]]


def run(context: Context) -> Iterator[Row]:
    """The step."""
    if context.build.device != "cuda":
        yield Row("engine", NOT_RUN, "a rehearsal: TensorRT runs on a GPU only")
        return
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        yield Row("engine", NOT_RUN, f"not installed: {', '.join(lacking)}")
        return
    from ccdeploy.ccnet.loading import load_model
    from ccdeploy.engine.flavour import probe_flavours

    flavours = [status for status in probe_flavours() if status.available]
    if not flavours:
        yield Row("engine", NOT_RUN, " ".join(status.reason for status in probe_flavours()))
        return
    model = load_model(MODEL)
    given = inputs_of(model)
    major, minor = torch.cuda.get_device_capability()
    for precision in PRECISIONS:
        source = context.path(f"engine-{precision}.onnx")
        exported(model, source, precision)
        yield compared(
            f"{precision}, onnxruntime on the CPU", logits_of(source, given.batch), given.expected, precision
        )
        for flavour in flavours:
            name = f"{precision}, {flavour.name}"
            target = context.path(f"engine-{precision}-{flavour.name}.engine")
            try:
                manifest = built(source, target, flavour.name, f"{major}.{minor}", given, Path(context.build.library))
            except (UsageError, MissingError) as error:
                yield Row(name, NOT_RUN, f"not for this card: {error.what}")
                continue
            except CcdeployError as error:
                yield Row(f"{name}: built", FAILED, str(error).replace("\n", " "))
                continue
            yield Row(f"{name}: built", OK, f"{manifest.engine.version} in {manifest.engine.build_seconds:.0f} s")
            yield from checked(name, target, given, precision)


def inputs_of(model: Model) -> Given:
    """Two street scenes, and the network's logits of them in float64."""
    from ccdeploy.ccnet.preprocessing import normalise
    from ccdeploy.datasets.streets import Streets
    from ccdeploy.runners.pytorch import PyTorchRunner

    scenes = Streets(BATCH, model.card.input.size)
    batch = normalise(np.stack([scene.picture for scene in scenes]), model.card)
    logits = PyTorchRunner(model, double=True).infer({"input": batch})["logits"]
    return Given(batch, np.asarray(logits, np.float64))


def exported(model: Model, target: Path, precision: str) -> None:
    """Writes the network with an open batch."""
    from ccdeploy.export import ExportOptions, export

    export(model, target, ExportOptions(precision=precision, dynamic="batch"))


def built(source: Path, target: Path, flavour: str, capability: str, given: Given, library: Path) -> Any:
    """Builds an engine with the plugin of this run; its manifest."""
    from ccdeploy.engine.build import build_engine
    from ccdeploy.engine.flavour import TENSORRT_RTX
    from ccdeploy.engine.manifest import Profile

    single = (1, *given.batch.shape[1:])
    profile = Profile("input", single, single, given.batch.shape)
    targets = (capability,) if flavour == TENSORRT_RTX else ()
    return build_engine(
        source, target, flavour=flavour, profiles=(profile,), compute_capabilities=targets, plugin=str(library)
    )


def logits_of(artefact: Path, batch: Any, **options: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """What an artefact gives when it is opened anew."""
    from ccdeploy.runners import open_runner

    with open_runner(artefact, **options) as runner:
        return runner.infer({"input": batch})["logits"]


def checked(name: str, engine: Path, given: Given, precision: str) -> Iterator[Row]:
    """Every check of one engine. What one of them raises is its row; the others go on."""
    from ccdeploy.runners import open_runner

    plain = None
    try:
        with open_runner(engine) as runner:
            yield Row(f"{name}: runtime", OK, runner.how)
            plain = runner.infer({"input": given.batch})["logits"]
            yield compared(f"{name}: against PyTorch", plain, given.expected, precision)
            yield same(f"{name}: run again", runner.infer({"input": given.batch})["logits"], plain)
            runner.infer({"input": given.batch[:1]})
            yield same(f"{name}: after a smaller batch", runner.infer({"input": given.batch})["logits"], plain)
            with runner.prepare({"input": given.batch}) as prepared:
                prepared.run()
                seconds = [prepared.run_on_device() or 0.0 for _ in range(10)]
            best, memory = 1e3 * min(seconds), (prepared.device_bytes or 0) / 2**20
            said = f"{best:.3f} ms for {BATCH} pictures, the fastest of 10; {memory:.0f} MiB on the device"
            yield Row(f"{name}: on the device", OK if best > 0 else DIFFERS, said, {"ms": best, "MiB": memory})
    except CcdeployError as error:
        yield Row(f"{name}: plain", FAILED, str(error).replace("\n", " "))
    if plain is None:
        return
    for what, check in (("CUDA graph", as_a_graph), ("two contexts at once", side_by_side), ("layers", layers)):
        try:
            yield check(f"{name}: {what}", engine, given, plain)
        except CcdeployError as error:
            yield Row(f"{name}: {what}", FAILED, str(error).replace("\n", " "))


def as_a_graph(name: str, engine: Path, given: Given, plain: Any) -> Row:
    """A captured inference, launched with other inputs before, gives the bits of a plain one."""
    from ccdeploy.runners import open_runner

    with open_runner(engine, cuda_graph=True) as runner:
        runner.infer({"input": given.batch[::-1]})
        runner.infer({"input": given.batch[:1]})
        return same(name, runner.infer({"input": given.batch})["logits"], plain)


def side_by_side(name: str, engine: Path, given: Given, plain: Any) -> Row:
    """Two inferences under way at once give what each gives alone."""
    from ccdeploy.runners import open_runner

    with open_runner(engine, contexts=2) as runner:
        pair = [runner.prepare({"input": given.batch}, slot) for slot in range(2)]
        for _ in range(5):
            for prepared in pair:
                prepared.start()
            for prepared in pair:
                prepared.wait()
        rows = [same(name, prepared.outputs["logits"], plain) for prepared in pair]
    return next((row for row in rows if row.status != OK), rows[0])


def layers(name: str, engine: Path, given: Given, plain: Any) -> Row:
    """The inspector's layers; those of the plugin are one a criss-cross pass."""
    from collections import Counter

    from ccdeploy.artefacts import manifest_of
    from ccdeploy.runners.layers import engine_layers

    found = engine_layers(engine, manifest_of(engine))
    types = Counter(layer.type or "unknown" for layer in found)
    plugins = sum("plugin" in layer.type.lower() for layer in found)
    said = f"{len(found)} layers: " + ", ".join(f"{count} {kind}" for kind, count in types.most_common(6))
    if set(types) == {"unknown"}:
        return Row(name, NOT_RUN, f"{len(found)} layers without types")
    return Row(name, OK if plugins == PASSES else DIFFERS, f"{said}; {plugins} of the plugin", dict(types))


def compared(name: str, got: Any, expected: Any, precision: str) -> Row:
    """Logits against those in float64, within what `ccdeploy verify` allows."""
    from ccdeploy.comparison import TOLERANCES

    allowed = TOLERANCES[precision]
    if got.shape != expected.shape:
        return Row(name, DIFFERS, f"{list(got.shape)} came out, {list(expected.shape)} was expected")
    distance = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
    labels = float((got.argmax(axis=1) == expected.argmax(axis=1)).mean())
    good = distance <= allowed.relative_l2 and labels >= allowed.labels  # False for NaN
    said = f"relative L2 {distance:.2e}, {allowed.relative_l2:.0e} allowed; {labels:.2%} of labels equal"
    return Row(name, OK if good else DIFFERS, said, {"relative L2": distance, "labels equal": labels})


def same(name: str, got: Any, expected: Any) -> Row:
    """Whether two results have the same bits."""
    if got.shape == expected.shape and np.array_equal(got.view(np.uint8), expected.view(np.uint8)):
        return Row(name, OK, "the same bits")
    largest = float(np.abs(got - expected).max()) if got.shape == expected.shape else float("inf")
    return Row(name, DIFFERS, f"other bits, up to {largest:.2e} apart", {"largest difference": largest})
