"""Checkpoints as their publishers write them, and what their networks compute: from the papers' code, without ccdeploy.

Parameters are drawn straight into each publisher's key names. `forward` reads them under those names with PyTorch's
functions only, so that neither a wrong renaming nor a wrong network can hide in ccdeploy's own code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from networks import WellKnown, run
from torch.nn import functional

State = dict[str, torch.Tensor]

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
STRIDES = (1, 2, 1, 1)


@dataclass(frozen=True)
class Layout:
    """What a publisher's code does, and how it names things. Names end where `.weight` or the like begins."""

    backbone: str
    stem: tuple[tuple[str, str], ...]
    stem_widths: tuple[float, float, float]
    """In widths of the first stage."""
    ceil_mode: bool
    dilations: tuple[tuple[int, int], ...]
    """Of each stage: its first block's, and the others'."""
    head: dict[str, tuple[str, str]]
    cca: str
    gamma: str
    gamma_shape: tuple[int, ...]
    classifier: str
    slope: float
    """Of the head's leaky ReLU."""
    inplace_abn: bool
    align_corners: bool
    training_only: tuple[str, ...]


def _speedinghzl(classifier: int, slope: float, inplace_abn: bool) -> Layout:
    return Layout(
        backbone="",
        stem=(("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
        stem_widths=(1, 1, 2),
        ceil_mode=True,
        dilations=((1, 1), (1, 1), (2, 2), (4, 4)),
        head={part: (f"head.{part}.0", f"head.{part}.1") for part in ("conva", "convb", "bottleneck")},
        cca="head.cca",
        gamma="head.cca.gamma",
        gamma_shape=(1,),
        classifier=f"head.bottleneck.{classifier}",
        slope=slope,
        inplace_abn=inplace_abn,
        align_corners=True,
        training_only=("dsn.0.weight", "dsn.1.running_mean", "dsn.3.bias"),
    )


LAYOUTS = {
    "official": _speedinghzl(3, slope=0.01, inplace_abn=True),
    "pure-pytorch": _speedinghzl(4, slope=0.0, inplace_abn=False),
    "mmsegmentation": Layout(
        backbone="backbone.",
        stem=tuple((f"backbone.stem.{index}", f"backbone.stem.{index + 1}") for index in (0, 3, 6)),
        stem_widths=(0.5, 0.5, 1),
        ceil_mode=False,
        dilations=((1, 1), (1, 1), (1, 2), (2, 4)),
        head={
            "conva": ("decode_head.convs.0.conv", "decode_head.convs.0.bn"),
            "convb": ("decode_head.convs.1.conv", "decode_head.convs.1.bn"),
            "bottleneck": ("decode_head.conv_cat.conv", "decode_head.conv_cat.bn"),
        },
        cca="decode_head.cca",
        gamma="decode_head.cca.gamma.scale",
        gamma_shape=(),
        classifier="decode_head.conv_seg",
        slope=0.0,
        inplace_abn=False,
        align_corners=False,
        training_only=("auxiliary_head.convs.0.conv.weight", "auxiliary_head.conv_seg.bias"),
    ),
}


@dataclass(frozen=True)
class Size:
    """Of a small CCNet."""

    depth: int = 18
    width: int = 8
    channels: int = 16
    query_channels: int = 4
    classes: int = 3


def state_dict(layout: Layout, size: Size, seed: int = 0) -> State:
    """A trained-looking checkpoint in the publisher's names, with what only its training needs."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def conv(name: str, inputs: int, outputs: int, kernel: int, bias: bool = False) -> None:
        state[f"{name}.weight"] = normal(outputs, inputs, kernel, kernel) / (inputs * kernel * kernel / 2) ** 0.5
        if bias:
            state[f"{name}.bias"] = 0.1 * normal(outputs)

    def norm(name: str, channels: int) -> None:
        signs = normal(channels).sign()  # signed scales tell |weight| from weight
        state[f"{name}.weight"] = signs * (0.6 + 0.2 * normal(channels).abs())
        state[f"{name}.bias"] = 0.1 * normal(channels)
        state[f"{name}.running_mean"] = 0.1 * normal(channels)
        state[f"{name}.running_var"] = 0.8 + 0.2 * normal(channels).abs()
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000)

    inputs = 3
    for (conv_name, norm_name), factor in zip(layout.stem, layout.stem_widths, strict=True):
        outputs = int(factor * size.width)
        conv(conv_name, inputs, outputs, 3)
        norm(norm_name, outputs)
        inputs = outputs
    expansion = 4 if size.depth >= 50 else 1
    for stage, blocks in enumerate(BLOCKS[size.depth]):
        width = size.width * 2**stage
        for block in range(blocks):
            name = f"{layout.backbone}layer{stage + 1}.{block}"
            outputs = width * expansion
            if expansion == 1:
                convs = [(inputs, width, 3), (width, width, 3)]
            else:
                convs = [(inputs, width, 1), (width, width, 3), (width, outputs, 1)]
            for number, (source, target, kernel) in enumerate(convs, 1):
                conv(f"{name}.conv{number}", source, target, kernel)
                norm(f"{name}.bn{number}", target)
            if block == 0 and (STRIDES[stage] != 1 or inputs != outputs):
                conv(f"{name}.downsample.0", inputs, outputs, 1)
                norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    sources = {"conva": inputs, "convb": size.channels, "bottleneck": inputs + size.channels}
    for part, (conv_name, norm_name) in layout.head.items():
        conv(conv_name, sources[part], size.channels, 3)
        norm(norm_name, size.channels)
    for part, outputs in (("query", size.query_channels), ("key", size.query_channels), ("value", size.channels)):
        conv(f"{layout.cca}.{part}_conv", size.channels, outputs, 1, bias=True)
    state[layout.gamma] = torch.full(layout.gamma_shape, 0.6)
    conv(layout.classifier, size.channels, size.classes, 1, bias=True)
    return state | {key: normal(4) for key in layout.training_only}


def forward(layout: Layout, state: State, size: Size, x: torch.Tensor, recurrence: int) -> torch.Tensor:
    """Logits at the picture's size in float64, [B, classes, H, W]."""
    state = {key: tensor.double() for key, tensor in state.items()}

    def conv(name: str, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        padding = dilation * (weight.shape[2] // 2)
        return functional.conv2d(x, weight, state.get(f"{name}.bias"), stride, padding, dilation)

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias, mean, var = (state[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var"))
        scale = weight.abs() + 1e-5 if layout.inplace_abn else weight
        scale, bias, mean, var = (each[:, None, None] for each in (scale, bias, mean, var))
        return scale * (x - mean) / torch.sqrt(var + 1e-5) + bias

    def units(name: str, x: torch.Tensor, steps: Iterable[tuple[int, int]]) -> torch.Tensor:
        for number, (stride, dilation) in enumerate(steps, 1):
            if number > 1:
                x = functional.relu(x)
            x = norm(f"{name}.bn{number}", conv(f"{name}.conv{number}", x, stride, dilation))
        return x

    def head(part: str, x: torch.Tensor) -> torch.Tensor:
        conv_name, norm_name = layout.head[part]
        y = norm(norm_name, conv(conv_name, x))
        return torch.where(y >= 0, y, layout.slope * y)

    height, width = x.shape[2:]
    x = x.double()
    for (conv_name, norm_name), stride in zip(layout.stem, (2, 1, 1), strict=True):
        x = functional.relu(norm(norm_name, conv(conv_name, x, stride)))
    x = functional.max_pool2d(x, 3, 2, 1, ceil_mode=layout.ceil_mode)
    for stage, blocks in enumerate(BLOCKS[size.depth]):
        for block in range(blocks):
            name = f"{layout.backbone}layer{stage + 1}.{block}"
            stride = STRIDES[stage] if block == 0 else 1
            dilation = layout.dilations[stage][min(block, 1)]
            bend = (stride, dilation)  # of the 3x3 convolution that may stride
            steps = [bend, (1, 1)] if size.depth < 50 else [(1, 1), bend, (1, 1)]
            shortcut = x
            if f"{name}.downsample.0.weight" in state:
                shortcut = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            x = functional.relu(units(name, x, steps) + shortcut)
    attention = WellKnown(size.channels, size.channels // size.query_channels).double()
    parts = (f"{part}_conv.{key}" for part in ("query", "key", "value") for key in ("weight", "bias"))
    attention.load_state_dict(
        {key: state[f"{layout.cca}.{key}"] for key in parts} | {"gamma": state[layout.gamma].reshape(1)}
    )
    context = head("conva", x)
    for _ in range(recurrence):
        context = run(attention, context)
    fused = head("bottleneck", torch.cat([x, head("convb", context)], dim=1))
    logits = conv(layout.classifier, fused)
    return functional.interpolate(logits, (height, width), mode="bilinear", align_corners=layout.align_corners)
