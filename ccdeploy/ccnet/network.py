"""The full CCNet: a dilated ResNet and the recurrent criss-cross attention (RCCA) head.

Key names are ccdeploy's own layout of a state dict: `backbone.*` as ResNet names them, `head.{conva,convb}.*`,
`head.cca.*`, `head.bottleneck.*` (each convolution `.conv`, its norm `.norm`) and `head.classifier.*`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ccdeploy.ccnet.cards import Card, Network
from ccdeploy.ccnet.criss_cross import BareCrissCross, CrissCrossAttention
from ccdeploy.ccnet.resnet import ResNet, conv3x3

LEAKY_SLOPE = 0.01
"""Of the official head, whose InPlaceABN norms carry a leaky ReLU."""


class ConvNormAct(nn.Module):
    """3x3 convolution, batch norm, activation: [B, inputs, H, W] -> [B, outputs, H, W]."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.LeakyReLU(LEAKY_SLOPE) if activation == "leaky_relu" else nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        y: torch.Tensor = self.activation(self.norm(self.conv(x)))
        return y


class RCCAHead(nn.Module):
    """Reduce, gather criss-cross context `recurrence` times with one shared module, fuse with the input, classify."""

    def __init__(self, inputs: int, network: Network, classes: int) -> None:
        super().__init__()
        channels, activation = network.channels, network.head_activation
        self.recurrence = network.recurrence
        self.conva = ConvNormAct(inputs, channels, activation)
        self.cca = CrissCrossAttention(channels, network.query_channels)
        self.convb = ConvNormAct(channels, channels, activation)
        self.bottleneck = ConvNormAct(inputs + channels, channels, activation)
        self.dropout = nn.Dropout2d(0.1)
        self.classifier = nn.Conv2d(channels, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, inputs, H, W] -> [B, classes, H, W]."""
        context = self.conva(x)
        for _ in range(self.recurrence):
            context = self.cca(context)
        context = self.convb(context)
        fused = self.bottleneck(torch.cat([x, context], dim=1))
        y: torch.Tensor = self.classifier(self.dropout(fused))
        return y


class CCNet(nn.Module):
    """Picture in, logits at the picture's size out.

    Args:
        network: the architecture, as a card states it.
        classes: number of classes.
        align_corners: how the logits are enlarged bilinearly.
        in_channels: channels of the picture.
    """

    def __init__(self, network: Network, classes: int, align_corners: bool, in_channels: int = 3) -> None:
        super().__init__()
        self.backbone = ResNet(network.depth, network.variant, network.width, in_channels)
        self.head = RCCAHead(self.backbone.out_channels, network, classes)
        self.align_corners = align_corners

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W], normalised as the card says -> logits [B, classes, H, W]."""
        logits = self.head(self.backbone(x))
        return functional.interpolate(logits, size=x.shape[-2:], mode="bilinear", align_corners=self.align_corners)


def build_network(card: Card) -> CCNet | BareCrissCross:
    """The untrained network of a card whose architecture is ccdeploy's own ("ccnet" or "criss-cross")."""
    network = card.network
    if network.architecture == "criss-cross":
        return BareCrissCross(network.channels, network.query_channels, network.recurrence)
    return CCNet(network, card.num_classes, card.output.align_corners, card.input.channels)
