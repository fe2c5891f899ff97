"""Values that a 16-bit float type cannot hold, and the layers to keep in float32 so that it need not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import torch
from torch import nn

from ccdeploy.mixed import Kept, keeping, layers
from ccdeploy.precision import torch_type
from ccdeploy.ranges.steps import Run

SPARE = 1.0
"""Powers of two below the largest value that measured values should leave: other pictures may go beyond them."""


@dataclass(frozen=True)
class Extreme:
    """Large values of a layer, or of a function that a module calls (its `place` then is that module)."""

    place: str
    function: str
    largest: float
    limit: float
    """The largest value of the float type."""
    finite: bool = True

    @property
    def headroom(self) -> float:
        """Powers of two up to the limit; negative beyond it."""
        return math.log2(self.limit / self.largest) if self.largest else math.inf

    def __str__(self) -> str:
        where = f"{self.place or 'the network'} ({self.function})" if self.function else self.place
        if not self.finite:
            return f"{where}: values that are not finite in float32 already"
        return f"{where}: values up to {self.largest:.3g}, the largest is {self.limit:.5g}"


def extremes(runs: Sequence[Run], kept: Kept, precision: str, headroom: float = 0.0) -> list[Extreme]:
    """The places whose values leave less headroom below the float type's largest value, in the order of computation.

    A function that only passes on what reached it, as ReLU does, is not named.

    Args:
        runs: of the float32 network.
        kept: what is float32 in the file. Not looked at, but for what a 16-bit layer takes of it.
        precision: one of PRECISIONS.
        headroom: powers of two; with 0 the places that overflow.
    """
    limit = _limit(precision)
    found: dict[tuple[str, str], Extreme] = {}
    for run in runs:
        for number, largest in _in_16_bits(run, kept.modules):
            step = run[number]
            if step.function and step.inputs and largest <= max(run[source].largest for source in step.inputs):
                continue
            finite = step.finite or bool(step.function)  # functions make masks of infinities
            if largest > limit / 2**headroom or not finite:
                key = step.place, step.function
                before = found.get(key, Extreme(*key, 0.0, limit))
                found[key] = Extreme(*key, max(largest, before.largest), limit, finite and before.finite)
    return list(found.values())


def smallest_set(network: nn.Module, runs: Sequence[Run], kept: Kept, precision: str) -> tuple[str, ...] | None:
    """Layers that hold all values in range if they stay float32, beside those that are kept already.

    A layer whose values overflow must stay float32, and so must a layer that takes such values. A sum (or any function
    without weights) that overflows is float32 if one of its operands is: the layer that gave its last one is taken.
    None can be left out of the set. What is not in it leaves SPARE below the limit. Layers that are all of a module are
    named by that module.

    Returns:
        Module paths in the network's order, or None where no set of layers holds the values.
    """
    limit = _limit(precision) / 2**SPARE
    chosen: list[str] = []
    while (place := _to_keep(runs, kept.modules.union(chosen), limit)) is not None:
        if not place or place in chosen:
            return None
        chosen.append(place)
    for place in tuple(chosen):
        rest = [name for name in chosen if name != place]
        if _to_keep(runs, kept.modules.union(rest), limit) is None:
            chosen = rest
    names = by_module(network, chosen)
    modules = kept.modules | keeping(network, names).modules
    return None if _to_keep(runs, modules, limit) is not None else names


def by_module(network: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """The given module paths in the network's order, those that are all layers of a module as that module."""
    known = list(layers(network))
    named: list[str] = []
    for module, _ in network.named_modules():
        inside = [layer for layer in known if layer == module or layer.startswith(f"{module}.")]
        whole = bool(module) and len(inside) > 1 and all(layer in names for layer in inside)
        if (module in names or whole) and not any(module.startswith(f"{name}.") for name in named):
            named.append(module)
    return tuple(named)


def _limit(precision: str) -> float:
    return float(torch.finfo(torch_type(precision)).max)


def _in_16_bits(run: Run, modules: AbstractSet[str]) -> Iterator[tuple[int, float]]:
    """Steps whose values are rounded to 16 bits, with the largest: their own, and what they take from float32 steps.

    Args:
        run: of the float32 network.
        modules: what stays float32.
    """
    wide: list[bool] = []
    for number, step in enumerate(run):
        from_wide = [source for source in step.inputs if wide[source]]
        wide.append(step.place in modules or bool(step.function and from_wide))  # as PyTorch promotes types
        if not wide[number]:
            yield number, max([step.largest, *(run[source].largest for source in from_wide)])


def _to_keep(runs: Sequence[Run], modules: AbstractSet[str], limit: float) -> str | None:
    """The module that must stay float32 for the first value that overflows, the empty path if that is the whole
    network, or None if no value does."""
    for run in runs:
        for number, largest in _in_16_bits(run, modules):
            if largest > limit:
                step = run[number]
                return step.place if not step.function else _giver(run, number) or step.place
    return None


def _giver(run: Run, number: int) -> str | None:
    """The layer whose values, of those that reached a function, were computed last."""
    pending, seen = list(run[number].inputs), set[int]()
    given: list[int] = []
    while pending:
        source = pending.pop()
        if source in seen:
            continue
        seen.add(source)
        if run[source].function:
            pending += run[source].inputs
        else:
            given.append(source)
    return run[max(given)].place if given else None
