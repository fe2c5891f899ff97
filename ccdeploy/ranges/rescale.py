"""Moves powers of two between two layers, so that the values between them fit a float type and nothing else changes.

Between a convolution and the next there are often only functions with f(a x) = a f(x) for a > 0: ReLU, leaky ReLU,
pooling. Then the first layer's weights and bias times 2^-k and the second's weights times 2^k give the same network,
and float arithmetic the same bits, for a power of two only moves the exponent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.deployable import recorded_stages, tensor_of
from ccdeploy.mixed import Kept, layers
from ccdeploy.precision import torch_type
from ccdeploy.ranges.steps import Run
from ccdeploy.ranges.weights import too_small

LINEAR = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
HOMOGENEOUS = {
    *("relu", "relu_", "leaky_relu", "leaky_relu_", "prelu", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
    *("interpolate", "dropout", "dropout2d", "flatten", "view", "reshape", "contiguous", "clone", "detach"),
}
"""Functions of one tensor with f(a x) = a f(x) for a > 0, as PyTorch names them. A run proves each use."""
TOLERANCE = 1e-6
"""Relative L2 by which a network may change: none, but for weights that are subnormal in float32."""
HEADROOM = 2.0
"""Powers of two that are left below the largest value of the type."""


@dataclass(frozen=True)
class Rescaling:
    """The first layer was multiplied by 2^-exponent, the second by 2^exponent."""

    first: str
    second: str
    exponent: int

    def __str__(self) -> str:
        return f"{self.first} by 2^{-self.exponent}, {self.second} by 2^{self.exponent}"


def rescale(
    network: nn.Module, runs: Sequence[Run], kept: Kept, precision: str, sample: torch.Tensor
) -> tuple[list[Rescaling], list[Run]]:
    """Rescales, in place, the layers of a float32 network that do not fit a float type, where the next one allows it.

    Each change is proved by running the network on the sample before and after it, and undone if anything but the
    values between the two layers moves.

    Args:
        network: changed in place.
        runs: of it.
        kept: layers that are left as they are.
        precision: one of PRECISIONS.
        sample: an input of the network [B, channels, H, W].

    Returns:
        What was changed, and the runs as they are now.
    """
    limit = float(torch.finfo(torch_type(precision)).max)
    known = layers(network)
    underflowing = {weights.layer for weights in too_small(network, kept, sample, precision)}
    expected = _seen(network, sample)
    done: list[Rescaling] = []
    current = list(runs)
    for first, second in _pairs(known, current, kept):
        one, two = known[first], known[second]
        between = max(run[number].largest for run in current for number in _between(run, first))
        exponent = _exponent(one, two, between, limit, bool(underflowing & {first, second}))
        if exponent == 0:
            continue
        _scale(one, two, exponent)
        if not _same(_seen(network, sample), expected):
            _scale(one, two, -exponent)
            continue
        done.append(Rescaling(first, second, exponent))
        current = [_scaled(run, first, exponent) for run in current]
    return done, current


def _exponent(first: nn.Module, second: nn.Module, between: float, limit: float, underflows: bool) -> int:
    """k of 2^k, 0 if nothing is to be done or nothing can be.

    Args:
        first: a layer.
        second: the one that takes its values.
        between: the largest value between them.
        limit: the float type's largest value.
        underflows: whether weights of either are too small.
    """
    weights, next_weights = _largest(first, "weight"), _largest(second, "weight")
    if not min(weights, next_weights, between) > 0:
        return 0
    largest = max(between, weights, _largest(first, "bias"))
    excess = math.log2(largest / limit)
    halfway = round((math.log2(weights) - math.log2(next_weights)) / 2)  # where the largest weights of both meet
    room = math.floor(math.log2(limit / next_weights)) - 1
    if excess > 0:
        wanted = max(math.ceil(excess + HEADROOM), halfway if underflows else 0)
        return min(wanted, room) if excess <= room else 0
    return min(max(halfway, math.ceil(excess + HEADROOM)), room) if underflows else 0


def _largest(layer: nn.Module, name: str) -> float:
    tensor = getattr(layer, name)
    return 0.0 if tensor is None else float(tensor.detach().abs().max())


@torch.no_grad()
def _scale(first: nn.Module, second: nn.Module, exponent: int) -> None:
    for tensor, power in ((first.weight, -exponent), (first.bias, -exponent), (second.weight, exponent)):
        if isinstance(tensor, torch.Tensor):
            tensor.mul_(2.0**power)


def _pairs(known: dict[str, nn.Module], runs: Sequence[Run], kept: Kept) -> list[tuple[str, str]]:
    """Layers whose values one other layer takes, by way of HOMOGENEOUS functions, and nothing else sees, in any run."""
    found: list[tuple[str, str]] = []
    for name, layer in known.items():
        if name in kept.modules or not isinstance(layer, LINEAR):
            continue
        takers = {_taker(run, name) for run in runs}
        taker = takers.pop() if len(takers) == 1 else None
        if taker is not None and taker not in kept.modules and isinstance(known[taker], LINEAR):
            found.append((name, taker))
    return found


def _taker(run: Run, layer: str) -> str | None:
    """The layer that takes a layer's values; None unless both run once and nothing else takes them."""
    between = _between(run, layer)
    takers = [step for step in run if between and between[-1] in step.inputs]
    if len(takers) != 1 or takers[0].function or len(takers[0].inputs) != 1:
        return None
    taker = takers[0].place
    return taker if sum(step.place == taker and not step.function for step in run) == 1 else None


def _between(run: Run, layer: str) -> list[int]:
    """The step of a layer that runs once, and the HOMOGENEOUS functions that alone take its values, one the other's."""
    own = [number for number, step in enumerate(run) if step.place == layer and not step.function]
    if len(own) != 1:
        return []
    chain = own
    while True:
        takers = [number for number, step in enumerate(run) if chain[-1] in step.inputs]
        if len(takers) != 1 or run[takers[0]].function not in HOMOGENEOUS or len(run[takers[0]].inputs) != 1:
            return chain
        chain.append(takers[0])


def _scaled(run: Run, layer: str, exponent: int) -> Run:
    between = _between(run, layer)
    return tuple(
        replace(step, largest=step.largest * 2.0**-exponent) if number in between else step
        for number, step in enumerate(run)
    )


def _seen(network: nn.Module, sample: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the stages that a verification compares."""
    with torch.no_grad(), CudaStaysOnCpu(), recorded_stages(network) as stages:
        output = tensor_of(network(sample))
    return [output.clone(), *(value.clone() for value in stages.values())]


def _same(values: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> bool:
    return len(values) == len(expected) and all(
        bool((value - other).norm() <= TOLERANCE * other.norm()) for value, other in zip(values, expected, strict=True)
    )
