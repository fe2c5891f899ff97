"""The criss-cross module that people paste into their networks: where users start, and the measure of speed.

It computes with permutations, batched products and a mask of -inf on the diagonal, and builds that mask with a
hard-coded `.cuda()`; both are kept, since they are what a deployment has to cope with.
"""

from __future__ import annotations

import torch
from torch import nn


class WellKnownCrissCross(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]; the function of `ccdeploy.ccnet.criss_cross.CrissCrossAttention`."""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, 1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        query, key, value = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        return self.gamma * attention(query, key, value, infinite_diagonal(x.shape[0], x.shape[2], x.shape[3])) + x


def attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The module without its convolutions and its residual: [B, Cq, H, W] twice and [B, C, H, W] -> [B, C, H, W].

    `mask` [B * W, H, H] is -inf on the diagonals and 0 elsewhere.
    """
    batch, _, height, width = value.shape
    column_energy = torch.bmm(_columns(query).permute(0, 2, 1), _columns(key)) + mask
    row_energy = torch.bmm(_rows(query).permute(0, 2, 1), _rows(key))
    column_energy = column_energy.view(batch, width, height, height).permute(0, 2, 1, 3)
    row_energy = row_energy.view(batch, height, width, width)
    weights = torch.softmax(torch.cat([column_energy, row_energy], 3), 3)
    column = weights[:, :, :, :height].permute(0, 2, 1, 3).contiguous().view(batch * width, height, height)
    row = weights[:, :, :, height:].contiguous().view(batch * height, width, width)
    from_column = torch.bmm(_columns(value), column.permute(0, 2, 1)).view(batch, width, -1, height)
    from_row = torch.bmm(_rows(value), row.permute(0, 2, 1)).view(batch, height, -1, width)
    return from_column.permute(0, 2, 3, 1) + from_row.permute(0, 2, 1, 3)


def attention_part(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    gamma: torch.Tensor,
    x: torch.Tensor,
) -> torch.Tensor:
    """What the kernel computes, in the well-known module's operations; [B, C, H, W]."""
    return gamma * attention(query, key, value, mask) + x


def _columns(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B * W, C, H]."""
    return x.permute(0, 3, 1, 2).contiguous().view(x.shape[0] * x.shape[3], -1, x.shape[2])


def _rows(x: torch.Tensor) -> torch.Tensor:
    """[B, C, H, W] -> [B * H, C, W]."""
    return x.permute(0, 2, 1, 3).contiguous().view(x.shape[0] * x.shape[2], -1, x.shape[3])


def infinite_diagonal(batch: int, height: int, width: int) -> torch.Tensor:
    """-inf where a pixel meets itself in its column, 0 elsewhere: [batch * width, height, height], float32."""
    diagonal = torch.diag(torch.tensor(float("inf")).cuda().repeat(height), 0)
    return -diagonal.unsqueeze(0).repeat(batch * width, 1, 1)
