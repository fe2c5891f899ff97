"""Libraries on disk: a user's file or the user's cache, what is known of each without loading it, and which to use.

A library is native code: it is read here, never loaded. What it was built from and for stands in it as one line of
JSON (ccdeploy_build_info() of the C interface returns that very line).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import UsageError
from ccdeploy.files import data_folder, sha256_of
from ccdeploy.native.architectures import entries_of, holds_machine_code, uncovered

FILE = "libccdeploy_plugins.so"
RECORD = "build.json"
LOG = "build.log"
ENVIRONMENT = "CCDEPLOY_PLUGIN"
"""The environment variable that names the library to use wherever "auto" would choose one."""
CACHE = "CCDEPLOY_CACHE"
"""The environment variable that names the folder in which to keep what was compiled."""

_SOURCES = ("CMakeLists.txt", "exports.map", "include", "criss_cross", "tensorrt")
"""What the library is made of; the emulator and the pages beside them are not in it."""
_ELF_MAGIC = b"\x7fELF"
_ELF_TYPE_OFFSET = 16
_ELF_SHARED_OBJECT = 3
_BUILD_INFO = re.compile(
    rb'\{"version": "[^"\0]{0,64}", "architectures": "[^"\0]{0,256}", "compiler": "[^"\0]{0,64}", '
    rb'"source": "[^"\0]{0,64}"\}'
)


@dataclass(frozen=True)
class BuildInfo:
    """What a library says of itself."""

    version: str
    """Of ccdeploy."""
    architectures: str
    """In CMake's notation; see ccdeploy.native.architectures."""
    compiler: str
    """nvcc's version."""
    source: str
    """The digest of its sources, see `source_digest`."""


@dataclass(frozen=True)
class Library:
    """A shared library on disk. `info` is None for one that is not ccdeploy's."""

    path: Path
    sha256: str
    info: BuildInfo | None


@dataclass(frozen=True)
class Record:
    """What lies beside a cached library: how it came about, and what it must still be."""

    sha256: str
    size: int
    architectures: str
    source: str
    version: str
    compiler: str
    """For people: which nvcc, and where it was found."""
    seconds: float
    built: str
    """When: ISO 8601, UTC."""


def open_library(path: Path | str) -> Library:
    """Looks at a library's file.

    Raises:
        UsageError: it is missing, or not an ELF shared library.
    """
    remedy = "Name the library that `ccdeploy build-plugin` wrote, or use --plugin none."
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"The plugin {path} cannot be read: {error.strerror}.", remedy) from error
    header = content[: _ELF_TYPE_OFFSET + 2]
    little_endian = int.from_bytes(header[_ELF_TYPE_OFFSET:], "little")
    if not header.startswith(_ELF_MAGIC) or little_endian != _ELF_SHARED_OBJECT:
        raise UsageError(f"The plugin {path} is not an ELF shared library.", remedy)
    return Library(Path(path).resolve(), hashlib.sha256(content).hexdigest(), _info_in(content))


def _info_in(content: bytes) -> BuildInfo | None:
    match = _BUILD_INFO.search(content)
    if match is None:
        return None
    try:
        return BuildInfo(**json.loads(match[0]))
    except ValueError:  # bytes that only look like it
        return None


def named_library() -> Library | None:
    """The library that the environment names, if it names one.

    Raises:
        UsageError: what it names is none.
    """
    name = os.environ.get(ENVIRONMENT)
    if not name:
        return None
    try:
        return open_library(name)
    except UsageError as error:
        raise UsageError(f"{ENVIRONMENT}={name}: {error.what}", f"Correct or unset {ENVIRONMENT}.") from error


def source_digest() -> str:
    """SHA-256 of the names and contents of everything that the library is made of.

    Raises:
        FileNotFoundError: this installation of ccdeploy lacks its folder `plugins`.
    """
    folder = data_folder("plugins")
    digest = hashlib.sha256()
    for name in _SOURCES:
        entry = folder / name
        files = [entry] if entry.is_file() else sorted(path for path in entry.rglob("*") if path.is_file())
        for file in files:
            for part in (file.relative_to(folder).as_posix().encode(), file.read_bytes()):
                digest.update(len(part).to_bytes(8, "little"))
                digest.update(part)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where compiled libraries are kept, a folder for each: CCDEPLOY_CACHE/plugins, or in the user's cache folder."""
    if own := os.environ.get(CACHE):
        return Path(own).absolute() / "plugins"
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"  # as the XDG specification says
    return root / "ccdeploy" / "plugins"


@dataclass(frozen=True)
class Cached:
    """A library in the cache, whole."""

    library: Library
    record: Record

    @property
    def is_current(self) -> bool:
        """Whether it was built from the sources that this ccdeploy holds."""
        return self.record.source == source_digest()


def read_cached(entry: Path) -> Cached | None:
    """The library in one folder of the cache; None unless it is there, whole, and what its record says."""
    path = entry / FILE
    try:
        record = Record(**json.loads((entry / RECORD).read_text(encoding="utf-8")))
        if path.stat().st_size != record.size or sha256_of(path) != record.sha256:
            return None
        library = open_library(path)
    except (OSError, ValueError, TypeError, UsageError):
        return None
    if library.info is None or entries_of(library.info.architectures) != entries_of(record.architectures):
        return None
    return Cached(library, record)


def write_record(record: Record, folder: Path) -> None:
    """Puts the record beside a library."""
    text = json.dumps(dataclasses.asdict(record), indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def cached_libraries() -> Iterator[Cached]:
    """Everything in the cache that is whole, in no order. Never raises for what it finds there."""
    entries: list[Path] = []
    with contextlib.suppress(OSError):
        entries = [entry for entry in cache_folder().iterdir() if not entry.name.startswith(".")]
    for entry in entries:
        if (cached := read_cached(entry)) is not None:
            yield cached


def find_cached(capabilities: Iterable[str]) -> Library | None:
    """The cached library of the present sources that runs on all of these GPUs; machine code is preferred to PTX."""
    wanted = tuple(capabilities)
    fitting = [
        cached
        for cached in cached_libraries()
        if cached.is_current and not uncovered(cached.record.architectures, wanted)
    ]

    def preference(cached: Cached) -> tuple[int, str]:
        exact = sum(holds_machine_code(cached.record.architectures, capability) for capability in wanted)
        return exact, cached.record.built

    best = max(fitting, key=preference, default=None)
    return best.library if best else None
