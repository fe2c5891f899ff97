"""Networks of users' own that tests name as module:Class: small, with the well-known module and its `.cuda()`."""

from __future__ import annotations

import torch
from networks import PositionAttention, UserNet, WellKnown
from torch import nn
from torch.nn import functional

INPUTS, WIDTH, CLASSES = 3, 16, 5


class Small(nn.Module):
    """Backbone at half the size, two passes, a classifier; its logits stay smaller than its input."""

    def __init__(self, inputs: int = INPUTS, classes: int = CLASSES) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(inputs, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.attention = WellKnown(WIDTH)
        self.classifier = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(self.attention(self.attention(self.backbone(x))))
        return y


class Tuple(Small):
    """Returns its logits first, and something else beside them, as training code does."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = super().forward(x)
        return logits, logits.mean()


class Grey(Small):
    """Takes one channel."""

    def __init__(self) -> None:
        super().__init__(inputs=1)


class OneSize(Small):
    """Knows each pixel's place, and so runs at one size alone."""

    SIZE = (72, 80)

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(1, INPUTS, *self.SIZE))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.places)


class ManyClasses(Small):
    """More classes than a byte counts."""

    def __init__(self) -> None:
        super().__init__(classes=300)


class NamedLikeTensors(Small):
    """Parameters with the names that the exported graph gives to its input and output."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.ones(1, INPUTS, 1, 1))
        self.logits = nn.Parameter(torch.ones(1, CLASSES, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x * self.input) * self.logits


class Branches(Small):
    """Chooses between two computations by the values it meets."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward(x)
        result: torch.Tensor = torch.cond(y.mean() > 0, lambda z: z * 2.0, lambda z: z - 1.0, (y,))
        return result


class Multiplies(Small):
    """Multiplies by a matrix that is its own, which takes operands of one type alone."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.eye(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.linear(self.backbone[0](x).movedim(1, -1), self.mix).movedim(-1, 1)
        result: torch.Tensor = self.classifier(self.attention(y))
        return result


class Unused(Small):
    """Has a criss-cross module, and forgets to call it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(self.backbone(x))
        return y


class Plain(nn.Module):
    """No attention at all."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(INPUTS, CLASSES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.classifier(x)
        return y


class OnlyPositions(Small):
    """DANet's attention in the place of criss-cross attention: the same parameter names, another function."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = PositionAttention(WIDTH)  # type: ignore[assignment]


class Breaks(Small):
    """Its forward raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"no such luck on {list(x.shape)}")


def make() -> nn.Module:
    """A factory, for a network that needs arguments."""
    return UserNet(classes=3)
