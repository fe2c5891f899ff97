"""Finds criss-cross attention in any network, proves it by running it, and puts the deployable form in its place.

Parameter names alone prove nothing: non-local and DANet modules are named the same, and forks change the mask, the
scale or the softmax. So each candidate computes on random inputs, with redrawn weights and gamma != 0, and must
agree with the operator's definition.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from ccdeploy.ccnet.criss_cross import PackedCrissCross
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.random_weights import ENERGY_SPREAD, GAMMA
from ccdeploy.errors import ModelError

PROJECTIONS = ("query_conv", "key_conv", "value_conv")
PROOF_SIZES = ((2, 5, 7), (1, 6, 4), (1, 1, 3))
"""Batch, height and width of the proof's inputs: neither square nor of one batch entry alone, and a single line."""
PROOF_TOLERANCE = 1e-4
"""Greatest difference in float32 from outputs of unit scale; another attention differs by 0.01 and more."""


@dataclass(frozen=True)
class Adoption:
    """Which modules were replaced, and which look like criss-cross attention and are not."""

    replaced: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    """Module path -> why."""


def adopt(network: nn.Module) -> tuple[nn.Module, Adoption]:
    """A copy of the network in which every proven criss-cross module is a `PackedCrissCross`.

    Modules that only share the parameter names are left as they are, and named.

    Raises:
        ModelError: a network that cannot be copied.
    """
    try:
        network = copy.deepcopy(network)
    except Exception as error:  # a user's module may hold anything
        raise ModelError(
            f"The network cannot be copied ({type(error).__name__}: {' '.join(str(error).split())[:160]}).",
            "Call torch.nn.utils.remove_weight_norm, and detach tensors that its modules keep.",
        ) from error
    proven: dict[int, PackedCrissCross] = {}
    replaced, refused = [], {}
    for name, module in candidates(network):
        if (reason := difference(module)) is not None:
            refused[name or type(module).__name__] = reason
        else:
            proven[id(module)] = _pack(module)
            replaced.append(name or type(module).__name__)
    if id(network) in proven:
        return proven[id(network)], Adoption(tuple(replaced), refused)
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if id(child) in proven:
                parent._modules[name] = proven[id(child)]
    return network, Adoption(tuple(replaced), refused)


def candidates(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that have the well-known parameters, with their paths."""
    for name, module in network.named_modules():
        projects = all(isinstance(getattr(module, part, None), nn.Module) for part in PROJECTIONS)
        if projects and _gamma(module) is not None:
            yield name, module


def difference(module: nn.Module) -> str | None:
    """Why a candidate is not criss-cross attention, or None if it is: it was run and agrees with the definition."""
    for part in PROJECTIONS:
        conv = getattr(module, part)
        if not isinstance(conv, nn.Conv2d) or conv.kernel_size != (1, 1) or conv.stride != (1, 1) or conv.groups != 1:
            return f"{part} is not a plain 1x1 convolution"
    query, key, value = (getattr(module, part) for part in PROJECTIONS)
    if query.out_channels != key.out_channels:
        return f"query_conv gives {query.out_channels} channels and key_conv {key.out_channels}"
    if not query.in_channels == key.in_channels == value.in_channels == value.out_channels:
        return f"value_conv maps {value.in_channels} channels to {value.out_channels}, the same number was expected"
    trial = copy.deepcopy(module).float().cpu().eval()
    generator = torch.Generator().manual_seed(0)
    _redraw(trial, generator)
    packed = _pack(trial)
    for batch, height, width in PROOF_SIZES:
        x = torch.randn(batch, value.in_channels, height, width, generator=generator)
        try:
            with torch.no_grad(), CudaStaysOnCpu():
                y = trial(x)
        except Exception as error:  # a user's code may raise anything
            cause = str(error).strip().splitlines() or [type(error).__name__]
            return f"it does not run on a {list(x.shape)} tensor ({cause[0]})"
        if not isinstance(y, torch.Tensor) or y.shape != x.shape:
            seen = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
            return f"it returns {seen} for {list(x.shape)}"
        with torch.no_grad():
            gap = float((y - packed(x)).abs().max())
        if not gap <= PROOF_TOLERANCE:
            limits = f"{gap:.2g} at {height}x{width}, {PROOF_TOLERANCE:g} at most was expected"
            return f"it computes something else (differs by up to {limits})"
    return None


def _gamma(module: nn.Module) -> torch.Tensor | None:
    """The scale of the attention: a parameter of one element, or mmcv's Scale module around one."""
    gamma = getattr(module, "gamma", None)
    if isinstance(gamma, nn.Module):
        gamma = getattr(gamma, "scale", None)
    return gamma if isinstance(gamma, torch.Tensor) and gamma.numel() == 1 else None


def _pack(module: nn.Module) -> PackedCrissCross:
    gamma = _gamma(module)
    assert gamma is not None
    query, key, value = (getattr(module, part) for part in PROJECTIONS)
    return PackedCrissCross.from_projections(query, key, value, gamma)


@torch.no_grad()
def _redraw(module: nn.Module, generator: torch.Generator) -> None:
    """Weights under which attention is neither flat nor one-hot, so that a wrong mask or scale shows."""
    query, key, value = (getattr(module, part) for part in PROJECTIONS)
    spread = math.sqrt(ENERGY_SPREAD / math.sqrt(query.out_channels))
    for conv, gain in ((query, spread), (key, spread), (value, 1.0)):
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator) * gain / math.sqrt(conv.in_channels))
        if conv.bias is not None:
            conv.bias.copy_(torch.randn(conv.bias.shape, generator=generator) * 0.1)
    gamma = _gamma(module)
    assert gamma is not None
    gamma.fill_(GAMMA)
