"""Criss-cross attention is found in any network by what it computes; what only looks like it is left and named."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import (
    CountsItselfTwice,
    NarrowValues,
    NoResidual,
    PositionAttention,
    ScaledEnergies,
    UserNet,
    WellKnown,
    WithScale,
    run,
    stirred,
)
from torch import nn

from ccdeploy.ccnet.adopt import Adoption, adopt
from ccdeploy.ccnet.criss_cross import CrissCrossAttention, PackedCrissCross
from ccdeploy.errors import ModelError

TOLERANCE = 1e-5


def features(channels: int = 16) -> torch.Tensor:
    return torch.randn(2, channels, 6, 9, generator=torch.Generator().manual_seed(0))


def packed_modules(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, PackedCrissCross)]


class PostNorm(WellKnown):
    """A norm that is the identity until it is trained, and is not in this network."""

    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        self.norm = nn.BatchNorm2d(in_dim)

    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.gamma * gathered) + x


class SquareOnly(WellKnown):
    """A mask made for square maps."""

    mask = staticmethod(lambda batch, height, width: WellKnown.mask(batch, width, height))


class OnDevice(WellKnown):
    """Names the device in other ways than `.cuda()`."""

    mask = staticmethod(
        lambda batch, height, width: (
            -torch.diag(torch.full((height,), float("inf"), device=0)).to("cuda:0").to(0)
            - torch.zeros(batch * width, 1, 1, device="cuda").to(device=torch.device("cuda"))
        )
    )


class Strided(WellKnown):
    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, 3, padding=1)


class UnequalKeys(WellKnown):
    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 4, 1)


class TwoOutputs(WellKnown):
    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return super().finished(gathered, x), gathered


TRUE = {
    "well known": lambda: WellKnown(16),
    "without bias": lambda: WellKnown(16, bias=False),
    "mmcv's Scale": lambda: WithScale(16),
    "keys of all channels": lambda: WellKnown(16, ratio=1),
    "keys of a quarter": lambda: WellKnown(16, ratio=4),
    "one key channel": lambda: WellKnown(16, ratio=16),
    "ccdeploy's own": lambda: CrissCrossAttention(16),
    "other devices": lambda: OnDevice(16),
}
FALSE = {
    "itself twice": (lambda: CountsItselfTwice(16), "it computes something else"),
    "scaled": (lambda: ScaledEnergies(16), "it computes something else"),
    "no residual": (lambda: NoResidual(16), "it computes something else"),
    "norm afterwards": (lambda: PostNorm(16), "it computes something else"),
    "non-local": (lambda: PositionAttention(16), "it computes something else"),
    "narrow values": (lambda: NarrowValues(16), "value_conv maps 16 channels to 8"),
    "3x3 queries": (lambda: Strided(16), "query_conv is not a plain 1x1 convolution"),
    "unequal keys": (lambda: UnequalKeys(16), "query_conv gives 2 channels and key_conv 4"),
    "square maps only": (lambda: SquareOnly(16), "it does not run on a [2, 16, 5, 7] tensor"),
    "two outputs": (lambda: TwoOutputs(16), "it returns tuple for [2, 16, 5, 7]"),
}


@pytest.mark.parametrize("kind", TRUE)
def test_true_criss_cross_is_replaced(kind: str) -> None:
    network = stirred(nn.Sequential(nn.Conv2d(16, 16, 1), TRUE[kind]()))
    adopted, adoption = adopt(network)
    assert adoption == Adoption(("1",), {})
    assert packed_modules(adopted) == ["1"]
    torch.testing.assert_close(run(adopted, features()), run(network, features()), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", FALSE)
def test_anything_else_is_left_and_named(kind: str) -> None:
    make, reason = FALSE[kind]
    network = nn.ModuleDict({"attention": stirred(make())})
    adopted, adoption = adopt(network)
    assert adoption.replaced == ()
    assert list(adoption.refused) == ["attention"]
    assert adoption.refused["attention"].startswith(reason)
    assert packed_modules(adopted) == []
    expected = run(network["attention"], features(16)) if kind not in ("square maps only", "unequal keys") else None
    if isinstance(expected, torch.Tensor):
        assert torch.equal(run(adopted["attention"], features(16)), expected)


def test_gamma_of_zero_hides_nothing() -> None:
    """As initialised, all of these are the identity: only redrawn weights tell them apart."""
    assert adopt(nn.Sequential(WellKnown(16)))[1].replaced == ("0",)
    assert adopt(nn.Sequential(CountsItselfTwice(16)))[1].replaced == ()


def test_the_proof_needs_no_cuda() -> None:
    if torch.cuda.is_available():
        pytest.skip("the mask's .cuda() works here")
    with pytest.raises((AssertionError, RuntimeError)):
        WellKnown(16)(features())
    assert adopt(nn.Sequential(WellKnown(16)))[1].replaced == ("0",)


def test_a_user_network_keeps_its_output_and_its_original() -> None:
    network = stirred(UserNet())
    original = copy.deepcopy(network)
    adopted, adoption = adopt(network)
    assert adoption == Adoption(("context",), {})
    picture = torch.randn(1, 3, 40, 56)
    torch.testing.assert_close(run(adopted, picture), run(original, picture), rtol=0, atol=TOLERANCE)
    assert isinstance(network.context, WellKnown)
    now, then = network.state_dict(), original.state_dict()
    assert all(torch.equal(now[key], then[key]) for key in then)
    assert not any(a.data_ptr() == b.data_ptr() for a in adopted.parameters() for b in network.parameters())


def test_a_module_used_in_two_places_stays_one_module() -> None:
    shared = WellKnown(16)
    network = stirred(nn.ModuleDict({"first": nn.Sequential(shared), "second": nn.Sequential(shared, WellKnown(16))}))
    adopted, adoption = adopt(network)
    assert adoption.replaced == ("first.0", "second.1")
    assert adopted["first"][0] is adopted["second"][0]
    assert adopted["second"][1] is not adopted["first"][0]
    for branch in ("first", "second"):
        torch.testing.assert_close(
            run(adopted[branch], features()), run(network[branch], features()), rtol=0, atol=TOLERANCE
        )


def test_the_module_may_be_the_network() -> None:
    network = stirred(WellKnown(16))
    adopted, adoption = adopt(network)
    assert isinstance(adopted, PackedCrissCross)
    assert adoption.replaced == ("WellKnown",)
    torch.testing.assert_close(run(adopted, features()), run(network, features()), rtol=0, atol=TOLERANCE)
    assert list(adopt(CountsItselfTwice(16))[1].refused) == ["CountsItselfTwice"]


def test_a_look_alike_beside_a_true_one_is_left() -> None:
    network = stirred(nn.Sequential(PositionAttention(16), nn.Sequential(WellKnown(16)), ScaledEnergies(16)))
    adopted, adoption = adopt(network)
    assert adoption.replaced == ("1.0",)
    assert list(adoption.refused) == ["0", "2"]
    assert packed_modules(adopted) == ["1.0"]
    torch.testing.assert_close(run(adopted, features()), run(network, features()), rtol=0, atol=TOLERANCE)


def test_convolutions_with_parametrised_weights_are_packed_as_they_compute() -> None:
    module = WellKnown(16)
    nn.utils.parametrizations.weight_norm(module.value_conv)
    network = stirred(nn.Sequential(module))
    adopted, adoption = adopt(network)
    assert adoption.replaced == ("0",)
    torch.testing.assert_close(run(adopted, features()), run(network, features()), rtol=0, atol=TOLERANCE)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_network_that_cannot_be_copied_is_told() -> None:
    module = WellKnown(16)
    nn.utils.weight_norm(module.value_conv)
    with pytest.raises(ModelError, match="The network cannot be copied") as caught:
        adopt(nn.Sequential(module))
    assert "remove_weight_norm" in caught.value.remedy


def test_networks_without_criss_cross_are_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MultiheadAttention(8, 2))
    assert adopt(network)[1] == Adoption()
