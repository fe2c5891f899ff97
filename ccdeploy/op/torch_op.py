"""`torch.ops.ccdeploy.criss_cross_attention`: the packed operator as one node of PyTorch's graphs.

Exporters and compilers see one opaque operator with a known output shape. On CUDA tensors it runs the kernel where
there is one (ccdeploy.op.kernel says when), on all others the definition.
"""

from __future__ import annotations

from typing import Any

import torch

from ccdeploy.op import kernel
from ccdeploy.op.definition import check_operands
from ccdeploy.op.definition import criss_cross_attention as definition


@torch.library.custom_op("ccdeploy::criss_cross_attention", mutates_args=())
def criss_cross_attention(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    """See `ccdeploy.op.definition.criss_cross_attention`; the result is channels last if the residual is."""
    y = definition(qkv, residual, query_channels)
    return y.contiguous(memory_format=kernel.memory_format_of(residual))


@criss_cross_attention.register_kernel("cuda")
def _on_gpu(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    check_operands(qkv, residual, query_channels)
    return kernel.on_gpu(qkv, residual, query_channels)


@criss_cross_attention.register_fake
def _shape_only(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    check_operands(qkv, residual, query_channels)
    return torch.empty_like(residual, memory_format=kernel.memory_format_of(residual))


def _remember(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, int], output: torch.Tensor) -> None:
    qkv, residual, ctx.query_channels = inputs
    ctx.save_for_backward(qkv, residual)


def _backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
    # Recomputed rather than stored: the attention maps are larger than the operands.
    operands = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
    with torch.enable_grad():
        y = definition(operands[0], operands[1], ctx.query_channels)
    qkv_gradient, residual_gradient = torch.autograd.grad(y, operands, gradient)
    return qkv_gradient, residual_gradient, None


criss_cross_attention.register_autograd(_backward, setup_context=_remember)
