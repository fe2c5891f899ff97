"""The server as a child: started, listened to, stopped; `guard.py` stands between so that nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ccdeploy.errors import ServerError
from ccdeploy.serving.server.guard import clean
from ccdeploy.serving.server.log import Log

KILL_AFTER_S = 10.0
"""On top of the server's own time to exit: for models that unload slowly."""


class Process:
    """A server that was started.

    Attributes:
        pid: the server's.
        log: what it says.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        scratch: Path,
        shared_memory_prefix: str,
        exit_timeout_s: float,
        log: Log,
    ) -> None:
        """Starts it.

        Args:
            command: its program and arguments.
            environment: all of it.
            scratch: its temporary folder, removed when it has ended.
            shared_memory_prefix: of the regions in /dev/shm that are removed then.
            exit_timeout_s: between SIGTERM and SIGKILL.
            log: takes its lines.

        Raises:
            ServerError: it cannot be run.
        """
        self.log = log
        self._scratch = scratch
        self._prefix = shared_memory_prefix
        self._status: int | None = None
        self._lock = threading.Lock()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("guard.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches ccdeploy, which stops the server in order
        )
        assert self._guard.stderr is not None
        job = {
            "command": list(command),
            "environment": dict(environment),
            "scratch": str(scratch),
            "shared_memory_prefix": shared_memory_prefix,
            "exit_timeout_s": exit_timeout_s + KILL_AFTER_S,
        }
        self.log.follow(self._guard.stderr)
        try:
            self._send(json.dumps(job).encode() + b"\n")
            pid = self._number()
        except BaseException:
            self.kill()
            raise
        if pid is None or pid < 0:
            self.kill()
            raise ServerError(
                f"{command[0]} cannot be run: {' '.join(log.tail())}.", "Name another server with --server-binary."
            )
        self.pid = pid

    def _send(self, content: bytes) -> None:
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it has ended already, which `poll` says
            self._guard.stdin.write(content)
            self._guard.stdin.flush()

    def _number(self) -> int | None:
        """What the guard tells next; None: it was killed."""
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline().strip()
        return int(line) if line else None

    def poll(self) -> int | None:
        """The server's exit status as `subprocess` has it, all cleaned up; None while it runs."""
        return None if self._guard.poll() is None else self.wait()

    def wait(self) -> int:
        """Waits until the server has ended and all is cleaned up; returns its exit status."""
        self._guard.wait()
        with self._lock:
            if self._status is None:
                status = self._number()
                self._status = -signal.SIGKILL if status is None else status
                for stream in (self._guard.stdin, self._guard.stdout):
                    assert stream is not None
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
                self.log.join()
                clean(self._scratch, self._prefix)  # in case the guard was killed
            return self._status

    def stop(self) -> int:
        """Ends the server: requests in flight finish within the time to exit. Ctrl-C meanwhile kills it at once."""
        try:
            self._send(b"t")
            return self.wait()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> int:
        """Ends the server at once."""
        self._send(b"k")
        return self.wait()
