"""What is in a plugin library: read from the file, which is never loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy.native.elf import SharedObject, read_shared_object
from ccdeploy.native.library import BuildInfo, open_library, source_digest

TENSORRT_ENTRIES = ("getCreators", "getPluginCreators")
"""Functions that TensorRT looks for in a plugin library: of TensorRT 10 on, and of the one before."""
C_INTERFACE = "ccdeploy_"
"""How the functions of the kernel's C interface begin."""


@dataclass(frozen=True)
class PluginFile:
    """A shared library. `build` is None of one that is not ccdeploy's."""

    file: str
    size: int
    sha256: str
    elf: SharedObject
    build: BuildInfo | None
    current: bool | None
    """Whether it was built from the sources that this ccdeploy holds; None where either is unknown."""
    kind: str = "plugin"

    @property
    def is_tensorrt_plugin(self) -> bool:
        """Whether TensorRT finds plugin creators in it."""
        return any(name in TENSORRT_ENTRIES for name in self.elf.exported)

    @property
    def c_interface(self) -> tuple[str, ...]:
        """The functions of the kernel's C interface that it exports."""
        return tuple(name for name in self.elf.exported if name.startswith(C_INTERFACE))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self) | {"is_tensorrt_plugin": self.is_tensorrt_plugin}


def inspect_plugin(path: Path) -> PluginFile:
    """Looks at a library.

    Raises:
        UsageError: it cannot be read, or is not a whole ELF shared library.
    """
    library, elf = open_library(path), read_shared_object(path)
    current = library.info.source == _source() if library.info and _source() else None
    return PluginFile(str(path), path.stat().st_size, library.sha256, elf, library.info, current)


def _source() -> str:
    try:
        return source_digest()
    except FileNotFoundError:  # this installation lacks its sources
        return ""
