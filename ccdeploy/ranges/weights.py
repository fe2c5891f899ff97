"""Weights that a float type cannot hold: infinite in it, or so small that they vanish."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.deployable import tensor_of
from ccdeploy.errors import ModelError
from ccdeploy.mixed import Kept, layers
from ccdeploy.precision import torch_type


@dataclass(frozen=True)
class TooLarge:
    """Weights of a layer that are infinite in the float type."""

    module: str
    tensor: str
    largest: float


@dataclass(frozen=True)
class TooSmall:
    """Weights of a layer that are 0 or subnormal in the float type.

    Attributes:
        layer: its path.
        count: their share of the layer's weights that are not 0.
        energy: their share of the sum of squares.
        effect: relative L2 by which the network's output moves where they are 0.
    """

    layer: str
    count: float
    energy: float
    effect: float


def check_numbers(network: nn.Module) -> None:
    """Refuses weights that are no numbers, whatever the float type.

    Raises:
        ModelError: names the tensor. Buffers may hold infinities: a mask does.
    """
    parameters = dict(network.named_parameters())
    for name, tensor in {**parameters, **dict(network.named_buffers())}.items():
        if not tensor.is_floating_point():
            continue
        bad = ~tensor.isfinite() if name in parameters else tensor.isnan()
        if count := int(bad.sum()):
            first = float(tensor.detach()[bad][0])
            raise ModelError(
                f"{name} holds {count} values that are not finite ({first}), numbers were expected.",
                "The training diverged or the checkpoint is damaged: take another one.",
            )


def too_large(network: nn.Module, kept: Kept, precision: str) -> list[TooLarge]:
    """Weights and buffers that are infinite in a float type, but for those of kept modules.

    Float32 values just above the largest value round down to it and pass.
    """
    kind = torch_type(precision)
    found = []
    for module_name, module in network.named_modules():
        if module_name in kept.modules:
            continue
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            if tensor.is_floating_point() and tensor.numel():
                values = tensor.detach()
                lost = values[values.isfinite() & ~values.to(kind).isfinite()]
                if lost.numel():
                    found.append(TooLarge(module_name, name, float(lost.abs().max())))
    return found


def too_small(network: nn.Module, kept: Kept, sample: torch.Tensor, precision: str) -> list[TooSmall]:
    """Layers whose weights underflow so that it shows, the worst first.

    A value below the type's smallest normal one is subnormal: some hardware makes it 0, other rounds it more coarsely
    the smaller it is; one below half of the smallest subnormal is 0 everywhere. Taken here is the worst: all are 0.

    Tiny weights are common and mostly of no account: a channel that training has shut off leaves a whole row of them.
    So a layer counts only if the network's output on `sample` moves by more than the type's unit roundoff (2^-11 for
    fp16) when its tiny weights are 0: by more than what rounding one value may do to it.

    Args:
        network: in float32; left as it was.
        kept: not looked at.
        sample: an input of the network [B, channels, H, W].
        precision: one of PRECISIONS.
    """
    kind = torch.finfo(torch_type(precision))
    roundoff = kind.eps / 2
    suspects = {
        name: layer
        for name, layer in layers(network).items()
        if name not in kept.modules and _loses(layer, kind.smallest_normal, roundoff)
    }
    if not suspects:
        return []
    expected = _output(network, sample)

    def effect(*modules: nn.Module) -> float:
        with _flushed(modules, kind.smallest_normal):
            return _moved(_output(network, sample), expected)

    if effect(*suspects.values()) <= roundoff:
        return []
    found = [TooSmall(name, *_shares(layer, kind.smallest_normal), effect(layer)) for name, layer in suspects.items()]
    found.sort(key=lambda small: -small.effect)
    return [small for small in found if small.effect > roundoff] or found[:1]


def rounding_effect(network: nn.Module, sample: torch.Tensor, precision: str) -> float:
    """Relative L2 by which the output on a sample moves when all weights are rounded to a float type."""
    expected = _output(network, sample)
    tensors = [*network.parameters(), *network.buffers()]
    kind = torch_type(precision)
    with _changed(tensors, lambda values: values.to(kind).to(values.dtype)):
        return _moved(_output(network, sample), expected)


def _tensors(layer: nn.Module) -> list[torch.Tensor]:
    return [t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point() and t.numel()]


def _loses(layer: nn.Module, smallest: float, roundoff: float) -> bool:
    """Whether underflow takes more of some output channel's weights than rounding normal numbers ever does."""
    for tensor in _tensors(layer):
        rows = tensor.detach().double().reshape(len(tensor) if tensor.dim() else 1, -1)
        lost = torch.where(rows.abs() < smallest, rows, 0.0).norm(dim=1)
        if bool((lost > roundoff * rows.norm(dim=1)).any()):
            return True
    return False


def _shares(layer: nn.Module, smallest: float) -> tuple[float, float]:
    tensors = _tensors(layer)
    main = [tensor for tensor in tensors if tensor.dim() > 1] or tensors  # biases are few, and may be large
    values = torch.cat([tensor.detach().double().flatten() for tensor in main])
    values = values[values != 0]
    tiny = values[values.abs() < smallest]
    if not values.numel():
        return 0.0, 0.0
    return tiny.numel() / values.numel(), float(tiny.square().sum() / values.square().sum())


@contextmanager
def _flushed(modules: tuple[nn.Module, ...], smallest: float) -> Iterator[None]:
    tensors = [tensor for module in modules for tensor in _tensors(module)]
    with _changed(tensors, lambda values: torch.where(values.abs() < smallest, 0.0, values)):
        yield


@contextmanager
def _changed(tensors: Iterable[torch.Tensor], change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Float tensors hold changed values while the block runs."""
    before = [(tensor, tensor.data) for tensor in {id(tensor): tensor for tensor in tensors}.values()]
    try:
        for tensor, values in before:
            if values.is_floating_point():
                tensor.data = change(values)
        yield
    finally:
        for tensor, values in before:
            tensor.data = values


def _output(network: nn.Module, sample: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), CudaStaysOnCpu():
        return tensor_of(network(sample)).clone()


def _moved(output: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative L2; infinite where a value is not finite."""
    gap, size = float((output - expected).norm()), float(expected.norm())
    if not math.isfinite(gap):
        return math.inf
    return gap / size if size else (math.inf if gap else 0.0)
