"""What a user may say of a server."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.errors import UsageError

LOOPBACK = "127.0.0.1"
IMAGE = "ccdeploy-server"
"""Docker's name of an image of a server with ccdeploy in it, unless told otherwise."""
_TOKEN = r"[A-Za-z0-9._~-]{16,256}"
_TOKEN_TEXT = "16 to 256 letters, digits or any of . _ ~ -"
_DRAW = "Draw one: python3 -c 'import secrets; print(secrets.token_urlsafe())'"
_LONGEST_FILE = 4096


@dataclass(frozen=True)
class Options:
    """How a server runs.

    Attributes:
        address: that HTTP, gRPC and metrics listen on; loopback unless asked otherwise.
        http_port, grpc_port, metrics_port: 0 is a free one.
        model_control: whether models can be loaded and unloaded while the server runs, with the token.
        token: what requests that change the server must carry; None: drawn.
        binary: tritonserver; None: found.
        http_threads: that read and write HTTP.
        start_timeout_s: until all models must be ready.
        exit_timeout_s: for requests in flight when the server is stopped; whole seconds.
        image: Docker's, in the equivalent command; with ccdeploy in it: the steps around the network are in Python.
    """

    address: str = LOOPBACK
    http_port: int = 8000
    grpc_port: int = 8001
    metrics_port: int = 8002
    model_control: bool = False
    token: str | None = None
    binary: Path | None = None
    http_threads: int = 8
    start_timeout_s: float = 600.0
    exit_timeout_s: int = 30
    image: str = IMAGE

    def __post_init__(self) -> None:
        """Refuses what no server could do.

        Raises:
            UsageError: an address, port or token that is none.
        """
        self.checked_address()
        ports = [port for port in self.ports.values() if port]
        if any(not 0 <= port <= 65535 for port in ports):
            raise UsageError(f"Ports {ports}: one is no port.", "Choose ports of 1 to 65535, or 0 for a free one.")
        if len(set(ports)) < len(ports):
            raise UsageError(
                f"HTTP, gRPC and metrics share a port ({', '.join(map(str, ports))}).", "Give each its own, or 0."
            )
        if self.token is not None and not re.fullmatch(_TOKEN, self.token):
            raise UsageError(f"The token is not {_TOKEN_TEXT}.", _DRAW)
        if self.http_threads < 1 or self.start_timeout_s <= 0 or self.exit_timeout_s < 0:
            raise UsageError(
                f"{self.http_threads} HTTP threads, {self.start_timeout_s} s to start, {self.exit_timeout_s} to stop.",
                "Give at least one thread, and times above 0.",
            )

    @property
    def ports(self) -> dict[str, int]:
        """By what listens on them."""
        return {"HTTP": self.http_port, "gRPC": self.grpc_port, "metrics": self.metrics_port}

    def checked_address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address as numbers.

        Raises:
            UsageError: it is a name or nothing.
        """
        try:
            return ipaddress.ip_address(self.address)
        except ValueError as error:
            raise UsageError(
                f"{self.address!r} is no address.", "Give one in numbers, such as 127.0.0.1, ::1 or 0.0.0.0."
            ) from error

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.checked_address().is_loopback

    @property
    def reachable_host(self) -> str:
        """The host in URLs for clients on this machine, IPv6 in brackets."""
        address = self.checked_address()
        if address.is_unspecified:
            return LOOPBACK if address.version == 4 else "[::1]"
        return self.address if address.version == 4 else f"[{self.address}]"

    @property
    def family(self) -> socket.AddressFamily:
        """Of sockets."""
        return socket.AF_INET if self.checked_address().version == 4 else socket.AF_INET6


def read_token(file: Path) -> str:
    """The token in a file, on a line.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        content = file.read_bytes()[:_LONGEST_FILE].decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise UsageError(f"{file}, the file of the token, cannot be read: {why}.", _DRAW) from error
    if not re.fullmatch(_TOKEN, content):
        raise UsageError(f"{file} is to hold {_TOKEN_TEXT}, on one line; it does not.", _DRAW)
    return content
