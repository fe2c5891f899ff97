"""A run written down: each layer, each function outside of layers, on what they ran, how large their values were."""

from __future__ import annotations

import copy

import pytest
import torch
import user_networks
from networks import CountsItselfTwice, UserNet, infinite_diagonal, stirred
from torch import nn

from ccdeploy.ccnet.adopt import adopt
from ccdeploy.ranges.steps import measured, run_of

PICTURE = torch.randn(1, 3, 33, 41, generator=torch.Generator().manual_seed(2))


def test_each_layer_and_function_is_a_step_with_its_sources() -> None:
    network, _ = adopt(stirred(UserNet()))
    run, output = run_of(network, PICTURE)
    assert [(step.place, step.function) for step in run] == [
        *(("down.0", ""), ("down.1", ""), ("down.2", "relu")),
        *(("down.3", ""), ("down.4", ""), ("down.5", "relu")),
        *(("down.6", ""), ("down.7", ""), ("down.8", "relu")),
        *(("context", ""), ("context", ""), ("predict", ""), ("", "interpolate")),
    ]
    assert [step.inputs for step in run] == [(), *((number,) for number in range(len(run) - 1))], "in place or not"
    assert run[-1].largest == float(output.abs().max())
    with torch.no_grad():
        assert run[0].largest == float(network.down[0](PICTURE).abs().max())
    assert all(step.finite for step in run)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.conv(x))
        return torch.cat([y + x, self.conv(y)], dim=1)


def test_sources_are_those_of_the_values_and_not_of_their_order() -> None:
    run, _ = run_of(stirred(Residual()), PICTURE)
    assert [step.kind for step in run] == [
        ("conv", "", ()),
        ("relu", "relu", (0,)),
        ("", "add", (1,)),
        ("conv", "", (1,)),
        ("", "cat", (2, 3)),
    ]


class Inside(nn.Module):
    """A norm of the user's own: squares overflow long before its output does."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / (x * x).mean(dim=1, keepdim=True).sqrt() * self.weight


def test_values_made_inside_a_layer_count_for_it() -> None:
    x = PICTURE * 1000
    (step,), output = run_of(Inside(), x)
    assert step.place == ""
    assert step.largest == float((x * x).max())
    assert step.largest > 1000 * float(output.abs().max())


def test_criss_cross_counts_its_projection_and_not_its_energies() -> None:
    module, _ = adopt(stirred(UserNet()).context)
    x = torch.randn(1, 16, 5, 7)
    with torch.no_grad():
        module.qkv_conv.weight[:4] *= 1000
        module.qkv_conv.bias[:4] = 0
        qkv = float(module.qkv_conv(x).abs().max())
    (step,), output = run_of(module, x)
    assert step.largest == qkv > 100 * float(output.abs().max())


def test_infinite_masks_leave_the_finite_values_to_be_seen() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * 2).masked_fill(x > 0, float("-inf"))

    run, _ = run_of(Masked(), PICTURE)
    assert [step.finite for step in run if step.function in ("mul", "masked_fill")] == [True, False]
    assert run[-1].largest == 2 * float(-PICTURE.min())


def test_values_that_are_no_numbers_are_seen() -> None:
    network = stirred(UserNet())
    network.predict.bias.data[0] = float("nan")
    run, _ = run_of(adopt(network)[0], PICTURE)
    assert [step.place for step in run if not step.finite] == ["predict", ""]


def test_the_network_is_left_as_it_was_even_if_it_raises() -> None:
    network = stirred(UserNet())
    run_of(adopt(network)[0], PICTURE)
    broken = user_networks.Breaks()
    with pytest.raises(RuntimeError, match="no such luck"):
        run_of(broken, PICTURE)
    for seen in (network, broken):
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in seen.modules())


def test_runs_of_the_same_steps_are_one_of_the_largest_values() -> None:
    network = stirred(Residual())
    (together,) = measured(network, [PICTURE, PICTURE * 3, -PICTURE])
    alone = [run_of(network, x)[0] for x in (PICTURE, PICTURE * 3, -PICTURE)]
    assert [step.largest for step in together] == [max(run[n].largest for run in alone) for n in range(len(together))]


def test_a_network_that_branches_has_a_run_for_each_way() -> None:
    class Ways(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2 if float(x.sum()) > 0 else x + 5

    runs = measured(Ways(), [torch.ones(1, 3, 2, 2), -torch.ones(1, 3, 2, 2), torch.ones(1, 3, 2, 2)])
    assert [run[-1].function for run in runs] == ["mul", "add"]


def test_conditions_of_the_graph_are_functions() -> None:
    network, _ = adopt(stirred(user_networks.Branches()))
    run, output = run_of(network, PICTURE)
    assert run[-1].function == "cond"
    assert run[-1].largest == float(output.abs().max())


class Pasted(CountsItselfTwice):
    """No criss-cross attention, so that it stays in a deployed network, with its `.cuda()`."""

    mask = staticmethod(lambda batch, height, width: 0 * infinite_diagonal(batch, height, width).nan_to_num())


def test_modules_with_cuda_calls_run_without_cuda() -> None:
    network = stirred(nn.Sequential(Pasted(16)))
    run, _ = run_of(copy.deepcopy(network), torch.randn(1, 16, 5, 6))
    assert {"0.query_conv", "0.key_conv", "0.value_conv", "0"} <= {step.place for step in run}
