"""NAME_network where Triton has no backend for the artefact, or not here: ccdeploy's own runners, in batches."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import InputError
from ccdeploy.runners import Array, Runner, open_runner
from ccdeploy.serving.backend.deployment import read_deployment
from ccdeploy.serving.backend.triton import failure, model_config, response, tensor_of, version_folder


class TritonPythonModel:
    """See the module; Triton makes and calls it, one in a process of its own for each instance."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Opens the artefact on the instance's device."""
        folder = version_folder(args)
        deployment = read_deployment(folder)
        self._manifest, served = deployment.manifest, deployment.served
        # Beyond the limit of pictures only where they are enlarged to the card's size.
        self._most_pixels = max(served.most_pixels, math.prod(served.size or served.resize or (0,)))
        config = model_config(args)
        self._most = max(1, int(config.get("max_batch_size", 0)))
        instances = sum(int(group.get("count", 1)) for group in config.get("instance_group", [])) or 1
        device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
        self._runner = runner_of(folder / deployment.manifest.file, deployment.manifest, device, instances)
        how = self._runner.how.encode("ascii", "replace").decode()  # all that the server's Python prints
        print(f"{args['model_name']}: {how}", flush=True)  # in the server's log

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answers each request; those of one shape go through together."""
        inputs: list[Array | Exception] = []
        for request in requests:
            try:
                inputs.append(self._input(request))
            except Exception as error:  # it is this request's answer
                inputs.append(error)
        name = self._manifest.outputs[0].name
        outputs = outputs_of(inputs, self._infer, self._most)
        return [failure(found) if isinstance(found, Exception) else response({name: found}) for found in outputs]

    def finalize(self) -> None:
        """Frees the artefact."""
        self._runner.close()

    def _input(self, request: Any) -> Array:
        source = self._manifest.inputs[0]
        array = tensor_of(request, source.name)
        sides = dict(zip(source.layout, array.shape, strict=True))
        if not 0 < sides["H"] * sides["W"] <= self._most_pixels:
            seen = f"{sides['H']}x{sides['W']}"
            what = f"The input {source.name!r} is {seen}, 1 to {self._most_pixels} pixels were expected."
            raise InputError(what, "Send smaller pictures or windows.")
        return array

    def _infer(self, batch: Array) -> Array:
        source, output = self._manifest.inputs[0].name, self._manifest.outputs[0].name
        return self._runner.infer({source: batch})[output]


def outputs_of(
    inputs: Sequence[Array | Exception], infer: Callable[[Array], Array], most: int
) -> list[Array | Exception]:
    """An output for each input, in its place; in place of an input that failed, or that fails here, the reason.

    Args:
        inputs: batches of one picture or several each.
        infer: a batch to its output.
        most: pictures that it takes at once.
    """
    outputs: list[Array | Exception] = [
        entry if isinstance(entry, Exception) else RuntimeError("not run") for entry in inputs
    ]
    for group in _groups(inputs, most):
        arrays = [array for index in group if not isinstance(array := inputs[index], Exception)]
        for index, found in zip(group, _together(arrays, infer), strict=True):
            outputs[index] = found
    return outputs


def _groups(inputs: Sequence[Array | Exception], most: int) -> list[list[int]]:
    """Places of the inputs that go through together: of one shape, and no more pictures than `most`."""
    groups: list[list[int]] = []
    last: dict[tuple[int, ...], list[int]] = {}
    pictures: dict[tuple[int, ...], int] = {}
    for index, array in enumerate(inputs):
        if isinstance(array, Exception):
            continue
        shape = array.shape[1:]
        if shape not in last or pictures[shape] + len(array) > most:
            last[shape], pictures[shape] = [], 0
            groups.append(last[shape])
        last[shape].append(index)
        pictures[shape] += len(array)
    return groups


def _together(arrays: Sequence[Array], infer: Callable[[Array], Array]) -> list[Array | Exception]:
    """The outputs of a group; where it fails, each goes alone, so that one fails for itself only."""
    try:
        output = infer(arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
    except Exception as error:  # a runtime's own types too
        if len(arrays) == 1:
            return [error]
        return [found for array in arrays for found in _together([array], infer)]
    ends = np.cumsum([len(array) for array in arrays])
    return [output[end - len(array) : end] for array, end in zip(arrays, ends, strict=True)]


def runner_of(artefact: Path, manifest: Manifest, device: int | None, instances: int) -> Runner:
    """What runs an artefact as it stands; where the CPU cannot, node by node with its roundings, as `segment` does.

    Args:
        artefact: the file.
        manifest: what it is.
        device: the GPU's number; None: the CPU.
        instances: how many share the machine's cores.
    """
    if manifest.kind == "engine":
        return open_runner(artefact, device=device or 0)
    if device is not None:
        return open_runner(artefact, provider="cuda", device=device)
    from ccdeploy.runners.providers import why_not_as_it_stands

    if reason := why_not_as_it_stands(manifest.types):
        from ccdeploy.runners.ort import StagedRunner

        staged = StagedRunner(artefact, [])
        staged.how += f", because {reason}"
        return staged
    return open_runner(artefact, threads=max(1, len(os.sched_getaffinity(0)) // instances))
