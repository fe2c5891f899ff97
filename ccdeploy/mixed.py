"""Layers that stay float32 inside a 16-bit file: which ones a pattern names, and the casts around them.

Weights decide. A layer with weights computes in their type and casts what reaches it. What has no weights (activations,
sums, concatenations, resizing) computes in the widest type that reaches it. So what a kept layer gives stays float32
until the next layer with 16-bit weights, and does not pass through a 16-bit value on its way there.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ccdeploy.ccnet.criss_cross import PackedCrissCross
from ccdeploy.errors import UsageError

NEAR_NAMES = 4
"""How many names an error offers in the place of one that is not there."""


@dataclass(frozen=True)
class Kept:
    """What stays float32.

    Attributes:
        names: the outermost modules, as module paths.
        modules: the paths of these and of all modules in them.
    """

    names: tuple[str, ...] = ()
    modules: frozenset[str] = frozenset()


NOTHING_KEPT = Kept()


def layers(network: nn.Module) -> dict[str, nn.Module]:
    """The smallest modules whose float type can be chosen, by path: those with weights of their own and no children.

    A packed criss-cross module is one layer: its operands have one type.
    """
    found: dict[str, nn.Module] = {}
    inside: set[int] = set()
    for name, module in network.named_modules():
        if id(module) in inside:
            continue
        if isinstance(module, PackedCrissCross):
            found[name] = module
            inside.update(id(part) for part in module.modules())
        elif not any(module.children()) and _tensors(module):
            found[name] = module
    return found


def matching(network: nn.Module, patterns: Sequence[str]) -> Kept:
    """The modules that shell patterns name by their paths; `*` also stands for dots.

    Modules without weights are no match of their own. Inside a criss-cross module a match means the whole module.

    Raises:
        UsageError: a pattern that names no layer, or patterns that name all of them.
    """
    known = layers(network)
    first = {id(module): name for name, module in network.named_modules()}
    weighty = {id(module) for module in known.values()}
    packed = {
        id(part): name
        for name, module in known.items()
        if isinstance(module, PackedCrissCross)
        for part in module.modules()
    }
    chosen: set[str] = set()
    for pattern in patterns:
        found = set()
        for name, module in network.named_modules(remove_duplicate=False):
            if name and fnmatchcase(name, pattern):
                if id(module) in packed:
                    found.add(packed[id(module)])
                elif any(id(part) in weighty for part in module.modules()):
                    found.add(first[id(module)])
        if not found:
            raise _no_match(network, pattern)
        chosen |= found
    kept = keeping(network, chosen)
    if known.keys() <= kept.modules:
        raise UsageError("--keep-fp32 names every layer of the network.", "Export it with --precision fp32.")
    return kept


def keeping(network: nn.Module, names: Collection[str]) -> Kept:
    """The modules of the given paths (but for those inside of others), and all that is in them."""
    outermost = tuple(
        name for name, _ in network.named_modules() if name in names and not any(_is_inside(name, o) for o in names)
    )
    inside = {id(part) for name in outermost for part in network.get_submodule(name).modules()}
    return Kept(outermost, frozenset(name for name, module in network.named_modules() if id(module) in inside))


def to_type(network: nn.Module, kept: Kept, dtype: torch.dtype) -> nn.Module:
    """Gives a network (in place) the float type `dtype`, but the kept modules float32, with casts where they meet.

    Casts are hooks, not wrappers, so that every module keeps its path.
    """
    if not kept.names:
        return network.to(dtype)
    wide = {id(network.get_submodule(name)) for name in kept.modules}
    for module in network.modules():
        cast = _Cast(torch.float32 if id(module) in wide else dtype)
        module._apply(cast.tensor, recurse=False)  # type: ignore[no-untyped-call]
    entries = [network.get_submodule(name) for name in kept.names]
    for module in itertools.chain(entries, layers(network).values()):
        cast = _Cast(torch.float32 if id(module) in wide else dtype)
        module.register_forward_pre_hook(cast, with_kwargs=True)
    return network


class _Cast:
    """A hook before a module's forward: its float tensors arrive in one type."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        return pytree.tree_map(self.tensor, (args, kwargs))

    def tensor(self, value: Any) -> Any:
        """A float tensor in the type; anything else as it is."""
        other = isinstance(value, torch.Tensor) and value.is_floating_point() and value.dtype != self.dtype
        return value.to(self.dtype) if other else value


def _tensors(module: nn.Module) -> list[torch.Tensor]:
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return [tensor for tensor in own if tensor.is_floating_point()]


def _is_inside(name: str, outer: str) -> bool:
    return name.startswith(f"{outer}.")


def _no_match(network: nn.Module, pattern: str) -> UsageError:
    names = [name for name, module in network.named_modules(remove_duplicate=False) if name]
    weightless = [name for name in names if fnmatchcase(name, pattern)]
    if weightless:
        return UsageError(
            f"--keep-fp32 {pattern}: {weightless[0]} has no weights (any more), its type is that of what reaches it.",
            "Name the layer with weights before it.",
        )
    near = difflib.get_close_matches(pattern, names, NEAR_NAMES, cutoff=0.5)
    return UsageError(
        f"--keep-fp32 {pattern}: no module of the network has such a path.",
        f"Near it: {', '.join(near)}." if near else f"Its paths look like {', '.join(list(layers(network))[-3:])}.",
    )
