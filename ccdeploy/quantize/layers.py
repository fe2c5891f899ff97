"""Which convolutions of a graph are quantised, and why the others are not."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.op.onnx_op import DOMAIN, NAME

ATTENTION = "criss-cross projection"
CLASSIFIER = "classifier"
CHOSEN = "--keep"
SHUT = "weights that are computed, not stored"
SILENT = "zero on every calibration picture"
_RESHAPING = {"Reshape", "Transpose", "Identity", "Cast", "Concat", "Squeeze", "Unsqueeze", "Flatten"}
"""What may stand between a projection and its criss-cross node: it computes nothing."""
_SHOWN = 5


@dataclass(frozen=True)
class Layers:
    """The convolutions of a graph by name, in the order of computation."""

    quantised: tuple[str, ...]
    kept: dict[str, str]
    """Those that stay in the float type, with the reason."""

    def without(self, names: Sequence[str], reason: str) -> Layers:
        """The same with more of them kept."""
        kept = {**self.kept, **dict.fromkeys(names, reason)}
        return Layers(tuple(name for name in self.quantised if name not in kept), kept)

    def only(self, name: str) -> Layers:
        """The same with one alone quantised."""
        return self.without([other for other in self.quantised if other != name], "another is looked at")


def choose_layers(
    graph: ir.Graph, keep: Sequence[str] = (), attention: bool = False, classifier: bool = False
) -> Layers:
    """Chooses the convolutions to quantise.

    Args:
        graph: nodes are named after modules: `backbone.layer1.0.conv1/Conv`.
        keep: shell patterns of names, or of the modules in them, that stay in the float type.
        attention: quantise the projections of criss-cross attention too.
        classifier: quantise the last convolutions before the output too.

    Raises:
        ArtefactError: the graph has no convolution.
        UsageError: a pattern that no convolution matches, or nothing is left to quantise.
    """
    convolutions = [node for node in graph if node.op_type == "Conv" and node.domain == ""]
    if not convolutions:
        raise ArtefactError("The file has no convolution: there is nothing to quantise.", "Quantise a CCNet.")
    names = [str(node.name) for node in convolutions]
    kept = {str(node.name): SHUT for node in convolutions if node.inputs[1] is None or not _is_stored(node.inputs[1])}
    if not classifier:
        kept |= dict.fromkeys(_classifiers(graph), CLASSIFIER)
    if not attention:
        kept |= dict.fromkeys(_projections(graph), ATTENTION)
    for pattern in keep:
        matched = [name for name in names if _matches(name, pattern)]
        if not matched:
            near = difflib.get_close_matches(pattern.strip("*"), names, _SHOWN, cutoff=0.3) or names[:_SHOWN]
            raise UsageError(
                f"--keep {pattern!r} matches none of the {len(names)} convolutions.",
                f"Near names: {', '.join(near)}. Patterns are those of a shell: * stands for anything.",
            )
        kept |= dict.fromkeys(matched, CHOSEN)
    layers = Layers(
        tuple(name for name in names if name not in kept), {name: kept[name] for name in names if name in kept}
    )
    check_left(layers)
    return layers


def check_left(layers: Layers) -> None:
    """Whether anything is quantised at all; raises UsageError if not, with the reasons."""
    if layers.quantised:
        return
    reasons = ", ".join(dict.fromkeys(layers.kept.values()))
    raise UsageError(
        f"All {len(layers.kept)} convolutions stay in the float type ({reasons}): nothing is left to quantise.",
        "Keep fewer of them; --quantize-attention and --quantize-classifier release what is kept by default.",
    )


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[0], pattern)


def _is_stored(weight: ir.Value) -> bool:
    return weight.is_initializer() and not weight.is_graph_input()


def _projections(graph: ir.Graph) -> Iterator[str]:
    """Names of the convolutions that give a criss-cross node its qkv."""
    for node in graph:
        if (node.domain, node.op_type) == (DOMAIN, NAME):
            yield from _convolutions_behind(node.inputs[0], _RESHAPING)


def _classifiers(graph: ir.Graph) -> Iterator[str]:
    """Names of the convolutions that are nearest to the outputs."""
    for output in graph.outputs:
        yield from _convolutions_behind(output, None)


def _convolutions_behind(value: ir.Value | None, through: set[str] | None) -> Iterator[str]:
    """Names of the convolutions that a value comes from by way of the given operators, or of any but criss-cross."""
    pending, seen = [value], set()
    while pending:
        value = pending.pop()
        node = value.producer() if value is not None else None
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type == "Conv":
            yield str(node.name)
        elif node.domain != DOMAIN and (through is None or node.op_type in through):
            pending += node.inputs
