"""Where to cut a histogram of absolute values. Thresholds are fractions of the histogram's largest value.

onnxruntime has both methods, but counts 128 levels over both signs, takes seconds a histogram in loops of Python and
prints as it goes; a test compares the two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEVELS = 128
"""Of int8 on one side of zero."""
ALMOST_EMPTY = 1e-4
"""Values in a bin, for the logarithm's sake."""

Counts = npt.NDArray[np.int64]


def percentile_threshold(counts: Counts, percentile: float) -> float:
    """The smallest bin edge below which `percentile` % of the values lie."""
    total = np.cumsum(counts)
    index = int(np.searchsorted(total, total[-1] * percentile / 100.0))
    return (min(index, len(counts) - 1) + 1) / len(counts)


def entropy_threshold(counts: Counts) -> float:
    """The threshold at which 128 levels lose the least information: the smallest Kullback-Leibler divergence.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: for each threshold the distribution with its outliers counted
    into the last bin is compared with what 128 levels make of the part below, spread over the bins that hold anything.
    Bin 0 counts as bin 1 does: exact zeros, which ReLU makes by the million, are exact at any scale.
    """
    bins = len(counts)
    values = counts.astype(np.float64)
    values[0] = values[1]
    above = values.sum() - np.cumsum(values)
    best, chosen = np.inf, bins
    for edge in range(LEVELS, bins + 1):
        part = values[:edge]
        reference = part.copy()
        reference[-1] += above[edge - 1]
        divergence = _divergence(reference, _in_levels(part))
        if divergence < best:
            best, chosen = divergence, edge
    return chosen / bins


def _in_levels(part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """A histogram merged into LEVELS levels and spread evenly over the bins that were not empty."""
    level = np.minimum(np.arange(len(part)) // (len(part) // LEVELS), LEVELS - 1)
    filled = part > 0
    totals = np.bincount(level, weights=part, minlength=LEVELS)
    shares = np.bincount(level, weights=filled, minlength=LEVELS)
    mean = np.divide(totals, shares, out=np.zeros(LEVELS), where=shares > 0)
    spread: npt.NDArray[np.float64] = np.where(filled, mean[level], 0.0)
    return spread


def _divergence(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64]) -> float:
    """Kullback-Leibler divergence of q from p, both scaled to sum 1.

    Outliers may fall into a last bin that is empty below the threshold: there q counts as almost empty, not as empty,
    since an infinite divergence would rule the threshold out for want of a single value.
    """
    filled = p > 0
    p, q = p[filled], np.maximum(q[filled], ALMOST_EMPTY)
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))
