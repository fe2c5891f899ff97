"""The stages of a network at which artefacts are compared: the backbone, each criss-cross pass, logits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

BACKBONE = "backbone"
LOGITS = "logits"
FEATURES = "features"
"""The output of a bare criss-cross module."""


def criss_cross_stage(number: int) -> str:
    """The name of the number-th criss-cross pass, counted from 1 in the order of computation."""
    return f"criss-cross {number}"


@contextmanager
def recorded(backbone: nn.Module | None, passes: Iterable[nn.Module]) -> Iterator[dict[str, torch.Tensor]]:
    """While the block runs, the outputs of the backbone and of every call of the given modules, by stage.

    A later run of the network overwrites an earlier one's values only if the dictionary is cleared between them.
    """
    values: dict[str, torch.Tensor] = {}

    def pass_done(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        number = sum(name.startswith("criss-cross") for name in values) + 1
        values[criss_cross_stage(number)] = output

    def backbone_done(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        values[BACKBONE] = output

    handles = [module.register_forward_hook(pass_done) for module in passes]
    if backbone is not None:
        handles.append(backbone.register_forward_hook(backbone_done))
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()
