"""Powers of two move between two layers and not one bit of the output changes; where one could, nothing moves."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import UserNet, run, stirred
from torch import nn
from torch.nn import functional

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.mixed import NOTHING_KEPT, keeping
from ccdeploy.ranges.activations import extremes
from ccdeploy.ranges.rescale import Rescaling, rescale
from ccdeploy.ranges.steps import Run, measured
from ccdeploy.ranges.weights import too_large, too_small

PICTURE = torch.randn(1, 3, 17, 23, generator=torch.Generator().manual_seed(2))


class Chain(nn.Module):
    """Two convolutions with what a test puts between them; bias on both."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.two(self.between(self.one(x))))

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x)

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return x


def loud(network: nn.Module, factor: float = 3e5) -> nn.Module:
    """The first layer gives values that float16 does not hold, the second makes up for it."""
    network = stirred(network)
    with torch.no_grad():
        network.one.weight.mul_(factor)
        network.one.bias.mul_(factor)
        network.two.weight.div_(factor)
    return network


def rescaled(network: nn.Module, *kept: str) -> tuple[list[Rescaling], list[Run]]:
    runs = measured(network, [PICTURE])
    return rescale(network, runs, keeping(network, kept), "fp16", PICTURE)


class Leaky(Chain):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.max_pool2d(functional.leaky_relu(x, 0.1), 3, 2, ceil_mode=True)


class InPlace(Chain):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(functional.relu(x, inplace=True), training=self.training)


class Resized(Chain):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, size=(9, 9), mode="bilinear", align_corners=True)


class Direct(Chain):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.parametrize("make", [Chain, Leaky, InPlace, Resized, Direct])
def test_rescaling_changes_no_bit_and_brings_all_in_range(make: type[Chain]) -> None:
    network = loud(make())
    before, weights = run(network, PICTURE), copy.deepcopy(network.state_dict())
    runs = measured(network, [PICTURE])
    assert extremes(runs, NOTHING_KEPT, "fp16")
    changes, after = rescaled(network)
    (change,) = changes
    assert (change.first, change.second) == ("one", "two")
    assert change.exponent >= 3
    assert torch.equal(run(network, PICTURE), before)
    power = 2.0**change.exponent
    assert torch.equal(network.one.weight * power, weights["one.weight"])
    assert torch.equal(network.one.bias * power, weights["one.bias"])
    assert torch.equal(network.two.weight, weights["two.weight"] * power)
    assert torch.equal(network.two.bias, weights["two.bias"])
    assert extremes(after, NOTHING_KEPT, "fp16", headroom=2) == []
    assert after == measured(network, [PICTURE]), "told as a new measurement would tell it"
    assert too_large(network, NOTHING_KEPT, "fp16") == too_small(network, NOTHING_KEPT, PICTURE, "fp16") == []


def test_weights_that_overflow_are_rescaled_too() -> None:
    network = loud(Chain(), 4096.0)
    network.one.weight.data[2] *= 200
    network.two.weight.data[:, 2] /= 200
    assert too_large(network, NOTHING_KEPT, "fp16")
    changes, _ = rescaled(network)
    assert len(changes) == 1
    assert too_large(network, NOTHING_KEPT, "fp16") == []


@pytest.mark.parametrize("factor", [1e-5, 1e4])
def test_weights_that_underflow_meet_those_of_the_next_layer_halfway(factor: float) -> None:
    network = loud(Chain(), factor)
    before = run(network, PICTURE)
    assert extremes(measured(network, [PICTURE]), NOTHING_KEPT, "fp16") == []
    assert too_small(network, NOTHING_KEPT, PICTURE, "fp16")
    changes, after = rescaled(network)
    assert [change.exponent > 0 for change in changes] == [factor > 1]
    assert torch.equal(run(network, PICTURE), before)
    assert too_small(network, NOTHING_KEPT, PICTURE, "fp16") == []
    assert extremes(after, NOTHING_KEPT, "fp16", headroom=2) == []


def test_what_is_in_range_is_left_alone() -> None:
    network = stirred(Chain())
    before = copy.deepcopy(network.state_dict())
    assert rescaled(network)[0] == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


class Shifted(Chain):
    """One is added between the two."""

    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(x + 1)


class Curved(Chain):
    def between(self, x: torch.Tensor) -> torch.Tensor:
        return functional.silu(x)


class SeenElsewhere(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.one(x))
        return torch.cat([self.two(y), y], dim=1)


class UsedTwice(Chain):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(functional.relu(self.one(x))) + self.two(functional.relu(self.one(x * 2)))


class ThroughData(Chain):
    """The values reach the output by a way that no run shows."""

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.peak

    def between(self, x: torch.Tensor) -> torch.Tensor:
        self.peak = float(x.max())
        return functional.relu(x)


class Tied(Chain):
    """The first weights are used elsewhere too."""

    def end(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.one.weight.mean()


@pytest.mark.parametrize("make", [Shifted, Curved, SeenElsewhere, UsedTwice, ThroughData, Tied])
def test_layers_that_are_not_private_to_one_another_are_left_alone(make: type[Chain]) -> None:
    network = loud(make())
    before = copy.deepcopy(network.state_dict())
    changes, runs = rescaled(network)
    assert changes == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert extremes(runs, NOTHING_KEPT, "fp16"), "and still told"


@pytest.mark.parametrize("kept", ["one", "two"])
def test_kept_layers_are_left_alone(kept: str) -> None:
    assert rescaled(loud(Chain()), kept)[0] == []


def test_a_second_layer_without_room_is_left_alone() -> None:
    network = loud(Chain())
    network.two.weight.data.mul_(30000 / float(network.two.weight.detach().abs().max()))
    assert rescaled(network)[0] == []


class Staged(nn.Module):
    """The output of its backbone is a stage that a verification compares."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU()))
        self.two = nn.Conv2d(16, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.two(self.get_submodule(self.name)(x))
        return y


@pytest.mark.parametrize(("name", "count"), [("backbone", 0), ("body", 1)])
def test_values_of_a_stage_stay_as_they_are(name: str, count: int) -> None:
    network = stirred(Staged(name))
    with torch.no_grad():
        network.get_submodule(f"{name}.0").weight.mul_(1e5)
    assert extremes(measured(network, [PICTURE]), NOTHING_KEPT, "fp16")
    assert len(rescaled(network)[0]) == count


def test_several_pairs_in_a_row_are_rescaled_one_after_the_other() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    network = stirred(network)
    with torch.no_grad():
        for layer, factor in ((network[0], 3e5), (network[4], 1 / 3e5)):
            layer.weight.mul_(factor)
        network[0].bias.mul_(3e5)
        network[2].bias.mul_(3e5)
    before = run(network, PICTURE)
    changes, after = rescaled(network)
    assert [(change.first, change.second) for change in changes] == [("0", "2"), ("2", "4")]
    assert str(changes[0]) == f"0 by 2^-{changes[0].exponent}, 2 by 2^{changes[0].exponent}"
    assert torch.equal(run(network, PICTURE), before)
    assert extremes(after, NOTHING_KEPT, "fp16") == []
    assert after == measured(network, [PICTURE])


def test_a_criss_cross_module_is_never_half_of_a_pair() -> None:
    network, _ = adopt(stirred(UserNet()))
    with torch.no_grad():
        network.context.qkv_conv.weight.mul_(1e6)
    assert rescaled(network)[0] == []
