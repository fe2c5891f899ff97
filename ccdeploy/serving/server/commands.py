"""The command line of a server: what `ccdeploy serve` runs, and the same for people to run themselves."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ccdeploy.serving.contract import TOKEN_HEADER
from ccdeploy.serving.server.options import Options

if TYPE_CHECKING:
    from ccdeploy.serving.repository import Repository
    from ccdeploy.serving.server.finding import Found

GUARDED = ("model-repository", "shared-memory", "trace", "logging")
"""APIs that change a server, or let a client reach into its memory or files."""
TOKEN_VARIABLE = "CCDEPLOY_TOKEN"
DRAW_TOKEN = f"export {TOKEN_VARIABLE}=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe())')\""
"""For a shell, before the commands."""
IN_IMAGE = "/models"
"""Where the repository is mounted in a container."""
_ALL_ADDRESSES = "0.0.0.0"
_SHARED_MEMORY = "1g"
"""Docker gives 64 MB, which a few pictures on their way between the steps fill."""


def arguments(
    repository: str,
    options: Options,
    token: str,
    *,
    plugins: Sequence[str] = (),
    host_code: bool = False,
    ports: Mapping[str, int] | None = None,
) -> list[str]:
    """Arguments of tritonserver.

    Args:
        repository: its path where the server runs.
        options: see there.
        token: of the guarded APIs, or what stands for it, such as "$CCDEPLOY_TOKEN".
        plugins: paths of TensorRT plugins where the server runs.
        host_code: whether an engine may bring native code: an embedded plugin.
        ports: of HTTP, gRPC and metrics instead of the options'.
    """
    ports = options.ports if ports is None else ports
    guarded = f"{','.join(GUARDED)}:{TOKEN_HEADER}={token}"
    control = ["explicit", "--load-model=*"] if options.model_control else ["none"]
    address = options.address
    six = options.checked_address().version == 6
    return [
        f"--model-repository={repository}",
        f"--model-control-mode={control[0]}",
        *control[1:],
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        "--exit-on-error=true",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        # The server's HTTP library tells IPv6 by a prefix; gRPC puts address and port together.
        f"--http-address={f'ipv6:{address}' if six else address}",
        f"--http-port={ports['HTTP']}",
        f"--http-thread-count={options.http_threads}",
        f"--http-restricted-api={guarded}",
        f"--grpc-address={f'[{address}]' if six else address}",
        f"--grpc-port={ports['gRPC']}",
        f"--grpc-restricted-protocol={guarded}",
        f"--metrics-address={f'ipv6:{address}' if six else address}",
        f"--metrics-port={ports['metrics']}",
        *([f"--backend-config=tensorrt,plugins={';'.join(plugins)}"] if plugins else []),
        *(["--backend-config=tensorrt,version-compatible=true"] if host_code else []),
    ]


@dataclass(frozen=True)
class Commands:
    """The same server, run by hand; "$CCDEPLOY_TOKEN" stands for the token.

    Attributes:
        server: with an installed tritonserver.
        docker: in a container, reachable at the same addresses.
    """

    server: list[str]
    docker: list[str]


def commands_for(
    contents: Repository,
    options: Options,
    *,
    ports: Mapping[str, int] | None = None,
    found: Found | None = None,
) -> Commands:
    """Commands that serve a repository.

    Args:
        contents: what was read of it.
        options: see there; ports that are 0 become Triton's own (8000, 8001, 8002).
        ports: of HTTP, gRPC and metrics instead of the options'.
        found: the server; None, and PyTriton's wheel, which cannot be run alone: "tritonserver" on PATH.
    """
    defaults = Options().ports
    ports = {name: port or defaults[name] for name, port in (ports or options.ports).items()}
    path = contents.path.absolute()
    token = f"${TOKEN_VARIABLE}"
    program = "tritonserver" if found is None or found.wheel is not None else str(found.program)
    plugins = [str(plugin) for plugin in contents.plugins]
    words = arguments(str(path), options, token, plugins=plugins, host_code=contents.host_code, ports=ports)
    bin_folder = Path(sys.executable).parent
    server = ["env", f"PATH={bin_folder}:$PATH", program, *words]
    return Commands(server, _docker(contents, path, options, ports))


def _docker(contents: Repository, path: Path, options: Options, ports: Mapping[str, int]) -> list[str]:
    inside = Options(
        address=_ALL_ADDRESSES,  # of the container: what reaches it is decided by --publish
        model_control=options.model_control,
        http_threads=options.http_threads,
        exit_timeout_s=options.exit_timeout_s,
    )
    host = options.address if options.checked_address().version == 4 else f"[{options.address}]"
    publish = [f"--publish={host}:{port}:{inside.ports[name]}" for name, port in ports.items()]
    plugins = [f"{IN_IMAGE}/{plugin.relative_to(path).as_posix()}" for plugin in contents.plugins]
    return [
        *("docker", "run", "--rm", "--init"),
        *(["--gpus=all"] if contents.needs_gpu else []),
        f"--shm-size={_SHARED_MEMORY}",
        f"--stop-timeout={options.exit_timeout_s + 10}",
        *publish,
        f"--mount={_csv('type=bind', f'source={path}', f'target={IN_IMAGE}', 'readonly')}",
        options.image,
        "tritonserver",
        *arguments(IN_IMAGE, inside, f"${TOKEN_VARIABLE}", plugins=plugins, host_code=contents.host_code),
    ]


def _csv(*fields: str) -> str:
    """Docker reads --mount as a line of CSV."""
    return ",".join('"{}"'.format(field.replace('"', '""')) if set(field) & set(',"') else field for field in fields)


def shell_text(words: Sequence[str]) -> str:
    """A command as a line for a shell, which fills in the token, and stops where it is not set."""
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str) -> str:
    if word.startswith("PATH=") and word.endswith(":$PATH"):
        return f'{shlex.quote(word[: -len("$PATH")])}"$PATH"'
    variable = f"={f'${TOKEN_VARIABLE}'}"
    if not word.endswith(variable):
        return shlex.quote(word)
    return f'{shlex.quote(word[: -len(variable)])}="${{{TOKEN_VARIABLE}:?}}"'
