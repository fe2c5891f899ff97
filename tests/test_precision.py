"""What a float type cannot hold is named: weights are refused, layers listed."""

from __future__ import annotations

import pytest
import torch
from networks import CountsItselfTwice, UserNet, infinite_diagonal, stirred
from torch import nn

from ccdeploy.errors import ModelError
from ccdeploy.precision import PRECISIONS, check_activations, check_weights, torch_type


@pytest.fixture
def network() -> nn.Module:
    return stirred(UserNet())


def test_weights_in_range_pass(network: nn.Module) -> None:
    network.predict.bias.data[0] = 65504.0
    for precision in PRECISIONS:
        check_weights(network, precision)


@pytest.mark.parametrize("name", ["context.value_conv.weight", "down.1.running_var"])
def test_weights_out_of_range_are_named_with_value_and_limit(network: nn.Module, name: str) -> None:
    network.state_dict()[name].flatten()[1] = -70000.0
    with pytest.raises(ModelError) as caught:
        check_weights(network, "fp16")
    assert caught.value.what == f"{name} holds 7e+04, the largest fp16 value is 65504."
    assert "bf16" in caught.value.remedy
    check_weights(network, "bf16")


def test_counters_and_empty_tensors_are_no_weights(network: nn.Module) -> None:
    network.register_buffer("steps", torch.tensor(10**9))
    network.register_buffer("nothing", torch.ones(0))
    check_weights(network, "fp16")


def test_layers_that_overflow_are_named_in_their_order(network: nn.Module) -> None:
    network.down[4].weight.data[:] *= 1e6
    network.predict.weight.data[:] *= 1e6
    found = check_activations(network, torch.randn(1, 3, 33, 33), "fp16")
    names = [layer.layer for layer in found]
    assert names.index("down.4") < names.index("predict")
    assert "down.3" not in names
    assert all(layer.largest > layer.limit == 65504 for layer in found)
    assert str(found[0]).startswith("down.4: values up to ")
    assert str(found[0]).endswith(", the largest is 65504")
    assert check_activations(network, torch.randn(1, 3, 33, 33), "bf16") == []


def test_values_that_are_no_numbers_are_found_too(network: nn.Module) -> None:
    network.predict.bias.data[0] = float("nan")
    assert [layer.layer for layer in check_activations(network, torch.randn(1, 3, 33, 33), "fp16")] == ["predict"]


def test_the_network_is_left_without_hooks(network: nn.Module) -> None:
    check_activations(network, torch.randn(1, 3, 33, 33), "fp16")
    assert not any(module._forward_hooks for module in network.modules())


class Pasted(CountsItselfTwice):
    """No criss-cross attention, so that it stays in a deployed network, with its `.cuda()`."""

    mask = staticmethod(lambda batch, height, width: 0 * infinite_diagonal(batch, height, width).nan_to_num())


def test_modules_with_cuda_calls_are_looked_at_without_cuda() -> None:
    network = stirred(nn.Sequential(Pasted(16)))
    assert check_activations(network, torch.randn(1, 16, 5, 6), "fp16") == []


def test_types_are_pytorchs() -> None:
    assert [torch_type(precision) for precision in PRECISIONS] == [torch.float32, torch.float16, torch.bfloat16]
