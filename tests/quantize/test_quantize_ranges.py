"""Ranges are those of the values themselves, whatever the batches, and memory holds a group at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from ccdeploy.errors import InputError
from ccdeploy.quantize import ranges
from ccdeploy.quantize.ranges import measure_ranges
from ccdeploy.runners.ort import ModelRunner

NAMES = ["x", "a", "ra", "rs"]


def batches(count: int = 5) -> Iterator[dict[str, np.ndarray]]:
    generator = np.random.default_rng(3)
    for index in range(count):
        yield {"x": generator.standard_normal((1, 4, 9, 7), dtype=np.float32) * (index + 1)}


def values(model: onnx.ModelProto, name: str) -> np.ndarray:
    """All values of one tensor, on all batches."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    with ModelRunner(shown, Path("m.onnx")) as runner:
        return np.stack([runner.infer(batch)[name] for batch in batches()])


def test_minmax_is_the_largest_absolute_value_of_all_batches(residual: onnx.ModelProto):
    found = measure_ranges(residual, NAMES, batches)
    for name in NAMES:
        assert found[name] == pytest.approx(float(np.abs(values(residual, name)).max()), rel=1e-6)


def test_percentile_is_of_all_batches_together(residual: onnx.ModelProto):
    found = measure_ranges(residual, NAMES, batches, "percentile", 90.0)
    for name in NAMES:
        magnitudes = np.abs(values(residual, name)).ravel()
        assert found[name] == pytest.approx(float(np.quantile(magnitudes, 0.9)), abs=float(magnitudes.max()) / 1000)


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_groups_change_nothing_but_memory(residual: onnx.ModelProto, method: str, monkeypatch: pytest.MonkeyPatch):
    fetched: list[int] = []

    class Watched(ModelRunner):
        def infer(self, inputs):
            outputs = super().infer(inputs)
            fetched.append(sum(array.nbytes for array in outputs.values()))
            return outputs

    together = measure_ranges(residual, NAMES, batches, method)
    monkeypatch.setattr(ranges, "ModelRunner", Watched)
    alone = measure_ranges(residual, NAMES, batches, method, group_bytes=1)
    assert alone == together
    assert max(fetched) == 4 * 4 * 9 * 7, "one value of one batch at a time"


def test_value_that_is_not_finite_is_named_with_its_batch(residual: onnx.ModelProto):
    def spoilt() -> Iterator[dict[str, np.ndarray]]:
        for index, batch in enumerate(batches()):
            if index == 2:
                batch["x"][0, 1, 2, 3] = np.nan
            yield batch

    with pytest.raises(InputError, match=r"net\.onnx: x is not finite on batch 3 of the calibration pictures"):
        measure_ranges(residual, NAMES, spoilt, known_as=Path("net.onnx"))


def test_value_that_is_always_zero_has_range_zero(residual: onnx.ModelProto):
    def nothing() -> Iterator[dict[str, np.ndarray]]:
        yield {"x": np.zeros((1, 4, 9, 7), np.float32)}

    assert measure_ranges(residual, ["x"], nothing, "entropy") == {"x": 0.0}
