"""Makes the artefacts of a deployment: exports, quantised files, engines; and counts their layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.deploy.journal import Journal
from ccdeploy.deploy.options import NO_ENGINE, EngineOptions, Further, base_of
from ccdeploy.deploy.pictures import scenes_for
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.manifest import Manifest
from ccdeploy.engine.onnx_files import load_graph
from ccdeploy.errors import CcdeployError, UsageError
from ccdeploy.export import ExportOptions, Say, export

if TYPE_CHECKING:
    from ccdeploy.ccnet.loading import Model
    from ccdeploy.quantize.sources import PictureSource


def steps_of(options: Sequence[ExportOptions], engines: EngineOptions, further: Further) -> list[str]:
    """Names of the steps that `make` takes."""
    names = []
    for precision, verb in (
        *((option.precision, "export") for option in options),
        *((kind, "quantise to") for kind in further.quantised),
    ):
        names.append(f"{verb} {precision}")
        if engines.flavour != NO_ENGINE:
            names.append(f"engine {precision}")
    return names


def make(
    model: Model,
    folder: Path,
    options: Sequence[ExportOptions],
    engines: EngineOptions,
    further: Further,
    source: PictureSource | None,
    journal: Journal,
    say: Say,
) -> list[tuple[Path, Manifest]]:
    """Writes all artefacts, each noted in the journal when it is whole; `source` is what quantised files are made with.

    Raises:
        CcdeployError: a step that cannot be done; those after it are not begun.
    """
    stem = model.name.replace(":", ".")
    artefacts: list[tuple[Path, Manifest]] = []

    def finish(path: Path, manifest: Manifest) -> None:
        artefacts.append((path, manifest))
        journal.add(path, manifest, *count_layers(path, manifest))

    def build(onnx_file: Path, precision: str) -> None:
        if engines.flavour == NO_ENGINE:
            return
        engine_file = onnx_file.with_suffix(".engine")
        with journal.step(f"engine {precision}"):
            say(f"building {engine_file}")
            manifest = build_engine(
                onnx_file,
                engine_file,
                flavour=engines.flavour,
                compute_capabilities=engines.compute_capabilities,
                plugin=engines.plugin,
                say=say,
            )
            finish(engine_file, manifest)

    for option in options:
        onnx_file = folder / f"{stem}.{option.precision}.onnx"
        with journal.step(f"export {option.precision}"):
            finish(onnx_file, export(model, onnx_file, option, say))
        build(onnx_file, option.precision)
    for kind in further.quantised:
        from ccdeploy.quantize.files import QuantizeOptions, quantize

        assert source is not None
        onnx_file = folder / f"{stem}.{kind}.onnx"
        base = folder / f"{stem}.{base_of(options).precision}.onnx"
        with journal.step(f"quantise to {kind}"):
            finish(onnx_file, quantize(base, onnx_file, source, QuantizeOptions(type=kind), say))
        build(onnx_file, kind)
    return artefacts


def calibration_source(model: Model, images: Sequence[Path], further: Further) -> PictureSource:
    """The pictures that ranges are measured on: the data set's where one is named (of the street scenes those for
    training), else the given ones; scenes for training where the network was made for them.

    Raises:
        UsageError: there are none.
        CcdeployError: the data set does not fit the network.
    """
    from ccdeploy.datasets.opening import STREETS, open_dataset
    from ccdeploy.datasets.streets import SIZE, TRAINING_SEED, Streets
    from ccdeploy.quantize.pictures import FEWEST
    from ccdeploy.quantize.sources import CALIBRATION_SCENES, PictureSource

    card, labelled = model.card, further.dataset
    if labelled is not None and labelled.spec != STREETS:
        dataset = open_dataset(labelled.spec, card, labelled.layout, labelled.split, CALIBRATION_SCENES)
        return PictureSource(dataset=dataset, title=dataset.title)
    if len(images) >= FEWEST and labelled is None:
        return PictureSource(tuple(images), title=f"{len(images)} pictures given with --images")
    if scenes_for(card):
        scenes = Streets(CALIBRATION_SCENES, card.input.size if all(card.input.size) else SIZE, TRAINING_SEED)
        return PictureSource(dataset=scenes, title=scenes.title)
    kinds, seen = " and ".join(further.quantised), f"{len(images)} were given" if images else "none were given"
    raise UsageError(
        f"{kinds} needs {FEWEST} pictures or more to measure ranges on, {seen}.",
        "Give --images FOLDER with pictures like those that the network will see, or --dataset FOLDER.",
    )


def count_layers(path: Path, manifest: Manifest) -> tuple[dict[str, int], str]:
    """Layers by type, the most frequent first; or none, and why."""
    if manifest.kind == "onnx":
        nodes = load_graph(path).graph.node
        return _counted([f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in nodes]), ""
    from ccdeploy.runners.engine import why_not_runnable
    from ccdeploy.runners.layers import UNKNOWN_TYPE, engine_layers

    if reason := why_not_runnable(manifest, path):
        return {}, f"TensorRT's inspector needs a GPU that the engine is for ({reason})"
    try:
        types = [layer.type for layer in engine_layers(path, manifest)]
    except CcdeployError as error:  # a deployment does not end because its layers cannot be counted
        return {}, error.what
    if UNKNOWN_TYPE in types:
        return {}, f"TensorRT's inspector names {len(types)} layers and no types: the engine keeps no more"
    return _counted(types), ""


def _counted(types: Sequence[str]) -> dict[str, int]:
    return dict(Counter(types).most_common())
