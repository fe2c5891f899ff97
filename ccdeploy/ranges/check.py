"""Does a network fit a float type? What does not is named, with the fix: an error where the file would be wrong.

Looked at is the network as it is deployed: criss-cross packed, norms folded. It runs in float32, on pictures or noise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from ccdeploy.comparison import TOLERANCES
from ccdeploy.errors import ModelError
from ccdeploy.mixed import NOTHING_KEPT, Kept, keeping, layers
from ccdeploy.precision import torch_type
from ccdeploy.ranges.activations import SPARE, Extreme, by_module, extremes, smallest_set
from ccdeploy.ranges.rescale import Rescaling, rescale
from ccdeploy.ranges.steps import Run, measured
from ccdeploy.ranges.weights import TooLarge, TooSmall, check_numbers, rounding_effect, too_large, too_small

WORST = 3
"""How many findings of a kind are told one by one."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        network: in float32.
        precision: the float type of the file, one of PRECISIONS.
        probe: an input of the network [B, channels, H, W], on which effects of changes are measured.
        kept: what stays float32.
        norms: the batch norm that was folded into a convolution, by the convolution's path.
    """

    network: nn.Module
    precision: str
    probe: torch.Tensor
    kept: Kept = NOTHING_KEPT
    norms: Mapping[str, nn.BatchNorm2d] = field(default_factory=dict)


def check_ranges(
    subject: Subject, samples: Iterable[torch.Tensor], source: str, strict: bool, rescaling: bool = False
) -> list[str]:
    """What a user should know about the network's ranges, a note each; few of them.

    Args:
        subject: its network is changed if `rescaling`.
        samples: inputs of the network, on which values are measured.
        source: what they are, such as "noise".
        strict: refuse values that overflow; they are notes otherwise.
        rescaling: rescale layers first where that helps.

    Raises:
        ModelError: weights that the file cannot hold, or values, if `strict`; names the layers and the fixes.
    """
    check_numbers(subject.network)
    runs, notes = measured(subject.network, samples), []
    if rescaling:
        changes, runs = rescale(subject.network, runs, subject.kept, subject.precision, subject.probe)
        notes += [f"rescaled, the network stays the same: {change}" for change in changes]
        notes += [] if changes else ["rescaled nothing: no layer that needs it has a next one that allows it"]
    if weights := too_large(subject.network, subject.kept, subject.precision):
        raise _weights_error(subject, weights, runs, rescaling)
    if beyond := extremes(runs, subject.kept, subject.precision):
        ways = _ways(subject, runs, [], rescaling)
        if strict:
            raise ModelError(f"{subject.precision} overflows on {source}: {_told(beyond)}.", f"Export with {ways}.")
        notes += [*_each(f"overflows {subject.precision} on {source}", beyond), f"in range with {ways}"]
    elif near := extremes(runs, subject.kept, subject.precision, SPARE):
        notes += _each(f"comes within a factor of {2**SPARE:.0f} of overflow on {source}", near)
    return notes + _underflow(subject, runs, rescaling)


def check_weights(subject: Subject) -> None:
    """Refuses weights that are not finite, or would not be in the file.

    Raises:
        ModelError: names the worst weights, all layers that have such, and what helps.
    """
    check_numbers(subject.network)
    if weights := too_large(subject.network, subject.kept, subject.precision):
        raise _weights_error(subject, weights, [], rescaling=True)


def _weights_error(subject: Subject, weights: Sequence[TooLarge], runs: Sequence[Run], rescaling: bool) -> ModelError:
    worst = max(weights, key=lambda found: found.largest)
    places = list(dict.fromkeys(found.module for found in weights))
    others = [place for place in places if place != worst.module]
    rest = f" So do others: {', '.join(others[:WORST])}{', ...' if len(others) > WORST else ''}." if others else ""
    return ModelError(
        f"{f'{worst.module}.{worst.tensor}'.lstrip('.')} holds {worst.largest:.3g}{_folded(worst, subject.norms)}, "
        f"the largest {subject.precision} value is {torch.finfo(torch_type(subject.precision)).max:.5g}.{rest}",
        f"Export with {_ways(subject, runs, places, rescaling)}.",
    )


def _ways(subject: Subject, runs: Sequence[Run], places: Sequence[str], rescaling: bool) -> str:
    """What holds all values in range, and the weights of the given layers."""
    ways = []
    if all(places):
        kept = keeping(subject.network, [*subject.kept.names, *places])
        more = smallest_set(subject.network, runs, kept, subject.precision)
        names = None if more is None else by_module(subject.network, [*places, *more])
        if names is not None and not _is_all(subject.network, [*subject.kept.names, *names]):
            ways.append(_options(names))
    if not rescaling and (changes := _would_rescale(subject, runs)):
        ways.append(f"--rescale ({'; '.join(map(str, changes))})")
    if subject.precision != "bf16":
        effect = rounding_effect(subject.network, subject.probe, "bf16")
        verdict = "" if effect <= TOLERANCES["bf16"].relative_l2 else ", too much"
        ways.append(f"--precision bf16 (its 8 bits move the output by {effect:.1e}{verdict})")
    else:
        ways.append("--precision fp32")
    return ", or ".join(ways)


def _is_all(network: nn.Module, names: Sequence[str]) -> bool:
    return layers(network).keys() <= keeping(network, names).modules


def _would_rescale(subject: Subject, runs: Sequence[Run]) -> list[Rescaling]:
    """What --rescale would change, if nothing overflowed thereafter."""
    trial = copy.deepcopy(subject.network)
    changes, after = rescale(trial, runs, subject.kept, subject.precision, subject.probe)
    holds = not extremes(after, subject.kept, subject.precision)
    return changes if holds and not too_large(trial, subject.kept, subject.precision) else []


def _underflow(subject: Subject, runs: Sequence[Run], rescaling: bool) -> list[str]:
    found = too_small(subject.network, subject.kept, subject.probe, subject.precision)
    if not found:
        return []
    notes = [f"underflows {subject.precision}: {_small(weights)}" for weights in found[:WORST]]
    if (rest := len(found) - WORST) > 0:
        notes.append(f"underflows {subject.precision}: {rest} more layer{'s' * (rest > 1)}")
    ways = [_options(by_module(subject.network, [weights.layer for weights in found]))]
    if not rescaling and (changes := _would_rescale(subject, runs)):
        ways.append(f"--rescale ({'; '.join(map(str, changes))})")
    return [*notes, f"in range with {', or '.join([*ways, '--precision bf16'])}"]


def _small(weights: TooSmall) -> str:
    return (
        f"{weights.layer}: {weights.count:.1%} of its weights ({weights.energy:.1e} of their energy) are subnormal "
        f"or 0; where hardware makes them 0 the output moves by {weights.effect:.1e}"
    )


def _each(what: str, found: Sequence[Extreme]) -> list[str]:
    worst = sorted(found, key=lambda extreme: extreme.headroom)[:WORST]
    rest = len(found) - len(worst)
    told = [f"{what}: {extreme}" for extreme in found if extreme in worst]
    return [*told, f"{what}: {rest} more place{'s' * (rest > 1)}"] if rest else told


def _told(found: Sequence[Extreme]) -> str:
    worst = sorted(found, key=lambda extreme: extreme.headroom)[:WORST]
    rest = len(found) - len(worst)
    return "; ".join(str(extreme) for extreme in found if extreme in worst) + (f"; and {rest} more" if rest else "")


def _folded(weights: TooLarge, norms: Mapping[str, nn.BatchNorm2d]) -> str:
    """Says so where a folded norm made the weights large."""
    norm = norms.get(weights.module)
    if norm is None or norm.running_var is None:
        return ""
    factors = (norm.running_var + norm.eps).rsqrt() * norm.weight.detach().abs()
    worst = int(factors.argmax())
    return (
        f" (its batch norm is folded in: a factor of {float(factors[worst]):.3g}, from a running_var of "
        f"{float(norm.running_var[worst]):.3g})"
    )


def _options(names: Sequence[str]) -> str:
    return " ".join(f"--keep-fp32 {name}" for name in names)
