"""Whether tensors are what a manifest promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.errors import ArtefactError
from ccdeploy.runners import Array


def check_inputs(manifest: Manifest, inputs: Mapping[str, Array]) -> int:
    """The number of pictures in a network's inputs.

    Raises:
        ArtefactError: it does not take them: names, types, shapes.
    """
    remedy = "Give what its manifest states."
    expected = {tensor.name: tensor for tensor in manifest.inputs}
    if sorted(inputs) != sorted(expected):
        what = f"The network takes {', '.join(expected)}; {', '.join(inputs) or 'nothing'} was given."
        raise ArtefactError(what, remedy)
    axes: dict[str, int] = {}
    for name, tensor in expected.items():
        if wrong := misfit(tensor, inputs[name], axes):
            raise ArtefactError(f"The network does not take this input: {wrong}.", remedy)
    first = manifest.inputs[0]
    batch: int = inputs[first.name].shape[batch_axis(first)]
    return batch


def check_outputs(manifest: Manifest, outputs: Mapping[str, Array], batch: int) -> str:
    """What is wrong with a network's outputs for so many pictures; empty if nothing is."""
    axes: dict[str, int] = {}
    for tensor in manifest.outputs:
        array = outputs[tensor.name]
        if wrong := misfit(tensor, array, axes):
            return wrong
        if array.shape[batch_axis(tensor)] != batch:
            return f"{tensor.name} is of {array.shape[batch_axis(tensor)]} pictures, {batch} were sent"
    return ""


def batch_axis(tensor: Tensor) -> int:
    """The axis of a tensor that counts pictures."""
    return tensor.layout.index("N") if "N" in tensor.layout else 0


def misfit(tensor: Tensor, array: Array, axes: dict[str, int]) -> str:
    """Why an array is not this tensor; empty if it is.

    Args:
        tensor: as the manifest states it.
        array: what there is.
        axes: sizes of the named axes so far, which this adds to: one name is one size.
    """
    if array.dtype.name != tensor.dtype:
        return f"{tensor.name} is {array.dtype}, {tensor.dtype} was expected"
    seen: Sequence[int] = array.shape
    fits = len(seen) == len(tensor.shape) and 0 not in seen
    if not fits or any(
        side != (axes.setdefault(wanted, side) if isinstance(wanted, str) else wanted)
        for side, wanted in zip(seen, tensor.shape, strict=True)
    ):
        return f"{tensor.name} is {list(seen)}, {'x'.join(map(str, tensor.shape))} was expected"
    return ""
