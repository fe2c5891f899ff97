"""Reading ahead and writing behind: decoding and encoding overlap with inference, in order, and memory stays bounded.

Pillow, OpenCV and onnxruntime release Python's lock while they work, so that threads are enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
BUDGET = 256_000_000
"""Bytes of results that wait on either side, before no more is begun."""


def ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    most: int,
    weight: Callable[[R], int] = lambda result: 0,
    abandon: Callable[[], None] = lambda: None,
) -> Generator[tuple[T, R], None, None]:
    """Each item with what the function gives for it, in the items' order, computed by threads ahead of the consumer.

    Args:
        function: called once an item, by several threads at once unless there is one worker.
        items: consumed no faster than results are.
        workers: threads.
        most: results that are under way or wait at most.
        weight: bytes of a result; where those that wait exceed BUDGET, no more is begun.
        abandon: called where an error or Ctrl-C ends this, before it waits for what is under way.

    Raises:
        Exception: what the function raises, where its item's turn comes.
    """

    pool = ThreadPoolExecutor(workers, thread_name_prefix="ccdeploy-ahead")
    waiting: deque[tuple[T, Future[R]]] = deque()
    heaviest: int | None = None  # of the results so far: those under way are taken to weigh as much

    def full() -> bool:
        if heaviest is None:
            return len(waiting) >= min(workers, most)
        held = sum(weight(future.result()) if _is_there(future) else heaviest for _, future in waiting)
        return len(waiting) >= most or held + heaviest > BUDGET

    try:
        for item in items:
            while waiting and full():
                first, future = waiting.popleft()
                result = future.result()
                heaviest = max(heaviest or 0, weight(result))
                yield first, result
            waiting.append((item, pool.submit(function, item)))
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    except GeneratorExit:
        raise
    except BaseException:
        abandon()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _is_there(future: Future[R]) -> bool:
    return future.done() and future.exception() is None


class Behind(Generic[R]):
    """Does work in threads behind its caller and hands back what it gave, in order; a context manager.

    Leaving the block waits for all work; leaving it by an error drops what has not begun and waits for what has, so
    that no file is left half written.

    Args:
        done: told each result, in the order of `do`, by the caller's thread.
        workers: threads.
        most: pieces of work that are under way or wait at most: beyond, `do` waits.
    """

    def __init__(self, done: Callable[[R], None], workers: int, most: int) -> None:
        self._done, self._most = done, most
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="ccdeploy-behind")
        self._waiting: deque[tuple[Future[R], int]] = deque()

    def do(self, function: Callable[[], R], weight: int = 0) -> None:
        """Has work done soon.

        Args:
            function: the work.
            weight: bytes that it holds; where those under way exceed BUDGET, this waits.

        Raises:
            Exception: what earlier work raised.
        """
        self._waiting.append((self._pool.submit(function), weight))
        while self._waiting and (self._full() or self._waiting[0][0].done()):
            self._done(self._waiting.popleft()[0].result())

    def finish(self) -> None:
        """Waits for all work that is under way."""
        while self._waiting:
            self._done(self._waiting.popleft()[0].result())

    def _full(self) -> bool:
        return len(self._waiting) > self._most or sum(weight for _, weight in self._waiting) > BUDGET

    def __enter__(self) -> Behind[R]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
            for future, _ in self._waiting:  # after an error: what was done nevertheless
                if not future.cancelled() and _is_there(future):
                    self._done(future.result())
            self._waiting.clear()
