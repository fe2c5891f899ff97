"""Tensors of model configs: their types and shapes, those of warm-ups, and how an ensemble's steps hand them on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ccdeploy.errors import ArtefactError
from ccdeploy.serving.repository.layout import REMEDY, WARM_UP
from ccdeploy.serving.repository.schema import schema

_BYTES = {
    "TYPE_FP32": 4,
    "TYPE_FP16": 2,
    "TYPE_BF16": 2,
    "TYPE_UINT8": 1,
    "TYPE_INT32": 4,
    "TYPE_INT64": 8,
}
"""Of the types that a network's tensors have."""


def check_tensors(where: Path, config: Any) -> None:
    """Inputs and outputs of a config.

    Raises:
        ArtefactError: there are none, two of one name, of no type, or of no shape.
    """
    for kind, tensors in (("input", config.input), ("output", config.output)):
        names = [tensor.name for tensor in tensors]
        if not names or len(set(names)) != len(names) or not all(names):
            raise ArtefactError(f"{where}: its {kind}s are {names}, different names were expected.", REMEDY)
        for tensor in tensors:
            if _type(tensor) not in _BYTES:
                raise ArtefactError(f"{where}: the {kind} {tensor.name} is of {_type(tensor)}.", REMEDY)
            if not tensor.dims or not all(size == -1 or size > 0 for size in tensor.dims):
                raise ArtefactError(
                    f"{where}: the {kind} {tensor.name} has the shape {list(tensor.dims)}; sizes from 1, or -1 where "
                    "they are open, were expected.",
                    REMEDY,
                )


def check_warm_up(folder: Path, config: Any) -> None:
    """The data of a model's warm-ups.

    Raises:
        ArtefactError: it is not that of the model's inputs.
    """
    inputs = {tensor.name: tensor for tensor in config.input}
    for sample in config.model_warmup:
        where = f"{folder}: the warm-up {sample.name!r}"
        if sorted(sample.inputs) != sorted(inputs):
            raise ArtefactError(f"{where} has {sorted(sample.inputs)}, {sorted(inputs)} was expected.", REMEDY)
        for name, given in sample.inputs.items():
            if _type(given) != _type(inputs[name]):
                raise ArtefactError(f"{where}: {name} is of {_type(given)}, not {_type(inputs[name])}.", REMEDY)
            if given.WhichOneof("input_data_type") != "input_data_file":
                continue
            path = folder / WARM_UP / given.input_data_file
            size = math.prod(given.dims) * _BYTES[_type(given)]
            if Path(given.input_data_file).name != given.input_data_file or not path.is_file():
                raise ArtefactError(f"{where}: {path} is not there.", REMEDY)
            if path.stat().st_size != size:
                raise ArtefactError(
                    f"{where}: {path} has {path.stat().st_size} bytes, {size} were expected of {list(given.dims)}.",
                    REMEDY,
                )


def check_steps(where: Path, ensemble: Any, configs: Mapping[str, Any]) -> None:
    """Whether each step of an ensemble is given what its model takes, and the outputs come out of one.

    Args:
        where: the ensemble's config.
        ensemble: its message.
        configs: the models', by name.

    Raises:
        ArtefactError: a step, tensor, type or shape that does not fit.
    """
    known = {tensor.name: _shaped(tensor, 0) for tensor in ensemble.input}
    used = {tensor for step in ensemble.ensemble_scheduling.step for tensor in step.input_map.values()}
    if unused := sorted(set(known) - used):
        raise ArtefactError(f"{where}: no step takes the input {unused[0]!r}.", REMEDY)
    for step in ensemble.ensemble_scheduling.step:
        model = configs.get(step.model_name)
        if model is None or model is ensemble:
            raise ArtefactError(f"{where}: a step is {step.model_name!r}, which is no model of it.", REMEDY)
        taken = {tensor.name: _shaped(tensor, model.max_batch_size) for tensor in model.input}
        given = {tensor.name: _shaped(tensor, model.max_batch_size) for tensor in model.output}
        if sorted(step.input_map) != sorted(taken) or not set(step.output_map) <= set(given):
            raise ArtefactError(
                f"{where}: the step {step.model_name} maps {sorted(step.input_map)} to {sorted(step.output_map)}; the "
                f"model has {sorted(taken)} and {sorted(given)}.",
                REMEDY,
            )
        for name, tensor in step.input_map.items():
            if tensor not in known:
                raise ArtefactError(f"{where}: {tensor!r}, which {step.model_name} takes, comes of no step.", REMEDY)
            _check_same(where, tensor, known[tensor], taken[name])
        for name, tensor in step.output_map.items():
            if tensor in known:
                raise ArtefactError(f"{where}: {tensor!r} comes of two steps.", REMEDY)
            known[tensor] = given[name]
    for tensor in ensemble.output:
        if tensor.name not in known:
            raise ArtefactError(f"{where}: the output {tensor.name!r} comes of no step.", REMEDY)
        _check_same(where, tensor.name, known[tensor.name], _shaped(tensor, 0))


_Shaped = tuple[str, list[int]]


def _shaped(tensor: Any, max_batch_size: int) -> _Shaped:
    """A tensor's type and whole shape: where the server forms batches, their axis comes first."""
    return _type(tensor), [*([-1] if max_batch_size else []), *tensor.dims]


def _check_same(where: Path, name: str, given: _Shaped, taken: _Shaped) -> None:
    same = given[0] == taken[0] and len(given[1]) == len(taken[1])
    if not same or any(a != b and -1 not in (a, b) for a, b in zip(given[1], taken[1], strict=True)):
        raise ArtefactError(
            f"{where}: {name!r} is {given[0]} {given[1]} where it comes out, {taken[0]} {taken[1]} where it goes in.",
            REMEDY,
        )


def _type(tensor: Any) -> str:
    name: str = schema().DataType.Name(tensor.data_type)
    return name
