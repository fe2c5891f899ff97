"""What criss-cross attention is, in PyTorch: differentiable, on any device, in any float type.

Source: Huang et al., "CCNet: Criss-Cross Attention for Semantic Segmentation", ICCV 2019, section 3.2. The paper's
affinity counts the pixel itself once, in its row; in its column the entry is masked. Energies are not scaled.
"""

from __future__ import annotations

import torch


def criss_cross(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Gathers, for every pixel, the values of its row and column, weighted by one softmax over both.

    Softmax and sums are taken in float32 at least, in float64 for float64 operands.

    Args:
        query: [B, Cq, H, W].
        key: [B, Cq, H, W].
        value: [B, C, H, W].

    Returns:
        [B, C, H, W], of `value`'s type, rounded once.
    """
    return _aggregate(*(_widen(operand) for operand in (query, key, value))).to(value.dtype)


def criss_cross_attention(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    """The packed operator: criss-cross attention of stacked operands, plus a residual; rounded once, at the end.

    Args:
        qkv: [B, 2 * Cq + C, H, W]: queries at channel 0, keys at Cq, values at 2 * Cq.
        residual: [B, C, H, W].
        query_channels: Cq.

    Returns:
        [B, C, H, W], of `residual`'s type.

    Raises:
        ValueError: shapes, types or devices that do not go together.
    """
    check_operands(qkv, residual, query_channels)
    query, key, value = torch.split(_widen(qkv), [query_channels, query_channels, residual.shape[1]], dim=1)
    return (_aggregate(query, key, value) + _widen(residual)).to(residual.dtype)


def check_operands(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> None:
    """Raises ValueError with what was seen and what the packed operator expects."""
    if qkv.dim() != 4 or residual.dim() != 4:
        raise ValueError(f"qkv has {qkv.dim()} dimensions and residual {residual.dim()}, 4 were expected: B, C, H, W")
    if query_channels < 1:
        raise ValueError(f"query_channels is {query_channels}, 1 or more was expected")
    batch, channels, height, width = residual.shape
    expected = (batch, 2 * query_channels + channels, height, width)
    if tuple(qkv.shape) != expected:
        raise ValueError(
            f"qkv is {list(qkv.shape)}, {list(expected)} was expected: 2 * {query_channels} query_channels "
            f"+ the {channels} channels of residual {list(residual.shape)}"
        )
    if min(residual.shape) < 1:
        raise ValueError(f"residual is {list(residual.shape)}, every dimension must be 1 or more")
    if not residual.is_floating_point() or qkv.dtype != residual.dtype:
        raise ValueError(f"qkv is {qkv.dtype} and residual {residual.dtype}, one and the same float type was expected")
    if qkv.device != residual.device:
        raise ValueError(f"qkv is on {qkv.device} and residual on {residual.device}, one device was expected")


def _widen(operand: torch.Tensor) -> torch.Tensor:
    return operand if operand.dtype == torch.float64 else operand.float()


def _aggregate(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    height = query.shape[2]
    itself = torch.eye(height, dtype=torch.bool, device=query.device)[:, None, :]  # h, 1, g: in its row it counts
    column = torch.einsum("bchw,bcgw->bhwg", query, key).masked_fill(itself, float("-inf"))
    row = torch.einsum("bchw,bchg->bhwg", query, key)
    attention = torch.softmax(torch.cat([column, row], dim=-1), dim=-1)  # B, H, W, H + W
    from_column = torch.einsum("bhwg,bcgw->bchw", attention[..., :height], value)
    from_row = torch.einsum("bhwg,bchg->bchw", attention[..., height:], value)
    return from_column + from_row
