"""From a network to a portable ONNX file that says what it is, with its manifest beside it.

The file runs in any ONNX runtime: each criss-cross pass is one node of the domain `ccdeploy`, and the file carries
that node's definition in standard operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import torch

from ccdeploy import __version__
from ccdeploy.ccnet.adopt import Adoption, adopt
from ccdeploy.ccnet.cards import LARGEST_SIDE
from ccdeploy.ccnet.loading import OWN_ARCHITECTURES, Model, does_not_run
from ccdeploy.ccnet.no_cuda import CudaStaysOnCpu
from ccdeploy.ccnet.preprocessing import noise_batch, normalise, takes_pictures
from ccdeploy.ccnet.stages import FEATURES, LOGITS
from ccdeploy.deployable import Deployable, fold_norms, observe
from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.engine.onnx_files import write_onnx
from ccdeploy.errors import CcdeployError, ModelError, UsageError, first_line
from ccdeploy.mixed import Kept, matching
from ccdeploy.op import onnx_op
from ccdeploy.pictures import read_pictures
from ccdeploy.precision import PRECISIONS, torch_type
from ccdeploy.ranges import Subject, check_ranges, check_weights
from ccdeploy.tracing import trace

DYNAMIC = {"none": (), "batch": (0,), "size": (2, 3), "all": (0, 2, 3)}
"""What may change at run time -> axes of [batch, channels, height, width]."""
AXES = ("batch", "channels", "height", "width")
IO = ("tensor", "image")
LARGEST_BATCH = 1024
LARGEST_SAMPLE = 64
"""Height and width at most of the noise on which changes of a CCNet are proved and its value ranges looked at."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class ExportOptions:
    """What is fixed in an exported file.

    Attributes:
        size: height and width of the input; the card's unless given.
        batch: pictures at once.
        dynamic: which of batch and size may change at run time: a key of DYNAMIC.
        precision: one of PRECISIONS.
        io: one of IO; see `ccdeploy.deployable.Deployable`.
        keep_fp32: shell patterns of module paths that stay float32 in a 16-bit file; see `ccdeploy.mixed`.
        rescale: move powers of two between layers so that an fp16 file holds their values and weights; see
            `ccdeploy.ranges.rescale`.
        images: picture files on which the ranges of an fp16 file are measured; noise where there are none.
    """

    size: tuple[int, int] | None = None
    batch: int = 1
    dynamic: str = "none"
    precision: str = "fp32"
    io: str = "tensor"
    keep_fp32: tuple[str, ...] = ()
    rescale: bool = False
    images: tuple[Path, ...] = ()


def export(model: Model, target: Path, options: ExportOptions, say: Say = lambda line: None) -> Manifest:
    """Writes `target` (and `target`.json, and `target`.data above 2 GB), all or nothing.

    Args:
        model: the network to export; not changed.
        target: the ONNX file.
        options: what is fixed in the file.
        say: told each step, one line at a time.

    Raises:
        UsageError: options that do not fit the model.
        ModelError: a network without criss-cross attention, that does not run, or does not fit the precision.
    """
    check_options(options, target)
    shape = _input_shape(model, options)
    deployable, adoption, notes = prepare(model, options, shape, say)
    for note in notes:
        say(note)
    say(f"tracing {model.name} at {'x'.join(map(str, shape))}, {options.precision}")
    graph, stages = _trace(model, deployable, shape, options)
    passes = sum(node.domain == onnx_op.DOMAIN for node in graph.graph)
    own = model.card.network.architecture in OWN_ARCHITECTURES
    if passes == 0 and not (own and model.card.network.recurrence == 0):
        raise ModelError(
            f"{model.name} has {len(adoption.replaced)} criss-cross modules, and its output depends on none of them.",
            "Export a network whose forward calls them.",
        )
    manifest = Manifest(
        kind="onnx",
        file=target.name,
        sha256="",
        onnx_sha256="",
        ccdeploy=__version__,
        model=model.name,
        card=model.card.to_dict(),
        weights=model.weights,
        recurrence=model.card.network.recurrence if own else passes // len(adoption.replaced),
        precision=options.precision,
        io=options.io,
        dynamic=options.dynamic,
        inputs=tuple(_described(value) for value in graph.graph.inputs),
        outputs=tuple(_described(value) for value in graph.graph.outputs),
        criss_cross_nodes=passes,
        stages=stages,
        notes=(*model.notes, *notes),
    )
    say(f"writing {target}")
    return write_onnx(graph, target, manifest)


