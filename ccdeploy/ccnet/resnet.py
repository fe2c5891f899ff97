"""ResNet 18, 50 and 101 with a deep stem and output stride 8, in the two variants that CCNets are published with.

| | official (speedinghzl/CCNet) | mmsegmentation (ResNetV1c) |
|---|---|---|
| stem | 64, 64, 128 channels | 32, 32, 64 channels |
| max pooling | rounds its size up | rounds its size down |
| dilation of layer3, layer4 | 2, 4 in every block | first block 1 and 2, then 2 and 4 |
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STRIDES = (1, 2, 1, 1)
DILATIONS = (1, 1, 2, 4)


@dataclass(frozen=True)
class Variant:
    """What the published variants differ in; stem widths are multiples of half the first stage's width."""

    stem: tuple[int, int, int]
    ceil_mode: bool
    contract_dilation: bool


VARIANTS = {
    "official": Variant(stem=(2, 2, 4), ceil_mode=True, contract_dilation=False),
    "mmsegmentation": Variant(stem=(1, 1, 2), ceil_mode=False, contract_dilation=True),
}


def conv3x3(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (ResNet-18); the first carries stride and dilation."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(inputs, width, stride, dilation), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] -> [B, width, H / stride, W / stride]."""
        residual = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: torch.Tensor = self.relu(y + residual)
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions (ResNet-50 and 101); the 3x3 carries stride and dilation."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, stride, dilation), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.downsample = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] -> [B, 4 * width, H / stride, W / stride]."""
        residual = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: torch.Tensor = self.relu(y + residual)
        return out


class ResNet(nn.Module):
    """A dilated ResNet; its features are at 1/8 of the picture's size.

    Args:
        depth: 18, 50 or 101.
        variant: "official" or "mmsegmentation", see the module's first lines.
        width: channels of the first stage (before a bottleneck's expansion); 64 as published.
        in_channels: channels of the picture.
    """

    def __init__(self, depth: int, variant: str, width: int = 64, in_channels: int = 3) -> None:
        super().__init__()
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock if depth < 50 else Bottleneck
        published = VARIANTS[variant]
        first, second, third = (max(1, factor * width // 2) for factor in published.stem)
        self.stem = nn.Sequential(
            *(conv3x3(in_channels, first, stride=2), nn.BatchNorm2d(first), nn.ReLU()),
            *(conv3x3(first, second), nn.BatchNorm2d(second), nn.ReLU()),
            *(conv3x3(second, third), nn.BatchNorm2d(third), nn.ReLU()),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=published.ceil_mode)
        channels = third
        for stage, blocks in enumerate(BLOCKS[depth]):
            layer = _stage(block, channels, width << stage, blocks, stage, published.contract_dilation)
            self.add_module(f"layer{stage + 1}", layer)
            channels = (width << stage) * block.expansion
        self.out_channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, out_channels, H / 8, W / 8] (rounded as the variant's strides do)."""
        x = self.maxpool(self.stem(x))
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, blocks: int, stage: int, contract: bool
) -> nn.Sequential:
    stride, dilation, outputs = STRIDES[stage], DILATIONS[stage], width * block.expansion
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    first_dilation = dilation // 2 if contract and dilation > 1 else dilation
    layers = [block(inputs, width, stride, first_dilation, shortcut)]
    layers += [block(outputs, width, 1, dilation, None) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)
