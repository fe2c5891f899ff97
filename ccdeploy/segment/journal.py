"""What a run has finished, written down while it runs, so that another may go on where it was broken off.

The journal lies in the output folder, a JSON object a line. The first line holds what all results depend on (the
artefact, the runtime, the options); each further line a source whose files are whole and in their places, with the
digest of the source and the sizes of the files. A run that resumes believes a line only if the source and the files
are still the same; all else is done again. So it does not matter where a run ends, nor how often: each source ends with
one result. Cameras, and videos that broke off, are never written down.

The journal goes when all is done, unless the run was to resume: then it stays, and the next run that resumes does only
what is new.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ccdeploy import __version__
from ccdeploy.documents import Mismatch, from_json, plain, strict_json
from ccdeploy.errors import UsageError
from ccdeploy.files import sha256_of, written_whole
from ccdeploy.segment.options import Options
from ccdeploy.segment.pipeline import ahead
from ccdeploy.segment.results import RECORD, Result
from ccdeploy.segment.sinks import LEGEND
from ccdeploy.segment.sources import CAMERA, FRAMES, PICTURE, Source

JOURNAL = "segments.journal.jsonl"
FORMAT = 1
SECONDS_BETWEEN_SYNCS = 1.0
"""After a loss of power so much may be done again; after the end of a process nothing."""
READERS = 4
"""Threads that take the digests of sources."""
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}\.part(\.mp4)?")
"""Of `written_whole`, and of videos within it."""


@dataclass(frozen=True)
class Entry:
    """A source that is done.

    Attributes:
        key: of the source, what the names of its files begin with.
        bytes: of the source.
        sha256: of the source.
        sizes: file, relative to the folder -> bytes; of a folder, entries.
        result: for the record.
    """

    key: str
    bytes: int
    sha256: str
    sizes: dict[str, int]
    result: Result


def facts_of(network: dict[str, Any], options: Options) -> dict[str, Any]:
    """What all results of a run depend on, by the names that users know.

    Args:
        network: `Network.facts`.
        options: of the run; those that change no result are left out.
    """
    passing = options.passing
    facts = {
        "ccdeploy": __version__,
        **network,
        "--mode": passing.mode,
        "--scale": passing.scales,
        "--flip": passing.flip,
        "--batch": options.batch,
        "--overlay": options.outputs.overlay,
        "--mask": options.outputs.mask,
        "--opacity": options.outputs.opacity,
        "--frames": options.frames,
        "--every": options.every,
    }
    return {name: plain(value) for name, value in facts.items()}


class Journal:
    """The journal of a run; a context manager. Nothing is written before the first source is done.

    Args:
        folder: where results lie.
        facts: of `facts_of`.
        resume: whether what an earlier run finished counts; otherwise its journal is removed.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], resume: bool) -> None:
        self.path = folder / JOURNAL
        self.damaged = 0
        """Lines of the earlier journal that could not be read."""
        self._folder, self._facts = folder, facts
        self._found: dict[str, Entry] = {}
        self._file: IO[bytes] | None = None
        self._synced = 0.0
        if self.path.exists():
            if resume:
                self._read()
            else:
                self.path.unlink()

    def kept(self, sources: Sequence[Source]) -> Iterator[Result | None]:
        """Of each source the result that an earlier run left, or None: it has to be done.

        Half-written files of a run that was killed are removed.
        """
        self._clean(sources)
        now = {source.key for source in sources}
        entries = [entry for key, entry in self._found.items() if key not in now]  # a later run may name them again
        with closing(ahead(self._checked, sources, READERS, 8 * READERS)) as checked:
            for source, entry in checked:
                if entry is not None:
                    entries.append(entry)
                yield None if entry is None else replace(entry.result, source=source.name, resumed=True)
        self._begin(entries)

    def add(self, source: Source, sha256: str, result: Result) -> None:
        """Writes down that a source is done: its files are in their places."""
        if not sha256 or source.kind == CAMERA or (result.frames and not result.frames.complete):
            return
        if self._file is None:
            self._begin([])
        assert self._file is not None
        try:
            sizes = {name: _size(self._folder / name) for name in result.files.values()}
            entry = Entry(source.key, source.path.stat().st_size, sha256, sizes, result)
        except OSError:
            return  # somebody takes files away meanwhile: it is done again
        self._file.write(_line(dataclasses.asdict(entry)))
        self._file.flush()
        if time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def remove(self) -> None:
        """All is done: nothing is left to be resumed."""
        self._close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _begin(self, entries: Iterable[Entry]) -> None:
        """Writes the journal anew with what counts of an earlier one, whole or not at all."""
        with written_whole(self.path) as temporary, temporary.open("wb") as file:
            file.write(_line({"format": FORMAT, "facts": self._facts}))
            for entry in entries:
                file.write(_line(dataclasses.asdict(entry)))
            file.flush()
            os.fsync(file.fileno())
        self._file = self.path.open("ab")

    def _read(self) -> None:
        """The earlier journal; of two lines of one key the later counts. Lines that are damaged are counted only.

        Raises:
            UsageError: it is none, or of a run with other results.
        """
        first, *lines = self.path.read_bytes().split(b"\n")
        anew = "leave --resume out to begin again, or choose another folder with --output."
        try:
            header = strict_json(first.decode())
            number, facts = header["format"], dict(header["facts"])
        except (ValueError, RecursionError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path} is damaged: its first line is no header.", anew.capitalize()) from error
        if number != FORMAT:
            what = f"{self.path} has format {number!r}, this ccdeploy resumes format {FORMAT}."
            raise UsageError(what, anew.capitalize())
        if differences := list(_differences(facts, self._facts)):
            what = f"{self.path} is of another run: {'; '.join(differences)}."
            raise UsageError(what, f"Give what was given then, {anew}")
        for line in filter(None, lines):
            try:
                entry = from_json(Entry, strict_json(line.decode()), "entry")
                self._found[entry.key] = entry
            except (ValueError, RecursionError, Mismatch):
                self.damaged += line is not lines[-1]  # that was being written when the run ended

    def _checked(self, source: Source) -> Entry | None:
        """The entry of a source that need not be done again."""
        entry = self._found.get(source.key)
        if entry is None or source.kind == CAMERA or source.kind != entry.result.kind:
            return None
        try:
            same = (
                source.path.stat().st_size == entry.bytes
                and all(_size(self._folder / name) == size for name, size in entry.sizes.items())
                and sha256_of(source.path) == entry.sha256
            )
        except OSError:
            return None
        return entry if same and set(entry.sizes) == set(entry.result.files.values()) else None

    def _clean(self, sources: Sequence[Source]) -> None:
        """Removes the temporary files that a run which was killed left beside the results of these sources."""
        shared = {self._folder / name for name in (JOURNAL, RECORD, LEGEND)}
        places = {self._folder / source.key for source in sources}
        frames = {self._folder / (source.key + FRAMES) for source in sources if source.kind != PICTURE}

        def ours(target: Path) -> bool:
            if target in shared or target.parent in frames:
                return True
            parts = target.name.split(".")
            return any(target.with_name(".".join(parts[:count])) in places for count in range(1, len(parts)))

        for folder in {self._folder, *frames, *(place.parent for place in places)}:
            for path in folder.glob(".*.part*") if folder.is_dir() else ():
                match = _TEMPORARY.fullmatch(path.name)
                if match and ours(folder / match["name"]):
                    path.unlink(missing_ok=True)


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def _size(path: Path) -> int:
    """Bytes of a file; of a folder its entries, those that are hidden left out: they are temporary.

    Raises:
        OSError: nothing is there.
    """
    if path.is_dir():
        return sum(not entry.name.startswith(".") for entry in path.iterdir())
    return path.stat().st_size


def _differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*now, *then]):
        if then.get(name) != now.get(name):
            yield f"{name} was {_short(then.get(name))}, now {_short(now.get(name))}"


def _short(value: Any) -> str:
    text = "not given" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}..." if re.fullmatch(r"[0-9a-f]{64}", text) else text
