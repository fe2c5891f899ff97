"""Float types of a deployed network. Precision is a property of the file: networks are strongly typed.

Inputs and outputs stay float32 (or uint8 pictures and labels), weights and activations have the chosen type (but for
layers that a user keeps in float32), and inside criss-cross attention energies, softmax and sums are float32 in every
precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "fp16", "bf16")


def torch_type(precision: str) -> torch.dtype:
    """The PyTorch type of a precision's weights and activations."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
