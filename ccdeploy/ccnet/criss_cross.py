"""Criss-cross attention as a module: the trainable form with the well-known parameter names, and the deployable one."""

from __future__ import annotations

import torch
from torch import nn

from ccdeploy.op import torch_op  # noqa: F401  (registers torch.ops.ccdeploy)
from ccdeploy.op.definition import criss_cross


class CrissCrossAttention(nn.Module):
    """y = gamma * criss_cross(q(x), k(x), v(x)) + x, with 1x1 convolutions q, k and v.

    Parameters are named as in the published module: `query_conv`, `key_conv`, `value_conv`, `gamma` [1]. `gamma`
    starts at 0, so that an untrained module is the identity.

    Args:
        in_channels: C, channels of x and y.
        query_channels: Cq, channels of queries and keys; C // 8 as published unless given.
    """

    def __init__(self, in_channels: int, query_channels: int | None = None) -> None:
        super().__init__()
        if query_channels is None:
            query_channels = max(1, in_channels // 8)
        self.query_conv = nn.Conv2d(in_channels, query_channels, 1)
        self.key_conv = nn.Conv2d(in_channels, query_channels, 1)
        self.value_conv = nn.Conv2d(in_channels, in_channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return self.gamma * criss_cross(self.query_conv(x), self.key_conv(x), self.value_conv(x)) + x


class PackedCrissCross(nn.Module):
    """The same function with one merged projection and gamma folded into it, as it is deployed.

    Attention A is linear in the values, gamma * A v = A (gamma v), so that folding gamma into the weights and the
    bias of the value projection is exact algebra.
    """

    def __init__(self, in_channels: int, query_channels: int) -> None:
        super().__init__()
        self.query_channels = query_channels
        self.qkv_conv: nn.Conv2d | nn.Conv1d = nn.Conv2d(in_channels, 2 * query_channels + in_channels, 1)

    @classmethod
    @torch.no_grad()
    def from_projections(
        cls, query: nn.Conv2d, key: nn.Conv2d, value: nn.Conv2d, gamma: torch.Tensor
    ) -> PackedCrissCross:
        """Merges three 1x1 convolutions (with or without bias) and gamma (one element)."""
        packed = cls(value.in_channels, query.out_channels).to(value.weight)
        scale = gamma.reshape(())
        biases = [
            conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias for conv in (query, key, value)
        ]
        packed.qkv_conv.weight.copy_(torch.cat([query.weight, key.weight, scale * value.weight]))
        assert packed.qkv_conv.bias is not None
        packed.qkv_conv.bias.copy_(torch.cat([*biases[:2], scale * biases[2]]))
        return packed.train(value.training)

    @torch.no_grad()
    def project_flat(self) -> None:
        """Projects [B, C, H * W] instead of [B, C, H, W]: the same numbers, as a convolution over one axis.

        On a CPU onnxruntime runs a 1x1 convolution over two axes in its blocked layout and one over one axis as a
        plain matrix product, which is faster here. GPUs keep the first: a reshape could cost them their layout.
        """
        over_two = self.qkv_conv
        over_one = nn.Conv1d(over_two.in_channels, over_two.out_channels, 1).to(over_two.weight)
        assert over_one.bias is not None
        assert over_two.bias is not None
        over_one.weight.copy_(over_two.weight.reshape(over_one.weight.shape))
        over_one.bias.copy_(over_two.bias)
        self.qkv_conv = over_one.train(self.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        if isinstance(self.qkv_conv, nn.Conv1d):
            qkv = self.qkv_conv(x.flatten(2)).unflatten(2, x.shape[2:])
        else:
            qkv = self.qkv_conv(x)
        y: torch.Tensor = torch.ops.ccdeploy.criss_cross_attention(qkv, x, self.query_channels)
        return y


class BareCrissCross(nn.Module):
    """A criss-cross module on its own, applied `recurrence` times, with a published checkpoint's bare keys."""

    def __init__(self, in_channels: int, query_channels: int, recurrence: int) -> None:
        super().__init__()
        self.cca = CrissCrossAttention(in_channels, query_channels)
        self.recurrence = recurrence

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        for _ in range(self.recurrence):
            x = self.cca(x)
        return x
