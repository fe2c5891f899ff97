"""Scales and quantised weights: symmetric, zero point 0, in the type that the file computes in."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Type:
    """A quantised type.

    Attributes:
        dtype: as ONNX names it.
        largest: the greatest value that is used, on both sides of zero.
    """

    dtype: ir.DataType
    largest: float


TYPES = {"int8": Type(ir.DataType.INT8, 127.0), "fp8": Type(ir.DataType.FLOAT8E4M3FN, 448.0)}
"""-128 is left out: the range is symmetric, as TensorRT's is."""


def scale_of(largest: npt.ArrayLike, kind: Type, dtype: ir.DataType) -> npt.NDArray[np.generic]:
    """The scale with which values up to `largest` fill a quantised type, as the file's float type can hold it.

    Rounded up, so that the largest value is not cut where a scale is so small that the float type has few digits left.
    Where all values are zero it is 1: any scale gives zero, and one of 0 would divide by it.

    Args:
        largest: greatest absolute values, finite.
        kind: the quantised type.
        dtype: FLOAT, FLOAT16 or BFLOAT16.
    """
    wanted = np.asarray(largest, np.float64) / kind.largest
    scale = wanted.astype(dtype.numpy())
    low = scale.astype(np.float64) < wanted
    scale = np.where(low, np.nextafter(scale, np.asarray(np.inf, scale.dtype)), scale)
    return np.where(np.asarray(largest) == 0, np.ones_like(scale), scale).astype(dtype.numpy())


def quantised(weights: npt.NDArray[np.generic], scales: npt.NDArray[np.generic], kind: Type) -> npt.NDArray[np.generic]:
    """Weights [channels, ...] divided by their channel's scale and rounded to the nearest value of the type."""
    shape = (-1, *[1] * (weights.ndim - 1))
    scaled = weights.astype(np.float32) / scales.astype(np.float32).reshape(shape)
    bounded: Floats = np.clip(scaled, -kind.largest, kind.largest)
    if kind.dtype == ir.DataType.INT8:
        return np.rint(bounded).astype(np.int8)
    return bounded.astype(ml_dtypes.float8_e4m3fn)
