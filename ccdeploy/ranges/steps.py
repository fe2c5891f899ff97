"""One run of a network, written down: which layers and functions ran, on what, and how large their values were."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils.weak import WeakTensorKeyDictionary

from ccdeploy.ccnet.criss_cross import PackedCrissCross
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.mixed import layers


@dataclass(frozen=True)
class Step:
    """A layer that ran, or a function that was called outside of layers.

    Attributes:
        place: the layer's path; of a function the path of the module that called it.
        function: its name; empty for a layer.
        inputs: the steps that gave its float tensors, by number; the network's input and weights are of none.
        largest: the largest finite value that it gave, or made on its way.
        finite: whether all values were.
    """

    place: str
    function: str
    inputs: tuple[int, ...]
    largest: float
    finite: bool = True

    @property
    def kind(self) -> tuple[str, str, tuple[int, ...]]:
        """What it is, whatever its values were."""
        return self.place, self.function, self.inputs


Run = tuple[Step, ...]


def run_of(network: nn.Module, sample: torch.Tensor) -> tuple[Run, Any]:
    """Runs a float32 network on a sample [B, channels, H, W]; its steps in their order, and what it returned."""
    recorder = _Recorder()
    handles = recorder.attach(network)
    try:
        with torch.no_grad(), CudaStaysOnCpu(), recorder:
            output = network(sample)
    finally:
        for handle in handles:
            handle.remove()
    return tuple(recorder.steps), output


def measured(network: nn.Module, samples: Iterable[torch.Tensor]) -> list[Run]:
    """The runs on all samples, those of the same steps as one of their largest values; a network that branches by what
    it meets has several."""
    together: dict[tuple[Any, ...], Run] = {}
    for sample in samples:
        run, _ = run_of(network, sample)
        kinds = tuple(step.kind for step in run)
        before = together.get(kinds, run)
        together[kinds] = tuple(
            Step(*one.kind, max(one.largest, other.largest), one.finite and other.finite)
            for one, other in zip(before, run, strict=True)
        )
    return list(together.values())


class _Recorder(TorchFunctionMode):
    """Sees functions as a mode, and modules by hooks."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._made_by = WeakTensorKeyDictionary()  # weak: a whole network's values at once need gigabytes
        self._places: list[str] = [""]
        self._layer: list[_Extent] = []
        self._sees_functions = True

    def attach(self, network: nn.Module) -> list[Any]:
        """Hooks the modules; the handles take the hooks off again."""
        known = layers(network)
        inside = {id(part) for layer in known.values() for part in layer.modules()}
        handles: list[Any] = []
        for name, module in network.named_modules():
            if name in known:
                before, after = self._enter_layer, self._leave_layer(name)
            elif id(module) in inside:  # the projection of a packed criss-cross module
                handles.append(module.register_forward_hook(self._inside))
                continue
            else:
                before, after = self._enter(name), self._leave
            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        return handles

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if not self._sees_functions or torch.compiler.is_compiling():  # torch.cond compiles its branches, then runs one
            return func(*args, **named)
        sources = () if self._layer else self._sources((args, named))  # before: it may work in place
        result = func(*args, **named)
        made = _float_tensors(result)
        if made and self._layer:
            self._layer[-1].widen(made)
        elif made:
            self._note(self._places[-1], getattr(func, "__name__", str(func)), sources, _Extent(made), made)
        return result

    def _note(
        self, place: str, function: str, sources: tuple[int, ...], extent: _Extent, made: Sequence[torch.Tensor]
    ) -> None:
        for tensor in made:
            self._made_by[tensor] = len(self.steps)
        self.steps.append(Step(place, function, sources, extent.largest, extent.finite))

    def _sources(self, values: Any) -> tuple[int, ...]:
        known = (tensor for tensor in _float_tensors(values) if tensor in self._made_by)
        return tuple(dict.fromkeys(self._made_by[tensor] for tensor in known))

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self._places.append(name)

        return enter

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._places.pop()

    def _enter_layer(self, module: nn.Module, args: Any) -> None:
        self._layer.append(_Extent())
        self._sees_functions = not isinstance(module, PackedCrissCross)  # its energies are float32 in every file

    def _leave_layer(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            extent, made = self._layer.pop(), _float_tensors(output)
            self._sees_functions = False  # not those of this class
            extent.widen(made)
            self._sees_functions = True
            self._note(name, "", self._sources((args, kwargs)), extent, made)

        return leave

    def _inside(self, module: nn.Module, args: Any, output: Any) -> None:
        self._layer[-1].widen(_float_tensors(output))


class _Extent:
    """How large values are."""

    def __init__(self, tensors: Sequence[torch.Tensor] = ()) -> None:
        self.largest, self.finite = 0.0, True
        self.widen(tensors)

    def widen(self, tensors: Sequence[torch.Tensor]) -> None:
        """Takes more values in."""
        for tensor in tensors:
            values = tensor.detach()
            low, high = torch.aminmax(values)
            largest = max(-float(low), float(high))
            if not math.isfinite(largest):
                self.finite = False
                values = values[values.isfinite()]
                largest = float(values.abs().max()) if values.numel() else 0.0
            self.largest = max(self.largest, largest)


def _float_tensors(values: Any) -> list[torch.Tensor]:
    return [
        leaf
        for leaf in pytree.tree_leaves(values)
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.numel()
    ]
