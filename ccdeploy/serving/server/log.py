"""The server's log: read as fast as it comes, so that the server never waits for who looks at it."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

KEPT = 1000
"""Last lines that are kept to explain an end."""
WAITING = 10_000
"""Lines that wait for a slow callback; what comes on top is counted, not kept."""
_SLOW_CALLBACK_S = 2.0


class Log:
    """Lines of a server, to a callback and to look back at."""

    def __init__(self, callback: Callable[[str], None] | None = None) -> None:
        """`callback` is called with each line, without its end, in a thread of its own."""
        self.failure: Exception | None = None
        self._callback = callback
        self._kept: deque[str] = deque(maxlen=KEPT)
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._reader: threading.Thread | None = None
        self._teller: threading.Thread | None = None

    def follow(self, stream: IO[bytes]) -> None:
        """Reads until the stream ends, in a thread."""
        self._reader = threading.Thread(target=self._read, args=(stream,), name="server-log", daemon=True)
        self._reader.start()
        if self._callback is not None:
            self._teller = threading.Thread(target=self._tell, name="server-log-lines", daemon=True)
            self._teller.start()

    def tail(self) -> list[str]:
        """The last lines."""
        return list(self._kept)

    def join(self) -> None:
        """Waits until all is read, and, a moment, until the callback has had it."""
        for thread in (self._reader, self._teller):
            if thread is not None and thread is not threading.current_thread():
                thread.join(_SLOW_CALLBACK_S)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for content in stream:
                line = content.decode("utf-8", "replace").rstrip()
                self._kept.append(line)
                self._offer(line)
        if self._teller is not None:
            self._tell_of_dropped()
            self._queue.put(None)

    def _offer(self, line: str) -> None:
        if self._callback is None:
            return
        if self._queue.qsize() >= WAITING:
            self._dropped += 1
            return
        self._tell_of_dropped()
        self._queue.put(line)

    def _tell_of_dropped(self) -> None:
        if self._dropped:
            self._queue.put(f"({self._dropped} lines of the server's log were left out here: they came too fast)")
            self._dropped = 0

    def _tell(self) -> None:
        assert self._callback is not None
        while (line := self._queue.get()) is not None:
            if self.failure is None:
                try:
                    self._callback(line)
                except Exception as error:  # said by who waits for the server
                    self.failure = error
