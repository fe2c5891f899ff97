"""From a URL to a client: the way to the server, whether it is ready, and which deployment is meant."""

from __future__ import annotations

from pathlib import Path

from ccdeploy.errors import MissingError, UsageError
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.address import Address, parse_address
from ccdeploy.serving.client.client import Client
from ccdeploy.serving.client.retrying import LONGEST_DEADLINE_S, Deadline
from ccdeploy.serving.client.transport import Connecting, Transport
from ccdeploy.serving.contract import PARAMETER, Names, Served, parse_served

SILENT_S = 10.0


def connect(
    url: str,
    *,
    model: str | None = None,
    deadline_s: float = 30.0,
    retries: int = 4,
    connections: int = 32,
    silent_s: float | None = None,
    token: str | None = None,
    ca: Path | None = None,
) -> Client:
    """Connects to a deployment on a server, which has to be ready: it is asked once.

    Args:
        url: `http://HOST:8000`, `https://HOST[/PREFIX]`, `grpc://HOST:8001` or `grpcs://HOST:PORT`.
        model: the deployment's name; None: the only one, where the server tells what it has.
        deadline_s: of a request, over all its attempts. Finding the host's number is not bounded by it.
        retries: attempts after the first, at most; 0: none.
        connections: HTTP: open at once, at most; gRPC sends all requests over one.
        silent_s: a server that has been silent for so long, while it was asked, is taken for gone: requests fail at
            once until it is ready again. None: 10, or `deadline_s` where that is less.
        token: of the server's control interface, where asking for its models wants it; sent for nothing else.
        ca: of https and grpcs, a PEM file of the certificates that the server's is checked against; None: the system's.

    Raises:
        UsageError: no such URL or model, several deployments and no name, a model that ccdeploy did not package.
        RequestError: the server is not there, or not ready (a ServerError).
        MissingError: gRPC, and its package is not installed.
    """
    address = parse_address(url)
    right = 0 < deadline_s <= LONGEST_DEADLINE_S and retries >= 0 and connections >= 1
    if not right or (silent_s is not None and not silent_s >= 0):
        raise UsageError(
            f"deadline_s={deadline_s}, retries={retries}, connections={connections}, silent_s={silent_s} were given.",
            f"Give a deadline above 0 and up to {LONGEST_DEADLINE_S:.0f}, 1 connection or more, and nothing below 0.",
        )
    if ca is not None and not address.secure:
        raise UsageError(f"A file of certificates was given for {address}.", "Use https:// or grpcs://.")
    transport = _transport(Connecting(address, connections, token, ca))
    try:
        deadline = Deadline(deadline_s)
        if not transport.ready(deadline):
            raise failures.busy(str(address), "it is not ready")
        server = transport.server(deadline)
        served = _served(transport, address, model or _only(transport, address, deadline), deadline)
        silence = min(SILENT_S, deadline_s) if silent_s is None else silent_s
        return Client(transport, str(address), server, served, deadline_s=deadline_s, retries=retries, silent_s=silence)
    except BaseException:
        transport.close()
        raise


def _transport(connecting: Connecting) -> Transport:
    if not connecting.address.grpc:
        from ccdeploy.serving.client.http import HttpTransport

        return HttpTransport(connecting)
    try:
        from ccdeploy.serving.client.grpc import GrpcTransport
    except ImportError as error:
        raise MissingError(
            f"{connecting.address} needs the package tritonclient, which is not installed ({error}).",
            'Run `pip install "ccdeploy[triton]"`, or give the server\'s http:// address.',
        ) from error
    return GrpcTransport(connecting)


def _only(transport: Transport, address: Address, deadline: Deadline) -> str:
    """The name of the server's only deployment."""
    try:
        models = transport.index(deadline)
    except UsageError as error:
        raise UsageError(
            f"{address} does not tell which models it has: that is behind its token.",
            "Name the deployment: --model NAME.",
        ) from error
    found = [
        name
        for name in models
        if {Names(name).read, Names(name).network, Names(name).labels} <= set(models)
        and transport.parameter(name, deadline) is not None
    ]
    if len(found) != 1:
        seen = f"{len(found)} deployments ({', '.join(found)})" if found else "no deployment of ccdeploy"
        remedy = "Name one: --model NAME." if found else "Package an artefact: `ccdeploy package`."
        raise UsageError(f"{address} has {seen}, one was expected.", remedy)
    return found[0]


def _served(transport: Transport, address: Address, model: str, deadline: Deadline) -> Served:
    value = transport.parameter(model, deadline)
    if value is None:
        raise UsageError(
            f"The model {model} on {address} was not packaged by ccdeploy: its config has no parameter `{PARAMETER}`.",
            "Name a deployment of `ccdeploy package`: --model NAME.",
        )
    served = parse_served(value, f"{model} on {address}")
    if served.name != model:
        raise UsageError(
            f"{model} on {address} is a part of the deployment {served.name}.", f"Use --model {served.name}."
        )
    return served
