"""Operands of the operator, what the loops in float64 make of them, and how far a result may be off."""

from __future__ import annotations

import reference
import torch
from hypothesis import strategies as st

from ccdeploy.op.cases import Case
from ccdeploy.op.operands import random_operands

TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DOUBLE_TOLERANCE = 1e-12
FLOAT_TOLERANCE = 2e-5


def drawn(case: Case, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random qkv and residual of a case, rounded to a type."""
    qkv, residual = random_operands(case, seed)
    return torch.from_numpy(qkv).to(dtype), torch.from_numpy(residual).to(dtype)


def expected(qkv: torch.Tensor, residual: torch.Tensor, query_channels: int) -> torch.Tensor:
    wide = (tensor.double().numpy() for tensor in (qkv, residual))
    return torch.from_numpy(reference.criss_cross_attention(*wide, query_channels))


def half_a_step(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Half the distance of neighbouring numbers of a float type, around values that fit it."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(values.double().abs().clamp(min=info.tiny)).exponent - 1
    return torch.ldexp(torch.full_like(values, info.eps / 2, dtype=torch.float64), exponent)


def assert_rounded_once(y: torch.Tensor, exact: torch.Tensor) -> None:
    """Off by half a step of its type, plus what sums in float32 are off; two roundings would be off by more."""
    allowed = half_a_step(exact, y.dtype) + (DOUBLE_TOLERANCE if y.dtype == torch.float64 else FLOAT_TOLERANCE)
    excess = ((y.double() - exact).abs() - allowed).max().item()
    assert excess <= 0, f"{y.dtype}: {excess:.3g} beyond one rounding"


def cases() -> st.SearchStrategy[Case]:
    """Any small shape; more query channels than channels is odd, and allowed."""
    channels, side = st.integers(1, 24), st.integers(1, 11)
    return st.builds(Case, st.integers(1, 3), channels, channels, side, side)
