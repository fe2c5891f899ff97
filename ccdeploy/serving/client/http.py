"""The way to a server over HTTP: a pool of kept connections, deadlines that hold to the last byte.

The standard library's HTTP client and no other: a request's deadline bounds every single read, and closing the
transport breaks what is under way. Redirects are not followed, the environment's proxies not used.
"""

from __future__ import annotations

import functools
import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ccdeploy.errors import UsageError, first_line
from ccdeploy.runners import Array
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.connections import Connection, ConnectionPool, new_connection
from ccdeploy.serving.client.failures import RequestError
from ccdeploy.serving.client.retrying import Deadline
from ccdeploy.serving.client.statistics import ModelStatistics, parse_statistics
from ccdeploy.serving.client.transport import Connecting, Transport
from ccdeploy.serving.client.wire import LARGEST_ANSWER, Malformed, parse_answer, request_body
from ccdeploy.serving.contract import PARAMETER, TOKEN_HEADER

_HEADER_LENGTH = "Inference-Header-Content-Length"
_BUSY = (429, 502, 503, 504)
_MOST_JSON = 1 << 26
_PART = 1 << 20
_CONNECTIONS_ASIDE = 2
"""For what is no inference: a server whose connections are all taken can still be asked whether it is ready."""


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Malformed(f"it is no JSON ({first_line(error)[:80]})") from error

    def reason(self) -> str:
        """The server's own words, in one line."""
        try:
            said = str(self.json()["error"])
        except (Malformed, LookupError, TypeError):
            said = self.body[:400].decode("utf-8", "replace")
        return failures.one_line(said) or f"HTTP status {self.status}"


class HttpTransport(Transport):
    """See the module and the interface."""

    def __init__(self, connecting: Connecting) -> None:
        address = connecting.address
        self._url, self._prefix, self._token = str(address), address.prefix, connecting.token
        make = functools.partial(new_connection, address, connecting.ca)
        self._pool = ConnectionPool(make, connecting.connections, self._url)
        self._aside = ConnectionPool(make, _CONNECTIONS_ASIDE, self._url)

    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        deadline: Deadline,
        most_bytes: int = LARGEST_ANSWER,
    ) -> dict[str, Array]:
        """See the interface."""
        timeout_us = max(1, int(deadline.left() * 1e6))
        body, head = request_body(inputs, outputs, timeout_us)
        path = f"/v2/models/{quote(model, safe='')}/infer"
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(head)}
        answer = self._served(self._exchange("POST", path, deadline, body, headers, most_bytes), model)
        try:
            return parse_answer(answer.body, answer.headers.get(_HEADER_LENGTH), outputs)
        except Malformed as error:
            raise failures.bad_answer(self._url, str(error)) from error

    def ready(self, deadline: Deadline) -> bool:
        """See the interface."""
        return self._exchange("GET", "/v2/health/ready", deadline).status == 200

    def server(self, deadline: Deadline) -> str:
        """See the interface."""
        data = self._asked("GET", "/v2", deadline, "")
        if not isinstance(data, dict) or not isinstance(data.get("version"), str):
            raise failures.bad_answer(self._url, "it does not say its version")
        return failures.one_line(f"Triton {data['version']}")

    def parameter(self, model: str, deadline: Deadline) -> str | None:
        """See the interface."""
        data = self._asked("GET", f"/v2/models/{quote(model, safe='')}/config", deadline, model)
        try:
            value = data.get("parameters", {}).get(PARAMETER)
            return None if value is None else str(value["string_value"])
        except (AttributeError, LookupError, TypeError) as error:
            raise failures.bad_answer(self._url, f"it is no config of {model}") from error

    def index(self, deadline: Deadline) -> list[str]:
        """See the interface."""
        headers = {TOKEN_HEADER: self._token} if self._token is not None else {}
        data = self._asked("POST", "/v2/repository/index", deadline, "", headers)
        try:
            return sorted({str(entry["name"]) for entry in data})
        except (LookupError, TypeError) as error:
            raise failures.bad_answer(self._url, "it is no index of models") from error

    def statistics(self, model: str, deadline: Deadline) -> ModelStatistics:
        """See the interface."""
        data = self._asked("GET", f"/v2/models/{quote(model, safe='')}/stats", deadline, model)
        try:
            return parse_statistics(model, data)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise failures.bad_answer(self._url, f"it has no statistics of {model} ({first_line(error)})") from error

    def close(self) -> None:
        """See the interface."""
        self._pool.close()
        self._aside.close()

    def _asked(
        self, method: str, path: str, deadline: Deadline, model: str, headers: Mapping[str, str] | None = None
    ) -> Any:
        answer = self._served(self._exchange(method, path, deadline, b"", headers or {}), model)
        try:
            return answer.json()
        except Malformed as error:
            raise failures.bad_answer(self._url, str(error)) from error

    def _served(self, answer: _Answer, model: str) -> _Answer:
        """The answer, where it is one of success; an error otherwise."""
        status = answer.status
        if status == 200:
            return answer
        reason = answer.reason()
        if status in _BUSY:
            raise failures.busy(self._url, reason, failures.seconds_of(answer.headers.get("Retry-After")))
        if status in (400, 413, 422):
            raise failures.refused(self._url, reason)
        if status == 404:
            raise failures.unknown_model(self._url, model, reason)
        if status in (401, 403, 407):
            raise failures.forbidden(self._url, reason)
        if 300 <= status < 400:
            raise UsageError(
                f"{self._url} sends its callers elsewhere, to {answer.headers.get('Location', 'no address')}.",
                "Give the server's own address.",
            )
        raise failures.server_fault(self._url, f"HTTP status {status}: {reason}")

    def _exchange(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        most_bytes: int = _MOST_JSON,
    ) -> _Answer:
        pool = self._pool if path.endswith("/infer") else self._aside
        connection = pool.take(deadline)
        kept = False
        try:
            connection.begin(deadline)
            if pool.closed:  # meanwhile, when there was no connection to break yet
                raise failures.closed()
            connection.send_request(method, self._prefix + path, body, headers or {})
            response = connection.getresponse()
            content = bytearray()
            while part := response.read(_PART):
                content += part
                if len(content) > most_bytes:
                    raise failures.bad_answer(self._url, f"it has more than {most_bytes} bytes")
            if response.length:  # http.client does not tell of a body that ends early when it is read in parts
                raise http.client.IncompleteRead(b"", response.length)
            kept = not response.will_close and response.isclosed()
            return _Answer(response.status, response.headers, bytes(content))
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error, connection, deadline) from error
        finally:
            pool.give(connection, kept)

    def _broken(self, error: Exception, connection: Connection, deadline: Deadline) -> RequestError | UsageError:
        if self._pool.closed:
            return failures.closed()
        if isinstance(error, ssl.SSLCertVerificationError):
            return failures.untrusted(self._url, error.verify_message)
        if (isinstance(error, TimeoutError) and connection.connected) or deadline.left() <= 0:
            return failures.deadline_exceeded(self._url, deadline.seconds)
        return failures.unreachable(self._url, failures.one_line(str(error)) or type(error).__name__)
