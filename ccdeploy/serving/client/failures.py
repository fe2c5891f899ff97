"""What can become of a request: errors by kind, each knowing whether another attempt is worth it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import ClassVar

from ccdeploy.errors import InputError, ServerError, UsageError

KINDS = ("unreachable", "busy", "deadline", "fault", "answer", "refused", "usage")
"""Of failures, as `Client.counts` and benchmarks count them; "usage": no such model, not allowed, a closed client."""


class RequestError(ServerError):
    """A request that the server did not serve.

    Attributes:
        kind: one of KINDS.
        again: whether the same request may succeed in another attempt.
        answered: whether the server answered at all; None: it was not asked.
        attempts: that were made.
        after_s: seconds that the server asks to wait before another attempt; None: it does not say.
    """

    kind: ClassVar[str] = "fault"
    again: ClassVar[bool] = False
    answered: bool | None = True

    def __init__(self, what: str, remedy: str, after_s: float | None = None) -> None:
        super().__init__(what, remedy)
        self.after_s = after_s
        self.attempts = 1

    def after_attempts(self, attempts: int) -> RequestError:
        """Itself, with the number of attempts in its words."""
        self.attempts = attempts
        if attempts > 1:
            self.what = f"{self.what.rstrip('.')} ({attempts} attempts)."
        return self


class Unreachable(RequestError):
    """No connection, or one that broke before the whole answer was there."""

    kind = "unreachable"
    again = True
    answered: bool | None = False


class Busy(RequestError):
    """The server, or a proxy before it, cannot take the request now: a full queue, a model that is not ready."""

    kind = "busy"
    again = True


class DeadlineExceeded(RequestError):
    """The answer did not come in time."""

    kind = "deadline"
    answered: bool | None = False


class ServerFault(RequestError):
    """The server failed on this request; it would again."""

    kind = "fault"


class BadAnswer(RequestError):
    """An answer that is whole and wrong: not the protocol's, or not what the deployment promises."""

    kind = "answer"


class Refused(InputError):
    """A request that the server understood and refuses, with its reason: a damaged picture, one that is too large."""

    kind: ClassVar[str] = "refused"
    attempts = 1


def one_line(text: str) -> str:
    """What a server says, in one line that a terminal shows: no control characters, 400 characters at most."""
    words = " ".join(text.replace("[request id: <id_unknown>]", "").split())
    return "".join(character if character.isprintable() else "?" for character in words)[:400]


def seconds_of(retry_after: str | None) -> float | None:
    """The seconds of an HTTP header Retry-After; None where it is missing, a date in the past, or nonsense."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
        return max(0.0, at.timestamp() - time.time()) or None
    except (TypeError, ValueError, OverflowError):
        return None


def unreachable(url: str, reason: str) -> Unreachable:
    """No connection to the server, or a broken one."""
    return Unreachable(
        f"{url}: no answer from the server ({reason}).", "Is it running there? `ccdeploy serve REPOSITORY` starts one."
    )


def deadline_exceeded(url: str, seconds: float, last: RequestError | None = None) -> DeadlineExceeded:
    """The time of a request is over; `last` is what the attempt before met."""
    before = f"; before that: {last.what.rstrip('.')}" if last else ""
    return DeadlineExceeded(
        f"{url}: no answer within {seconds:g} s{before}.", "Allow more time, or send fewer requests at once."
    )


def no_connection(url: str, seconds: float, connections: int) -> DeadlineExceeded:
    """All connections were taken until the time of a request was over."""
    error = DeadlineExceeded(
        f"{url}: none of {connections} connections became free within {seconds:g} s.",
        "Allow more time or more connections, or send fewer requests at once.",
    )
    error.answered = None
    return error


def bad_answer(url: str, reason: str) -> BadAnswer:
    """An answer that is whole and wrong."""
    return BadAnswer(
        f"{url}: the server's answer is wrong: {reason}.", "Is this Triton, and its repository of `ccdeploy package`?"
    )


def refused(url: str, reason: str) -> Refused:
    """The server refuses what was sent."""
    return Refused(f"{url} refuses this request: {reason}", "Correct the picture, or leave it out.")


def server_fault(url: str, reason: str) -> ServerFault:
    """The server failed."""
    return ServerFault(f"{url}: the server failed: {reason}", "See the server's log.")


def busy(url: str, reason: str, after_s: float | None = None) -> Busy:
    """The server cannot take the request now."""
    return Busy(f"{url}: the server is busy: {reason}", "Send fewer requests at once, or try later.", after_s)


def unknown_model(url: str, model: str, reason: str) -> UsageError:
    """The server has no such model."""
    return UsageError(f"{url} serves no model {model} ({reason})", "Give the name that it was packaged under: --model.")


def forbidden(url: str, reason: str) -> UsageError:
    """The server, or a proxy before it, does not allow it."""
    return UsageError(f"{url} does not allow this request ({reason})", "Ask who runs the server.")


def untrusted(url: str, reason: str) -> UsageError:
    """The server's certificate is not to be trusted, or is of another name."""
    return UsageError(
        f"{url}: its certificate is not trusted ({reason}).",
        "Give the certificate of who signed it, and the host's name that it is made for.",
    )


def closed() -> UsageError:
    """The client was closed before or during the request."""
    return UsageError("The client is closed.", "Open another with connect(), and close it after the last request.")