def prepare(
    model: Model, options: ExportOptions, shape: tuple[int, ...], say: Say = lambda line: None
) -> tuple[Deployable, Adoption, list[str]]:
    """The network as it is deployed, what was replaced in it, and what a user should know about it."""
    own = model.card.network.architecture in OWN_ARCHITECTURES  # others may run at the given size alone
    height, width = (min(side, LARGEST_SAMPLE) if own else side for side in shape[2:])
    sample = torch.from_numpy(noise_batch(model.card, 1, height, width, seed=0))
    network, adoption = adopt(model.network)
    notes = [f"left as it is: {name}: {reason}" for name, reason in adoption.refused.items()]
    if not adoption.replaced:
        others = "; ".join(f"{name}: {reason}" for name, reason in adoption.refused.items())
        raise ModelError(
            f"{model.name} has no criss-cross attention"
            + (f"; modules with its parameter names are something else ({others})." if others else "."),
            "A criss-cross module has query_conv, key_conv, value_conv and gamma, and computes what the paper says.",
        )
    count = len(adoption.replaced)
    names = ", ".join(adoption.replaced)
    notes.insert(0, f"criss-cross attention: {count} module{'s' * (count > 1)} proved and replaced ({names})")
    try:
        network, folded = fold_norms(network, sample)
        norms = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
        if norms:
            notes.append(f"{norms} batch norms stay nodes of their own: no convolution before them is theirs alone")
        seen = observe(network, sample)
        kept = matching(network, options.keep_fp32)
        if kept.names:
            notes.append(f"kept in float32: {', '.join(kept.names)}")
        subject = Subject(network, options.precision, sample, kept, folded)
        if options.precision == "fp16":
            samples = _pictures(model, options, shape, say) if options.images else iter([sample])
            notes += check_ranges(subject, samples, _source(options.images), bool(options.images), options.rescale)
        else:
            check_weights(subject)
    except CcdeployError:
        raise
    except Exception as error:  # a user's code may raise anything
        raise does_not_run(model.name, error, tuple(sample.shape)) from error
    if seen.several:
        notes.append("the network returns several outputs: the first is deployed")
    if seen.enlarge:
        alignment = "aligned" if model.card.output.align_corners else "not aligned"
        notes.append(f"logits are smaller than the input and are enlarged to it: bilinear, corners {alignment}")
    module = Deployable(network, model.card, options.io, torch_type(options.precision), seen, kept).eval()
    if kept.names:
        _check_types(module, model, kept, sample)
    return module, adoption, notes


def _check_types(module: Deployable, model: Model, kept: Kept, sample: torch.Tensor) -> None:
    """Runs a network of two float types: its own code may multiply the one with the other, which a tracer lets pass."""
    image = module.io == "image"
    try:
        with torch.no_grad(), CudaStaysOnCpu():
            module(torch.zeros_like(sample, dtype=torch.uint8).movedim(1, -1) if image else sample)
    except Exception as error:  # a user's code may raise anything
        raise ModelError(
            f"{model.name} does not run with {', '.join(kept.names)} kept in float32 ({first_line(error)}).",
            "Its code takes values of one type alone there: let --keep-fp32 name the module around it too.",
        ) from error


def _pictures(model: Model, options: ExportOptions, shape: tuple[int, ...], say: Say) -> Iterator[torch.Tensor]:
    """The pictures of --images as inputs of the network, one at a time, at the size of the export."""
    _, channels, height, width = shape
    for number, file in enumerate(options.images, 1):
        say(f"measuring ranges, picture {number} of {len(options.images)}: {file}")
        pictures = read_pictures([file], height, width, channels)
        yield torch.from_numpy(normalise(pictures, model.card))


def _source(images: tuple[Path, ...]) -> str:
    return f"{len(images)} picture{'s' * (len(images) > 1)}" if images else "noise"


