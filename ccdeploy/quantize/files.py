"""From an exported file to a quantised one: same network, same inputs and outputs, some layers in int8 or fp8."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from ccdeploy import __version__
from ccdeploy.engine.manifest import Manifest, Quantization
from ccdeploy.engine.onnx_files import write_onnx
from ccdeploy.engine.source import read_source
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.op import onnx_op
from ccdeploy.quantize.graph import DQ, Q, quantise_graph
from ccdeploy.quantize.layers import SILENT, Layers, check_left, choose_layers
from ccdeploy.quantize.pictures import FEWEST, Batches
from ccdeploy.quantize.placement import PLACEMENTS, place
from ccdeploy.quantize.ranges import METHODS, measure_ranges
from ccdeploy.quantize.scales import TYPES
from ccdeploy.quantize.sources import PictureSource
from ccdeploy.runners.rounding import widened

Say = Callable[[str], None]


@dataclass(frozen=True)
class QuantizeOptions:
    """How a file is quantised.

    Attributes:
        type: int8 or fp8.
        calibration: one of ranges.METHODS.
        percentile: of absolute values, for the calibration of this name.
        keep: shell patterns of layers that stay in the float type.
        attention: quantise the projections of criss-cross attention too.
        classifier: quantise the classifier too.
        placement: one of placement.PLACEMENTS.
        count: pictures to use at most; all unless given.
        fewest: pictures that there must be.
    """

    type: str = "int8"
    calibration: str = "minmax"
    percentile: float = 99.99
    keep: tuple[str, ...] = ()
    attention: bool = False
    classifier: bool = False
    placement: str = "tensorrt"
    count: int | None = None
    fewest: int = FEWEST


def check_options(options: QuantizeOptions, path: Path, target: Path) -> None:
    """Checks what can be known before a file is read.

    Raises:
        UsageError: a value outside what its option takes.
    """
    for name, value, known in (
        ("type", options.type, tuple(TYPES)),
        ("calibration", options.calibration, METHODS),
        ("placement", options.placement, PLACEMENTS),
    ):
        if value not in known:
            raise UsageError(f"{name} is {value!r}, one of {', '.join(known)} was expected.", "Choose one of them.")
    if options.type == "fp8" and options.calibration == "entropy":
        raise UsageError(
            "Entropy calibration compares a distribution with the 128 even levels of int8; fp8 has no even levels.",
            "Calibrate fp8 with minmax, or with percentile where single outliers are known to be noise.",
        )
    if not 50 <= options.percentile <= 100:
        raise UsageError(f"The percentile is {options.percentile:g}, 50 to 100 was expected.", "99.99 cuts 1 in 10000.")
    if options.fewest < 1 or (options.count is not None and options.count < options.fewest):
        raise UsageError(
            f"At most {options.count} pictures and at least {options.fewest}: that is no number of pictures.",
            "Give --max-images at least as large as --min-images, and both at least 1.",
        )
    if target.suffix != ".onnx":
        raise UsageError(f"{target} does not end in .onnx.", "Name the file something.onnx.")
    if target.resolve() == path.resolve():
        raise UsageError(f"The result would overwrite its own source {path}.", "Choose another name with -o.")


def quantize(
    path: Path,
    target: Path,
    source: PictureSource,
    options: QuantizeOptions = QuantizeOptions(),
    say: Say = lambda line: None,
) -> Manifest:
    """Writes `target` (and `target`.json), all or nothing: `path` with explicit int8 or fp8; returns its manifest.

    Args:
        path: a file that `ccdeploy export` wrote.
        target: the file to write.
        source: the pictures on which ranges are measured.
        options: how.
        say: told each step, one line at a time.

    Raises:
        ArtefactError: a file that is damaged, foreign, quantised already, or has no convolution.
        InputError: too few pictures, one that cannot be read, or values that are not finite.
        UsageError: options that do not fit the file or each other.
    """
    check_options(options, path, target)
    calibrated = Calibrated(path, source, options, say)
    return calibrated.write(target, calibrated.layers, say)


class Calibrated:
    """A file with the ranges of its values: what any choice of its layers can be quantised from."""

    def __init__(
        self, path: Path, source: PictureSource, options: QuantizeOptions, say: Say, any_subset: bool = False
    ) -> None:
        """Reads the file and measures the ranges.

        Args:
            path: a file that `ccdeploy export` wrote.
            source: the pictures.
            options: how.
            say: told each step.
            any_subset: whether fewer than the chosen layers may be quantised later.
        """
        self.path, self.options = path, options
        self.manifest = read_source(path).manifest
        self.model = _load(path, self.manifest)
        graph = self.parsed().graph
        layers = choose_layers(graph, options.keep, options.attention, options.classifier)
        self.batches = Batches(source, self.manifest, options.count, options.fewest)
        names = self._ranged(graph, layers, any_subset)
        pictures = f"{self.batches.count} of {source.title}"
        say(f"measuring the ranges of {len(names)} values on {pictures}: {options.calibration}")
        self.wide = widened(self.model)
        self.ranges = measure_ranges(
            self.wide, names, self.batches.__iter__, options.calibration, options.percentile, path
        )
        silent = [
            str(reader.name)
            for point in place(graph, layers.quantised, options.placement)
            for reader in point.readers
            if reader.op_type == "Conv" and self.ranges[point.ranged] == 0
        ]
        for name in silent:
            say(f"{name} stays {self.manifest.precision}: its input is {SILENT}")
        self.layers = layers.without(silent, SILENT)
        check_left(self.layers)

    def parsed(self) -> ir.Model:
        """The file as a graph of its own, to be changed."""
        onnx_op.register_schema()
        return ir.serde.deserialize_model(self.model)

    def quantised(self, layers: Layers) -> ir.Model:
        """The file with these layers quantised."""
        model = self.parsed()
        quantise_graph(model, layers, self.ranges, TYPES[self.options.type], self.options.placement)
        return model

    def write(self, target: Path, layers: Layers, say: Say, notes: tuple[str, ...] = ()) -> Manifest:
        """Writes the file with these layers quantised, its manifest beside it."""
        options = self.options
        record = Quantization(
            type=options.type,
            calibration=options.calibration,
            pictures=self.batches.count,
            source=self.batches.source.title,
            placement=options.placement,
            layers=layers.quantised,
            kept=layers.kept,
            percentile=options.percentile if options.calibration == "percentile" else None,
        )
        manifest = dataclasses.replace(
            self.manifest,
            file=target.name,
            ccdeploy=__version__,
            notes=(*self.manifest.notes, *notes),
            quantization=record,
        )
        say(f"writing {target}")
        return write_onnx(self.quantised(layers), target, manifest)

    def _ranged(self, graph: ir.Graph, layers: Layers, any_subset: bool) -> list[str]:
        choices = [layers, *(layers.only(name) for name in layers.quantised if any_subset)]
        points = (point for choice in choices for point in place(graph, choice.quantised, self.options.placement))
        return list(dict.fromkeys(point.ranged for point in points))


def _load(path: Path, manifest: Manifest) -> onnx.ModelProto:
    """A file with its weights, if it is one that can be quantised."""
    if not manifest.card:
        raise ArtefactError(
            f"{path} was not exported by ccdeploy: what its input means is not known.",
            "Export the network with `ccdeploy export`, then quantise that file.",
        )
    model = onnx.load(path)
    if manifest.quantization is not None or any(node.op_type in (Q, DQ) for node in model.graph.node):
        raise ArtefactError(f"{path} is quantised already.", "Quantise the file that it was made from.")
    return model
