"""A file's digest, and whether it is the one that was recorded when the file was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ccdeploy.engine.manifest import Manifest, manifest_path, read_manifest
from ccdeploy.errors import ArtefactError
from ccdeploy.files import sha256_of


@dataclass(frozen=True)
class Digest:
    """SHA-256 of a file."""

    sha256: str
    recorded: str = ""
    """What the manifest beside the file says; empty without one."""

    @property
    def changed(self) -> bool:
        """Whether the file is another than the one that was recorded."""
        return self.recorded not in ("", self.sha256)


def digest_of(path: Path, manifest: Manifest | None = None) -> Digest:
    """A file's digest, and the recorded one.

    Args:
        path: the file.
        manifest: the one that lies beside the file, where it was read already.

    Raises:
        ArtefactError: the file cannot be read, or the manifest beside it is damaged.
    """
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}.", "Make it readable.") from error
    if manifest is None and manifest_path(path).is_file():
        manifest = read_manifest(path)
    return Digest(digest, manifest.sha256 if manifest else "")
