"""Runs code with hard-coded `.cuda()` calls where there is no CUDA: such calls stay on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class CudaStaysOnCpu(TorchFunctionMode):
    """A context in which `.cuda()`, `.to("cuda")`, `device="cuda"` and `device=0` mean the CPU.

    The well-known criss-cross module builds its mask with `.cuda()`; without this it could not even be looked at on
    a machine without a GPU.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0].cpu()
        if _is_cuda(named.get("device")):
            named["device"] = torch.device("cpu")
        if func is torch.Tensor.to:
            args = tuple(torch.device("cpu") if _is_cuda(value) else value for value in args)
        return func(*args, **named)


def _is_cuda(value: object) -> bool:
    if isinstance(value, str):
        return value.split(":")[0] == "cuda"
    if isinstance(value, int):
        return not isinstance(value, bool)  # a device's number; .to takes bools, for copying
    return isinstance(value, torch.device) and value.type == "cuda"
