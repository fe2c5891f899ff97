"""The kernel's small text files in /proc, /sys and /etc, read so that nothing in them can raise."""

from __future__ import annotations

import math
import os
from pathlib import Path

_LARGEST = 1 << 16
"""Bytes read of a file: these files are short, and one that is not is none of them."""


class Files:
    """Files below a root: "/" on a machine, a folder made by a test. Paths are given without a leading slash."""

    def __init__(self, root: Path | str = "/") -> None:
        self.root = Path(root)

    @property
    def are_the_machines(self) -> bool:
        """Whether these are the files of this machine, so that its commands tell of the same."""
        return self.root == Path("/")

    def content(self, path: str) -> str | OSError:
        """A file's text without surrounding white space, or the error that reading it met."""
        try:
            handle = os.open(self.root / path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            return error
        except ValueError:  # a zero byte in the path
            return FileNotFoundError(path)
        try:
            # The device tree ends strings with a zero byte.
            return os.read(handle, _LARGEST).decode("utf-8", "replace").replace("\0", "\n").strip()
        except OSError as error:
            return error
        finally:
            os.close(handle)

    def text(self, path: str) -> str:
        """A file's text without surrounding white space; empty where it cannot be read."""
        content = self.content(path)
        return content if isinstance(content, str) else ""

    def number(self, path: str) -> float | None:
        """The one finite number that a file holds; None where it holds anything else or cannot be read."""
        return number_in(self.text(path))

    def matching(self, pattern: str) -> list[str]:
        """Paths that a glob pattern matches, in the order of the numbers in them: hwmon2 before hwmon10."""
        try:
            found = [path.relative_to(self.root).as_posix() for path in self.root.glob(pattern)]
        except (OSError, ValueError):
            return []
        return sorted(found, key=_in_order_of_numbers)


def number_in(text: str) -> float | None:
    """The finite number that a text is; None if it is anything else."""
    if "_" in text:  # Python's own notation
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _in_order_of_numbers(path: str) -> tuple[tuple[str, int, str], ...]:
    parts = []
    for part in path.split("/"):
        stem = part.rstrip("0123456789")
        number = part[len(stem) :]
        parts.append((stem, int(number[:18]) if number.isascii() and number else -1, part))
    return tuple(parts)
