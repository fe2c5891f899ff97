"""The figures of a comparison are those of NumPy, over all batches, and whatever is not finite fails."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from test_manifest import ONNX, QUANTIZED

from ccdeploy.comparison import TOLERANCES, Tally, Tolerance, tolerance_of

STRICT = Tolerance(1e-5, 0.9999)


def tally(*pairs: tuple[np.ndarray, np.ndarray]) -> Tally:
    total = Tally()
    for got, expected in pairs:
        total.add(got, expected)
    return total


def test_figures_are_those_of_all_batches_as_one_vector():
    generator = np.random.default_rng(0)
    expected = generator.standard_normal((3, 2, 4, 5)).astype(np.float32)
    got = expected + generator.standard_normal(expected.shape).astype(np.float32) * 0.1
    result = tally((got[:1], expected[:1]), (got[1:], expected[1:])).result("s", STRICT)
    a, b = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    assert result.max_abs == np.abs(a - b).max()
    assert result.relative_l2 == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-12)
    assert result.cosine == pytest.approx(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), rel=1e-12)
    assert result.agreement is None
    assert not result.passed


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays.arrays(np.float32, (2, 7), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_a_thing_equals_itself(values: np.ndarray):
    result = tally((values, values)).result("s", STRICT)
    assert (result.max_abs, result.relative_l2, result.passed) == (0, 0, True)
    assert result.cosine == pytest.approx(1) or not values.any()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    arrays.arrays(np.float32, (3, 5), elements=st.floats(width=32)),
    arrays.arrays(np.float32, (3, 5), elements=st.floats(width=32)),
)
def test_nothing_passes_unless_it_is_finite_and_near(got: np.ndarray, expected: np.ndarray):
    result = tally((got, expected)).result("s", STRICT)
    a, b = got.astype(np.float64), expected.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        assert not result.passed
    elif result.passed:
        assert np.linalg.norm(a - b) <= 1.01e-5 * np.linalg.norm(b) or np.linalg.norm(a - b) <= 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_one_value_that_is_not_finite_fails_the_stage(value: float, side: int):
    pair = [np.ones((2, 4)), np.ones((2, 4)) + np.array([[0], [0.5]])]
    pair[side][0, 1] = value  # in the first picture: the second must not make it forgotten
    result = tally((pair[0], pair[1])).result("s", TOLERANCES["bf16"])
    assert not result.passed
    assert not math.isfinite(result.relative_l2)
    assert not math.isfinite(result.max_abs)


def test_reference_of_zeros_is_compared_absolutely():
    zeros = np.zeros((1, 8))
    assert tally((zeros, zeros)).result("s", STRICT).cosine == 1
    result = tally((zeros + 0.5, zeros)).result("s", STRICT)
    assert result.relative_l2 == pytest.approx(0.5 * math.sqrt(8))
    assert (result.cosine, result.passed) == (0, False)


def test_small_differences_of_large_values_are_not_lost():
    """Sums are float64: in float32 a difference of 1e-4 beside 1e4 values of 100 would vanish."""
    expected = np.full((1, 10000), 100, np.float32)
    got = expected.copy()
    got[0, 0] += 1.0
    assert tally((got, expected)).result("s", STRICT).relative_l2 == pytest.approx(1e-4)


def test_labels_are_counted():
    total = Tally()
    total.add_labels(np.array([[1, 2, 3, 4]]), np.array([[1, 2, 3, 0]]))
    total.add_labels(np.array([[7]], np.uint8), np.array([[7]], np.int64))
    result = total.result("labels", Tolerance(1, 0.8))
    assert (result.agreement, result.passed) == (0.8, True)
    assert result.relative_l2 is None
    assert not total.result("labels", Tolerance(1, 0.81)).passed


def test_tolerances_grow_with_the_rounding():
    steps = [TOLERANCES[precision].relative_l2 for precision in ("fp32", "fp16", "bf16")]
    assert steps == sorted(steps)
    assert steps[1] > 2**-11
    assert steps[2] > 2**-8


def test_other_shapes_are_no_comparison():
    with pytest.raises(ValueError, match=r"zip|shape"):
        tally((np.ones((2, 3)), np.ones((1, 3))))


def test_quantised_artefacts_have_the_tolerance_of_their_quantised_type():
    assert tolerance_of(ONNX) == TOLERANCES["fp16"]
    assert tolerance_of(QUANTIZED) == TOLERANCES["int8"]
