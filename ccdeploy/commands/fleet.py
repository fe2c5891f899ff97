"""`ccdeploy fleet`: what Kubernetes, systemd and Docker need to serve a repository."""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath
from typing import Any

import click

from ccdeploy.commands.console import print_facts, print_json
from ccdeploy.commands.options import FILE, json_option

PORT = click.IntRange(1024, 65535)


class TargetPath(click.ParamType):  # type: ignore[type-arg]  # generic only in newer click
    """A path on another machine: nothing of it is looked at here."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PurePosixPath:
        """As it is written."""
        return PurePosixPath(value)


TARGET = TargetPath()


@click.command("fleet")
@click.argument("repository", type=FILE)
@click.option("-o", "--output", "folder", type=FILE, required=True, metavar="FOLDER", help="Where the files go.")
@click.option(
    "--name", help="Of the Deployment, the Service and the unit; the model's or the repository's unless given."
)
@click.option(
    "--image", help="That the cluster pulls, such as registry.example.com/streets:3; NAME:VERSIONS unless given."
)
@click.option("--namespace", help="Of Kubernetes; the one that kubectl is set to unless given.")
@click.option("--replicas", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Pods.")
@click.option("--claim", help="A PersistentVolumeClaim that holds the repository; it is in the image unless given.")
@click.option("--http-port", type=PORT, default=8000, show_default=True, help="Of HTTP.")
@click.option("--grpc-port", type=PORT, default=8001, show_default=True, help="Of gRPC.")
@click.option("--metrics-port", type=PORT, default=8002, show_default=True, help="Of the metrics for Prometheus.")
@click.option(
    "--start-timeout",
    "start_timeout_s",
    type=click.IntRange(1, 86_400),
    default=600,
    show_default=True,
    help="Seconds until all models must be ready.",
)
@click.option(
    "--exit-timeout",
    "exit_timeout_s",
    type=click.IntRange(0, 3600),
    default=30,
    show_default=True,
    help="Seconds for requests in flight when the server is stopped.",
)
@click.option("--memory", help="Of a pod, such as 6Gi; estimated unless given.")
@click.option("--cpus", help="Of a pod at least, such as 4 or 500m; estimated unless given.")
@click.option("--triton-tag", help="Tag of nvcr.io/nvidia/tritonserver; for a Jetson one that ends in -igpu.")
@click.option("--wheel", type=FILE, help="ccdeploy's wheel, for the image; pip takes it from its index unless given.")
@click.option(
    "--python", type=TARGET, help="Interpreter with ccdeploy where the unit runs; in /opt/ccdeploy unless given."
)
@click.option("--models", type=TARGET, help="The repository where the unit runs; /opt/ccdeploy/models unless given.")
@click.option("--server-binary", type=TARGET, help="tritonserver where the unit runs; found there unless given.")
@json_option
def command(repository: Path, folder: Path, wheel: Path | None, as_json: bool, **given: Any) -> None:
    """Write a Kubernetes manifest, a systemd unit and a Dockerfile that serve REPOSITORY.

    REPOSITORY is what `ccdeploy package` made. Ports, arguments, GPUs, plugins and versions are read from it. Files of
    the same names in FOLDER are replaced.
    """
    from ccdeploy.serving.fleet import FleetOptions, write

    options = FleetOptions(**{name: value for name, value in given.items() if value is not None})
    fleet = write(repository, folder, options, wheel)
    if as_json:
        files = [{"file": str(folder / file.name), "use": file.use} for file in fleet.files]
        told = {key: getattr(fleet, key) for key in ("name", "image", "gpus", "notes")}
        print_json({**told, "needs": dataclasses.asdict(fleet.needs), "files": files})
        return
    needs = fleet.needs
    gpus = f"{fleet.gpus} GPU{'s' if fleet.gpus != 1 else ''}, " if fleet.gpus else ""
    print_facts(
        [
            ("name", fleet.name),
            ("image", fleet.image),
            ("a pod", f"{gpus}{needs.cpus} cores, {needs.memory} of memory, {needs.shared_memory} of it /dev/shm"),
            *(("note", note) for note in fleet.notes),
        ]
    )
    for file in fleet.files:
        click.echo(f"\n{folder / file.name}")
        for line in file.use:
            click.echo(f"    {line}")
