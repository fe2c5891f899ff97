"""Text in the syntax of each file, so that nothing of a name or a path is read as anything but itself."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Sequence

from ccdeploy.serving.server.commands import TOKEN_VARIABLE

TOKEN = f"$({TOKEN_VARIABLE})"
"""How arguments in Kubernetes name a variable of the environment."""


def yaml(text: str) -> str:
    """A double-quoted scalar of YAML, ASCII."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(letter if " " <= letter <= "~" else _escaped(letter) for letter in quoted)


def _escaped(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"


def comment(text: str) -> str:
    """One line: what would end it, or is not printable, becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def unit(text: str) -> str:
    """A value of a systemd unit: % begins a specifier there, and a backslash at the end continues a line."""
    return comment(text).replace("%", "%%").replace("\\", "/")


def exec_line(words: Sequence[str]) -> str:
    """A command line of a systemd unit, in which $ means nothing: the prefix ":" says so."""
    return " ".join(map(unit_word, [f":{words[0]}", *words[1:]]))


def unit_word(word: str) -> str:
    """A word of such a line, in quotes where it needs them."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    plain = all(letter.isalnum() or letter in "/.-_=:,+@" for letter in word) and word
    return escaped if plain else f'"{escaped}"'


def kubernetes_argument(argument: str) -> str:
    """An argument of a container: `$(` begins a variable there, unless it is the token's."""
    return TOKEN.join(part.replace("$(", "$$(") for part in argument.split(TOKEN))


FILTERS: dict[str, Callable[..., str]] = {
    "yaml": yaml,
    "comment": comment,
    "unit": unit,
    "exec": exec_line,
    "json": json.dumps,
    "shell": shlex.quote,
}
