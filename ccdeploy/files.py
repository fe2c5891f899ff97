"""Files: the data that ships with ccdeploy, digests, and writing without ever leaving half a file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ccdeploy.errors import UsageError


def data_folder(name: str) -> Path:
    """The folder `models` or `plugins`, in a checkout (beside the package) or installed (inside it)."""
    package = Path(__file__).resolve().parent
    for root in (package / "_data", package.parent):
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(f"ccdeploy's folder {name!r} is neither in {package} nor beside it: reinstall ccdeploy")


def size_text(count: float) -> str:
    """A number of bytes for people: "132.9 MB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: object) -> str:
    digest = hashlib.sha256()  # Python 3.10 has no hashlib.file_digest
    while block := file.read(1 << 20):  # type: ignore[attr-defined]
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yields a temporary path in the target's folder; renames it to `target` only if the block succeeds.

    An error or Ctrl-C leaves a file that was there before untouched, and nothing half-written behind.

    Raises:
        UsageError: the folder cannot be created or written, or the target is a folder.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder, a file was expected.", "Name a file in it.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}.", "Choose a folder that you may write to."
        ) from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
