"""Which value of one network is which of another, and the cuts through both between what is computed and what is not.

The names of values cannot be compared: the tracer numbers them, and one cast or reshape more shifts all that follow
(the `conv2d_23` of an fp32 file is another convolution than that of its fp16 file). The names of nodes say their
module and operator. Where a module has several nodes of one operator they are numbered too, and are matched only if
both files have as many: a file of dynamic sizes reshapes more often.
"""

from __future__ import annotations

import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ccdeploy.bisect.networks import Network, taken_by
from ccdeploy.errors import ArtefactError

ENOUGH = 0.5
"""Share of the smaller network's nodes that must be found in the other."""
_NUMBERED = re.compile(r"((?:.*/)?[A-Z][A-Za-z0-9]*)_\d+", re.DOTALL)


@dataclass(frozen=True)
class Match:
    """A value that both networks compute, and the node of the suspect that gives it."""

    good: str
    bad: str
    node: str
    """Its name in the suspect; for ccdeploy's files path.of.module/Operator."""


class Matching:
    """The values that two networks share, in an order in which both can be computed.

    Ranks count from 1; a cut at rank r has the values of the ranks 1 to r behind it.

    Attributes:
        matches: by rank, matches[0] is of rank 1.
        parents: by rank, the ranks of the nearest values that a value is computed from, in either network.
        nodes: how many nodes the two networks have.
    """

    def __init__(self, good: Network, bad: Network, also: Iterable[tuple[str, str]] = ()) -> None:
        """Matches nodes by name, outputs of the graphs by name, and the given pairs of values.

        Raises:
            ArtefactError: they share too little, or compute it in contradicting orders.
        """
        self.nodes = (len(good.nodes), len(bad.nodes))
        names = named(bad)
        found: dict[str, Match] = {}
        for one, other in _pairs_of_nodes(good, bad):
            for a, b in zip(good.nodes[one].output, bad.nodes[other].output, strict=False):
                if a and b:
                    found[b] = Match(a, b, names[other])
        matched = len({match.node for match in found.values()})
        if matched < ENOUGH * min(self.nodes):
            raise ArtefactError(
                f"{good.path} and {bad.path} share {matched} of {self.nodes[0]} and {self.nodes[1]} nodes by name: "
                "they are not the same network.",
                "Name two files that were exported from one network.",
            )
        makers = {value: names[index] for index, node in enumerate(bad.nodes) for value in node.output}
        computed = {value for node in good.nodes for value in node.output}
        outputs = [(name, name) for name in bad.outputs if name in good.outputs]
        for a, b in (*outputs, *also):
            if a in computed and b in makers and b not in found:
                found[b] = Match(a, b, makers[b])
        order = {value: place for place, value in enumerate(value for node in bad.nodes for value in node.output)}
        unranked = sorted(found.values(), key=lambda match: order[match.bad])
        before = _parents(good, [match.good for match in unranked])
        for place, ranks in enumerate(_parents(bad, [match.bad for match in unranked])):
            before[place] |= ranks
        ranking = _common_order(before)
        if ranking is None:
            raise ArtefactError(
                f"{good.path} and {bad.path} compute the same nodes in contradicting orders: not the same network.",
                "Name two files that were exported from one network.",
            )
        rank_of = {place: rank for rank, place in enumerate(ranking, 1)}
        self.matches = [unranked[place] for place in ranking]
        self.parents = [sorted(rank_of[parent] for parent in before[place]) for place in ranking]

    def __len__(self) -> int:
        return len(self.matches)

    def at(self, rank: int) -> Match:
        """The value of a rank."""
        return self.matches[rank - 1]

    def rank(self, bad: str) -> int | None:
        """The rank of a value by its name in the suspect."""
        return next((rank for rank, match in enumerate(self.matches, 1) if match.bad == bad), None)

    def frontier(self, cut: int) -> list[int]:
        """Ranks up to `cut` that are used beyond it: with the graph's input, all that the rest is computed from."""
        beyond = self.parents[cut:]
        return sorted({parent for parents in beyond for parent in parents if parent <= cut} | ({cut} if cut else set()))


def named(network: Network) -> list[str]:
    """A name for each node: its own if it has one that no other has, else its first output's."""
    seen: dict[str, int] = defaultdict(int)
    for node in network.nodes:
        seen[node.name] += 1
    return [
        node.name if node.name and seen[node.name] == 1 else next(filter(None, node.output), node.op_type)
        for node in network.nodes
    ]


def _pairs_of_nodes(good: Network, bad: Network) -> list[tuple[int, int]]:
    ours, theirs = _families(named(good)), _families(named(bad))
    return [
        pair
        for family, members in ours.items()
        if len(members) == len(theirs.get(family, ()))
        for pair in zip(members, theirs[family], strict=True)
    ]


def _families(names: Sequence[str]) -> Mapping[str, list[int]]:
    """Nodes of one operator in one module, in the file's order."""
    families: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        numbered = _NUMBERED.fullmatch(name)
        families[numbered[1] if numbered else name].append(index)
    return families


def _parents(network: Network, values: Sequence[str]) -> list[set[int]]:
    """For each value the indices of those among `values` that it is computed from with no other of them between."""
    index = {value: place for place, value in reversed(list(enumerate(values)))}
    behind: dict[str, frozenset[int]] = {}
    for node in network.nodes:  # in topological order, as ONNX demands
        found: set[int] = set()
        for value in taken_by(node):
            found |= {index[value]} if value in index else behind.get(value, frozenset())
        behind |= dict.fromkeys(node.output, frozenset(found))
    return [set(behind[value]) for value in values]


def _common_order(before: Sequence[set[int]]) -> list[int] | None:
    """Topological order, of those that are ready always the first; None if there is none."""
    waiting = [len(parents) for parents in before]
    after: dict[int, list[int]] = defaultdict(list)
    for place, parents in enumerate(before):
        for parent in parents:
            after[parent].append(place)
    ready = [place for place, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        order.append(place := heapq.heappop(ready))
        for later in after[place]:
            waiting[later] -= 1
            if waiting[later] == 0:
                heapq.heappush(ready, later)
    return order if len(order) == len(before) else None
