"""From facts and options to the text of the files."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccdeploy import __version__
from ccdeploy.serving.contract import Served
from ccdeploy.serving.fleet import quoting
from ccdeploy.serving.fleet.facts import Facts
from ccdeploy.serving.fleet.options import FleetOptions, label_of
from ccdeploy.serving.fleet.sizes import Needs, needs
from ccdeploy.serving.server.commands import TOKEN_VARIABLE, arguments

ALL_ADDRESSES = "0.0.0.0"
IN_IMAGE = "/models"
"""The repository in a container."""
DRAIN_S = 10
"""Until all of a cluster knows that a pod gets no more requests."""
UNLOAD_S = 20
"""For models to be unloaded, on top of the server's own time to exit."""
DEPLOYMENT, DOCKERFILE = "deployment.yaml", "Dockerfile"
_LONGEST_TAG = 128
_COMMENT_COLUMNS = 105


@dataclass(frozen=True)
class File:
    """One of the files.

    Attributes:
        name: in the folder.
        text: of it.
        use: commands for a shell that put it to use.
    """

    name: str
    text: str
    use: tuple[str, ...]


@dataclass(frozen=True)
class Fleet:
    """All files for a repository.

    Attributes:
        name: of the Deployment, the Service and, behind "ccdeploy-", the systemd unit.
        image: that Kubernetes pulls.
        gpus: of a pod.
        needs: of a pod.
        files: in the order in which they are used.
        notes: what must be known first.
    """

    name: str
    image: str
    gpus: int
    needs: Needs
    files: tuple[File, ...]
    notes: tuple[str, ...]


def render(facts: Facts, repository: Path, folder: Path, options: FleetOptions, wheel: str | None = None) -> Fleet:
    """Renders the files.

    Args:
        facts: of the repository.
        repository: where it is, for the commands and for a name.
        folder: where the files will be, for the commands.
        options: see there.
        wheel: name of ccdeploy's wheel in the folder; None: pip takes this version from its index.
    """
    name = options.name or _name_of(facts.deployments, repository)
    image = options.image or f"{name}:{_tag_of(facts.deployments)}"
    needed = needs(facts.loads, options.memory, options.cpus)
    notes = [*facts.notes, *_notes(name, options, facts.deployments)]
    values = {
        "ccdeploy": __version__,
        "title": f"Triton Inference Server with {_in_words(facts.deployments)}",
        "name": name,
        "image": image,
        "gpus": facts.gpus,
        "needs": needed,
        "ports": options.ports,
        "claim": options.claim,
        "replicas": options.replicas,
        "namespace": options.namespace,
        "start_timeout_s": options.start_timeout_s,
        "exit_timeout_s": options.exit_timeout_s,
    }
    files = (
        _dockerfile(values, facts, repository, folder, options, wheel),
        _deployment(values, facts, folder, options),
        _unit(values, repository, folder, options),
    )
    return Fleet(name, image, facts.gpus, needed, files, tuple(notes))


def _dockerfile(
    values: dict[str, Any], facts: Facts, repository: Path, folder: Path, options: FleetOptions, wheel: str | None
) -> File:
    image = str(values["image"])
    models = [] if options.claim else ["--build-context", f"models={repository.absolute()}"]
    build = shlex.join(["docker", "build", "--tag", image, *models, str(folder.absolute())])
    extras = ",".join(["triton", *(extra for extra in facts.extras if extra != "onnxruntime-gpu")])
    text = _filled(
        DOCKERFILE,
        **values,
        build=build,
        tensorrt=facts.tensorrt,
        extras=facts.extras,
        wheel=wheel,
        requirement=f"/tmp/{wheel}[{extras}]" if wheel else f"ccdeploy[{extras}]=={__version__}",
        triton_tag=options.triton_tag,
        command=["ccdeploy", "serve", IN_IMAGE, "--address", ALL_ADDRESSES, *_serve_options(options)],
    )
    push = (shlex.join(["docker", "push", image]),) if options.image else ()  # without a registry it would go nowhere
    return File(DOCKERFILE, text, (build, *push))


