"""What is in an artefact: an ONNX file, an engine, a plugin library or a folder of `ccdeploy deploy`.

    from ccdeploy.inspection import inspect

    inspect(Path("model.onnx")).graph.nodes

Files are read, never run: a plugin is not loaded, and an engine only to name its layers, where this machine could run
it and its manifest is of this very file.
"""

from __future__ import annotations

from pathlib import Path

from ccdeploy.engine.manifest import manifest_path
from ccdeploy.errors import ArtefactError
from ccdeploy.inspection.engine_file import EngineFile, inspect_engine
from ccdeploy.inspection.folder import Folder, inspect_folder
from ccdeploy.inspection.onnx_file import OnnxFile, inspect_onnx
from ccdeploy.inspection.plugin_file import PluginFile, inspect_plugin

__all__ = ["EngineFile", "Folder", "Inspection", "OnnxFile", "PluginFile", "inspect"]

Inspection = OnnxFile | EngineFile | PluginFile | Folder
_ELF_MAGIC = b"\x7fELF"


def inspect(path: Path) -> Inspection:
    """Looks at an artefact.

    Raises:
        ArtefactError: it is missing, damaged, or none of the four.
        UsageError: a library that cannot be read or is not whole.
    """
    if path.is_dir():
        return inspect_folder(path)
    if not path.is_file():
        raise ArtefactError(f"{path} does not exist or is not a file.", "Check the path.")
    if path.suffix == ".onnx":
        return inspect_onnx(path)
    try:
        with path.open("rb") as file:
            start = file.read(len(_ELF_MAGIC))
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.", "Make it readable.") from error
    if start == _ELF_MAGIC or path.suffix == ".so":
        return inspect_plugin(path)
    if manifest_path(path).is_file():
        return inspect_engine(path)
    raise ArtefactError(
        f"{path} is none of what ccdeploy makes: an .onnx file, an engine with {manifest_path(path).name} beside it, "
        "a plugin library or a folder of `ccdeploy deploy` was expected.",
        "Check the path; keep an engine's manifest beside it.",
    )
