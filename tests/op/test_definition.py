"""The definition is the paper's criss-cross attention, rounded once, in every float type and at every size."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operands import DOUBLE_TOLERANCE, TYPES, assert_rounded_once, cases, drawn, expected

from ccdeploy.op.cases import SMALL, Case
from ccdeploy.op.definition import check_operands, criss_cross, criss_cross_attention


@pytest.mark.parametrize("case", SMALL, ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_case_is_one_rounding_from_the_loops(case: Case, dtype: torch.dtype) -> None:
    qkv, residual = drawn(case, dtype)
    y = criss_cross_attention(qkv, residual, case.query_channels)
    assert (y.dtype, y.shape) == (dtype, residual.shape)
    assert_rounded_once(y, expected(qkv, residual, case.query_channels))


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_unpacked_form_is_the_packed_one_without_residual(dtype: torch.dtype) -> None:
    case = Case(2, 24, 3, 5, 9)
    qkv, residual = drawn(case, dtype)
    y = criss_cross(*qkv.split([3, 3, 24], dim=1))
    assert y.dtype == dtype
    assert_rounded_once(y, expected(qkv, torch.zeros_like(residual), 3))


@settings(max_examples=60, deadline=None)
@given(case=cases(), dtype=st.sampled_from(TYPES), passes=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_any_shape_ratio_type_and_recurrence(case: Case, dtype: torch.dtype, passes: int, seed: int) -> None:
    qkv, y = drawn(case, dtype, seed)
    projection = torch.randn(qkv.shape[1], case.channels, generator=torch.Generator().manual_seed(seed)).double()
    for _ in range(passes):
        before, y = y, criss_cross_attention(qkv, y, case.query_channels)
        assert_rounded_once(y, expected(qkv, before, case.query_channels))
        qkv = torch.einsum("oc,bchw->bohw", projection / case.channels, y.double()).to(dtype)


@settings(max_examples=30, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32))
def test_rows_and_columns_are_alike(case: Case, seed: int) -> None:
    """The pixel itself counts once: whether in its row or in its column makes no difference."""
    qkv, residual = drawn(case, seed=seed)
    y = criss_cross_attention(qkv, residual, case.query_channels)
    turned = criss_cross_attention(qkv.mT, residual.mT, case.query_channels).mT
    torch.testing.assert_close(turned, y, rtol=0, atol=DOUBLE_TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(case=cases(), seed=st.integers(0, 2**32))
def test_weights_sum_to_one(case: Case, seed: int) -> None:
    qkv, residual = drawn(case, seed=seed)
    constant = torch.linspace(-3, 3, case.channels, dtype=torch.float64)[None, :, None, None]
    qkv[:, 2 * case.query_channels :] = constant
    y = criss_cross_attention(qkv, residual, case.query_channels)
    torch.testing.assert_close(y, residual + constant, rtol=0, atol=DOUBLE_TOLERANCE)


def test_pixels_off_the_cross_have_no_influence() -> None:
    case = Case(1, 8, 2, 6, 7)
    qkv, residual = drawn(case)
    y = criss_cross_attention(qkv, residual, case.query_channels)
    off_the_cross = torch.ones(6, 7, dtype=torch.bool)
    off_the_cross[2, :] = off_the_cross[:, 4] = False
    qkv[..., off_the_cross] = 1e3
    changed = criss_cross_attention(qkv, residual, case.query_channels)
    assert torch.equal(changed[..., 2, 4], y[..., 2, 4])
    assert not torch.equal(changed[..., 2, 5], y[..., 2, 5])


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("size", [60.0, 2000.0])
def test_large_energies_do_not_overflow(dtype: torch.dtype, size: float) -> None:
    case = Case(1, 8, 1, 4, 5)
    qkv, residual = drawn(case, dtype)
    signs = torch.ones(4, 5, dtype=dtype)
    signs[1, 2] = signs[3, :] = -1
    qkv[:, 0], qkv[:, 1] = size**0.5 * signs, size**0.5 * signs
    y = criss_cross_attention(qkv, residual, case.query_channels)
    assert torch.isfinite(y).all()
    assert_rounded_once(y, expected(qkv, residual, case.query_channels))


@pytest.mark.parametrize(
    ("qkv", "residual", "query_channels", "seen_and_expected"),
    [
        (torch.ones(1, 8, 5), torch.ones(1, 4, 5, 5), 2, "qkv has 3 dimensions and residual 4, 4 were expected"),
        (torch.ones(1, 8, 5, 5), torch.ones(4, 5, 5), 2, "qkv has 4 dimensions and residual 3, 4 were expected"),
        (torch.ones(1, 4, 5, 5), torch.ones(1, 4, 5, 5), 0, "query_channels is 0, 1 or more was expected"),
        (torch.ones(1, 7, 5, 5), torch.ones(1, 4, 5, 5), 2, "qkv is [1, 7, 5, 5], [1, 8, 5, 5] was expected"),
        (torch.ones(2, 8, 5, 5), torch.ones(1, 4, 5, 5), 2, "qkv is [2, 8, 5, 5], [1, 8, 5, 5] was expected"),
        (torch.ones(1, 8, 5, 6), torch.ones(1, 4, 6, 5), 2, "qkv is [1, 8, 5, 6], [1, 8, 6, 5] was expected"),
        (torch.ones(1, 4, 5, 5), torch.ones(1, 0, 5, 5), 2, "residual is [1, 0, 5, 5], every dimension"),
        (torch.ones(1, 8, 0, 5), torch.ones(1, 4, 0, 5), 2, "residual is [1, 4, 0, 5], every dimension"),
        (torch.ones(1, 8, 5, 5).half(), torch.ones(1, 4, 5, 5), 2, "qkv is torch.float16 and residual torch.float32"),
        (torch.ones(1, 8, 5, 5).int(), torch.ones(1, 4, 5, 5).int(), 2, "qkv is torch.int32 and residual torch.int32"),
        (torch.ones(1, 8, 5, 5, device="meta"), torch.ones(1, 4, 5, 5), 2, "qkv is on meta and residual on cpu"),
    ],
)
def test_wrong_operands_are_refused_with_what_was_seen_and_expected(
    qkv: torch.Tensor, residual: torch.Tensor, query_channels: int, seen_and_expected: str
) -> None:
    with pytest.raises(ValueError) as from_check:  # noqa: PT011 (the message is compared below)
        check_operands(qkv, residual, query_channels)
    assert seen_and_expected in str(from_check.value)
    with pytest.raises(ValueError, match=r"expected|must be"):
        criss_cross_attention(qkv, residual, query_channels)


def test_the_reference_itself_attends_as_the_paper_says() -> None:
    """Equal energies: a plain mean over the H + W - 1 pixels of the cross."""
    value = np.arange(12.0).reshape(1, 1, 3, 4)
    flat = np.zeros((1, 1, 3, 4))
    mean = (1 + 9 + value[0, 0, 1].sum()) / 6
    assert reference.attend(flat, flat, value)[0, 0, 1, 1] == pytest.approx(mean)
