"""`ccdeploy serve`: Triton Inference Server on a model repository, until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import click

from ccdeploy.commands.options import FILE, json_option

PORT = click.IntRange(0, 65535)


@click.command("serve")
@click.argument("repository", type=FILE)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="What HTTP, gRPC and metrics listen on. Others than loopback let everybody there use the models: neither "
    "inference nor metrics ask who it is.",
)
@click.option("--http-port", type=PORT, default=8000, show_default=True, help="0: a free one.")
@click.option("--grpc-port", type=PORT, default=8001, show_default=True, help="0: a free one.")
@click.option("--metrics-port", type=PORT, default=8002, show_default=True, help="Of Prometheus; 0: a free one.")
@click.option(
    "--server-binary",
    type=FILE,
    metavar="FILE",
    help="tritonserver; else the one on PATH, in /opt/tritonserver, or in PyTriton's wheel.",
)
@click.option(
    "--model-control",
    is_flag=True,
    help="Let who has the token load and unload models while the server runs. Whoever may write the repository, or "
    "holds the token, runs code as the server.",
)
@click.option(
    "--token-file",
    type=FILE,
    metavar="FILE",
    help="The token, on a line, that guards the model repository, shared memory, tracing and logging; else one is "
    "drawn. Users of this machine can see it in the list of processes: the server has no other way to take it.",
)
@click.option(
    "--http-threads", type=click.IntRange(1, 1024), default=8, show_default=True, help="That read and write HTTP."
)
@click.option(
    "--start-timeout",
    type=click.FloatRange(1, 86_400),
    default=600,
    show_default=True,
    metavar="SECONDS",
    help="Until all models must be ready.",
)
@click.option(
    "--exit-timeout",
    type=click.IntRange(0, 3600),
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="For requests in flight when the server is stopped.",
)
@click.option(
    "--image",
    default="ccdeploy-server",
    show_default=True,
    metavar="NAME",
    help="Docker's image in the command that is printed; `ccdeploy fleet` writes its Dockerfile.",
)
@click.option("--print-only", is_flag=True, help="Print the equivalent commands, start nothing; needs no server.")
@json_option
def command(
    repository: Path,
    address: str,
    http_port: int,
    grpc_port: int,
    metrics_port: int,
    server_binary: Path | None,
    model_control: bool,
    token_file: Path | None,
    http_threads: int,
    start_timeout: float,
    exit_timeout: int,
    image: str,
    print_only: bool,
    as_json: bool,
) -> int:
    """Serve REPOSITORY, which `ccdeploy package` made, with Triton Inference Server until Ctrl-C or SIGTERM.

    Prints where the models are when all are ready, and the same server as commands of tritonserver and Docker. The
    server's log goes to the error stream. With --json one document is printed when the models are ready.

    The first Ctrl-C lets requests in flight finish, a second one ends the server at once. Nothing of it stays behind.

    \b
    Exit codes
      0    stopped by Ctrl-C or SIGTERM when it was ready, or commands printed
      2    the repository, an option or a port is wrong
      3    there is no server, it lacks a backend, was not ready in time, or ended by itself
      130  interrupted before it was ready
    """
    from ccdeploy.commands import serve_view
    from ccdeploy.serving.server.options import Options, read_token

    options = Options(
        address=address,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        model_control=model_control,
        token=None if token_file is None else read_token(token_file),
        binary=server_binary,
        http_threads=http_threads,
        start_timeout_s=start_timeout,
        exit_timeout_s=exit_timeout,
        image=image,
    )
    if print_only:
        serve_view.show_commands(repository, options, as_json)
        return 0
    return serve_view.serve(repository, options, as_json)
