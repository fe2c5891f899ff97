"""The kernel itself behind PyTorch's tensors: emulated, called through the same ctypes function as on a GPU."""

from __future__ import annotations

import ctypes

import emulation
import pytest
import torch

from ccdeploy.op.cases import MAX_ERROR, Case
from ccdeploy.op.definition import criss_cross_attention as definition
from ccdeploy.op.kernel import Kernel, memory_format_of
from ccdeploy.op.operands import random_operands

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LAYOUTS = {"nchw": torch.contiguous_format, "channels last": torch.channels_last}
CASES = (Case(2, 64, 16, 5, 9), Case(1, 160, 24, 17, 3), Case(1, 32, 8, 1, 40), Case(1, 512, 64, 9, 10))


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return Kernel(emulation.build() / "libccdeploy_plugins_emulated.so")


def blocks_run(kernel: Kernel) -> int:
    count = ctypes.CDLL(str(kernel.path)).ccdeploy_emulator_blocks
    count.restype = ctypes.c_uint64
    return int(count())


@pytest.mark.parametrize("of_qkv", LAYOUTS)
@pytest.mark.parametrize("of_residual", LAYOUTS)
@pytest.mark.parametrize("precision", TYPES)
def test_kernel_computes_pytorchs_tensors(kernel: Kernel, precision: str, of_residual: str, of_qkv: str) -> None:
    for case in CASES:
        qkv, residual = (torch.from_numpy(array).to(TYPES[precision]) for array in random_operands(case, seed=1))
        qkv = qkv.contiguous(memory_format=LAYOUTS[of_qkv])
        residual = residual.contiguous(memory_format=LAYOUTS[of_residual])
        before = blocks_run(kernel)
        y = kernel.run(qkv, residual, case.query_channels, stream=0)
        assert blocks_run(kernel) > before
        assert y.is_contiguous(memory_format=memory_format_of(residual))
        exact = definition(qkv.double(), residual.double(), case.query_channels)
        assert (y.double() - exact).abs().max() <= MAX_ERROR[precision], case
