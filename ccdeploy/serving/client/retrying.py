"""The one place that decides about another attempt: deadlines, back-off, and giving up on a server that is gone.

Inference keeps no state on the server, so a request may be sent again whenever it may have failed by chance: no
connection, a broken one, a busy server. It is never sent again once its deadline is over, when the server refused it,
or when the server failed on it. What changes a server goes through none of this.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ccdeploy.errors import CcdeployError
from ccdeploy.serving.client.circuit import Circuit
from ccdeploy.serving.client.failures import RequestError, deadline_exceeded

_T = TypeVar("_T")
LONGEST_DEADLINE_S = 1e6
"""What sockets take, and more than anybody waits."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
"""Bounds of the wait before the second attempt, and before any; each is drawn between 0 and its bound."""


@dataclass(frozen=True)
class Clock:
    """Time and chance; tests bring their own.

    Attributes:
        now: seconds that never run backwards.
        sleep: waits so many seconds; raises to end a request early.
        draw: a number from 0 to below 1.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random


@dataclass(frozen=True)
class Deadline:
    """When the answer to a request, over all its attempts, has to be there."""

    seconds: float
    clock: Clock = field(default_factory=Clock)
    at: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", self.clock.now() + self.seconds)

    def left(self) -> float:
        """Seconds that are left; 0 or less: none."""
        return self.at - self.clock.now()


class Retrying:
    """Attempts at requests, for many threads at once.

    Args:
        url: of the server, for errors.
        retries: attempts after the first, at most.
        circuit: knows whether the server is there.
        clock: time and chance.
    """

    def __init__(self, url: str, retries: int, circuit: Circuit, clock: Clock) -> None:
        self._url, self._retries = url, retries
        self._circuit, self._clock = circuit, clock

    def run(self, attempt: Callable[[Deadline], _T], deadline: Deadline) -> tuple[_T, int]:
        """Attempts until one succeeds, and how many were made.

        Args:
            attempt: makes one; raises RequestError where it fails.
            deadline: of all attempts together.

        Raises:
            RequestError: the last one's, or that time is over; its `attempts` says how many were made.
        """
        last: RequestError | None = None
        for attempts in range(1, self._retries + 2):
            if deadline.left() <= 0:
                raise deadline_exceeded(self._url, deadline.seconds, last).after_attempts(attempts - 1)
            started = self._clock.now()
            try:
                self._circuit.check()
                result = attempt(deadline)
            except RequestError as error:
                last = error
                if error.answered:
                    self._circuit.heard()
                elif error.answered is not None:
                    self._circuit.silent(started)
                wait = self._wait(attempts, error)
                if not error.again or attempts > self._retries or wait >= deadline.left():
                    raise error.after_attempts(attempts) from error.__cause__
                self._clock.sleep(wait)
            except CcdeployError:  # the server's refusal is an answer
                self._circuit.heard()
                raise
            else:
                self._circuit.heard()
                return result, attempts
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, attempts: int, error: RequestError) -> float:
        """Seconds before the next attempt: exponential with full jitter, no less than the server asks for."""
        bound = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(attempts - 1, 16))
        drawn: float = max(bound * self._clock.draw(), error.after_s or 0.0)
        return drawn
