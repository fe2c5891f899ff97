"""What is to be segmented, in order, and under which name each result lies: no two sources ever share one."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ccdeploy.errors import InputError, UsageError
from ccdeploy.pictures import SUFFIXES

VIDEO_SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
PICTURE, VIDEO, CAMERA = "picture", "video", "camera"
FRAMES = ".frames"
"""Ends the name of a folder that holds a video's frames."""


@dataclass(frozen=True)
class Source:
    """One picture, video or camera.

    Attributes:
        path: the file; of a camera its number.
        key: what the names of its results begin with, relative to the output folder, with "/" between folders.
        kind: PICTURE, VIDEO or CAMERA.
    """

    path: Path
    key: str
    kind: str = PICTURE

    @property
    def name(self) -> str:
        """As people and reports name it."""
        return f"camera {self.path}" if self.kind == CAMERA else str(self.path)


@dataclass(frozen=True)
class Sources:
    """All that is segmented in one run, and what a user should know about what is not."""

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()


def find_sources(paths: Sequence[Path], output: Path, recursive: bool = False, camera: int | None = None) -> Sources:
    """Lists what is segmented before anything is written.

    Files stand for themselves, whatever their suffix; of a folder the pictures are taken. What lies in the output
    folder is never taken from a folder that holds it, so that results of an earlier run do not become sources.

    Args:
        paths: files and folders.
        output: the folder that results go to.
        recursive: whether the folders in the folders are searched, too; results then keep their structure.
        camera: a camera's number.

    Raises:
        InputError: a path that does not exist, a folder without pictures.
        UsageError: two sources whose results would have one name; nothing to do; a folder that would be both.
    """
    entries: list[tuple[Path, PurePosixPath, str]] = []
    notes: list[str] = []
    for path in paths:
        if path.is_dir():
            if _same(path, output):
                raise UsageError(
                    f"{path} is both source and output: results would lie among the originals.",
                    "Choose another folder with --output, such as one inside of it.",
                )
            entries += [
                (file, PurePosixPath(file.relative_to(path)), PICTURE)
                for file in _pictures_of(path, output, recursive, notes)
            ]
        elif path.is_file():
            entries.append((path, PurePosixPath(path.name), VIDEO if _ends(path, VIDEO_SUFFIXES) else PICTURE))
        else:
            raise InputError(f"{path} does not exist.", "Name picture files, folders of pictures or video files.")
    if camera is not None:
        entries.append((Path(str(camera)), PurePosixPath(f"camera-{camera}"), CAMERA))
    if not entries:
        raise UsageError("Nothing to segment was named.", "Name pictures, folders, a video, or a camera with --camera.")
    entries = _once(entries)
    keys = result_keys([name for _, name, _ in entries])
    sources = tuple(Source(path, key, kind) for (path, _, kind), key in zip(entries, keys, strict=True))
    _check_names(sources)
    return Sources(sources, tuple(notes))


def result_keys(names: Sequence[PurePosixPath]) -> list[str]:
    """What the names of results begin with: names without their suffix, or with it where two would be the same.

    Keys are equal only where names are, upper and lower case taken as one, as some file systems do.

    Args:
        names: of files, relative to wherever they were found.
    """
    short = [str(name.with_suffix("")) if name.stem else str(name) for name in names]
    whole = [False] * len(names)
    while True:
        keys = [str(name) if keep else cut for name, cut, keep in zip(names, short, whole, strict=True)]
        count = Counter(map(_folded, keys))
        clashing = [index for index, key in enumerate(keys) if count[_folded(key)] > 1 and not whole[index]]
        if not clashing:
            return keys
        for index in clashing:
            whole[index] = True


def _check_names(sources: Sequence[Source]) -> None:
    """Refuses sources whose results would have one name."""
    seen: dict[str, Source] = {}
    for source in sources:
        other = seen.setdefault(_folded(source.key), source)
        if other is not source:
            raise UsageError(
                f"Results of {other.name} and of {source.name} would have one name, {source.key}.",
                "Segment them into two folders, or name the folder above both with --recursive.",
            )
    frames = {_folded(source.key + FRAMES): source for source in sources if source.kind != PICTURE}
    for source in sources:
        for parent in PurePosixPath(source.key).parents:
            if video := frames.get(_folded(str(parent))):
                raise UsageError(
                    f"Results of {source.name} would lie among the frames of {video.name}.",
                    "Segment them into two folders.",
                )


def _pictures_of(folder: Path, output: Path, recursive: bool, notes: list[str]) -> list[Path]:
    """The pictures of a folder, by name; what else of use lies there is noted."""
    files = list(_files_of(folder, output, recursive))
    pictures = sorted(file for file in files if _ends(file, SUFFIXES))
    videos = sorted(file for file in files if _ends(file, VIDEO_SUFFIXES))
    if not pictures:
        found, remedy = "", "Name a folder of pictures."
        if videos:
            found, remedy = f", but {_counted(len(videos), 'video')}", f"Name videos themselves, such as {videos[0]}."
        elif not recursive and any(entry.is_dir() for entry in folder.iterdir()):
            found, remedy = ", but folders", "Use --recursive to search the folders in it."
        raise InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}){found}.", remedy)
    if videos:
        notes.append(f"{folder} holds {_counted(len(videos), 'video')} too: to segment videos, name the files")
    return pictures


def _files_of(folder: Path, output: Path, recursive: bool) -> Iterator[Path]:
    """The files of a folder but for those in the output folder; links to folders are not followed."""
    for root, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = sorted(name for name in folders if recursive and not _same(Path(root, name), output))
        yield from (Path(root, name) for name in files if Path(root, name).is_file())


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror}).", "Check its permissions.") from error


def _once(entries: Sequence[tuple[Path, PurePosixPath, str]]) -> list[tuple[Path, PurePosixPath, str]]:
    """The same without files that were named before, by whatever path."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for entry in entries:
        identity = (entry[2] if entry[2] == CAMERA else "", os.path.realpath(entry[0]))
        if identity not in seen:
            seen.add(identity)
            kept.append(entry)
    return kept


def _ends(file: Path, suffixes: Sequence[str]) -> bool:
    return file.suffix.lower() in suffixes


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key).casefold()


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
