"""Values beyond a float type are named by their layer; the layers named as the fix are those that are needed."""

from __future__ import annotations

import pytest
import torch
from networks import stirred
from torch import nn

from ccdeploy.mixed import NOTHING_KEPT, keeping
from ccdeploy.ranges.activations import Extreme, by_module, extremes, smallest_set
from ccdeploy.ranges.steps import Run, Step, measured

LIMIT = 65504.0


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.relu(self.conv2(self.relu(self.conv1(x))) + x)
        return y


class Net(nn.Module):
    """A stem, two residual blocks, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.blocks = nn.Sequential(Block(), Block())
        self.last = nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.blocks(self.stem(x)))
        return y


PLACES = ["stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.conv1", "blocks.1.conv2", "last"]


def net(**outputs: float) -> tuple[Net, list[Run]]:
    """The network, each convolution giving one value alone: 1 unless told (dots are double underscores)."""
    network = stirred(Net())
    with torch.no_grad():
        for place in PLACES:
            conv = network.get_submodule(place)
            conv.weight.zero_()
            conv.bias.fill_(outputs.get(place.replace(".", "__"), 1.0))
    return network, measured(network, [torch.randn(1, 3, 4, 5)])


def names(found: list[Extreme]) -> list[tuple[str, str]]:
    return [(extreme.place, extreme.function) for extreme in found]


def test_nothing_is_said_of_values_in_range() -> None:
    _, runs = net(blocks__0__conv1=LIMIT, stem=60000.0)
    assert extremes(runs, NOTHING_KEPT, "fp16") == []


def test_layers_that_overflow_are_named_in_their_order_with_value_and_limit() -> None:
    _, runs = net(last=-70000.0, blocks__0__conv1=131008.0)
    found = extremes(runs, NOTHING_KEPT, "fp16")
    assert names(found) == [("blocks.0.conv1", ""), ("last", "")], "ReLU only passes on what reached it"
    assert str(found[0]) == "blocks.0.conv1: values up to 1.31e+05, the largest is 65504"
    assert found[0].headroom == pytest.approx(-1)
    assert extremes(runs, NOTHING_KEPT, "bf16") == []


def test_a_sum_that_overflows_is_named_with_its_module() -> None:
    _, runs = net(stem=40000.0, blocks__0__conv2=40000.0)
    (sum_,) = extremes(runs, NOTHING_KEPT, "fp16")[:1]
    assert (sum_.place, sum_.function, sum_.largest) == ("blocks.0", "add", 80000.0)
    assert str(sum_).startswith("blocks.0 (add): values up to 8e+04")


def test_near_is_by_powers_of_two() -> None:
    _, runs = net(last=LIMIT / 4 + 1, stem=LIMIT / 8)
    assert names(extremes(runs, NOTHING_KEPT, "fp16", headroom=2)) == [("last", "")]
    assert extremes(runs, NOTHING_KEPT, "fp16", headroom=1.9) == []


def test_kept_layers_are_not_looked_at_but_who_takes_their_values_is() -> None:
    network, runs = net(blocks__0__conv1=1e5)
    kept = keeping(network, ["blocks.0.conv1"])
    assert names(extremes(runs, kept, "fp16")) == [("blocks.0.conv2", "")]
    assert extremes(runs, keeping(network, ["blocks.0"]), "fp16") == []
    assert extremes(runs, keeping(network, ["blocks.0.conv1", "blocks.0.conv2"]), "fp16") == []


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({}, ()),
        ({"last": 1e5}, ("last",)),
        ({"blocks__0__conv1": 1e5}, ("blocks.0",)),
        ({"blocks__0__conv1": -1e5}, ("blocks.0.conv1",)),  # ReLU leaves nothing of it
        ({"stem": 1e5}, ("stem", "blocks.0.conv1", "blocks.1.conv1", "last")),  # along the shortcuts to the end
        ({"stem": 4e4, "blocks__0__conv2": 4e4}, ("stem", "blocks.0", "blocks.1.conv1", "last")),
        ({"blocks__1__conv2": 1e5}, ("blocks.1.conv2", "last")),
    ],
)
def test_smallest_set(outputs: dict[str, float], expected: tuple[str, ...]) -> None:
    network, runs = net(**outputs)
    assert smallest_set(network, runs, NOTHING_KEPT, "fp16") == expected


@pytest.mark.parametrize("seed", range(12))
def test_the_set_holds_and_none_of_it_can_be_left_out(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(PLACES), generator=generator).mul(2).exp().mul(12000)
    outputs = {place.replace(".", "__"): float(value) for place, value in zip(PLACES, values, strict=True)}
    network, runs = net(**outputs)
    found = smallest_set(network, runs, NOTHING_KEPT, "fp16")
    assert found is not None
    single = [place for place in PLACES if any(place == name or place.startswith(f"{name}.") for name in found)]
    near = extremes(runs, keeping(network, single), "fp16", headroom=1)
    assert near == [], "with a factor of two to spare"
    for place in single:
        assert extremes(runs, keeping(network, [p for p in single if p != place]), "fp16", headroom=1)


def test_layers_kept_already_are_not_named_again() -> None:
    network, runs = net(blocks__1__conv2=1e5)
    assert smallest_set(network, runs, keeping(network, ["last"]), "fp16") == ("blocks.1.conv2",)
    assert smallest_set(network, runs, keeping(network, ["blocks.1", "last"]), "fp16") == ()


def test_values_that_no_layer_gave_have_no_set() -> None:
    class Louder(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x * 1e5)

    network = stirred(Louder())
    runs = measured(network, [torch.randn(1, 3, 4, 5)])
    assert smallest_set(network, runs, NOTHING_KEPT, "fp16") is None


def test_values_that_are_not_finite_are_told_as_such() -> None:
    _, runs = net(last=float("nan"))
    (found,) = extremes(runs, NOTHING_KEPT, "bf16")
    assert str(found) == "last: values that are not finite in float32 already"
    mask = (Step("", "masked_fill", (), 3.0, finite=False),)
    assert extremes([mask], NOTHING_KEPT, "fp16") == [], "a function may make a mask of infinities"


def test_all_layers_of_a_module_are_named_by_it() -> None:
    network, _ = net()
    assert by_module(network, PLACES[1:5]) == ("blocks",)
    assert by_module(network, ["last", "blocks.0.conv2", "blocks.0.conv1"]) == ("blocks.0", "last")
    assert by_module(network, ["stem"]) == ("stem",)
    assert by_module(network, PLACES) == ("stem", "blocks", "last"), "the whole network is no pattern"