def check_options(options: ExportOptions, target: Path) -> None:
    """Checks what can be known before a network is loaded.

    Raises:
        UsageError: a value outside what its option takes.
    """
    for name, value, known in (
        ("precision", options.precision, PRECISIONS),
        ("dynamic", options.dynamic, tuple(DYNAMIC)),
        ("io", options.io, IO),
    ):
        if value not in known:
            raise UsageError(f"{name} is {value!r}, one of {', '.join(known)} was expected.", "Choose one of them.")
    if target.suffix != ".onnx":
        raise UsageError(f"{target} does not end in .onnx.", "Name the file something.onnx.")
    if options.size is not None and not all(1 <= side <= LARGEST_SIDE for side in options.size):
        seen = "x".join(map(str, options.size))
        raise UsageError(f"The size is {seen}, sides of 1 to {LARGEST_SIDE} were expected.", "Give another --size.")
    if options.keep_fp32 and options.precision == "fp32":
        raise UsageError("--keep-fp32 goes with a 16-bit file, this one is fp32.", "Give --precision fp16 or bf16.")
    if options.rescale and options.precision != "fp16":
        raise UsageError(f"--rescale fits a network to fp16, this file is {options.precision}.", "Leave it out.")
    if options.images and options.precision != "fp16":
        raise UsageError(
            f"--images measures the ranges of an fp16 file, this one is {options.precision}, whose range is float32's.",
            "Give --precision fp16, or leave --images out.",
        )
    if not 1 <= options.batch <= LARGEST_BATCH:
        raise UsageError(f"The batch is {options.batch}, 1 to {LARGEST_BATCH} was expected.", "Give another --batch.")


def _input_shape(model: Model, options: ExportOptions) -> tuple[int, int, int, int]:
    """Checks the options against the model; [batch, channels, height, width]."""
    card = model.card
    size = options.size or card.input.size
    if not all(size):
        raise UsageError(f"{model.name}: the size of its input is not known.", "Give --size HEIGHTxWIDTH.")
    if options.io == "image" and not takes_pictures(card):
        raise UsageError(
            f"{model.name}: --io image needs the mean and std of its pictures, which are not known.",
            'Write a card with [input] mean and std and architecture = "package.module:Class", and export that.',
        )
    if options.images and not takes_pictures(card):
        raise UsageError(f"{model.name} does not take pictures.", "Leave --images out: it is measured on noise.")
    return options.batch, card.input.channels, size[0], size[1]


def _trace(
    model: Model, deployable: Deployable, shape: tuple[int, int, int, int], options: ExportOptions
) -> tuple[ir.Model, dict[str, str]]:
    axes = {axis: AXES[axis] for axis in DYNAMIC[options.dynamic]}
    batch, channels, height, width = shape
    if 0 in axes:
        batch = max(batch, 2)  # the tracer takes a batch of 1 for a fixed one
    output = FEATURES if model.card.network.architecture == "criss-cross" else LOGITS
    if options.io == "image":
        sample = torch.zeros(batch, height, width, channels, dtype=torch.uint8)
        axes = {{0: 0, 2: 1, 3: 2}[axis]: name for axis, name in axes.items()}
        names = ("image", "labels")
    else:
        sample = torch.zeros(batch, channels, height, width)
        names = ("input", output)
    try:
        graph, stages = trace(deployable, sample, axes, onnx_op.OPSET[options.precision], names)
    except Exception as error:  # the tracer and a user's code may raise anything
        own = model.card.network.architecture in OWN_ARCHITECTURES
        if own:
            raise
        raise ModelError(
            f"{model.name} cannot be traced ({type(error).__name__}: {first_line(error)}).",
            "Try `--dynamic none`, and see the cause with --debug.",
        ) from error
    if names[1] != "labels":
        stages[output] = names[1]
    return graph, stages


_LAYOUTS = {"image": "NHWC", "labels": "NHW"}


def _described(value: ir.Value) -> Tensor:
    assert value.name is not None
    assert value.dtype is not None
    assert value.shape is not None
    shape = tuple(dim if isinstance(dim, int) else str(dim.value) for dim in value.shape)
    return Tensor(value.name, value.dtype.numpy().name, _LAYOUTS.get(value.name, "NCHW"), shape)
