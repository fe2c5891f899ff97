"""Weights that overflow are found whatever made them large; weights that underflow only where it shows."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import UserNet, run, stirred
from torch import nn

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.errors import ModelError
from ccdeploy.mixed import NOTHING_KEPT, keeping
from ccdeploy.precision import PRECISIONS
from ccdeploy.ranges.weights import check_numbers, rounding_effect, too_large, too_small

PICTURE = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(2))
SMALLEST_NORMAL = 2.0**-14


@pytest.fixture
def network() -> nn.Module:
    return adopt(stirred(UserNet()))[0]


def relative(y: torch.Tensor, expected: torch.Tensor) -> float:
    return float((y - expected).norm() / expected.norm())


def test_weights_in_range_pass(network: nn.Module) -> None:
    network.predict.bias.data[0] = 65519.0  # rounds down to 65504
    for precision in PRECISIONS:
        assert too_large(network, NOTHING_KEPT, precision) == []


@pytest.mark.parametrize(
    ("module", "tensor"), [("context.qkv_conv", "weight"), ("down.1", "running_var"), ("predict", "bias")]
)
def test_weights_out_of_range_are_found_with_their_value(network: nn.Module, module: str, tensor: str) -> None:
    network.get_submodule(module).state_dict()[tensor].flatten()[1:3] = torch.tensor([-70000.0, 65520.0])
    (found,) = too_large(network, NOTHING_KEPT, "fp16")
    assert (found.module, found.tensor, found.largest) == (module, tensor, 70000.0)
    assert too_large(network, NOTHING_KEPT, "bf16") == []
    assert too_large(network, keeping(network, [module]), "fp16") == []


def test_bfloat16_ends_before_float32_does(network: nn.Module) -> None:
    network.predict.bias.data[0] = torch.finfo(torch.float32).max
    assert [found.module for found in too_large(network, NOTHING_KEPT, "bf16")] == ["predict"]
    assert too_large(network, NOTHING_KEPT, "fp32") == []


def test_counters_empty_tensors_and_masks_are_no_weights(network: nn.Module) -> None:
    network.register_buffer("steps", torch.tensor(10**9))
    network.register_buffer("nothing", torch.ones(0))
    network.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    check_numbers(network)
    assert too_large(network, NOTHING_KEPT, "fp16") == []
    assert too_small(network, NOTHING_KEPT, PICTURE, "fp16") == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("predict.weight", float("nan"), "predict.weight holds 1 values that are not finite (nan)"),
        ("predict.bias", -torch.inf, "predict.bias holds 1 values that are not finite (-inf)"),
        ("down.1.running_mean", float("nan"), "down.1.running_mean holds 1 values"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(network: nn.Module, name: str, value: float, told: str) -> None:
    network.state_dict()[name].flatten()[0] = value
    with pytest.raises(ModelError) as caught:
        check_numbers(network)
    assert caught.value.what.startswith(told)
    assert "damaged" in caught.value.remedy


def test_weights_that_vanish_are_named_with_their_shares_and_effect(network: nn.Module) -> None:
    """A layer that is small and the next that makes up for it: in float32 the network is the same."""
    with torch.no_grad():
        network.down[6].weight.mul_(2.0**-20)
        network.down[7].running_mean.mul_(2.0**-20)
        network.down[7].running_var.mul_(2.0**-40)
        network.down[7].eps *= 2.0**-40
    (small,) = [found for found in too_small(network, NOTHING_KEPT, PICTURE, "fp16") if found.layer == "down.6"]
    assert (small.count, small.energy) == (1.0, 1.0)
    flushed = copy.deepcopy(network)
    flushed.down[6].weight.data.zero_()
    assert small.effect == pytest.approx(relative(run(flushed, PICTURE), run(network, PICTURE)), rel=1e-4)
    assert small.effect > 2**-11
    assert too_small(network, NOTHING_KEPT, PICTURE, "bf16") == []
    kept = keeping(network, ["down.6", "down.7"])
    assert too_small(network, kept, PICTURE, "fp16") == []


def test_shares_are_of_the_weights_that_are_not_0(network: nn.Module) -> None:
    with torch.no_grad():
        network.predict.weight.zero_()
        network.predict.weight[:, :4] = SMALLEST_NORMAL / 2
        network.predict.weight[0, 4] = SMALLEST_NORMAL * 2
        network.predict.bias.zero_()
    (small,) = too_small(network, NOTHING_KEPT, PICTURE, "fp16")
    assert small.layer == "predict"
    assert small.count == pytest.approx(20 / 21)
    assert small.energy == pytest.approx(20 / 4 / (20 / 4 + 4))


def test_a_shut_off_channel_is_no_alarm(network: nn.Module) -> None:
    """Training leaves rows of tiny weights; what they give, the next layer does not make large again."""
    with torch.no_grad():
        network.down[6].weight[3] = 1e-9
        network.down[6].weight[5, :, 0] = 1e-7
        network.down[7].weight[3] = 1e-6
    assert too_small(network, NOTHING_KEPT, PICTURE, "fp16") == []


def test_the_weights_are_left_as_they_were(network: nn.Module) -> None:
    network.predict.weight.data.mul_(1e-6)
    network.predict.bias.data.zero_()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert too_small(network, NOTHING_KEPT, PICTURE, "fp16")
    rounding_effect(network, PICTURE, "bf16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_what_bfloat16_loses_is_measured(network: nn.Module) -> None:
    rounded = copy.deepcopy(network)
    for tensor in [*rounded.parameters(), *rounded.buffers()]:
        if tensor.is_floating_point():
            tensor.data = tensor.data.bfloat16().float()
    expected = relative(run(rounded, PICTURE), run(network, PICTURE))
    assert rounding_effect(network, PICTURE, "bf16") == pytest.approx(expected, rel=1e-5)
    assert rounding_effect(network, PICTURE, "fp16") < expected / 4
    assert rounding_effect(network, PICTURE, "fp32") == 0
