"""Ports that a server can listen on."""

from __future__ import annotations

import contextlib
import errno
import socket

from ccdeploy.errors import UsageError
from ccdeploy.serving.server.options import Options


def taken_ports(options: Options) -> dict[str, int]:
    """A port for each service, free at this moment; 0 becomes one that the system chooses.

    Raises:
        UsageError: a port is in use, or needs more rights; the address is not this machine's.
    """
    with contextlib.ExitStack() as held:  # all at once, so that no two are the same
        return {name: _bound(held, options, name, port) for name, port in options.ports.items()}


def _bound(held: contextlib.ExitStack, options: Options, name: str, port: int) -> int:
    listener = held.enter_context(socket.socket(options.family, socket.SOCK_STREAM))
    # As servers do: a port whose last connections are still closing is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.address, port))
        listener.listen()
    except OSError as error:
        raise _explained(options, name, port, error) from error
    number: int = listener.getsockname()[1]
    return number


def _explained(options: Options, name: str, port: int, error: OSError) -> UsageError:
    option = f"--{name.lower()}-port"
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"Port {port} of {options.address}, for {name}, is in use by another program.",
            f"Stop that, or choose another with {option} (0: a free one).",
        )
    if error.errno == errno.EACCES:
        return UsageError(f"Port {port}, for {name}, needs more rights.", f"Choose one above 1023 with {option}.")
    return UsageError(
        f"{options.address} cannot be listened on: {error.strerror}.", "Give an address of this machine with --address."
    )
