"""The child process of a build: `python -m ccdeploy.engine.worker`, started by ccdeploy.engine.process.

It reads one job as a line of JSON on stdin and writes events on stdout, one JSON object a line: {"progress": {...}},
then {"result": {...}} or {"error": {"kind", "what", "remedy"}}. TensorRT's log goes to stderr. A worker that ends
without either of the last two has crashed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from ccdeploy.engine.compile import compile_engine
from ccdeploy.engine.flavour import load_flavour
from ccdeploy.engine.job import Job, Progress
from ccdeploy.errors import CcdeployError


def main() -> None:
    """Does the one job that stdin holds."""
    events = _claim_stdout()
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(job,), daemon=True).start()

    def on_progress(progress: Progress) -> None:
        _send(events, progress=dataclasses.asdict(progress))

    try:
        result = compile_engine(job, load_flavour(job.flavour), on_progress)
    except CcdeployError as error:
        _send(events, error={"kind": type(error).__name__, "what": error.what, "remedy": error.remedy})
    else:
        _send(events, result=dataclasses.asdict(result))


def _claim_stdout() -> TextIO:
    """The real stdout for events alone; whatever native code prints goes to stderr from now on."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _send(events: TextIO, **event: Any) -> None:
    # One write a line: TensorRT may report progress from several threads.
    events.write(json.dumps(event) + "\n")
    events.flush()


def _end_with_parent(job: Job) -> None:
    """Ends this process when the parent's end of stdin closes, and takes the job's unfinished files along.

    A parent that was killed cannot clean up; one that is alive keeps stdin open until it has read the result.
    """
    os.read(sys.stdin.fileno(), 1)  # nothing follows the job; not sys.stdin.read(), whose lock the exit would wait for
    Path(job.output).unlink(missing_ok=True)
    shutil.rmtree(job.scratch, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    main()
