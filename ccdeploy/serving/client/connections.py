"""Kept HTTP connections: no more than so many at once, each read bounded by its request's deadline."""

from __future__ import annotations

import contextlib
import functools
import http.client
import io
import select
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ccdeploy.errors import UsageError
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.address import Address
from ccdeploy.serving.client.retrying import Deadline

CONNECT_S = 5.0
"""For a connection, at most; what is left of the deadline otherwise. So a lost packet costs no whole deadline."""


class _Bounded(io.RawIOBase):
    """Reads from a socket, each within what is left of a deadline: a server that dribbles does not outlast it."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock, self._deadline = sock, deadline
        self._raw = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if (left := self._deadline.left()) <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *rest: Any, deadline: Deadline, **named: Any) -> None:
        super().__init__(sock, *rest, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_Bounded(sock, deadline), 1 << 16)


class Connection(http.client.HTTPConnection):
    """One connection to a server; made when it is first used.

    Args:
        address: of the server.
        context: of TLS; None: none.
    """

    def __init__(self, address: Address, context: ssl.SSLContext | None) -> None:
        super().__init__(address.host, address.port, timeout=CONNECT_S)
        self._context = context
        self._deadline: Deadline | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self.sock is not None

    def begin(self, deadline: Deadline) -> None:
        """Connects where that is due, and bounds what follows."""
        self._deadline = deadline
        self.response_class = functools.partial(_Response, deadline=deadline)  # type: ignore[assignment]
        if self.sock is None:
            self.timeout = max(1e-3, min(CONNECT_S, deadline.left()))
            self.connect()

    def connect(self) -> None:
        """See the base; with TLS where that is asked for."""
        super().connect()
        if self._context is not None:
            plain = self.sock
            try:
                self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
            except BaseException:
                self.close()
                plain.close()
                raise

    def send_request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Sends a whole request; an answer that comes before all is sent can be read nevertheless."""
        assert self._deadline is not None
        self.putrequest(method, path)
        if body or method == "POST":
            self.putheader("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.putheader(name, value)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.settimeout(max(1e-3, self._deadline.left()))
            self.endheaders()
            if body:
                self.sock.settimeout(max(1e-3, self._deadline.left()))
                self.send(body)

    def stale(self) -> bool:
        """Whether the server has closed it meanwhile, or said what nobody asked for."""
        if self.sock is None:
            return False
        waiting = select.poll()
        waiting.register(self.sock, select.POLLIN)
        return bool(waiting.poll(0))

    def interrupt(self) -> None:
        """Breaks what another thread waits for on it."""
        sock = self.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def new_connection(address: Address, ca: Path | None) -> Connection:
    """A connection that is not made yet.

    Raises:
        UsageError: a file of certificates that cannot be read.
    """
    return Connection(address, tls_context(ca) if address.secure else None)


@functools.lru_cache(maxsize=8)
def tls_context(ca: Path | None) -> ssl.SSLContext:
    """What a server's certificate is checked against; None: what the system trusts.

    Raises:
        UsageError: a file of certificates that cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"{ca} has no certificates ({error}).", "Give a PEM file.") from error


class ConnectionPool:
    """Lends connections, the last used first; for many threads at once.

    Args:
        make: a new one.
        most: that are lent at once.
        url: of the server, for errors.
    """

    def __init__(self, make: Callable[[], Connection], most: int, url: str) -> None:
        self._make, self._most, self._url = make, most, url
        self._condition = threading.Condition()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self.closed = False

    def take(self, deadline: Deadline) -> Connection:
        """A connection; waits until one is free.

        Raises:
            DeadlineExceeded: none became free in time.
            UsageError: the pool is closed.
        """
        with self._condition:
            while not self.closed and len(self._lent) >= self._most:
                if (left := deadline.left()) <= 0:
                    raise failures.no_connection(self._url, deadline.seconds, self._most)
                self._condition.wait(left)
            if self.closed:
                raise failures.closed()
            connection = None
            while connection is None and self._idle:
                connection = self._idle.pop()
                if connection.stale():
                    connection.close()
                    connection = None
            connection = connection or self._make()
            self._lent.add(connection)
            return connection

    def give(self, connection: Connection, kept: bool) -> None:
        """Takes one back; `kept`: it can serve another request."""
        if not kept:
            connection.close()
        with self._condition:
            self._lent.discard(connection)
            if kept and not self.closed:
                self._idle.append(connection)
            else:
                connection.close()
            self._condition.notify()

    def close(self) -> None:
        """Breaks what is under way and closes the others."""
        with self._condition:
            self.closed = True
            for connection in self._lent:
                connection.interrupt()
            idle, self._idle = self._idle, []
            self._condition.notify_all()
        for connection in idle:
            connection.close()
