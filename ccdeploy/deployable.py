"""A network in the form that is deployed: criss-cross packed, norms folded, its float type, input and output fixed.

Each change is exact algebra or is proved by running the network before and after it.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ccdeploy.ccnet.cards import Card
from ccdeploy.ccnet.criss_cross import PackedCrissCross
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.stages import BACKBONE, LOGITS, recorded
from ccdeploy.mixed import NOTHING_KEPT, Kept, to_type

FOLDING_TOLERANCE = 1e-3
"""Greatest relative L2 in float32 by which folded norms may change a network; a wrong pair changes it wholly."""


def fold_norms(network: nn.Module, sample: torch.Tensor) -> tuple[nn.Module, dict[str, nn.BatchNorm2d]]:
    """A copy with each batch norm folded into the convolution before it, and the norm of each such convolution's path.

    Pairs are recognised by how networks name and order them, then the folded network is run against the given one: if
    it differs (a convolution is used elsewhere too, say), the norms stay.
    """
    folded = copy.deepcopy(network)
    pairs: dict[str, nn.BatchNorm2d] = {}
    for path, parent in list(folded.named_modules()):
        for conv_name, norm_name in _pairs(parent):
            conv, norm = parent._modules[conv_name], parent._modules[norm_name]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _folds(conv, norm):
                parent._modules[conv_name] = fuse_conv_bn_eval(conv, norm)
                parent._modules[norm_name] = nn.Identity()
                pairs[f"{path}.{conv_name}".lstrip(".")] = norm
    if not pairs:
        return network, {}
    with torch.no_grad(), CudaStaysOnCpu():
        before, after = tensor_of(network(sample)), tensor_of(folded(sample))
    if not bool((after - before).norm() <= FOLDING_TOLERANCE * before.norm()):
        return network, {}
    return folded, pairs


def _folds(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return norm.track_running_stats and norm.affine and norm.num_features == conv.out_channels


def _pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children that, by convention, are a convolution and its norm."""
    names = list(parent._modules)
    if isinstance(parent, nn.Sequential):
        yield from itertools.pairwise(names)
        return
    for name in names:
        if name.startswith("conv"):
            suffix = name.removeprefix("conv")
            yield from ((name, norm) for norm in (f"bn{suffix}", f"norm{suffix}") if norm in parent._modules)


def tensor_of(output: Any) -> torch.Tensor:
    """The tensor that a network's output stands for: itself, the first of a sequence, `out` of a dictionary.

    Raises:
        TypeError: there is none.
    """
    if isinstance(output, dict):
        output = output.get("out", next(iter(output.values()), None))
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise TypeError(f"the network returned {type(output).__name__}, a tensor was expected")
    return output


@dataclass(frozen=True)
class Shape:
    """How a network computes, as seen when it ran on a sample."""

    stages: tuple[str, ...]
    """Backbone and criss-cross passes in the order of computation, without the one that is the output itself."""
    enlarge: bool
    """Whether it leaves its logits smaller than its input, so that they are enlarged for it."""
    several: bool
    """Whether it returns several outputs, of which the first is deployed."""
    classes: int
    """Channels of its output."""


def observe(network: nn.Module, sample: torch.Tensor) -> Shape:
    """Runs a network with packed criss-cross modules on a sample [B, channels, H, W]."""
    with torch.no_grad(), CudaStaysOnCpu(), recorded_stages(network) as values:
        returned = network(sample)
    output = tensor_of(returned)
    stages = tuple(stage for stage, value in values.items() if value is not output)
    enlarge = output.dim() == 4 and output.shape[-2:] != sample.shape[-2:]
    classes = output.shape[1] if output.dim() > 1 else 1
    return Shape(stages, enlarge, several=returned is not output, classes=classes)


def recorded_stages(network: nn.Module) -> AbstractContextManager[dict[str, torch.Tensor]]:
    """Inside the block a network with packed criss-cross modules leaves its stages, see `ccdeploy.ccnet.stages`."""
    return recorded(network._modules.get(BACKBONE), _packed(network))


def _packed(network: nn.Module) -> list[PackedCrissCross]:
    return [module for module in network.modules() if isinstance(module, PackedCrissCross)]


def enlarged(logits: torch.Tensor, height: int, width: int, align_corners: bool) -> torch.Tensor:
    """[B, classes, h, w] -> [B, classes, height, width], bilinear."""
    return functional.interpolate(logits, size=(height, width), mode="bilinear", align_corners=align_corners)


class Deployable(nn.Module):
    """What is exported: `io` around a network in its float type; also returns the stages that it passes through.

    - tensor: normalised float32 [B, channels, H, W] -> float32 logits (or features) of the network.
    - image: uint8 RGB [B, H, W, channels] -> class labels [B, H, W], uint8 (int32 beyond 256 classes).

    Modules in `kept` stay float32, see `ccdeploy.mixed`.
    """

    def __init__(
        self, network: nn.Module, card: Card, io: str, dtype: torch.dtype, shape: Shape, kept: Kept = NOTHING_KEPT
    ) -> None:
        super().__init__()
        self.network = to_type(network, kept, dtype)
        if dtype == torch.float32:  # the file for CPUs; 16-bit files are for GPUs
            for packed in _packed(network):
                packed.project_flat()
        self.io, self.dtype, self.enlarge = io, dtype, shape.enlarge
        self.stages = (*shape.stages, LOGITS) if io == "image" else shape.stages
        """Names of the outputs after the first."""
        self.align_corners = card.output.align_corners
        self.reverse_channels = card.input.channel_order == "bgr"
        self.label_type = torch.uint8 if shape.classes <= 256 else torch.int32
        self.mean: torch.Tensor
        self.std: torch.Tensor
        if io == "image":
            self.register_buffer("mean", torch.tensor(card.input.mean, dtype=torch.float32), persistent=False)
            self.register_buffer("std", torch.tensor(card.input.std, dtype=torch.float32), persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class; the stages follow in the order of computation."""
        height, width = x.shape[1:3] if self.io == "image" else x.shape[2:4]
        with recorded_stages(self.network) as values:
            logits = tensor_of(self.network(self._entered(x)))
        if self.enlarge:
            logits = enlarged(logits, height, width, self.align_corners)
        values[LOGITS] = logits
        # Labels reach uint8 by way of float: that cast is the one that TensorRT documents.
        output = logits.argmax(dim=1).float().to(self.label_type) if self.io == "image" else logits.float()
        return output, *(values[stage] for stage in self.stages)

    def _entered(self, x: torch.Tensor) -> torch.Tensor:
        if self.io == "image":
            x = x.float()
            if self.reverse_channels:
                x = x.flip(-1)
            x = ((x - self.mean) / self.std).permute(0, 3, 1, 2)
        return x.to(self.dtype)
