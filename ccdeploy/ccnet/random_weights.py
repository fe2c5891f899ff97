"""Random weights under which a network behaves like a trained one, for trying a deployment without a checkpoint.

Freshly initialised CCNets prove nothing: gamma is 0 (criss-cross is the identity), every norm is the identity, and
in a deep network activations vanish or explode. Here every norm has statistics, scale and shift of its own, energies
spread over a few units so that attention is neither flat nor one-hot, gamma is about 1, and activations keep
their scale from the picture to the logits.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

GAMMA = 0.75
ENERGY_SPREAD = 2.0
"""Standard deviation that energies are given, in units of the softmax's exponent."""


@torch.no_grad()
def draw_weights(network: nn.Module, seed: int, probe: torch.Tensor) -> None:
    """Draws all convolutions, linear layers, batch norms and criss-cross gammas of a network from one seed.

    The same seed gives the same weights on every machine: draws are NumPy's, and the one measured thing, each
    layer's scale on the probe, is rounded to a power of two.

    Args:
        network: changed in place; left in evaluation mode.
        seed: of all draws.
        probe: the input that scales are measured on, as the network takes it [B, channels, H, W].
    """
    generator = np.random.default_rng(seed)

    def normal(tensor: torch.Tensor, mean: float, spread: float) -> None:
        values = generator.standard_normal(tuple(tensor.shape), dtype=np.float32)
        tensor.copy_(torch.from_numpy(np.atleast_1d(values).reshape(tensor.shape)) * spread + mean)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            normal(module.weight, 0.0, 1 / math.sqrt(module.weight[0].numel()))
            if module.bias is not None:
                normal(module.bias, 0.0, 0.1)
        elif isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            normal(module.running_mean, 0.0, 0.1)
            normal(module.running_var, 0.0, 0.2)
            module.running_var.abs_().add_(0.8)
            if module.affine:
                normal(module.weight, 0.9, 0.15)
                normal(module.bias, 0.0, 0.1)
    for name, parameter in network.named_parameters():
        if name.split(".")[-1] == "gamma" or name.endswith("gamma.scale"):
            parameter.fill_(GAMMA)
    _settle_scales(network.eval(), probe)


def _settle_scales(network: nn.Module, probe: torch.Tensor) -> None:
    """Runs the probe once; each norm's statistics, and each query and key projection, adopt the scale they meet."""
    handles = []
    settled: set[nn.Module] = set()

    def norm_meets(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if module in settled:  # used more than once
            return
        settled.add(module)
        scale = _power_of_two(inputs[0])
        assert isinstance(module, nn.BatchNorm2d)
        assert module.running_mean is not None
        assert module.running_var is not None
        module.running_mean.mul_(scale)
        module.running_var.mul_(scale * scale)

    def projection_gives(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        assert isinstance(module, nn.Conv2d)
        target = math.sqrt(ENERGY_SPREAD / math.sqrt(module.out_channels))  # spread of a sum of Cq products
        factor = _power_of_two(output / target)
        if factor != 1:
            module.weight.div_(factor)
            if module.bias is not None:
                module.bias.div_(factor)
        return output / factor

    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(norm_meets))
        elif isinstance(module, nn.Conv2d) and name.split(".")[-1] in ("query_conv", "key_conv"):
            handles.append(module.register_forward_hook(projection_gives))
    try:
        network(probe)
    finally:
        for handle in handles:
            handle.remove()


def _power_of_two(values: torch.Tensor) -> float:
    """The power of two nearest to the root mean square; 1 where there is nothing to measure."""
    size = float(values.float().square().mean().sqrt())
    return 2.0 ** round(math.log2(size)) if math.isfinite(size) and size > 0 else 1.0
