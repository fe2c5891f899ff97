"""Optimization profiles: the shapes an engine accepts for its dynamic inputs, checked before anything is built."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ccdeploy.engine.manifest import Profile, Tensor
from ccdeploy.errors import UsageError

_BOUNDS = ("min", "opt", "max")
_EXAMPLE_BATCH, _EXAMPLE_SIZE = 1, 512


def parse_profiles(minimum: Sequence[str], optimum: Sequence[str], maximum: Sequence[str]) -> tuple[Profile, ...]:
    """Profiles from option values such as "input:1x3x512x512", each input in all three sequences.

    Raises:
        UsageError: a value that is not written so, an input given twice, or one of the three missing.
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for bound, texts in zip(_BOUNDS, (minimum, optimum, maximum), strict=True):
        for text in texts:
            name, shape = _parse_shape(bound, text)
            if bound in shapes.setdefault(name, {}):
                raise UsageError(f"--{bound} was given twice for the input {name!r}.", "Give it once for each input.")
            shapes[name][bound] = shape
    for name, given in shapes.items():
        missing = [bound for bound in _BOUNDS if bound not in given]
        if missing:
            example = "x".join(map(str, next(iter(given.values()))))
            raise UsageError(
                f"The input {name!r} has {_options(list(given))} but not {_options(missing)}.",
                f"A profile is all three; add for example --{missing[0]} {name}:{example}.",
            )
    return tuple(Profile(name, given["min"], given["opt"], given["max"]) for name, given in shapes.items())


def _parse_shape(bound: str, text: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"(.+):(\d{1,9}(?:x\d{1,9})*)", text)
    if match is None:
        raise UsageError(
            f"--{bound} {text!r}: an input's name and its shape were expected.",
            f"Write it like --{bound} input:1x3x512x512.",
        )
    return match[1], tuple(int(number) for number in match[2].split("x"))


def check_profiles(inputs: Sequence[Tensor], profiles: Sequence[Profile]) -> tuple[Profile, ...]:
    """The profiles of the dynamic inputs, in the order of the inputs, once all given shapes fit the model.

    A profile for a static input is accepted if it says what the model says.

    Raises:
        UsageError: a dynamic input without a profile, or a profile that does not fit; the input and shape are named.
    """
    given: dict[str, Profile] = {}
    names = [tensor.name for tensor in inputs]
    for profile in profiles:
        if profile.input not in names:
            raise UsageError(f"The model has no input {profile.input!r}.", f"Its inputs: {', '.join(names)}.")
        if profile.input in given:
            raise UsageError(f"Two profiles for the input {profile.input!r}; one was expected.", "Leave one out.")
        given[profile.input] = profile
    for tensor in inputs:
        if tensor.name in given:
            _check_profile(tensor, given[tensor.name])
        elif is_dynamic(tensor):
            example = _example(tensor)
            raise UsageError(
                f"The input {tensor.name!r} is dynamic ({_text(tensor.shape)}) and has no profile.",
                "Say which shapes the engine must take, for example "
                + " ".join(f"--{bound} {tensor.name}:{example}" for bound in _BOUNDS)
                + ".",
            )
    return tuple(given[tensor.name] for tensor in inputs if is_dynamic(tensor))


def is_dynamic(tensor: Tensor) -> bool:
    """Whether any dimension is the name of a dynamic axis."""
    return any(isinstance(dimension, str) for dimension in tensor.shape)


def _check_profile(tensor: Tensor, profile: Profile) -> None:
    for bound in _BOUNDS:
        shape: tuple[int, ...] = getattr(profile, bound)
        where = f"--{bound} {tensor.name}:{_text(shape)}"
        expected = f"Write it like --{bound} {tensor.name}:{_example(tensor)}."
        if len(shape) != len(tensor.shape):
            raise UsageError(
                f"{where} has {len(shape)} dimensions, the model's {_text(tensor.shape)} has {len(tensor.shape)}.",
                expected,
            )
        for size, dimension in zip(shape, tensor.shape, strict=True):
            if size < 1:
                raise UsageError(f"{where}: the dimension {size} is not positive.", expected)
            if isinstance(dimension, int) and size != dimension:
                raise UsageError(f"{where} has {size} where the model {_text(tensor.shape)} is fixed.", expected)
    for axis, (low, middle, high) in enumerate(zip(profile.min, profile.opt, profile.max, strict=True)):
        if not low <= middle <= high:
            raise UsageError(
                f"The profile of {tensor.name!r} is not in order in dimension {axis}: "
                f"min {low}, opt {middle}, max {high}.",
                "min <= opt <= max is needed in every dimension.",
            )


def _example(tensor: Tensor) -> str:
    """A shape for an example option: small numbers first, as the batch is, then picture sizes."""
    sizes = [
        dimension if isinstance(dimension, int) else _EXAMPLE_BATCH if axis == 0 else _EXAMPLE_SIZE
        for axis, dimension in enumerate(tensor.shape)
    ]
    return "x".join(map(str, sizes))


def _options(bounds: Sequence[str]) -> str:
    return " and ".join(f"--{bound}" for bound in bounds)


def _text(shape: Sequence[int | str]) -> str:
    return "x".join(map(str, shape))
