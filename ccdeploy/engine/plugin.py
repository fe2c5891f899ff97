"""The plugin library that computes criss-cross attention in one layer: which one, if any, a build uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import UsageError
from ccdeploy.files import sha256_of

AUTO = "auto"
NONE = "none"

NO_PLUGIN_NOTE = "criss-cross attention is built from standard layers: this release ships no plugin"

_ELF_MAGIC = b"\x7fELF"
_ELF_TYPE_OFFSET = 16
_ELF_SHARED_OBJECT = 3


@dataclass(frozen=True)
class PluginLibrary:
    """A plugin library on disk, checked to be one in form; TensorRT checks the rest when it loads it."""

    path: Path
    sha256: str


def resolve_plugin(choice: str) -> PluginLibrary | None:
    """The library that a --plugin value means: "auto", "none" or a file. None: build from standard layers.

    "auto" takes the library that ccdeploy ships, and this release ships none: a caller must tell NO_PLUGIN_NOTE.

    Raises:
        UsageError: the file is missing, or not an ELF shared library.
    """
    if choice in (AUTO, NONE):
        return None
    path = Path(choice).resolve()
    remedy = "Name the plugin's .so file, or use --plugin none."
    try:
        with path.open("rb") as file:
            header = file.read(_ELF_TYPE_OFFSET + 2)
    except OSError as error:
        raise UsageError(f"The plugin {choice} cannot be read: {error.strerror}.", remedy) from error
    little_endian = int.from_bytes(header[_ELF_TYPE_OFFSET:], "little")
    if not header.startswith(_ELF_MAGIC) or little_endian != _ELF_SHARED_OBJECT:
        raise UsageError(f"The plugin {choice} is not an ELF shared library.", remedy)
    return PluginLibrary(path, sha256_of(path))


def expected_plugin_layers(criss_cross_nodes: int, *, with_plugin: bool) -> int:
    """How many plugin layers the network must have: one a node with the plugin, none without."""
    return criss_cross_nodes if with_plugin else 0
