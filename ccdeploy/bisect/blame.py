"""The proof against a node, and what in it differs: stored weights, attributes, values beyond its float type."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from ccdeploy.bisect.distance import Distance
from ccdeploy.bisect.networks import Network, taken_by
from ccdeploy.bisect.search import Found, Pair, Values
from ccdeploy.errors import ArtefactError
from ccdeploy.runners import Array

LARGEST = {"float16": 65504.0, "bfloat16": 3.3895313892515355e38}


@dataclass(frozen=True)
class Weight:
    """A stored weight of the node: its name in the suspect, relative L2 to the reference's, ratio of their norms."""

    name: str
    relative_l2: float
    ratio: float


@dataclass(frozen=True)
class Blame:
    """Where two networks depart.

    Attributes:
        node: the name of the suspect's node.
        module: the path of the module that it is of; empty for what lies outside of all modules.
        operator: what the node computes.
        number: its place among the suspect's nodes, from 1.
        inputs: by node that gives it, how far each input of the node is from the reference's.
        output: how far its output is.
        alone: how far its output is when it is given the reference's inputs; None if it does not run.
        between: nodes of the suspect between those inputs and the output that the reference does not have by name.
        weights: its stored weights.
        changes: attributes, operators and definitions that differ, in words.
        overflow: values beyond the node's float type, in words; empty if there are none.
        failure: why the node does not run; empty if it does.
        proved: whether the node departs when it is given the reference's inputs.
    """

    node: str
    module: str
    operator: str
    number: int
    inputs: dict[str, Distance]
    output: Distance | None
    alone: Distance | None
    between: tuple[str, ...]
    weights: tuple[Weight, ...]
    changes: tuple[str, ...]
    overflow: str
    failure: str
    proved: bool


def blame(pair: Pair, found: Found, good: Values, bad: Values) -> Blame:
    """Runs the node that the search ended at twice more: from the network's input, and alone on the reference's values.

    Args:
        pair: the networks.
        found: where the search ended.
        good, bad: the graph's inputs, by each network's names.
    """
    matching = pair.matching
    match, parents = matching.at(found.departs), matching.parents[found.departs - 1]
    alone = found.last or pair.run([found.departs], found.good, found.bad, found.cut)
    natural = pair.run(sorted({*parents, found.departs}), good, bad, 0)
    mine = _producer(pair.bad, match.bad)
    theirs = _producer(pair.good, match.good)
    node = pair.bad.nodes[mine]
    here = alone.distances.get(found.departs)
    return Blame(
        node=match.node,
        module=match.node.rpartition("/")[0],
        operator=f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
        number=mine + 1,
        inputs={
            matching.at(rank).node: reached for rank, reached in natural.distances.items() if rank != found.departs
        },
        output=natural.distances.get(found.departs),
        alone=here,
        between=_between(pair.bad, mine, {matching.at(rank).bad for rank in parents} | set(bad)),
        weights=_weights(pair, mine, theirs),
        changes=_changes(pair, mine, theirs),
        overflow=_overflow(pair.bad.narrow_type(match.bad), here),
        failure=alone.failure,
        proved=bool(alone.failure) or (here is not None and here.departs(pair.tolerance)),
    )


def _producer(network: Network, value: str) -> int:
    return next(index for index, node in enumerate(network.nodes) if value in node.output)


def _overflow(kind: str, found: Distance | None) -> str:
    if found is None or not found.not_finite:
        return ""
    count = f"{found.not_finite} value{'s' * (found.not_finite > 1)}"
    if kind and found.largest > LARGEST[kind]:
        return (
            f"overflows {kind}: {count} not finite; the largest in the reference is {found.largest:.3g}, "
            f"{kind} ends at {LARGEST[kind]:.5g}"
        )
    return f"{count} not finite; the largest in the reference is {found.largest:.3g}"


def _between(network: Network, last: int, known: set[str]) -> tuple[str, ...]:
    """Names of the nodes behind a node up to the known values, in the file's order, without those of constants."""
    makers = {value: index for index, node in enumerate(network.nodes) for value in node.output}
    found: set[int] = set()
    pending = [value for value in taken_by(network.nodes[last]) if value not in known]
    while pending:
        index = makers.get(pending.pop())
        if index is not None and index not in found:
            found.add(index)
            pending += [value for value in taken_by(network.nodes[index]) if value not in known]
    moving = set(known)
    names = []
    for index in sorted(found):
        node = network.nodes[index]
        if any(value in moving for value in taken_by(node)):
            moving.update(node.output)
            names.append(node.name or node.op_type)
    return tuple(names)


def _weights(pair: Pair, mine: int, theirs: int) -> tuple[Weight, ...]:
    """Compares what two nodes take that no input reaches: weights, through the nodes that prepare them if need be."""
    found = []
    inputs = zip(pair.bad.nodes[mine].input, pair.good.nodes[theirs].input, strict=False)
    for name, counterpart in inputs:
        got, expected = _constant(pair.bad, name), _constant(pair.good, counterpart)
        if got is None or expected is None or got.size != expected.size or not _is_float(expected):
            continue
        a, b = got.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
        with np.errstate(all="ignore"):
            gap, norms = float(np.linalg.norm(a - b)), (float(np.linalg.norm(a)), float(np.linalg.norm(b)))
        found.append(Weight(name, *(_ratio(value, norms[1]) for value in (gap, norms[0]))))
    return tuple(found)


def _ratio(value: float, norm: float) -> float:
    if norm:
        return value / norm
    return value and math.inf


def _is_float(array: Array) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _constant(network: Network, value: str) -> Array | None:
    """A value that is stored, or computed from stored values alone; None for others."""
    if not value or (array := network.stored(value)) is not None:
        return array if value else None
    makers = {output: node for node in network.nodes for output in node.output}
    pending, seen = [value], set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in network.inputs:
            return None
        if name in makers:
            pending.extend(taken_by(makers[name]))
    try:
        return network.run([value], {})[value]
    except ArtefactError:
        return None  # what does not run has been told already


def _changes(pair: Pair, mine: int, theirs: int) -> tuple[str, ...]:
    ours, reference = pair.bad.nodes[mine], pair.good.nodes[theirs]
    if (ours.domain, ours.op_type) != (reference.domain, reference.op_type):
        return (f"operator {ours.op_type}, {reference.op_type} in the reference",)
    changes = []
    got, expected = _attributes(ours), _attributes(reference)
    for name in sorted({*got, *expected}):
        if got.get(name) != expected.get(name):
            here, there = got.get(name, "missing"), expected.get(name, "missing")
            changes.append(f"attribute {name}: {here}, {there} in the reference")
    key = (ours.domain, ours.op_type)
    bodies = [network.functions.get(key) for network in (pair.bad, pair.good)]
    if all(body is not None for body in bodies):
        texts = [[node.SerializeToString(deterministic=True) for node in body.node] for body in bodies if body]
        if texts[0] != texts[1]:
            changes.append(f"the definition of {ours.op_type} that the file carries")
    return tuple(changes)


def _attributes(node: onnx.NodeProto) -> dict[str, str]:
    """Attributes in words; lists of one repeated number, an entry a spatial axis, are cut to one.

    fp32 files have 1x1 convolutions along one axis where others have two: kernel [1] and [1, 1], pads [0, 0] and
    [0, 0, 0, 0] are the same.
    """
    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, list) and len({*value}) == 1:
            value = value[:1]
        found[attribute.name] = value.decode() if isinstance(value, bytes) else str(value).strip()
    return found
