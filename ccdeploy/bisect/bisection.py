"""From the artefacts that a user names to a report: opens them, looks where they differ, searches, and proves."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.artefacts import manifest_of
from ccdeploy.bisect.blame import Blame, blame
from ccdeploy.bisect.distance import Distance
from ccdeploy.bisect.matching import Matching
from ccdeploy.bisect.networks import Input, Network
from ccdeploy.bisect.search import Pair, Run, Say, Values, search
from ccdeploy.comparison import TOLERANCES
from ccdeploy.engine.manifest import Manifest
from ccdeploy.engine.onnx_files import onnx_manifest
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.runners.engine import why_not_runnable
from ccdeploy.verify import Inputs, Subject, batches, plain

SAME, BLAMED, ADDS_UP = "same", "blamed", "adds up"
"""Nothing departs; a node was proved to; what differs is the sum of many small differences."""


@dataclass(frozen=True)
class Bisection:
    """What was found.

    Attributes:
        reference, artefact: the two files.
        precisions: of the two.
        how: what ran them.
        inputs: what they were run on, in words.
        tolerance: beyond which a value departs.
        outcome: SAME, BLAMED or ADDS_UP.
        nodes: of the two files.
        shared: how many values were found in both.
        looked_at: by name, how far outputs and stages are apart before the search.
        blame: the node; with ADDS_UP the one at which the search ended. None if nothing departs.
        runs: in their order, each of both files.
        notes: what a reader should know.
    """

    reference: str
    artefact: str
    precisions: tuple[str, str]
    how: str
    inputs: str
    tolerance: float
    outcome: str
    nodes: tuple[int, int]
    shared: int
    looked_at: dict[str, Distance]
    blame: Blame | None
    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if nothing departs, 1 otherwise."""
        return int(self.outcome != SAME)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it; a figure that is not finite is null."""
        document: dict[str, Any] = plain(dataclasses.asdict(self))
        return document


def bisect(
    artefacts: Sequence[Path],
    inputs: Inputs,
    weights: Path | None = None,
    tolerance: float | None = None,
    say: Say = lambda line: None,
) -> Bisection:
    """Finds the first node whose output departs.

    Args:
        artefacts: the reference and the suspect; or the suspect alone, whose reference is then a new fp32 export of
            the network that its manifest names.
        inputs: what both are run on; of several batches of pictures the first on which they differ.
        weights: the checkpoint, where one artefact is given and it is not where it lay at export.
        tolerance: relative L2 beyond which a value departs; by the less precise of the two unless given.
        say: told each step, one line at a time.

    Raises:
        ArtefactError, CheckpointError, InputError, UsageError: what cannot be compared at all.
        MissingError: an engine, on a machine that cannot run it.
    """
    if not 1 <= len(artefacts) <= 2:
        raise UsageError(
            f"--bisect was given {len(artefacts)} artefacts, one or two were expected.",
            "Name the reference and the artefact that differs from it, or that artefact alone.",
        )
    for path in artefacts:
        _check_gives_inner_values(path)
    with ExitStack() as stack:
        suspect = artefacts[-1]
        if len(artefacts) == 2:
            if weights is not None:
                raise UsageError("--weights was given with two artefacts to bisect.", "Leave it out.")
            reference = artefacts[0]
        else:
            reference = _exported(suspect, inputs, weights, stack, say)
        return _bisect(reference, suspect, len(artefacts) == 1, inputs, tolerance, say)


def _bisect(
    reference: Path, suspect: Path, exported: bool, inputs: Inputs, tolerance: float | None, say: Say
) -> Bisection:
    manifests = [onnx_manifest(path) for path in (reference, suspect)]
    if manifests[0] is None and manifests[1] is None:
        raise ArtefactError(
            f"Neither {reference} nor {suspect} carries a ccdeploy manifest: what goes into them is not known.",
            "Export the reference with `ccdeploy export`.",
        )
    say(f"reading {reference} and {suspect}")
    good, bad = Network(reference), Network(suspect)
    limit = tolerance or max(TOLERANCES[network.precision].relative_l2 for network in (good, bad))
    stages = [manifest.stages if manifest else {} for manifest in manifests]
    shared_stages = [(stages[0][stage], stages[1][stage]) for stage in stages[0] if stage in stages[1]]
    matching = Matching(good, bad, shared_stages)
    pair = Pair(good, bad, matching, limit, say)
    subject = _subject(reference if manifests[0] else suspect, (good, bad), inputs)
    watched = _watched(matching, bad, [value for _, value in shared_stages])
    looked_at: dict[int, Distance] = {}
    departing: list[int] = []
    for feeds in _feeds(subject, (good, bad), inputs):
        outcome = pair.run(watched, *feeds, 0)
        looked_at, departing = outcome.distances, outcome.departing(limit)
        if departing or outcome.failure:
            break
    found: Blame | None = None
    if departing or outcome.failure:
        upper = departing[0] if departing else len(matching)
        found = blame(pair, search(pair, upper, *feeds), *feeds)
    kind, notes = BLAMED if found and found.proved else SAME, list(_notes(manifests))
    if kind == SAME and outcome.failure:
        raise ArtefactError(outcome.failure, "No node fails on its own: try a smaller --size or --batch.")
    if kind == SAME and any(reached.departs_as_a_whole(limit) for reached in looked_at.values()):
        kind = ADDS_UP
    elif kind == SAME and departing:
        worst = max(reached.figure for reached in looked_at.values())
        notes.append(f"single channels are up to {worst:.2e} apart, by small differences of many nodes")
    return Bisection(
        reference=f"{subject.manifest.model}, exported anew" if exported else str(reference),
        artefact=str(suspect),
        precisions=(good.precision, bad.precision),
        how=bad.how,
        inputs=", ".join(map(str, inputs.images)) or f"noise, seed {inputs.seed}",
        tolerance=limit,
        outcome=kind,
        nodes=matching.nodes,
        shared=len(matching),
        looked_at={matching.at(rank).bad: reached for rank, reached in looked_at.items()},
        blame=None if kind == SAME else found,
        runs=tuple(pair.runs),
        notes=tuple(notes),
    )


def _check_gives_inner_values(path: Path) -> None:
    """Refuses engines: TensorRT has fused their nodes, and what it fuses changes with the values it must give."""
    if path.suffix != ".engine":
        return
    manifest = manifest_of(path)
    reason = why_not_runnable(manifest, path) or "ccdeploy builds no engines that show values between layers"
    raise MissingError(
        f"{path} gives no inner values to compare, and probing it is not possible here: {reason}.",
        "Bisect the ONNX file that it was built from: name that file instead.",
    )


def _exported(suspect: Path, inputs: Inputs, weights: Path | None, stack: ExitStack, say: Say) -> Path:
    """The network that a file's manifest names, exported anew in float32 with the file's other options."""
    from ccdeploy.export import ExportOptions, export
    from ccdeploy.reference import reference_model

    subject = Subject(suspect, inputs)
    manifest = subject.manifest
    say(f"exporting {manifest.model} in fp32, the reference")
    model = reference_model(suspect, manifest, subject.card, weights)
    batch, _, height, width = subject.shape
    target = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ccdeploy-"))) / "reference.onnx"
    export(model, target, ExportOptions((height, width), batch, manifest.dynamic, "fp32", manifest.io))
    return target


def _subject(leader: Path, networks: tuple[Network, Network], inputs: Inputs) -> Subject:
    """Who says what goes in: the file with a manifest, at the sizes that either file fixes."""
    subject = Subject(leader, inputs)
    layout = subject.manifest.inputs[0].layout
    sizes = dict(zip("NCHW", subject.shape, strict=True))
    taken = [_input_of(network) for network in networks]
    texts = [f"{network.path} takes {kind}" for network, kind in zip(networks, taken, strict=True)]
    if taken[0].kind != taken[1].kind or {len(kind.dimensions) for kind in taken} != {len(layout)}:
        raise ArtefactError(f"{texts[0]}, {texts[1]}: one cannot be run on the other's.", "Export both with one --io.")
    for axis, one, other in zip(layout, taken[0].dimensions, taken[1].dimensions, strict=True):
        if one and other and one != other:
            raise UsageError(f"{texts[0]}, {texts[1]}.", "Export both at one size, or one with --dynamic all.")
        sizes[axis] = one or other or sizes[axis]
    size = (sizes["H"], sizes["W"])
    if inputs.size is not None and size != tuple(inputs.size):
        raise UsageError(f"{texts[0]}, {texts[1]}; --size is {inputs.size[0]}x{inputs.size[1]}.", "Leave --size out.")
    return Subject(leader, dataclasses.replace(inputs, size=size, batch=sizes["N"]))


def _input_of(network: Network) -> Input:
    if len(network.inputs) != 1:
        raise ArtefactError(
            f"{network.path} has the inputs {', '.join(network.inputs) or 'none'}, one was expected.",
            "Export it again with ccdeploy.",
        )
    return next(iter(network.inputs.values()))


def _watched(matching: Matching, bad: Network, stages: Sequence[str]) -> list[int]:
    """Ranks of the values that are looked at first: the graph's outputs, the network's stages, and the last of all."""
    ranks = {matching.rank(value) for value in (*bad.outputs, *stages)} | {len(matching)}
    return sorted(rank for rank in ranks if rank is not None)


def _feeds(subject: Subject, networks: tuple[Network, Network], inputs: Inputs) -> Iterator[tuple[Values, Values]]:
    """The inputs of both graphs, one batch after the other."""
    good, bad = (next(iter(network.inputs)) for network in networks)
    for pictures, batch in batches(subject, inputs):
        fed: Any = batch if subject.manifest.io == "tensor" else pictures
        yield {good: fed}, {bad: fed}


def _notes(manifests: Sequence[Manifest | None]) -> Iterator[str]:
    one, other = manifests
    if one and other and (one.weights.sha256, one.weights.seed) != (other.weights.sha256, other.weights.seed):
        yield "the two files were exported from different weights"
