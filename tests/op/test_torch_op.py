"""The operator that exporters see is the definition, with its shapes, its gradients and its checks."""

from __future__ import annotations

import pytest
import torch
from operands import drawn

from ccdeploy.op.cases import SMALL, Case
from ccdeploy.op.definition import criss_cross_attention as definition
from ccdeploy.op.torch_op import criss_cross_attention

TINY = Case(2, 3, 2, 3, 4)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_operator_is_the_definition(case: Case) -> None:
    qkv, residual = drawn(case)
    y = torch.ops.ccdeploy.criss_cross_attention(qkv, residual, case.query_channels)
    assert torch.equal(y, definition(qkv, residual, case.query_channels))
    assert y.is_contiguous()


def test_operator_keeps_pytorchs_contracts() -> None:
    """Schema, fake tensors, autograd registration and AOT dispatch with dynamic shapes."""
    qkv, residual = (tensor.requires_grad_() for tensor in drawn(TINY))
    torch.library.opcheck(criss_cross_attention, (qkv, residual, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_shapes_are_foretold_of_strided_operands_and_narrow_types(dtype: torch.dtype) -> None:
    qkv, residual = (tensor.mT for tensor in drawn(TINY, dtype))
    torch.library.opcheck(criss_cross_attention, (qkv, residual, 2), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("of_qkv", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("of_residual", [torch.contiguous_format, torch.channels_last], ids=str)
def test_memory_format_is_the_residuals_and_foretold(
    of_qkv: torch.memory_format, of_residual: torch.memory_format
) -> None:
    """What compilers plan with must be what they get: strides too."""
    qkv, residual = drawn(TINY, torch.float32)
    qkv, residual = qkv.contiguous(memory_format=of_qkv), residual.contiguous(memory_format=of_residual)
    y = criss_cross_attention(qkv, residual, 2)
    assert y.is_contiguous(memory_format=of_residual)
    assert criss_cross_attention(qkv.to("meta"), residual.to("meta"), 2).stride() == y.stride()
    torch.library.opcheck(criss_cross_attention, (qkv.requires_grad_(), residual.requires_grad_(), 2))


def test_one_pixel_or_one_channel_is_nchw() -> None:
    """Such a tensor is contiguous and channels last at once."""
    for case in (Case(2, 3, 2, 1, 1), Case(2, 1, 1, 3, 4)):
        qkv, residual = drawn(case, torch.float32)
        y = criss_cross_attention(qkv, residual, case.query_channels)
        assert y.stride() == residual.stride()


def test_gradients_are_those_of_the_function() -> None:
    qkv, residual = (tensor.requires_grad_() for tensor in drawn(TINY))
    assert torch.autograd.gradcheck(lambda *inputs: criss_cross_attention(*inputs, 2), (qkv, residual))


def test_gradients_reach_one_operand_alone() -> None:
    qkv, residual = drawn(TINY)
    criss_cross_attention(qkv.requires_grad_(), residual, 2).square().sum().backward()
    assert qkv.grad is not None
    assert qkv.grad.abs().min() > 0


def test_wrong_operands_are_refused_without_data_too() -> None:
    """While exporting there are shapes only; a mistake must show there, not in the engine."""
    qkv, residual = (torch.ones(1, channels, 5, 5, device="meta") for channels in (9, 4))
    with pytest.raises(ValueError, match=r"qkv is \[1, 9, 5, 5\], \[1, 8, 5, 5\] was expected"):
        torch.ops.ccdeploy.criss_cross_attention(qkv, residual, 2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_export_sees_one_node_for_any_size(layout: torch.memory_format) -> None:
    class Net(torch.nn.Module):
        def forward(self, qkv: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            return torch.ops.ccdeploy.criss_cross_attention(qkv, residual, 2)

    axes = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    operands = tuple(tensor.contiguous(memory_format=layout) for tensor in drawn(TINY))
    program = torch.export.export(Net(), operands, dynamic_shapes=({**axes}, {**axes}))
    calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert calls.count(torch.ops.ccdeploy.criss_cross_attention.default) == 1
    larger = tuple(tensor.contiguous(memory_format=layout) for tensor in drawn(Case(3, 3, 2, 6, 7)))
    assert torch.equal(program.module()(*larger), definition(*larger, 2))