def _deployment(values: dict[str, Any], facts: Facts, folder: Path, options: FleetOptions) -> File:
    secret = f"{values['name']}-token"
    kubectl = ["kubectl", *(["--namespace", options.namespace] if options.namespace else [])]
    draw = "python3 -c 'import secrets; print(secrets.token_urlsafe(), end=\"\")'"
    use = (
        f"{draw} | {shlex.join([*kubectl, 'create', 'secret', 'generic', secret, '--from-file=token=/dev/stdin'])}",
        shlex.join([*kubectl, "apply", "--filename", str(folder.absolute() / DEPLOYMENT)]),
        shlex.join([*kubectl, "rollout", "status", f"deployment/{values['name']}"]),
    )
    plugins = [f"{IN_IMAGE}/{plugin}" for plugin in facts.plugins]
    server = options.server(ALL_ADDRESSES)
    words = arguments(IN_IMAGE, server, quoting.TOKEN, plugins=plugins, host_code=facts.host_code)
    text = _filled(
        DEPLOYMENT,
        **values,
        install=["Use:", *(f"  {line}" for line in use)],
        arguments=["tritonserver", *map(quoting.kubernetes_argument, words)],
        token_variable=TOKEN_VARIABLE,
        secret=secret,
        drain_s=DRAIN_S,
        unload_s=UNLOAD_S,
        reasons=[line for reason in values["needs"].reasons for line in textwrap.wrap(reason, _COMMENT_COLUMNS)],
    )
    return File(DEPLOYMENT, text, use)


def _unit(values: dict[str, Any], repository: Path, folder: Path, options: FleetOptions) -> File:
    unit = f"ccdeploy-{values['name']}"
    file = f"{unit}.service"
    models = str(options.models)
    use = (
        shlex.join(["sudo", "mkdir", "--parents", models]),
        f"sudo cp --recursive {shlex.quote(str(repository.absolute()))}/. {shlex.quote(models)}",
        shlex.join(["sudo", "chmod", "--recursive", "a+rX", models]),
        shlex.join(["sudo", "cp", str(folder.absolute() / file), "/etc/systemd/system/"]),
        f"sudo systemctl daemon-reload && sudo systemctl enable --now {unit}",
    )
    binary = ["--server-binary", str(options.server_binary)] if options.server_binary else []
    ready = f"http://127.0.0.1:{options.http_port}/v2/health/ready"
    python = str(options.python)
    text = _filled(
        "ccdeploy.service",
        **values,
        unit=unit,
        install=["Use, on the machine that serves:", *(f"  {line}" for line in use)],
        serve=[python, "-m", "ccdeploy", "serve", models, *_serve_options(options), *binary],
        ready=[python, "-m", "ccdeploy.serving.fleet.ready", ready, str(options.start_timeout_s)],
    )
    return File(file, text, use)


def _serve_options(options: FleetOptions) -> list[str]:
    """The same for `ccdeploy serve`; loopback is its default."""
    return [
        *("--http-port", str(options.http_port)),
        *("--grpc-port", str(options.grpc_port)),
        *("--metrics-port", str(options.metrics_port)),
        *("--start-timeout", str(options.start_timeout_s)),
        *("--exit-timeout", str(options.exit_timeout_s)),
    ]


def _name_of(deployments: tuple[Served, ...], repository: Path) -> str:
    return label_of(deployments[0].name if len(deployments) == 1 else repository.absolute().name)


def _tag_of(deployments: tuple[Served, ...]) -> str:
    """Another for each set of versions: Kubernetes rolls out what has another name, not another content."""
    return "-".join(str(served.version) for served in deployments)[:_LONGEST_TAG].rstrip("-")


def _in_words(deployments: Iterable[Served]) -> str:
    return ", ".join(f"{served.name} version {served.version} ({served.backend})" for served in deployments)


def _notes(name: str, options: FleetOptions, deployments: tuple[Served, ...]) -> list[str]:
    notes = []
    if options.name is None and len(deployments) == 1 and deployments[0].name != name:
        notes.append(
            f"The Service is called {name}: names in Kubernetes hold small letters, digits and -. The model keeps its "
            f"name {deployments[0].name}."
        )
    if options.image is None:
        notes.append("The image's name has no registry: a cluster that is to pull it wants --image REGISTRY/NAME:TAG.")
    return notes


def _filled(template: str, **values: Any) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ccdeploy.serving.fleet", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML: each file's own filters quote
    )
    environment.filters.update(quoting.FILTERS)
    return environment.get_template(f"{template}.jinja").render(**values)
