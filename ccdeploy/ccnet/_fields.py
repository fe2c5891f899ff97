"""Strict reading of untrusted tables (parsed TOML or JSON) into frozen dataclasses.

A dataclass states beside each field what it takes, `depth: Annotated[int, choice(18, 50, 101)]`, and `read` builds it
from a table or says which field is wrong, what it holds and what was expected. A rule is a function of a value and
its path that returns the value as the dataclass holds it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

Rule = Callable[[Any, str], Any]


class FieldError(Exception):
    """One field that cannot be accepted; the message starts with the field's path."""


def rule(words: str, accepts: Callable[[Any], bool], convert: Callable[[Any], Any] = lambda value: value) -> Rule:
    """A rule for a single value; `words` completes the sentence "expected ..."."""

    def check(value: Any, path: str) -> Any:
        if not accepts(value):
            raise FieldError(f"{path} is {shown(value)}, expected {words}")
        return convert(value)

    return check


def integer(low: int, high: int) -> Rule:
    """A whole number in [low, high]; a bool is none, although Python says so."""
    return rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float, *, above: bool = False) -> Rule:
    """A finite number in [low, high], or in (low, high] with `above`; kept as a float."""
    words = f"a number above {low:g}, up to {high:g}" if above else f"a number from {low:g} to {high:g}"

    def accepts(value: Any) -> bool:
        # NaN fails every comparison and infinity the upper one.
        return type(value) in (int, float) and low <= value <= high and not (above and value == low)

    return rule(words, accepts, float)


def text(longest: int = 500) -> Rule:
    """A line of printable characters: it ends up in terminals, JSON and reports."""
    return rule(
        f"a text of 1 to {longest} printable characters",
        lambda value: isinstance(value, str) and 0 < len(value) <= longest and value.isprintable(),
    )


def file_name() -> Rule:
    """A plain file name, so that a card cannot point outside the folder it is used in."""
    return rule(
        "a plain file name",
        lambda value: (
            isinstance(value, str)
            and 0 < len(value) <= 200
            and value.isprintable()
            and value not in (".", "..")
            and not set(value) & set("/\\")
        ),
    )


def flag() -> Rule:
    """True or false."""
    return rule("true or false", lambda value: type(value) is bool)


def choice(*options: str | int) -> Rule:
    """One of a few values."""
    words = [str(option) if isinstance(option, int) else f"{option!r}" for option in options]
    return rule(
        f"{', '.join(words[:-1])} or {words[-1]}",
        lambda value: any(type(value) is type(option) and value == option for option in options),
    )


def list_of(item: Rule, low: int, high: int, *, unique: str = "") -> Rule:
    """A list of `low` to `high` items, kept as a tuple; no two items may share the attribute `unique`."""
    words = f"a list of {low}" if low == high else f"a list of {low} to {high}"
    is_list = rule(words, lambda value: isinstance(value, list | tuple) and low <= len(value) <= high)

    def check(value: Any, path: str) -> Any:
        items = tuple(item(entry, f"{path}[{index}]") for index, entry in enumerate(is_list(value, path)))
        seen: dict[Any, int] = {}
        for index, entry in enumerate(items if unique else ()):
            first = seen.setdefault(getattr(entry, unique), index)
            if first != index:
                raise FieldError(
                    f"{path}[{index}].{unique} is {shown(getattr(entry, unique))}, as in {path}[{first}]; "
                    "expected each only once"
                )
        return items

    return check


def table(kind: type[T]) -> Rule:
    """A table that a dataclass describes."""
    return lambda value, path: read(kind, value, path)


def read(kind: type[T], value: Any, path: str = "", **given: Any) -> T:
    """Builds the dataclass `kind` from a table.

    Args:
        kind: a dataclass whose fields carry their rules in `Annotated`.
        value: the table, as a TOML or JSON parser returns it.
        path: the table's place, in front of its fields in messages.
        given: fields that do not come from the table, and may not be in it.

    Raises:
        FieldError: an unknown or missing key, or a value that its rule does not take.
    """
    if not isinstance(value, dict):
        raise FieldError(f"{path or 'the document'} is {shown(value)}, expected a table")
    rules = {name: rule for name, rule in _rules(kind).items() if name not in given}
    for key in value:
        if key not in rules:
            raise FieldError(f"{_join(path, key)} is an unknown key{nearest(key, rules)}")
    for spec in dataclasses.fields(kind):
        optional = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
        if spec.name not in value and spec.name not in given and not optional:
            raise FieldError(f"{_join(path, spec.name)} is missing")
    return kind(**given, **{key: rules[key](entry, _join(path, key)) for key, entry in value.items()})


@lru_cache
def _rules(kind: type[DataclassInstance]) -> dict[str, Rule]:
    hints = get_type_hints(kind, include_extras=True)
    return {spec.name: hints[spec.name].__metadata__[0] for spec in dataclasses.fields(kind)}


def _join(path: str, key: object) -> str:
    name = key if isinstance(key, str) and key.isprintable() and 0 < len(key) <= 60 else shown(key)
    return f"{path}.{name}" if path else name


def nearest(word: object, known: Iterable[str]) -> str:
    """The hint ", did you mean ...?" in an error's sentence, or "" where nothing known is alike."""
    close = difflib.get_close_matches(str(word)[:200], sorted(known), n=3, cutoff=0.5)
    return f", did you mean {' or '.join(close)}?" if close else ""


def shown(value: object) -> str:
    """A value as an error message shows it: on one line, short, whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        # Python refuses to write integers of thousands of digits, and nobody wants to read them.
        return str(value) if value.bit_length() <= 128 else "an integer of more than 38 digits"
    if isinstance(value, float):
        return str(value)
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:57]!r}... ({len(value)} characters)"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "a table" if isinstance(value, dict) else f"of type {type(value).__name__}"
