"""Stands between ccdeploy and the server, so that nothing stays behind however ccdeploy ends.

Run as a file, not imported: `python -I guard.py`, with nothing but the standard library, so that it starts at once. Its
job is the first line of standard input, as JSON: a command line and an environment are no secrets, but what is in them
may be. It starts the server in a session of its own and waits for one of three:

    the server ends by itself
    "t" on standard input, or its end, which is how the death of ccdeploy looks: SIGTERM, and after a while SIGKILL
    "k" on standard input: SIGKILL at once

Then it ends what is left of the server's processes, removes its shared memory and its temporary folder, and exits. On
standard output it writes the server's process id in the first line and its exit status, as `subprocess` has it, in the
second.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
SHARED_MEMORY = Path("/dev/shm")
ORPHANS_LEAVE_S = 5.0
"""Models' processes see within 3 s that their server died, and remove their shared memory themselves."""


def main() -> int:
    """Runs the server of the job on standard input."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    job = json.loads(first_line())
    try:
        status = run(job["command"], job["environment"], job["exit_timeout_s"])
    finally:
        clean(Path(job["scratch"]), job["shared_memory_prefix"])
    tell(status)
    return 0


def first_line() -> bytes:
    """Of standard input, unbuffered: what follows is watched with `select`."""
    line = bytearray()
    while (letter := os.read(0, 1)) not in (b"", b"\n"):
        line += letter
    return bytes(line)


def run(command: list[str], environment: dict[str, str], exit_timeout_s: float) -> int:
    """Starts the server, waits until it ended or must end; returns its exit status."""
    try:
        server = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=2,
            stderr=2,
            start_new_session=True,
            preexec_fn=_at_birth,  # this process has one thread
        )
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        tell(-1)
        return 127
    tell(server.pid)
    word = _word(server, None)
    if word == "t":
        server.send_signal(signal.SIGTERM)
        word = _word(server, exit_timeout_s, told=True)
    if server.poll() is None:
        _kill_group(server.pid)
    status = server.wait()
    end = time.monotonic() + (0.0 if word == "k" else ORPHANS_LEAVE_S)
    while _alive(server.pid) and time.monotonic() < end:
        time.sleep(0.02)
    _kill_group(server.pid)
    end = time.monotonic() + ORPHANS_LEAVE_S
    while _alive(server.pid) and time.monotonic() < end:
        time.sleep(0.02)
    return status


def _at_birth() -> None:
    """In the server's process: dies with this one, and takes signals as a program does that a shell started."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_DFL)


def _word(server: subprocess.Popen[bytes], timeout_s: float | None, told: bool = False) -> str:
    """What comes first: "" the server ended or time is over; "t" or "k" as in the module."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    descriptor = _descriptor_of(server.pid)
    listening = True
    try:
        while server.poll() is None and (end is None or time.monotonic() < end):
            sources = [0] * listening + [descriptor] * (descriptor >= 0)
            wait = 0.1 if descriptor < 0 else None if end is None else max(0.0, end - time.monotonic())
            ready = select.select(sources, [], [], wait)[0]
            if 0 not in ready:
                continue
            letter = os.read(0, 1).decode("ascii", "replace")
            if letter == "k":
                return "k"
            if not told:
                return "t"
            listening = letter != ""  # the end of input says "t", which has been said
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    return ""


def _descriptor_of(process: int) -> int:
    """That is readable when the process ends; -1 before Linux 5.3."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return -1


def _alive(group: int) -> bool:
    """Whether a process of the group is there."""
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _kill_group(group: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signal.SIGKILL)


def clean(scratch: Path, prefix: str) -> None:
    """Removes the temporary folder, and what a crashed model left in shared memory."""
    shutil.rmtree(scratch, ignore_errors=True)
    if SHARED_MEMORY.is_dir():
        for region in SHARED_MEMORY.glob(f"{prefix}*"):
            region.unlink(missing_ok=True)


def tell(number: int) -> None:
    """A line for ccdeploy, which may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, f"{number}\n".encode())


if __name__ == "__main__":
    sys.exit(main())
