"""The search: a binary search over the cuts of the common order, each run from values that are known to be good.

A run computes, in both networks, the values at a cut from those at the last cut that was found good. The suspect gets
the reference's values there, not its own: what was found good counts as equal, so that the roundings of a deep network
do not add up until they look like a fault. A run that finds a value that departs moves the upper end of the search to
the first such value, one that finds none moves the lower end to the cut. So the runs are at most log2 of the number of
values, each as long as half of the one before, and what is held is the values at one cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ccdeploy.bisect.distance import Distance, distance
from ccdeploy.bisect.matching import Matching
from ccdeploy.bisect.networks import Network
from ccdeploy.errors import ArtefactError
from ccdeploy.runners import Array

Values = dict[str, Array]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What one run of both networks gave.

    Attributes:
        distances: by rank, of the values that were compared.
        good, bad: what each network gave, by its own names.
        failure: why the suspect does not run; empty if it does.
    """

    distances: dict[int, Distance]
    good: Values
    bad: Values
    failure: str = ""

    def departing(self, tolerance: float) -> list[int]:
        """Ranks of the values that depart, in their order."""
        return sorted(rank for rank, found in self.distances.items() if found.departs(tolerance))


@dataclass(frozen=True)
class Run:
    """One run of both networks, for the report: from a cut to another, and what came of it."""

    start: str
    """The node up to which the reference's values were given; empty for the network's input."""
    end: str
    """The last node that was run."""
    values: int
    """How many were computed by each network to be compared: outputs of the run."""
    departs: str
    """The first node whose output departs, or that the suspect does not run; empty if none does."""
    figure: float | None
    """The worst of the figures; None if the suspect did not run."""


@dataclass
class Pair:
    """Two networks that are run side by side, and a record of the runs."""

    good: Network
    bad: Network
    matching: Matching
    tolerance: float
    say: Say = lambda line: None
    runs: list[Run] = field(default_factory=list)

    def run(self, ranks: Sequence[int], good: Mapping[str, Array], bad: Mapping[str, Array], start: int) -> Outcome:
        """Computes the values of some ranks in both networks from values at hand, and compares them.

        Raises:
            ArtefactError: the reference does not run, or a value has another size in each.
        """
        matches = [self.matching.at(rank) for rank in ranks]
        self.say(f"run {len(self.runs) + 1}: to {matches[-1].node}")
        expected = self.good.run([match.good for match in matches], good)
        try:
            got, failure = self.bad.run([match.bad for match in matches], bad), ""
        except ArtefactError as error:
            got, failure = {}, error.what
        distances = {}
        for rank, match in zip(ranks, matches, strict=True):
            if match.bad in got and match.bad not in bad:
                distances[rank] = self._compared(match.node, got[match.bad], expected[match.good])
        outcome = Outcome(distances, expected, got, failure)
        departing = outcome.departing(self.tolerance)
        first = self.matching.at(departing[0]).node if departing else "does not run" if failure else ""
        figures = [found.figure for found in distances.values()]
        origin = self.matching.at(start).node if start else ""
        self.runs.append(Run(origin, matches[-1].node, len(matches), first, max(figures, default=None)))
        return outcome

    def _compared(self, node: str, got: Array, expected: Array) -> Distance:
        if got.size != expected.size or got.shape[:1] != expected.shape[:1]:
            raise ArtefactError(
                f"{node} gives {list(got.shape)} in {self.bad.path} and {list(expected.shape)} in {self.good.path}: "
                "they are not the same network.",
                "Name two files that were exported from one network.",
            )
        return distance(got, expected)


@dataclass
class Found:
    """Where the search ended: the cut found good with its values, and the next rank, whose value departs.

    `last` is the run from this very cut to that value, where the search made it.
    """

    cut: int
    departs: int
    good: Values
    bad: Values
    last: Outcome | None = None


def search(pair: Pair, upper: int, good: Values, bad: Values) -> Found:
    """Narrows down where two networks depart.

    Args:
        pair: the networks.
        upper: a rank whose value departs.
        good, bad: the graph's inputs, by each network's names.
    """
    inputs = (good, bad)
    found = Found(0, upper, dict(good), dict(bad))
    while found.departs - found.cut > 1:
        cut = (found.cut + found.departs) // 2
        ranks = pair.matching.frontier(cut)
        outcome = pair.run(ranks, found.good, found.bad, found.cut)
        departing = outcome.departing(pair.tolerance)
        if departing or outcome.failure:
            found.departs, found.last = departing[0] if departing else cut, outcome
            continue
        found = Found(cut, found.departs, inputs[0] | outcome.good, dict(inputs[1]))
        for rank in ranks:
            match = pair.matching.at(rank)
            mine = outcome.bad[match.bad]
            found.bad[match.bad] = outcome.good[match.good].reshape(mine.shape).astype(mine.dtype, copy=False)
    return found
