"""What `ccdeploy serve` says and does once its options are read."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

from ccdeploy.commands.console import print_facts, print_json, progress
from ccdeploy.errors import ServerError
from ccdeploy.serving.contract import TOKEN_HEADER, Served
from ccdeploy.serving.server import Options, Running, running
from ccdeploy.serving.server.commands import DRAW_TOKEN, Commands, commands_for, shell_text
from ccdeploy.serving.server.failures import ending
from ccdeploy.serving.server.finding import find_server

PICTURE = "street.jpg"
STOPPING = "stopping: requests in flight finish first; Ctrl-C ends the server at once"


def serve(repository: Path, options: Options, as_json: bool) -> int:
    """Serves until Ctrl-C or SIGTERM; returns the exit code.

    Raises:
        CcdeployError: see `running`; a ServerError if the server ended by itself.
        KeyboardInterrupt: it was told to stop before it was ready, or again while it stopped.
    """
    if not options.loopback:
        click.echo(_open_to_all(options), err=True)
    status = None
    with _signals_interrupt(), running(repository, options, _log_line, _say) as server:
        try:
            print_json(_document(repository, server, options)) if as_json else _show(repository, server, options)
            status = server.wait()
        except KeyboardInterrupt:
            _say(STOPPING)
    if status is not None:
        raise ServerError(
            f"The server ended by itself ({ending(status)}).",
            "Its log above says more. If the system ran out of memory, give it fewer --instances or a smaller model.",
        )
    _say("stopped")
    return 0


def show_commands(repository: Path, options: Options, as_json: bool) -> None:
    """Prints the equivalent commands.

    Raises:
        CcdeployError: the repository is none, or damaged.
    """
    with progress() as say:
        say("reading the repository")
        from ccdeploy.serving.repository import read_repository

        contents = read_repository(repository)
    found = None if options.binary is None else find_server(options.binary)
    commands = commands_for(contents, options, found=found)
    if as_json:
        print_json(
            {"repository": str(repository), "deployments": _deployments(contents.deployments)} | _by_hand(commands)
        )
    else:
        _show_commands(repository, commands, options)


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and the end of the terminal do what Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_line(line: str) -> None:
    """A line of the log; what a client sent may be in it, so control characters do not reach the terminal."""
    text = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in line)
    with contextlib.suppress(BrokenPipeError):  # nobody reads any more; the server goes on
        click.echo(text, err=True)


def _say(line: str) -> None:
    _log_line(f"ccdeploy: {line}")


def _open_to_all(options: Options) -> str:
    return (
        f"warning: whoever reaches {options.address} can use the models and read the metrics: neither asks who it is.\n"
        "         Only what changes the server wants the token. Put a firewall or a proxy with TLS before it."
    )


def _show(repository: Path, server: Running, options: Options) -> None:
    facts = [
        ("server", f"Triton {server.version}, {server.found.source}: {server.found.program}"),
        (
            "models",
            ", ".join(f"{served.name} version {served.version} ({served.backend})" for served in server.deployments),
        ),
        ("HTTP", server.http),
        ("gRPC", server.grpc),
        ("metrics", server.metrics),
    ]
    if options.model_control:
        token = server.token if options.token is None else "as in the token's file"
        facts.append(("control", f"with the header {TOKEN_HEADER}: {token}"))
    print_facts(facts)
    click.echo("\nTry it:")
    for served in server.deployments:
        for line in _examples(server.http, served.name):
            click.echo(f"  {line}")
    click.echo("\nThe same server by hand:")
    _show_commands(repository, Commands(server.command, server.docker), options)
    click.echo("\nCtrl-C stops it.")


def _examples(url: str, name: str) -> list[str]:
    infer = f"{url}/v2/models/{name}/infer"
    return [
        f"ccdeploy segment --server {url} --model {name} {PICTURE} -o results",
        f"curl {shlex.quote(infer)} -H 'Inference-Header-Content-Length: 0' "
        f"-H 'Content-Type: application/octet-stream' --data-binary @{PICTURE} -o labels.bin",
    ]


def _show_commands(repository: Path, commands: Commands, options: Options) -> None:
    image = ["ccdeploy", "fleet", str(repository), "-o", "FOLDER", "--image", options.image]
    lines = [
        "# a token of your own, for what changes a server",
        DRAW_TOKEN,
        "# with Triton installed, and this Python first in PATH for the steps that are in Python",
        shell_text(commands.server),
        f"# with Docker; for its image: {shlex.join(image)}",
        shell_text(commands.docker),
    ]
    for line in lines:
        click.echo(f"  {line}")


def _deployments(deployments: Sequence[Served]) -> list[dict[str, Any]]:
    return [{"name": served.name, "version": served.version, "backend": served.backend} for served in deployments]


def _by_hand(commands: Commands) -> dict[str, Any]:
    return {
        "commands": {
            "token": DRAW_TOKEN,
            "tritonserver": shell_text(commands.server),
            "docker": shell_text(commands.docker),
        }
    }


def _document(repository: Path, server: Running, options: Options) -> dict[str, Any]:
    drawn = options.model_control and options.token is None
    return {
        "repository": str(repository),
        "deployments": _deployments(server.deployments),
        "server": {
            "version": server.version,
            "program": str(server.found.program),
            "source": server.found.source,
            "pid": server.pid,
        },
        "http": server.http,
        "grpc": server.grpc,
        "metrics": server.metrics,
        "token": server.token if drawn else None,
    } | _by_hand(Commands(server.command, server.docker))
