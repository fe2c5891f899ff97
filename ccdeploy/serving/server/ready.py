"""Waits until a server answers, is the one that was started, and has every model ready."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ccdeploy.errors import ServerError
from ccdeploy.serving.contract import Served
from ccdeploy.serving.server.failures import explained_end, stuck
from ccdeploy.serving.server.process import Process

_EVERY_S = 0.05
_ANSWER_S = 5.0


@dataclass(frozen=True)
class Answer:
    """Of the server, to a GET."""

    status: int
    content: bytes


def get(host: str, port: int, path: str) -> Answer | None:
    """Asks once, without a proxy; None: it does not answer yet. `host` is an address, IPv6 without brackets."""
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_until_ready(
    process: Process,
    host: str,
    ports: Mapping[str, int],
    identity: str,
    deployments: Sequence[Served],
    timeout_s: float,
    say: Callable[[str], None],
) -> str:
    """Returns the server's version when the one named `identity` and all models of the deployments are ready.

    Args:
        process: the server's.
        host: that it listens on, as in a URL.
        ports: of "HTTP" and "metrics".
        identity: what it was named, so that another server on the same port is not taken for it.
        deployments: that must be ready, in the version that they name.
        timeout_s: for all of it.
        say: called with what is waited for, when that changes.

    Raises:
        ServerError: it ended, or time is over.
        CcdeployError: it ended, or hangs, because it refused a model; see `failures`.
    """
    end = time.monotonic() + timeout_s
    waiting: list[str] = []
    while True:
        status = process.poll()
        if status is not None:
            raise explained_end(status, process.log.tail())
        if (hangs := stuck(process.log.tail())) is not None:
            raise hangs
        version, now = _state(host.strip("[]"), ports, identity, deployments)
        if not now:
            return version
        if now != waiting:
            waiting = now
            say(f"waiting for {', '.join(waiting)}")
        if time.monotonic() > end:
            raise ServerError(
                f"The server was not ready within {timeout_s:g} s; not ready: {', '.join(waiting)}.",
                "Give it longer with --start-timeout: engines load slowly from a slow disk. Its log says what it does.",
            )
        time.sleep(_EVERY_S)


def _state(host: str, ports: Mapping[str, int], identity: str, deployments: Sequence[Served]) -> tuple[str, list[str]]:
    """The server's version, "" while it does not say, and what is not ready yet."""
    port = ports["HTTP"]
    answer = get(host, port, "/v2")
    name, version = ("", "") if answer is None else _named(answer)
    if name != identity:
        return "", ["the server"]
    models = {
        f"{model} version {served.version}": f"/v2/models/{model}/versions/{served.version}/ready"
        for served in deployments
        for model in (served.names.read, served.names.network, served.names.labels, served.names.ensemble)
    }
    not_ready = [model for model, path in models.items() if not _good(get(host, port, path))]
    if not _good(get(host, port, "/v2/health/ready")):
        not_ready.append("the server")
    if not _good(get(host, ports["metrics"], "/metrics")):
        not_ready.append("metrics")  # the last to listen
    return version, not_ready


def _good(answer: Answer | None) -> bool:
    return answer is not None and answer.status == http.client.OK


def _named(answer: Answer) -> tuple[str, str]:
    """Name and version of a server."""
    try:
        about = json.loads(answer.content)
        return str(about["name"]), str(about["version"])
    except (ValueError, KeyError, TypeError):
        return "", ""
