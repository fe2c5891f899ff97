"""Tensors in and out of Triton's Python backend, and how errors leave it.

Arrays pass by DLPack: `as_numpy` and `pb_utils.Tensor(name, array)` go through NumPy's C interface, for which servers
before 24.12 are compiled as of NumPy 1: under NumPy 2 they read and write wrong places without an error.
"""

from __future__ import annotations

import ctypes
import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.errors import CcdeployError, InputError, UsageError, first_line
from ccdeploy.runners import Array

_set_capsule_name = ctypes.pythonapi.PyCapsule_SetName
_set_capsule_name.argtypes = [ctypes.py_object, ctypes.c_char_p]
_TAKEN = ctypes.c_char_p(b"used_dltensor")
"""Must outlive the capsules that bear it."""
Answer = Callable[[Any], Mapping[str, Array]]
"""A request's answer: its outputs by name."""


def version_folder(args: Mapping[str, str]) -> Path:
    """The folder of the version that is being loaded, from what Triton gives `initialize`."""
    return Path(args["model_repository"]) / args["model_version"]


def model_config(args: Mapping[str, str]) -> dict[str, Any]:
    """The model's config, from what Triton gives `initialize`."""
    config: dict[str, Any] = json.loads(args["model_config"])
    return config


def tensor_of(request: Any, name: str) -> Array:
    """An input of a request, read-only.

    Raises:
        InputError: it is not there, or holds nothing.
    """
    import triton_python_backend_utils as pb_utils

    tensor = pb_utils.get_input_tensor_by_name(request, name)
    if tensor is None:
        raise InputError(f"The request has no input {name!r}.", "Send it.")
    try:
        array: Array = np.from_dlpack(tensor)
    except Exception as error:  # what the binding raises of a tensor without values differs by version
        what = f"The input {name!r} cannot be read ({first_line(error)}): it holds nothing, or lies on a GPU."
        raise InputError(what, "Send values, in the memory of the host.") from error
    return array


def answered(requests: Sequence[Any], answer: Answer) -> list[Any]:
    """A response for each request; what fails for one fails for that one alone."""
    responses = []
    for request in requests:
        try:
            responses.append(response(answer(request)))
        except Exception as error:  # whatever it is, it is this request's answer
            responses.append(failure(error))
    return responses


def response(outputs: Mapping[str, Array]) -> Any:
    """A response that holds arrays."""
    import triton_python_backend_utils as pb_utils

    return pb_utils.InferenceResponse(output_tensors=[_tensor(name, array) for name, array in outputs.items()])


def _tensor(name: str, array: Array) -> Any:
    """Triton's tensor of an array."""
    import triton_python_backend_utils as pb_utils

    # NumPy hands out no read-only arrays, Triton takes none that are not contiguous.
    whole: Any = np.require(array, requirements=["C", "W"])
    capsule = whole.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    # Triton has taken the memory over, and marked the capsule with a name that NumPy does not know: NumPy would write
    # a traceback to the log for each. This is the name that the standard gives.
    _set_capsule_name(capsule, _TAKEN)
    return tensor


def failure(error: Exception) -> Any:
    """A response that says why there is none: INVALID_ARG where the request is at fault, else INTERNAL."""
    import triton_python_backend_utils as pb_utils

    codes = pb_utils.TritonError
    if isinstance(error, MemoryError):
        text, code = "The server has not enough memory for this picture. Send a smaller one.", codes.INTERNAL
    elif isinstance(error, CcdeployError):
        at_fault = isinstance(error, (InputError, UsageError))
        text, code = f"{error.what} {error.remedy}", codes.INVALID_ARG if at_fault else codes.INTERNAL
    else:
        traceback.print_exception(error)  # in the server's log
        text, code = f"a defect of ccdeploy: {type(error).__name__}: {first_line(error)}", codes.INTERNAL
    return pb_utils.InferenceResponse(output_tensors=[], error=codes(" ".join(text.split()), code))
