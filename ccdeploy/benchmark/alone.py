"""A contestant alone in a process of its own: its memory, how long it takes to load, its first inference.

In one process the memory of several contestants cannot be told apart, and only the first one meets a fresh process.
The runtime's libraries are imported before anything is measured: what they take is stated beside. The file lies in
the page cache already, so loading is not that from a cold disk.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ccdeploy.benchmark.subject import Subject
from ccdeploy.documents import Mismatch, from_json
from ccdeploy.errors import CcdeployError

RUNS = 3
LONGEST_S = 600
MARK = "ccdeploy-alone "
"""Begins the line that holds the result: libraries may print lines of their own."""


@dataclass(frozen=True)
class Alone:
    """What was measured; bytes of the largest resident set, before the artefact was opened and at the end."""

    host_before_bytes: int
    host_bytes: int
    device_bytes: int | None
    load_s: float
    first_inference_s: float


def measure_alone(subject: Subject) -> tuple[Alone | None, str]:
    """Runs a subject alone in a process of its own; None and the reason where that failed."""
    command = [sys.executable, "-m", "ccdeploy.benchmark.alone"]
    places = [str(Path(entry).absolute()) for entry in sys.path]  # it imports what this process imports
    try:
        done = subprocess.run(
            command,
            input=json.dumps(subject.spec()),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"it was not done after {LONGEST_S} s"
    except OSError as error:
        return None, f"no process could be started ({error.strerror})"
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not lines:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        return None, said[-1][:400] if said else f"the process ended with code {done.returncode}"
    try:
        return from_json(Alone, json.loads(lines[-1].removeprefix(MARK)), "alone"), ""
    except (ValueError, Mismatch) as error:
        return None, f"the process gave no result ({error})"


def run_alone(subject: Subject) -> Alone:
    """What the process does: opens the subject, runs it a few times, and tells."""
    subject.import_runtime()
    before = largest_resident_bytes()
    inputs = subject.inputs()
    start = time.perf_counter()
    with subject.open() as runner, runner.prepare(inputs) as prepared:
        loaded = time.perf_counter()
        prepared.run()
        first = time.perf_counter()
        for _ in range(RUNS - 1):
            prepared.run()
        return Alone(before, largest_resident_bytes(), prepared.device_bytes, loaded - start, first - loaded)


def largest_resident_bytes() -> int:
    """The largest resident set that this process has had.

    Linux: VmHWM, which begins anew with the program. getrusage's figure does not: it starts with what the parent had.
    """
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> int:
    """Reads a subject's description from the input, prints what was measured; errors are one line."""
    from ccdeploy.benchmark.subjects import subject_from_spec

    try:
        result = run_alone(subject_from_spec(json.load(sys.stdin)))
    except CcdeployError as error:
        print(error.what, file=sys.stderr)
        return error.exit_code
    print(MARK + json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
