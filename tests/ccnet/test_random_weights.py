"""Random weights make a network that behaves like a trained one, the same from the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from networks import UserNet, WithScale, run
from published import Size
from small import small_card
from torch import nn

from ccdeploy.ccnet.criss_cross import BareCrissCross, CrissCrossAttention
from ccdeploy.ccnet.loading import load_card_model
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.ccnet.random_weights import draw_weights

SEED = 3
every_network = pytest.mark.parametrize(
    ("variant", "depth"), [(variant, depth) for variant in ("official", "mmsegmentation") for depth in (18, 50)]
)


def drawn(variant: str, depth: int, recurrence: int = 2) -> tuple[nn.Module, torch.Tensor]:
    """A network from a seed, and a picture that it was not settled on."""
    card = small_card(variant, Size(depth=depth), recurrence)
    network = load_card_model(card, None, SEED, None).network
    return network, torch.from_numpy(noise_batch(card, 1, 81, 113, seed=99))


@contextmanager
def watched(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[list[tuple[str, torch.Tensor]]]:
    """Names and outputs of every call of the modules of these kinds, in order."""
    calls: list[tuple[str, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _, __, output, name=name: calls.append((name, output)))
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def draw(network: nn.Module, seed: int, channels: int) -> None:
    with CudaStaysOnCpu():
        draw_weights(network, seed, torch.randn(2, channels, 33, 33, generator=torch.Generator().manual_seed(1)))


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.square().mean().sqrt())


@every_network
def test_activations_keep_their_scale_at_every_layer(variant: str, depth: int) -> None:
    network, picture = drawn(variant, depth)
    with watched(network, (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, CrissCrossAttention)) as calls:
        logits = run(network, picture)
    assert len(calls) > 3 * depth - 20
    unsettled = {name: rms(output) for name, output in calls if not 1e-2 <= rms(output) <= 1e2}
    assert {name for name in unsettled if not name.startswith("backbone.stem.0")} == set()
    assert 1e-2 <= rms(logits) <= 1e2


def energies(module: CrissCrossAttention, x: torch.Tensor) -> torch.Tensor:
    """[B, H, W, H + W], with the pixel itself masked in its column."""
    query, key = module.query_conv(x), module.key_conv(x)
    itself = torch.eye(x.shape[2], dtype=torch.bool)[:, None, :]
    column = torch.einsum("bchw,bcgw->bhwg", query, key).masked_fill(itself, float("-inf"))
    return torch.cat([column, torch.einsum("bchw,bchg->bhwg", query, key)], dim=-1)


@every_network
@pytest.mark.parametrize("recurrence", [1, 2, 3])
@torch.no_grad()
def test_attention_is_neither_flat_nor_one_hot(variant: str, depth: int, recurrence: int) -> None:
    network, picture = drawn(variant, depth, recurrence)
    module = network.head.cca
    inputs: list[torch.Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    run(network, picture)
    handle.remove()
    assert len(inputs) == recurrence
    for x in inputs:
        attention = energies(module, x).softmax(-1)
        even = 1 / (x.shape[2] + x.shape[3] - 1)
        strongest = attention.amax(-1).mean().item()
        assert 1.5 * even < strongest < 0.9
        change = rms(module(x) - x) / rms(x)
        assert 0.02 < change < 2, "criss-cross neither does nothing nor drowns its input"


@pytest.mark.parametrize("make", [lambda: BareCrissCross(16, 2, 1), lambda: nn.Sequential(WithScale(16)), UserNet])
def test_gamma_is_not_zero_under_any_name(make: Callable[[], nn.Module]) -> None:
    network = make()
    draw(network, SEED, 3 if isinstance(network, UserNet) else 16)
    gammas = [parameter.item() for name, parameter in network.named_parameters() if "gamma" in name]
    assert gammas == [0.75]


def test_the_same_seed_gives_the_same_weights() -> None:
    networks = [UserNet() for _ in range(3)]
    for network, seed in zip(networks, (SEED, SEED, SEED + 1), strict=True):
        torch.manual_seed(0 if seed == SEED else 1)  # PyTorch's own generator has no part in it
        draw(network, seed, 3)
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["down.0.weight"], other["down.0.weight"])


def test_every_norm_has_statistics_of_its_own() -> None:
    """Norms that are the identity would hide a wrong fold."""
    network, _ = drawn("official", 18)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                assert tensor.std() > 0
            assert module.running_var.min() > 0


class SharedNorm(nn.Module):
    """One norm, used twice on inputs of large scale."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(64 * self.conv(self.norm(64 * x)))


def test_a_norm_used_twice_is_settled_once() -> None:
    network = SharedNorm()
    draw(network, SEED, 8)
    assert 0.3 < rms(run(network, torch.randn(2, 8, 9, 9, generator=torch.Generator().manual_seed(2)))) < 3
