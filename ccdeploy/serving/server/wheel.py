"""What PyTriton's wheel needs to be run by itself: programs that are executable, a stub of this Python, libraries.

The wheel keeps a stub (the process that runs a Python model) for each version of Python beside the backends; the server
looks for one in the backend's folder. Nothing in the wheel is changed: links and copies go to a temporary folder.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from ccdeploy.errors import MissingError

STUB = "triton_python_backend_stub"


def arrange(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Lays out a server.

    Args:
        wheel: the folder `pytriton/tritonserver`.
        folder: empty; what is written goes there.

    Returns:
        The program and the folder of backends.

    Raises:
        MissingError: the wheel has no stub for this Python, or this Python no shared library.
    """
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = wheel / "python_backend_stubs"
    stub = stubs / python / STUB
    if not stub.is_file():
        there = sorted(entry.name for entry in stubs.glob("*") if (entry / STUB).is_file())
        raise MissingError(
            f"PyTriton's wheel runs models with Python {', '.join(there) or 'none'}; this is Python {python}.",
            "Install ccdeploy[triton-server] with one of those, or another release of nvidia-pytriton.",
        )
    libraries_of_python(python)
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (wheel / "backends" / "python").iterdir():
        if file.is_file():
            # The module is copied: its bytecode goes beside it.
            shutil.copyfile(file, backend / file.name) if file.suffix == ".py" else _linked(file, backend / file.name)
    _executable(stub, backend / STUB)
    _executable(wheel / "bin" / "tritonserver", folder / "tritonserver")
    return folder / "tritonserver", folder / "backends"


def libraries_of_python(python: str) -> Path:
    """The folder of this Python's shared library, which a stub is linked to.

    Raises:
        MissingError: it was built without one.
    """
    name = f"libpython{python}.so.1.0"
    for folder in (sysconfig.get_config_var("LIBDIR"), f"{sys.base_prefix}/lib"):
        if folder and (Path(folder) / name).exists():
            return Path(folder)
    if ctypes.util.find_library(f"python{python}") == name:
        return Path("/usr/lib")
    raise MissingError(
        f"{name} was not found: this Python has no shared library, which the server's Python backend needs.",
        f"Install it (Debian and Ubuntu: libpython{python}), or use a Python that was built with --enable-shared.",
    )


def library_path(wheel: Path) -> str:
    """LD_LIBRARY_PATH of the server."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = [str(wheel.parent.parent / "nvidia_pytriton.libs"), str(libraries_of_python(python))]
    return os.pathsep.join([*own, *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])


def _linked(source: Path, target: Path) -> None:
    target.symlink_to(source.resolve())


def _executable(source: Path, target: Path) -> None:
    """A link; a copy where pip did not keep that the file is a program."""
    if os.access(source, os.X_OK):
        _linked(source, target)
        return
    shutil.copyfile(source, target)
    target.chmod(0o700)
