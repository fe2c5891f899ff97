"""Compiles the library with CMake and nvcc, once for each combination of sources, architectures and tools.

The result lies in the user's cache under a key of all that went into it. A build works in a folder of its own and
takes its place in the cache with one rename, so that nobody ever sees half a library.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ccdeploy import __version__
from ccdeploy.errors import BuildError, UsageError
from ccdeploy.files import data_folder
from ccdeploy.native.architectures import cmake_list, text_of
from ccdeploy.native.library import (
    CACHE,
    FILE,
    LOG,
    Cached,
    Record,
    cache_folder,
    open_library,
    read_cached,
    source_digest,
    write_record,
)
from ccdeploy.native.toolchain import Toolchain

Say = Callable[[str], None]

_FLAGS = ("CXXFLAGS", "CUDAFLAGS", "LDFLAGS", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS", "CUDAHOSTCXX")
"""Environment variables that change what CMake and nvcc make."""
_STEP = re.compile(r"\[\s*(\d+)/(\d+)\]|\[\s*(\d+%)\]")
_OBJECT = re.compile(r"Building (?:CUDA|CXX) object \S*?\.dir/(\S+)\.o\b")
_TELLING = re.compile(r"\berror\b|\bfatal\b|undefined reference|unsupported|Killed|No space left", re.IGNORECASE)
_QUIET = re.compile(r"^(FAILED|ninja|make|gmake|--|ptxas info)\b|0 errors?\b", re.IGNORECASE)
_TOO_NEW_CXX = "unsupported GNU version"
_SHOWN = 4
_GROUP_ENDS_S = 1.0


@dataclass(frozen=True)
class Built:
    """A library that lies in the cache, and whether this call compiled it."""

    cached: Cached
    fresh: bool


def build_library(toolchain: Toolchain, architectures: Sequence[int], say: Say = lambda line: None) -> Built:
    """Compiles the library for some architectures, or finds it in the cache.

    Several processes may do so at once: the first compiles, the others wait and take what it made.

    Args:
        toolchain: what compiles.
        architectures: without point (87), at least one; see `architectures.choose`.
        say: told each step, one line at a time.

    Raises:
        BuildError: the compiler failed; names the lines that tell why and where the whole log is.
        UsageError: the cache cannot be written.
    """
    code = cmake_list(architectures)
    source = source_digest()
    key = _key(toolchain, code, source)
    entry = cache_folder() / key
    if (cached := read_cached(entry)) is not None:
        return Built(cached, fresh=False)
    with _alone(entry, say):
        if (cached := read_cached(entry)) is not None:  # another process has just made it
            return Built(cached, fresh=False)
        for left_over in entry.parent.glob(f".{key}.*.build"):  # of a process that was killed: nobody else is here
            shutil.rmtree(left_over, ignore_errors=True)
        shutil.rmtree(entry, ignore_errors=True)  # damaged
        with tempfile.TemporaryDirectory(
            prefix=f".{key}.", suffix=".build", dir=entry.parent, ignore_cleanup_errors=True
        ) as folder:
            finished = _compile(toolchain, code, source, Path(folder), entry.with_suffix(".log"), say)
            finished.rename(entry)
        cached = read_cached(entry)
    if cached is None:
        raise BuildError(
            f"The compiled library does not say what it is: {entry / FILE}.", "Reinstall ccdeploy and build again."
        )
    return Built(cached, fresh=True)


def _key(toolchain: Toolchain, code: str, source: str) -> str:
    """A name for everything that the bytes of the library depend on."""
    parts = {
        "source": source,
        "ccdeploy": __version__,
        "architectures": code,
        "nvcc": toolchain.nvcc.version,
        "c++": str(toolchain.cxx.resolve()),
        "machine": platform.machine(),
        **{name: os.environ.get(name, "") for name in _FLAGS},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@contextlib.contextmanager
def _alone(entry: Path, say: Say) -> Iterator[None]:
    """Holds the lock of a cache entry; it ends with the process, however that ends."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock = entry.with_suffix(".lock").open("w")
    except OSError as error:
        raise UsageError(
            f"{entry.parent} cannot be written: {error.strerror}.",
            f"Set {CACHE} to a folder that you may write to.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process compiles the same library: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(toolchain: Toolchain, code: str, source: str, work: Path, failed_log: Path, say: Say) -> Path:
    """Configures and compiles in `work`; returns a folder with the library, its record and its log."""
    nvcc = toolchain.nvcc
    tree, scratch, finished = work / "tree", work / "tmp", work / "finished"
    for folder in (scratch, finished):
        folder.mkdir()
    environment = {**os.environ, "TMPDIR": str(scratch)}  # nvcc's own half files go with the folder
    if nvcc.libraries is not None:
        paths = [str(nvcc.libraries), *filter(None, [environment.get("LIBRARY_PATH")])]
        environment["LIBRARY_PATH"] = os.pathsep.join(paths)
    configure = [
        str(toolchain.cmake.path),
        "-S",
        str(data_folder("plugins")),
        "-B",
        str(tree),
        "-G",
        toolchain.generator,
        f"-DCMAKE_MAKE_PROGRAM={toolchain.builder}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_CUDA_COMPILER={nvcc.path}",
        f"-DCMAKE_CXX_COMPILER={toolchain.cxx}",
        f"-DCMAKE_CUDA_HOST_COMPILER={os.environ.get('CUDAHOSTCXX') or toolchain.cxx}",
        f"-DCMAKE_CUDA_ARCHITECTURES={code}",
        f"-DCCDEPLOY_VERSION={__version__}",
        f"-DCCDEPLOY_SOURCE_SHA256={source}",
    ]
    compile_all = [str(toolchain.cmake.path), "--build", str(tree), "--parallel", str(_cores())]
    log = finished / LOG
    start = time.perf_counter()
    try:
        say(f"configuring with {nvcc}, CMake {toolchain.cmake.version}, {toolchain.cxx}")
        _run(configure, environment, log, say)
        _run(compile_all, environment, log, say)
    except _FailedError as error:
        log.replace(failed_log)
        raise _explained(error, failed_log, toolchain, code) from None
    seconds = time.perf_counter() - start
    if source_digest() != source:
        raise BuildError("The sources of the library changed while they were compiled.", "Build it again.")
    (found,) = tree.rglob(FILE)
    shutil.copyfile(found, finished / FILE)
    library = open_library(finished / FILE)
    record = Record(
        sha256=library.sha256,
        size=(finished / FILE).stat().st_size,
        architectures=code,
        source=source,
        version=__version__,
        compiler=str(nvcc),
        seconds=round(seconds, 1),
        built=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    write_record(record, finished)
    failed_log.unlink(missing_ok=True)  # of an earlier attempt
    return finished


class _FailedError(Exception):
    """A step of the build that ended with an error; holds the step's output."""

    def __init__(self, status: int, output: list[str]) -> None:
        super().__init__(status)
        self.status = status
        self.output = output


def _run(command: Sequence[str], environment: dict[str, str], log: Path, say: Say) -> None:
    """Runs one step, tells each file as it is compiled, and appends everything to the log."""
    output: list[str] = []
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own, so that it can be ended as a whole
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                output.append(line.rstrip())
                if told := _progress(line):
                    say(told)
            status = process.wait()
        except BaseException:  # Ctrl-C too: no compiler may go on working in a folder that is being removed
            _end_group(process)
            raise
        finally:
            process.stdout.close()
    if status != 0:
        raise _FailedError(status, output)


def _end_group(process: subprocess.Popen[str]) -> None:
    """Kills a process with all that it started, and gives them a moment to be gone: they may still create files."""
    deadline = time.monotonic() + _GROUP_ENDS_S
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while time.monotonic() < deadline:  # a container without an init never clears the dead away
            os.killpg(process.pid, 0)
            time.sleep(0.01)


def _progress(line: str) -> str:
    """A line of ninja or make as people want it: "compiled 3 of 9: criss_cross/pass_half.cu"; else nothing."""
    step, source = _STEP.search(line), _OBJECT.search(line)
    if step is None or source is None:
        return ""
    how_far = f"{step[1]} of {step[2]}" if step[1] else step[3]
    return f"compiling, {how_far}: {source[1]}"


def _explained(error: _FailedError, log: Path, toolchain: Toolchain, code: str) -> BuildError:
    """The error with the lines that tell most: the first ones that speak of an error, else the last ones."""
    lines = [line.strip() for line in error.output if line.strip()]
    telling = []
    for number, line in enumerate(lines):
        if line.startswith("CMake Error"):
            telling.append(" ".join(lines[number : number + 3]))  # what is wrong stands on the lines below
        elif _TELLING.search(line) and not _QUIET.search(line):
            telling.append(line)
    told = " | ".join(dict.fromkeys(telling[:_SHOWN] or lines[-_SHOWN:]))
    architectures = ", ".join(text_of(int(number)) for number in re.findall(r"\d+", code))
    remedy = f"The whole log is in {log}."
    if any(_TOO_NEW_CXX in line for line in lines):
        remedy += " The C++ compiler is too new for this nvcc: name an older one, as CXX=g++-12."
    return BuildError(
        f"{toolchain.nvcc} with {toolchain.cxx} failed to compile the plugin for {architectures} "
        f"(exit status {error.status}): {told or 'no output'}",
        remedy,
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
