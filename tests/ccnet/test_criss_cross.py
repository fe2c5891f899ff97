"""ccdeploy's modules compute what the well-known module computes, with its own parameters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import WellKnown, WithScale, run, stirred
from torch import nn

from ccdeploy.ccnet.criss_cross import BareCrissCross, CrissCrossAttention, PackedCrissCross

SIZES = ((1, 1), (1, 7), (7, 1), (5, 9), (33, 17), (97, 97))
PASSES = 3
DOUBLE_TOLERANCE = 1e-12
FLOAT_TOLERANCE = 2e-5


def same_weights(well_known: nn.Module, **options: int) -> CrissCrossAttention:
    ours = CrissCrossAttention(well_known.value_conv.in_channels, **options)
    ours.load_state_dict(well_known.state_dict(), strict=True)
    return ours.eval()


def packed(module: nn.Module) -> PackedCrissCross:
    gamma = getattr(module.gamma, "scale", module.gamma)
    return PackedCrissCross.from_projections(module.query_conv, module.key_conv, module.value_conv, gamma)


def gap(one: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    """Largest difference after three passes of each."""
    y, z = x, x
    for _ in range(PASSES):
        y, z = run(one, y), run(other, z)
    assert y.shape == x.shape
    assert (y - x).abs().max() > 0.1, "the module did nothing: this would test nothing"
    return (y - z).abs().max().item()


def features(channels: int, size: tuple[int, int], batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_well_known_module_and_ours_agree(size: tuple[int, int]) -> None:
    channels = 16 if size == (97, 97) else 64
    theirs = stirred(WellKnown(channels))
    ours = same_weights(theirs)
    x = features(channels, size)
    assert gap(theirs.double(), ours.double(), x) <= DOUBLE_TOLERANCE
    assert gap(theirs.float(), ours.float(), x.float()) <= FLOAT_TOLERANCE


def test_well_known_module_and_ours_agree_at_97x97_with_64_channels() -> None:
    theirs = stirred(WellKnown(64))
    assert gap(theirs, same_weights(theirs), features(64, (97, 97), batch=1).float()) <= FLOAT_TOLERANCE


@settings(max_examples=25, deadline=None)
@given(
    ratio=st.integers(1, 16),
    query_channels=st.integers(1, 4),
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_any_ratio_and_size(ratio: int, query_channels: int, batch: int, height: int, width: int, seed: int) -> None:
    channels = ratio * query_channels
    theirs = stirred(WellKnown(channels, ratio), seed).double()
    ours = same_weights(theirs, query_channels=query_channels).double()
    x = features(channels, (height, width), batch)
    for other in (ours, packed(theirs)):
        assert (run(theirs, x) - run(other, x)).abs().max() <= DOUBLE_TOLERANCE


@pytest.mark.parametrize("make", [WellKnown, WithScale, lambda channels: WellKnown(channels, bias=False)])
def test_merging_projections_and_folding_gamma_is_exact_algebra(make: type[nn.Module]) -> None:
    theirs = stirred(make(32)).double()
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    merged = packed(theirs)
    assert gap(theirs, merged, features(32, (9, 14))) <= DOUBLE_TOLERANCE
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


def test_projecting_over_one_axis_is_the_same_function() -> None:
    theirs = stirred(WellKnown(32)).double()
    flat = packed(theirs)
    for _ in range(2):  # a second time changes nothing
        flat.project_flat()
        assert isinstance(flat.qkv_conv, nn.Conv1d)
        assert gap(theirs, flat, features(32, (9, 14))) <= DOUBLE_TOLERANCE
    assert flat.qkv_conv.weight.dtype == torch.float64


def test_packed_form_keeps_type_and_mode() -> None:
    theirs = stirred(WellKnown(16))
    assert packed(theirs).training is False
    assert packed(theirs.train()).training is True
    assert packed(theirs.half()).qkv_conv.weight.dtype == torch.float16


def test_untrained_module_is_the_identity() -> None:
    x = features(16, (5, 6)).float()
    assert torch.equal(run(CrissCrossAttention(16), x), x)
    assert CrissCrossAttention(16).query_conv.out_channels == 2
    assert CrissCrossAttention(4).query_conv.out_channels == 1


@pytest.mark.parametrize("recurrence", [0, 1, 2, 3])
def test_bare_module_applies_the_shared_weights_as_often_as_asked(recurrence: int) -> None:
    bare = BareCrissCross(16, 2, recurrence).double().eval()
    theirs = stirred(WellKnown(16)).double()
    bare.load_state_dict({f"cca.{key}": tensor for key, tensor in theirs.state_dict().items()})
    x = expected = features(16, (6, 5))
    for _ in range(recurrence):
        expected = run(theirs, expected)
    torch.testing.assert_close(run(bare, x), expected, rtol=0, atol=DOUBLE_TOLERANCE)
