"""From parsed JSON to frozen dataclasses, strictly: every field there and of its type, or the field is named.

Unknown fields are passed over, so that a newer ccdeploy may add some.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar, get_args, get_origin, get_type_hints


class Mismatch(Exception):
    """A field of a document that is missing, of the wrong type, or holds what it never holds."""


_T = TypeVar("_T")


def strict_json(text: str) -> Any:
    """Parses JSON that every reader takes: no NaN, no infinity (1e999 is one), no halves of surrogate pairs.

    Raises:
        ValueError, RecursionError: it is none.
    """
    data = json.loads(text)
    json.dumps(data, ensure_ascii=False, allow_nan=False).encode()
    return data


def plain(value: Any) -> Any:
    """A nested value as JSON holds it: tuples as lists."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def from_json(kind: type[_T], data: Any, where: str) -> _T:
    """Builds a dataclass from parsed JSON; `where` is the path of `data` in its document.

    Raises:
        Mismatch: a field is missing or of the wrong type.
    """
    if not isinstance(data, dict):
        raise Mismatch(f"`{where}` is {type(data).__name__}, a table was expected")
    hints = get_type_hints(kind)
    values = {}
    for spec in dataclasses.fields(kind):  # type: ignore[arg-type]
        if spec.name in data:
            values[spec.name] = _value(hints[spec.name], data[spec.name], f"{where}.{spec.name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise Mismatch(f"the field `{where}.{spec.name}` is missing")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list):
            raise Mismatch(f"`{where}` is {type(value).__name__}, a list was expected")
        if Ellipsis not in arguments and len(value) != len(arguments):
            raise Mismatch(f"`{where}` has {len(value)} entries, {len(arguments)} were expected")
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise Mismatch(f"`{where}` is {type(value).__name__}, a table was expected")
        return {key: _value(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if arguments:  # a union
        if value is not None and len(some := [option for option in arguments if option is not type(None)]) == 1:
            return _value(some[0], value, where)
        for option in arguments:
            try:
                return _value(option, value, where)
            except Mismatch:
                continue
        raise Mismatch(f"`{where}` is {value!r}, which has a wrong type")
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**53:
        return float(value)
    if hint is type(None):
        if value is None:
            return None
    elif isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise Mismatch(f"`{where}` is {value!r}, {getattr(hint, '__name__', hint)} was expected")
