"""Runs a build in a child process, so that a crash inside TensorRT is an error and Ctrl-C ends it at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ccdeploy import errors
from ccdeploy.engine.flavour import Flavour
from ccdeploy.engine.job import Job, JobResult, Progress
from ccdeploy.errors import BuildError, CcdeployError

_LOG_TAIL_LINES = 4


def run_job(job: Job, flavour: Flavour, on_progress: Callable[[Progress], None] | None = None) -> JobResult:
    """Builds the job's engine in a child process.

    `on_progress` is called in this thread. Whatever it raises, and Ctrl-C too, kills the child and goes on up.

    Raises:
        CcdeployError: what the child reported; a BuildError with the tail of its log if it crashed.
    """
    log_path = Path(job.scratch) / "log.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ccdeploy.engine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=job.scratch,  # the working folder heads the module path of `-m`: this one holds no modules
            env=_environment(job, flavour),
            text=True,
            encoding="utf-8",
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):  # a child that has died already is noticed below
            process.stdin.write(job.to_json() + "\n")
            process.stdin.flush()
        outcome = _read_events(process.stdout, on_progress)
        if outcome is None:
            raise _crash(process.wait(), log_path)
    finally:
        process.kill()  # with the outcome in hand the files are written, and nothing is left to wait for
        process.wait()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if "error" in outcome:
        error = outcome["error"]
        kind: type[CcdeployError] = getattr(errors, error["kind"])
        raise kind(error["what"], error["remedy"])
    return JobResult(**outcome["result"])


def _environment(job: Job, flavour: Flavour) -> dict[str, str]:
    """The child's environment: it imports what this process imports, and finds TensorRT-RTX under every name."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    alias = flavour.unversioned_library()
    if alias is not None:
        name, library = alias
        folder = Path(job.scratch) / "lib"
        folder.mkdir()
        (folder / name).symlink_to(library)
        paths = [str(folder), *filter(None, [environment.get("LD_LIBRARY_PATH")])]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(paths)
    return environment


def _read_events(lines: Iterable[str], on_progress: Callable[[Progress], None] | None) -> dict[str, Any] | None:
    """Passes progress on until the result or error comes, and returns that; None if the child ends before."""
    for line in lines:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:  # a line cut short: the child died while it wrote
            return None
        if "progress" not in event:
            return event
        if on_progress is not None:
            on_progress(Progress(**event["progress"]))
    return None


def _crash(status: int, log_path: Path) -> BuildError:
    """The error for a child that ended without a word; a negative status is the signal that ended it."""
    how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    tail = " | ".join(line.strip() for line in lines[-_LOG_TAIL_LINES:] if line.strip())
    remedy = (
        "The system may have run out of memory: try smaller --max shapes, or a machine with more."
        if status == -signal.SIGKILL
        else "Export the model again in case it is damaged; if that does not help, report this message."
    )
    return BuildError(f"TensorRT's builder crashed ({how}). Its last words: {tail or 'none'}", remedy)
