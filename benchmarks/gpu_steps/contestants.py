"""Who runs in the speed table: the kernel, and the well-known PyTorch module's attention part, each with its memory.

All compute y from q, k, v and x, which lie in memory before; no projection is timed. The well-known module gets its
mask made beforehand, of the type of the energies: as people paste it, it copies a number from the host in every call
and waits for it, and it does not run in half precision at all (its mask is float32). So it is at its best here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ccdeploy.op.cases import Case
from ccdeploy.op.well_known import attention_part
from gpu_steps.library import PRECISIONS, Device

KERNEL, NCHW, EAGER, COMPILED = "kernel", "kernel, NCHW tensors", "well-known, eager", "well-known, torch.compile"


@dataclass(frozen=True)
class Contestant:
    """A computation to time: called without arguments, it enqueues its work on the current stream."""

    name: str
    run: Callable[[], Any]


class WellKnown:
    """The well-known module's attention part on tensors of its own, NCHW."""

    def __init__(self, case: Case, precision: str, qkv: torch.Tensor, residual: torch.Tensor, device: Device) -> None:
        """qkv [B, 2 * Cq + C, H, W] and residual [B, C, H, W], of any float type."""
        dtype = PRECISIONS[precision]
        sizes = [case.query_channels, case.query_channels, case.channels]
        parts = torch.split(qkv.to(device.name, dtype), sizes, dim=1)
        self.query, self.key, self.value = (part.contiguous() for part in parts)
        self.x = residual.to(device.name, dtype).contiguous()
        self.gamma = torch.ones(1, dtype=dtype, device=device.name)
        diagonal = torch.full((case.height,), float("-inf"), dtype=dtype, device=device.name)
        self.mask = torch.diag(diagonal).unsqueeze(0).repeat(case.batch * case.width, 1, 1)
        self.arguments = (self.query, self.key, self.value, self.mask, self.gamma, self.x)

    def eager(self) -> Contestant:
        """As it is."""
        return Contestant(EAGER, lambda: attention_part(*self.arguments))

    def compiled(self) -> Contestant:
        """Under torch.compile, for these very shapes. It compiles in the first call, and may fail there."""
        torch.compiler.reset()
        function = torch.compile(attention_part, dynamic=False)
        return Contestant(COMPILED, lambda: function(*self.arguments))
