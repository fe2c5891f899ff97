"""Criss-cross attention pixel by pixel in float64, as the paper's section 3.2 reads: no code shared with ccdeploy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def attend(query: Array, key: Array, value: Array) -> Array:
    """[B, Cq, H, W] queries and keys, [B, C, H, W] values -> [B, C, H, W]."""
    batch, _, height, width = query.shape
    out = np.empty_like(value)
    for b in range(batch):
        for h in range(height):
            for w in range(width):
                keys, values = (
                    np.concatenate([np.delete(each[b, :, :, w], h, axis=1), each[b, :, h, :]], axis=1)
                    for each in (key, value)
                )
                energies = query[b, :, h, w] @ keys  # H - 1 of the column, W of the row
                weights = np.exp(energies - energies.max())
                out[b, :, h, w] = values @ (weights / weights.sum())
    return out


def criss_cross_attention(qkv: npt.NDArray[Any], residual: npt.NDArray[Any], query_channels: int) -> Array:
    """The packed operator on operands of any type, in float64."""
    wide = qkv.astype(np.float64)
    query, key, value = np.split(wide, [query_channels, 2 * query_channels], axis=1)
    return attend(query, key, value) + residual.astype(np.float64)
