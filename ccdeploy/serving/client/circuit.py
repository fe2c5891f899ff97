"""Knows whether a server is there, so that requests to a dead one fail at once and not after their deadlines.

Closed: requests pass. Attempts that the server does not answer (no connection, a broken one, silence until the
deadline) are noted; the first answer of any kind, an error too, forgets them. Once the server has been silent for
`silent_s`, from the start of the first unanswered attempt to the end of the last, the circuit opens.

Open: a request asks `probe` first, but at most one at a time and once in `PROBE_S`; all others fail at once. When the
probe finds the server ready, the circuit closes and requests pass again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from ccdeploy.serving.client.failures import Unreachable

PROBE_S = 1.0
"""Between two probes of a server that is gone."""


class Circuit:
    """See the module; for many threads at once.

    Args:
        url: of the server, for errors.
        silent_s: how long it may be silent, while it is asked, before requests fail at once.
        probe: whether the server is ready now; returns within a second or two, raises nothing.
        now: seconds that never run backwards.
    """

    def __init__(self, url: str, silent_s: float, probe: Callable[[], bool], now: Callable[[], float]) -> None:
        self._url, self._silent_s, self._probe, self._now = url, silent_s, probe, now
        self._lock = threading.Lock()
        self._heard: float | None = None
        self._silent_since: float | None = None
        self._open = self._probing = False
        self._probe_at = 0.0

    @property
    def open(self) -> bool:
        """Whether requests fail at once."""
        return self._open

    def check(self) -> None:
        """Lets a request pass, or raises Unreachable."""
        with self._lock:
            if not self._open:
                return
            if self._probing or self._now() < self._probe_at:
                raise self._gone()
            self._probing = True
        ready = False
        try:
            ready = self._probe()
        finally:
            with self._lock:
                self._probing = False
                self._probe_at = self._now() + PROBE_S
                if ready:
                    self._close()
        if not ready:
            raise self._gone()

    def heard(self) -> None:
        """The server answered."""
        with self._lock:
            self._close()

    def silent(self, started: float) -> None:
        """An attempt that began at `started` has ended without an answer."""
        with self._lock:
            since = started if self._heard is None else max(started, self._heard)
            self._silent_since = since if self._silent_since is None else min(self._silent_since, since)
            if not self._open and self._now() - self._silent_since >= self._silent_s:
                self._open, self._probe_at = True, self._now()

    def _close(self) -> None:
        self._heard, self._silent_since, self._open = self._now(), None, False

    def _gone(self) -> Unreachable:
        since = self._now() - (self._silent_since if self._silent_since is not None else self._now())
        return GivenUp(
            f"{self._url}: the server has been silent for {since:.0f} s and is not asked any more until it is ready.",
            "Start it again; what was not answered can be sent again.",
        )


class GivenUp(Unreachable):
    """The circuit is open: the request was not sent."""

    again = False
    answered = None
