"""Layers kept in float32: named by pattern, wide until the next 16-bit weights, and exact on the way there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from networks import UserNet, run, stirred
from torch import nn

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.ccnet.criss_cross import PackedCrissCross
from ccdeploy.errors import UsageError
from ccdeploy.mixed import NOTHING_KEPT, keeping, layers, matching, to_type

PICTURE = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def network() -> nn.Module:
    return adopt(stirred(UserNet()))[0]


def types_seen(network: nn.Module, x: torch.Tensor) -> dict[str, tuple[torch.dtype, torch.dtype]]:
    """What each module that computes took (after casts) and gave."""
    seen: dict[str, Any] = {}
    handles = []
    for name, module in network.named_modules():

        def saw(module: nn.Module, args: Any, output: torch.Tensor, name: str = name) -> None:
            seen[name] = (args[0].dtype, output.dtype)

        handles.append(module.register_forward_hook(saw))
    run(network, x)
    for handle in handles:
        handle.remove()
    return seen


def test_layers_have_weights_and_no_children(network: nn.Module) -> None:
    steps = [f"down.{number}" for number in (0, 1, 3, 4, 6, 7)]
    assert list(layers(network)) == [*steps, "context", "predict"]
    assert isinstance(layers(network)["context"], PackedCrissCross)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["predict"], ["predict"]),
        (["down.[36]"], ["down.3", "down.6"]),
        (["down*"], ["down"]),
        (["down.?"], [f"down.{number}" for number in (0, 1, 3, 4, 6, 7)]),
        (["predict", "down.0", "pre*"], ["down.0", "predict"]),
        (["context.qkv_conv"], ["context"]),
        (["con*"], ["context"]),
        (["down.3", "down"], ["down"]),
    ],
)
def test_patterns_name_the_outermost_modules(network: nn.Module, patterns: list[str], names: list[str]) -> None:
    kept = matching(network, patterns)
    assert list(kept.names) == names
    assert {name for name in kept.modules if name in names} == set(names)
    inside = [name for name, _ in network.named_modules() if any(name.startswith(f"{outer}.") for outer in names)]
    assert kept.modules == {*names, *inside}


@pytest.mark.parametrize(
    ("pattern", "what", "remedy"),
    [
        ("predic", "no module of the network has such a path", "Near it: predict"),
        ("DOWN.0", "no module of the network has such a path", "Its paths look like down.7, context, predict."),
        ("down.2", "down.2 has no weights", "Name the layer with weights before it."),
        ("", "no module", "paths look like"),
        ("*", "names every layer", "--precision fp32"),
    ],
)
def test_patterns_that_name_nothing_are_told(network: nn.Module, pattern: str, what: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        matching(network, ["predict", pattern])
    assert what in caught.value.what
    assert pattern in caught.value.what or pattern == "*"
    assert remedy in caught.value.remedy


def test_no_pattern_keeps_nothing(network: nn.Module) -> None:
    assert matching(network, []) == NOTHING_KEPT


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_kept_values_stay_float32_until_the_next_weights(network: nn.Module, dtype: torch.dtype) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    to_type(network, matching(network, ["down.3", "predict"]), dtype)
    seen = types_seen(network, PICTURE.to(dtype))
    wide = torch.float32
    assert seen["down.0"] == (dtype, dtype)
    assert seen["down.3"] == (wide, wide)
    assert seen["down.4"] == (dtype, dtype), "the norm has weights of its own"
    assert seen["context"] == (dtype, dtype)
    assert seen["predict"] == (wide, wide)
    assert seen[""][1] == wide, "logits are enlarged in the type that reaches them"
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            assert tensor.dtype == (wide if name.startswith(("down.3.", "predict.")) else dtype), name
    assert torch.equal(network.down[3].weight, before["down.3.weight"]), "not by way of 16 bits"


def test_kept_criss_cross_takes_and_gives_float32_in_every_pass(network: nn.Module) -> None:
    wide = to_type(copy.deepcopy(network), matching(network, ["context"]), torch.float16)
    seen = types_seen(wide, PICTURE.half())
    assert seen["context"] == seen["context.qkv_conv"] == (torch.float32, torch.float32)
    assert seen["predict"] == (torch.float16, torch.float16)
    expected = run(network, PICTURE)
    assert float((run(wide, PICTURE.half()).float() - expected).norm() / expected.norm()) < 5e-3


class Sum(nn.Module):
    """A sum of two convolutions, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.relu, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.relu(self.one(x) + self.two(x)))
        return y


@pytest.mark.parametrize(("kept", "finite"), [("one", True), ("two", True), ("last", False)])
def test_a_sum_of_large_values_holds_where_an_operand_is_kept(kept: str, finite: bool) -> None:
    """Each operand fits float16, their sum does not; the layer after it takes it from float32 where it is kept too."""
    network = stirred(Sum())
    with torch.no_grad():
        for conv in (network.one, network.two):
            conv.weight.zero_()
            conv.bias.fill_(40000.0)
        network.last.weight.mul_(1e-4)
    expected = run(network, PICTURE)
    mixed = to_type(copy.deepcopy(network), keeping(network, {kept, "last"}), torch.float16)
    output = run(mixed, PICTURE.half())
    assert bool(output.isfinite().all()) == finite
    assert not finite or torch.allclose(output, expected, rtol=5e-3)


def test_keyword_arguments_are_cast_too() -> None:
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.two(input=self.one(input=x))
            return y

    network = Keyword()
    mixed = to_type(network, keeping(network, {"one"}), torch.bfloat16)
    assert mixed(PICTURE.bfloat16()).dtype == torch.bfloat16


class SharedConv(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        self.second = nn.Sequential(self.first[0], nn.Conv2d(3, 3, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(self.first(x))
        return y


def test_a_shared_layer_is_kept_under_each_of_its_names() -> None:
    for pattern in ("first.0", "second.0"):
        network = SharedConv()
        kept = matching(network, [pattern])
        assert kept.names == ("first.0",)
        mixed = to_type(network, kept, torch.float16)
        assert {mixed.first[0].weight.dtype, mixed.second[0].weight.dtype} == {torch.float32}
        assert mixed(PICTURE.half()).dtype == torch.float16
