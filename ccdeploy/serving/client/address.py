"""Addresses of servers: `http://host:8000`, `https://host/prefix`, `grpc://host:8001`, `grpcs://host:443`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ccdeploy.errors import UsageError

SCHEMES = {"http": 80, "https": 443, "grpc": None, "grpcs": 443}
"""With the port that holds where an address names none. `grpc` has no customary one."""


@dataclass(frozen=True)
class Address:
    """Where a server listens, and how to talk to it.

    Attributes:
        scheme: one of SCHEMES.
        host: name or number, IPv6 without brackets.
        port: 1 to 65535.
        prefix: of HTTP paths, such as "/triton"; empty or with a slash before and none after it.
    """

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def grpc(self) -> bool:
        """Whether it is gRPC, otherwise HTTP."""
        return self.scheme.startswith("grpc")

    @property
    def secure(self) -> bool:
        """Whether it is TLS."""
        return self.scheme.endswith("s")

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.prefix}"


def parse_address(url: str) -> Address:
    """Reads a server's URL.

    Raises:
        UsageError: it is none; says what was expected.
    """
    if any(character.isspace() or not character.isprintable() for character in url):
        raise _unexpected(url, "white space or control characters in it")
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise _unexpected(url, str(error)) from error
    if "://" not in url or scheme not in SCHEMES:
        raise _unexpected(url, f"{scheme}://" if "://" in url else "no scheme")
    if not host:
        raise _unexpected(url, "no host")
    if parts.username is not None or parts.password is not None:
        raise _unexpected(url.replace(parts.netloc.rpartition("@")[0], "..."), "a user in it")
    if parts.query or parts.fragment:
        raise _unexpected(url, "something after ? or #")
    prefix = parts.path.rstrip("/")
    if prefix and scheme.startswith("grpc"):
        raise _unexpected(url, f"the path {prefix}, which gRPC does not have")
    port = SCHEMES[scheme] if port is None else port
    if not port:
        raise _unexpected(url, "no port")
    return Address(scheme, host, port, prefix)


def _unexpected(url: str, seen: str) -> UsageError:
    return UsageError(
        f"{url!r} is no address of a server: {seen}.",
        "Give http://HOST:8000, https://HOST[/PREFIX], grpc://HOST:8001 or grpcs://HOST:PORT.",
    )
