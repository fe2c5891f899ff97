"""The range of each value that is rounded, measured on pictures: the largest, or a threshold that cuts outliers off.

Values are looked at in the file's own precision (16-bit files as `widened` copies). Every method begins with the
largest absolute value; `entropy` and `percentile` then count a histogram of 2048 bins up to it. Memory holds one batch
and one group of values at a time, however many pictures there are: onnxruntime's calibrators would keep the values of
all pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from ccdeploy.errors import InputError
from ccdeploy.quantize.thresholds import entropy_threshold, percentile_threshold
from ccdeploy.runners import Array
from ccdeploy.runners.ort import ModelRunner

METHODS = ("minmax", "entropy", "percentile")
BINS = 2048
GROUP_BYTES = 256 << 20
"""Of values that are fetched at once; a single value may be larger."""

Counts = npt.NDArray[np.int64]
Feeds = Callable[[], Iterator[Mapping[str, Array]]]
"""Gives all batches of pictures, from the first on at each call."""


def measure_ranges(
    model: onnx.ModelProto,
    names: Sequence[str],
    feeds: Feeds,
    method: str = "minmax",
    percentile: float = 99.99,
    known_as: Path = Path("the file"),
    group_bytes: int = GROUP_BYTES,
) -> dict[str, float]:
    """The greatest absolute value that is to be represented, by name of value.

    Args:
        model: in float32 (`runners.rounding.widened`).
        names: of its values.
        feeds: the pictures.
        method: one of METHODS.
        percentile: of the absolute values, for the method of this name.
        known_as: the file, as errors name it.
        group_bytes: of values held at once.

    Raises:
        InputError: values that are not finite.
        ArtefactError: the model does not run.
    """
    largest, sizes = _largest(model, names, feeds, known_as)
    if method == "minmax":
        return largest
    ranges: dict[str, float] = {}
    for group in _groups([name for name in names if largest[name] > 0], sizes, group_bytes):
        for name, counts in _histograms(model, group, largest, feeds, known_as).items():
            share = entropy_threshold(counts) if method == "entropy" else percentile_threshold(counts, percentile)
            ranges[name] = largest[name] * share
    return {name: ranges.get(name, 0.0) for name in names}


def _largest(
    model: onnx.ModelProto, names: Sequence[str], feeds: Feeds, known_as: Path
) -> tuple[dict[str, float], dict[str, int]]:
    """Greatest absolute values, and the elements of one batch, computed inside the graph: no value is copied out."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    for index, name in enumerate(names):
        nodes = [
            helper.make_node("Abs", [name], [f"abs/{index}"]),
            helper.make_node("ReduceMax", [f"abs/{index}"], [f"max/{index}"], keepdims=0),
            # NaN may get lost in a maximum, in a sum it cannot.
            helper.make_node("ReduceSum", [f"abs/{index}"], [f"sum/{index}"], keepdims=0),
            helper.make_node("Size", [name], [f"size/{index}"]),
        ]
        watched.graph.node.extend(nodes)
        for output, kind in (("max", TensorProto.FLOAT), ("sum", TensorProto.FLOAT), ("size", TensorProto.INT64)):
            watched.graph.output.append(helper.make_tensor_value_info(f"{output}/{index}", kind, []))
    largest, sizes = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    with ModelRunner(watched, known_as) as runner:
        for number, batch in enumerate(feeds()):
            found = runner.infer(batch)
            for index, name in enumerate(names):
                if not np.isfinite(found[f"sum/{index}"]):
                    raise InputError(
                        f"{known_as}: {name} is not finite on batch {number + 1} of the calibration pictures.",
                        "The network overflows there: export it with --precision fp32 or bf16, and quantise that.",
                    )
                largest[name] = max(largest[name], float(found[f"max/{index}"]))
                sizes[name] = int(found[f"size/{index}"])
    return largest, sizes


def _histograms(
    model: onnx.ModelProto, names: Sequence[str], largest: Mapping[str, float], feeds: Feeds, known_as: Path
) -> dict[str, Counts]:
    """Counts of absolute values in BINS bins from 0 to each value's largest."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    counts = {name: np.zeros(BINS, np.int64) for name in names}
    with ModelRunner(watched, known_as) as runner:
        for batch in feeds():
            for name, values in runner.infer(batch).items():
                counts[name] += np.histogram(np.abs(values), bins=BINS, range=(0.0, largest[name]))[0]
    return counts


def _groups(names: Sequence[str], sizes: Mapping[str, int], limit: int) -> Iterator[list[str]]:
    """Splits names so that the float32 values of each group take at most `limit` bytes."""
    group: list[str] = []
    taken = 0
    for name in names:
        needed = 4 * sizes[name]
        if group and taken + needed > limit:
            yield group
            group, taken = [], 0
        group.append(name)
        taken += needed
    if group:
        yield group
