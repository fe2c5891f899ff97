"""Float types of a deployed network. Precision is a property of the file: networks are strongly typed.

Inputs and outputs stay float32 (or uint8 pictures and labels), weights and activations have the chosen type, and
inside criss-cross attention energies, softmax and sums are float32 in every precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ccdeploy.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import nn

PRECISIONS = ("fp32", "fp16", "bf16")


def torch_type(precision: str) -> torch.dtype:
    """The PyTorch type of a precision's weights and activations."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


@dataclass(frozen=True)
class OutOfRange:
    """A layer whose output does not fit a float type."""

    layer: str
    largest: float
    limit: float

    def __str__(self) -> str:
        return f"{self.layer}: values up to {self.largest:.3g}, the largest is {self.limit:.5g}"


def check_weights(network: nn.Module, precision: str) -> None:
    """Refuses weights that the float type cannot hold: they would be infinite in the file.

    Raises:
        ModelError: names the weights, the value and the limit.
    """
    import torch

    limit = torch.finfo(torch_type(precision)).max
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = torch.aminmax(tensor.detach())
        largest = max(-float(low), float(high))
        if largest > limit:
            raise ModelError(
                f"{name} holds {largest:.3g}, the largest {precision} value is {limit:.5g}.",
                "Export with --precision bf16, which has float32's range, or fp32.",
            )


def check_activations(network: nn.Module, sample: torch.Tensor, precision: str) -> list[OutOfRange]:
    """Runs a float32 network on a sample and lists the layers whose outputs overflow the float type, in their order.

    Args:
        network: in float32.
        sample: an input of the network [B, channels, H, W].
        precision: one of PRECISIONS.
    """
    import torch

    from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu

    limit = float(torch.finfo(torch_type(precision)).max)
    found: dict[str, float] = {}

    def watch(name: str) -> Any:
        def done(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.is_floating_point():
                largest = float(output.abs().max())
                if not largest <= limit:
                    found[name] = max(largest, found.get(name, 0.0))

        return done

    handles = [module.register_forward_hook(watch(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad(), CudaStaysOnCpu():
            network(sample)
    finally:
        for handle in handles:
            handle.remove()
    return [OutOfRange(name, largest, limit) for name, largest in found.items()]
