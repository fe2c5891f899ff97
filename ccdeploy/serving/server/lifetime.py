"""Runs a server on a repository for as long as a block lasts."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.errors import CcdeployError, UsageError
from ccdeploy.serving.contract import PYTHON, Served
from ccdeploy.serving.server.commands import arguments, commands_for
from ccdeploy.serving.server.failures import port_taken
from ccdeploy.serving.server.finding import Found, find_server
from ccdeploy.serving.server.installation import check_backends, check_program, check_python
from ccdeploy.serving.server.log import Log
from ccdeploy.serving.server.options import Options
from ccdeploy.serving.server.ports import taken_ports
from ccdeploy.serving.server.process import Process
from ccdeploy.serving.server.ready import wait_until_ready
from ccdeploy.serving.server.wheel import arrange, library_path

if TYPE_CHECKING:
    from ccdeploy.serving.repository import Repository

_TRIES = 3
"""Where a free port is asked for, another program may take it before the server does."""


@dataclass(frozen=True)
class Running:
    """A server that is ready.

    Attributes:
        http, grpc, metrics: URLs for clients on this machine.
        pid: its process.
        token: what requests that change it must carry, in the header TOKEN_HEADER.
        version: of the server.
        found: which server it is.
        deployments: what it serves.
        ports: of "HTTP", "gRPC" and "metrics".
        command: the same as a command line, with "$CCDEPLOY_TOKEN" for the token; `shell_text` makes it one line.
        docker: the same with Docker.
    """

    http: str
    grpc: str
    metrics: str
    pid: int
    token: str = field(repr=False)
    version: str
    found: Found
    deployments: tuple[Served, ...]
    ports: dict[str, int]
    command: list[str]
    docker: list[str]
    _process: Process = field(repr=False)

    def poll(self) -> int | None:
        """Its exit status if it has ended, as `subprocess` has it: negative is a signal."""
        return self._process.poll()

    def wait(self) -> int:
        """Waits until it ends by itself or by another; returns its exit status as `poll` does.

        Raises:
            Exception: what the callback of the log raised.
        """
        status = self._process.wait()
        if self._process.log.failure is not None:
            raise self._process.log.failure
        return status


@contextmanager
def running(
    repository: Path,
    options: Options | None = None,
    log: Callable[[str], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Running]:
    """Starts a server, waits until all its models are ready, and stops it when the block is left.

    However the block is left, and even if this process is killed, the server ends, and its temporary files and shared
    memory are removed. Leaving waits for requests in flight, `options.exit_timeout_s` at most; Ctrl-C meanwhile kills.

    Args:
        repository: made by `ccdeploy package`.
        options: addresses, ports, which server.
        log: called with each line of the server's log, in a thread of its own: the server does not wait.
        say: called with what is waited for.

    Raises:
        UsageError: no repository, a port in use, an address that is not this machine's.
        ArtefactError: a damaged repository, or a model that the server refuses; with the reason.
        MissingError: no server, or none that can run the repository.
        ServerError: it ended, or was not ready in time.
    """
    from ccdeploy.serving.repository import read_repository

    options = options or Options()
    contents = read_repository(repository)
    if PYTHON in contents.backends and not str(contents.path.absolute()).isascii():
        raise UsageError(
            f"{contents.path.absolute()} is not an ASCII path: Triton's Python backend cannot load from it.",
            "Move the repository, or make a link to it whose path is.",
        )
    found = find_server(options.binary)
    check_backends(found, contents.backends)
    if found.wheel is None and PYTHON in contents.backends:
        check_python(found)
    for tries in range(1, _TRIES + 1):
        start = _Start(contents, options, found)
        try:
            started = start.begin(log, say or (lambda line: None))
            break
        except CcdeployError:
            drawn = 0 in options.ports.values()
            if tries == _TRIES or not (drawn and port_taken(start.log_lines)):
                raise
    try:
        yield started
    finally:
        started._process.stop()


class _Start:
    """One attempt to start a server."""

    def __init__(self, contents: Repository, options: Options, found: Found) -> None:
        self.log_lines: list[str] = []
        self._contents = contents
        self._options = options
        self._found = found
        self._token = options.token or secrets.token_urlsafe(32)
        self._newer: list[str] = []
        self._identity = f"ccdeploy-{secrets.token_hex(8)}"

    def begin(self, log: Callable[[str], None] | None, say: Callable[[str], None]) -> Running:
        """Starts it and waits until it is ready; leaves nothing behind if that fails."""
        options, host = self._options, self._options.reachable_host
        scratch = Path(tempfile.mkdtemp(prefix="ccdeploy-serve-"))
        try:
            process, ports = self._launch(scratch, Log(log))
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        try:
            version = wait_until_ready(
                process, host, ports, self._identity, self._contents.deployments, options.start_timeout_s, say
            )
        except BaseException:
            process.kill()  # nothing is in flight yet
            self.log_lines = process.log.tail()
            raise
        commands = commands_for(self._contents, options, ports=ports, found=self._found)
        return Running(
            http=f"http://{host}:{ports['HTTP']}",
            grpc=f"grpc://{host}:{ports['gRPC']}",
            metrics=f"http://{host}:{ports['metrics']}/metrics",
            pid=process.pid,
            token=self._token,
            version=version,
            found=self._found,
            deployments=self._contents.deployments,
            ports=ports,
            command=[*commands.server, *self._newer],
            docker=commands.docker,
            _process=process,
        )

    def _launch(self, scratch: Path, log: Log) -> tuple[Process, dict[str, int]]:
        found, options = self._found, self._options
        environment = _environment_for(found)
        temporary = scratch / "temporary"
        temporary.mkdir()
        environment["TMPDIR"] = str(temporary)  # what libraries in the server's processes leave there goes with it
        program, backends = arrange(found.wheel, scratch) if found.wheel else (found.program, found.backends)
        ports = taken_ports(options)
        words = [
            f"--id={self._identity}",
            *arguments(
                str(self._contents.path.absolute()),
                options,
                self._token,
                plugins=[str(plugin) for plugin in self._contents.plugins],
                host_code=self._contents.host_code,
                ports=ports,
            ),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._identity}-",
        ]
        self._newer = check_program(program, environment, words)
        command = [str(program), *words, *self._newer]
        return Process(command, environment, scratch, self._identity, options.exit_timeout_s, log), ports


def _environment_for(found: Found) -> dict[str, str]:
    """This process's, with this Python first in PATH: the server's Python backend takes it, and with it ccdeploy."""
    environment = dict(os.environ)
    environment.pop("AIP_MODE", None)  # Vertex AI's: the server would open one more port, on every address
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    if found.wheel is not None:
        environment["LD_LIBRARY_PATH"] = library_path(found.wheel)
    return environment


__all__ = ["Running", "running"]
