"""Networks as users write them: the well-known criss-cross module, its relatives, and look-alikes.

None of them shares code with ccdeploy. All need `run` on a machine without CUDA: the well-known module builds its mask
with a hard-coded `.cuda()`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu


def infinite_diagonal(batch: int, height: int, width: int) -> torch.Tensor:
    """-inf where a pixel meets itself in its column, [batch * width, height, height]."""
    diagonal = torch.diag(torch.tensor(float("inf")).cuda().repeat(height), 0)
    return -diagonal.unsqueeze(0).repeat(batch * width, 1, 1)


class WellKnown(nn.Module):
    """The criss-cross module that people paste into their networks."""

    mask = staticmethod(infinite_diagonal)

    def __init__(self, in_dim: int, ratio: int = 8, bias: bool = True) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // ratio, kernel_size=1, bias=bias)
        self.key_conv = nn.Conv2d(in_dim, in_dim // ratio, kernel_size=1, bias=bias)
        self.value_conv = nn.Conv2d(in_dim, in_dim, kernel_size=1, bias=bias)
        self.softmax = nn.Softmax(dim=3)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, _, h, w = x.size()
        q, k, v = self.query_conv(x), self.key_conv(x), self.value_conv(x)
        q_column = q.permute(0, 3, 1, 2).contiguous().view(b * w, -1, h).permute(0, 2, 1)
        q_row = q.permute(0, 2, 1, 3).contiguous().view(b * h, -1, w).permute(0, 2, 1)
        k_column = k.permute(0, 3, 1, 2).contiguous().view(b * w, -1, h)
        k_row = k.permute(0, 2, 1, 3).contiguous().view(b * h, -1, w)
        v_column = v.permute(0, 3, 1, 2).contiguous().view(b * w, -1, h)
        v_row = v.permute(0, 2, 1, 3).contiguous().view(b * h, -1, w)
        column = (torch.bmm(q_column, k_column) + self.mask(b, h, w)).view(b, w, h, h).permute(0, 2, 1, 3)
        row = torch.bmm(q_row, k_row).view(b, h, w, w)
        attention = self.softmax(self.scaled(torch.cat([column, row], 3)))
        a_column = attention[:, :, :, 0:h].permute(0, 2, 1, 3).contiguous().view(b * w, h, h)
        a_row = attention[:, :, :, h : h + w].contiguous().view(b * h, w, w)
        out_column = torch.bmm(v_column, a_column.permute(0, 2, 1)).view(b, w, -1, h).permute(0, 2, 3, 1)
        out_row = torch.bmm(v_row, a_row.permute(0, 2, 1)).view(b, h, -1, w).permute(0, 2, 1, 3)
        return self.finished(out_column + out_row, x)

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        return energies

    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * gathered + x


class Scale(nn.Module):
    """mmcv's learnable factor, a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class WithScale(WellKnown):
    """gamma as mmcv has it: `gamma.scale`."""

    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        del self.gamma
        self.gamma = Scale()

    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.gamma(gathered) + x


class CountsItselfTwice(WellKnown):
    """The mask forgotten: each pixel is in its column and in its row."""

    mask = staticmethod(lambda batch, height, width: 0.0)


class ScaledEnergies(WellKnown):
    """As transformers do it: energies / sqrt(d)."""

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        return energies / self.query_conv.out_channels**0.5


class NoResidual(WellKnown):
    """Returns what was gathered without adding the input."""

    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * gathered


class NarrowValues(WellKnown):
    """Values of half the channels, widened again at the end."""

    def __init__(self, in_dim: int) -> None:
        super().__init__(in_dim)
        self.value_conv = nn.Conv2d(in_dim, in_dim // 2, kernel_size=1)
        self.widen = nn.Conv2d(in_dim // 2, in_dim, kernel_size=1)

    def finished(self, gathered: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return self.gamma * self.widen(gathered) + x


class PositionAttention(nn.Module):
    """DANet's position attention (a non-local block): the parameters of criss-cross attention, over all pixels."""

    def __init__(self, in_dim: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(in_dim, in_dim // 8, kernel_size=1)
        self.key_conv = nn.Conv2d(in_dim, in_dim // 8, kernel_size=1)
        self.value_conv = nn.Conv2d(in_dim, in_dim, kernel_size=1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, c, h, w = x.size()
        query = self.query_conv(x).view(b, -1, h * w).permute(0, 2, 1)
        attention = torch.softmax(torch.bmm(query, self.key_conv(x).view(b, -1, h * w)), dim=-1)
        gathered = torch.bmm(self.value_conv(x).view(b, c, h * w), attention.permute(0, 2, 1)).view(b, c, h, w)
        return self.gamma * gathered + x


class UserNet(nn.Module):
    """A user's own network: output stride 8, two passes of the well-known module, logits enlarged to the picture."""

    def __init__(self, classes: int = 5, width: int = 16) -> None:
        super().__init__()
        steps = [(3, width // 2), (width // 2, width), (width, width)]
        self.down = nn.Sequential(*(layer for sizes in steps for layer in _step(*sizes)))
        self.context = WellKnown(width)
        self.predict = nn.Conv2d(width, classes, 1)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        x = self.context(self.context(self.down(picture)))
        return functional.interpolate(self.predict(x), picture.shape[2:], mode="bilinear", align_corners=True)


def _step(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def stirred(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in evaluation mode with parameters that leave no part without effect: gamma is not 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32)
            if "gamma" in name.split("."):
                tensor.fill_(0.7)
            elif name.endswith("running_var"):
                tensor.copy_(noise.abs() + 0.5)
            elif tensor.dim() > 1:
                tensor.copy_(noise / tensor[0].numel() ** 0.5)
            elif tensor.is_floating_point():
                tensor.copy_(noise * 0.3 + (1.0 if _scales(network, name) else 0.0))
    return network.eval()


def _scales(network: nn.Module, name: str) -> bool:
    parent, _, parameter = name.rpartition(".")
    return parameter == "weight" and isinstance(network.get_submodule(parent), nn.BatchNorm2d)


@torch.no_grad()
def run(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The network's output; hard-coded `.cuda()` calls stay on the CPU."""
    with CudaStaysOnCpu():
        output: torch.Tensor = network(x)
    return output
