"""Tensors on the wire: what the KServe protocol says of them, and requests and answers of its binary HTTP form.

A body is a line of JSON that names the tensors, then their bytes one after another, little-endian and row-major.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ccdeploy.runners import Array
from ccdeploy.serving.contract import triton_type

_DTYPES = ("float32", "float16", "bfloat16", "uint8", "int32", "int64")
_BY_TRITON_TYPE = {triton_type(name): name for name in _DTYPES}
LARGEST_ANSWER = (1 << 31) - 1
"""Bytes of an answer, unless told otherwise: what a message of gRPC holds."""


class Malformed(Exception):
    """An answer that is not the protocol's; says what is wrong."""


def dtype_named(name: str) -> np.dtype[Any]:
    """NumPy's type of a manifest's type; bfloat16 is of `ml_dtypes`."""
    if name == "bfloat16":
        import ml_dtypes

        name = ml_dtypes.bfloat16
    return np.dtype(name)


def type_on_wire(array: Array) -> str:
    """The protocol's name of an array's type."""
    return triton_type(array.dtype.name)


def bytes_on_wire(array: Array) -> bytes:
    """An array's bytes as the protocol wants them."""
    little = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    return np.ascontiguousarray(array, dtype=little).tobytes()


def from_wire(name: str, datatype: Any, shape: Any, content: memoryview | bytes) -> Array:
    """An array of its own memory.

    Args:
        name: of the tensor, for errors.
        datatype: the protocol's name of its type.
        shape: its dimensions.
        content: its bytes, exactly.

    Raises:
        Malformed: these do not go together.
    """
    if not isinstance(datatype, str) or datatype not in _BY_TRITON_TYPE:
        raise Malformed(f"{name} is of the type {str(datatype)[:40]!r}")
    dtype = dtype_named(_BY_TRITON_TYPE[datatype])
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(_is_size(side) for side in shape):
        raise Malformed(f"{name} has the shape {str(shape)[:80]}")
    expected = math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise Malformed(f"{name} has {len(content)} bytes, {datatype} of {list(shape)} has {expected}")
    array: Array = np.frombuffer(content, dtype).reshape(tuple(shape)).copy()
    return array


def request_body(inputs: Mapping[str, Array], outputs: Sequence[str], timeout_us: int) -> tuple[bytes, int]:
    """A request's body, and how many bytes of it are JSON.

    Args:
        inputs: tensors by name.
        outputs: the names of what is asked for.
        timeout_us: microseconds after which the server may drop the request from a queue.
    """
    contents = {name: bytes_on_wire(array) for name, array in inputs.items()}
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": name,
                    "shape": list(array.shape),
                    "datatype": type_on_wire(array),
                    "parameters": {"binary_data_size": len(contents[name])},
                }
                for name, array in inputs.items()
            ],
            "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
            "parameters": {"timeout": timeout_us},
        }
    ).encode()
    return b"".join([head, *contents.values()]), len(head)


def parse_answer(body: bytes, header_length: str | None, outputs: Sequence[str]) -> dict[str, Array]:
    """The tensors of an answer.

    Args:
        body: the whole answer.
        header_length: the value of the HTTP header Inference-Header-Content-Length.
        outputs: the names of what was asked for.

    Raises:
        Malformed: it is not the protocol's, or an output is missing.
    """
    if header_length is None or not header_length.isascii() or not header_length.isdigit():
        raise Malformed(f"its header's length is {str(header_length)[:40]!r}, a number was expected")
    if len(header_length) > 18 or (length := int(header_length)) > len(body):
        raise Malformed(f"its header's length is {header_length[:18]}, it has {len(body)} bytes")
    try:
        head = json.loads(body[:length])
        entries = head["outputs"]
        names = [entry["name"] for entry in entries]
        sizes = [entry["parameters"]["binary_data_size"] for entry in entries]
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise Malformed(f"its header is not the protocol's ({type(error).__name__})") from error
    if not all(_is_size(size) for size in sizes):
        raise Malformed("a tensor's size is no number")
    if length + sum(sizes) != len(body):
        raise Malformed(f"it has {len(body)} bytes, its header says {length + sum(sizes)}")
    rest, found = memoryview(body)[length:], {}
    for name, size, entry in zip(names, sizes, entries, strict=True):
        if name in outputs:
            found[name] = from_wire(name, entry.get("datatype"), entry.get("shape"), rest[:size])
        rest = rest[size:]
    if missing := [name for name in outputs if name not in found]:
        raise Malformed(f"{', '.join(missing)} is not in it")
    return found


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
