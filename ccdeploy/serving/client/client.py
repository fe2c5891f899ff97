"""A deployment on a server: pictures in, labels out, by many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import TypeVar

import numpy as np

from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.datasets import LabelMap
from ccdeploy.errors import ArtefactError, CcdeployError, UsageError
from ccdeploy.runners import Array
from ccdeploy.serving.client import failures
from ccdeploy.serving.client.circuit import Circuit
from ccdeploy.serving.client.failures import Refused
from ccdeploy.serving.client.retrying import LONGEST_DEADLINE_S, Clock, Deadline, Retrying
from ccdeploy.serving.client.statistics import ModelStatistics
from ccdeploy.serving.client.tensors import check_inputs, check_outputs
from ccdeploy.serving.client.transport import Transport
from ccdeploy.serving.client.wire import LARGEST_ANSWER
from ccdeploy.serving.contract import LABELS, PICTURE, Served

_T = TypeVar("_T")
_PROBE_S = 2.0
_MOST_CLASSES = 256
"""Of a label map, whose pixels are bytes."""
_ENVELOPE = 1 << 16
"""Bytes of an answer beside its tensors, at most."""


@dataclass(frozen=True)
class Segmented:
    """A picture's answer.

    Attributes:
        labels: uint8 [height, width].
        attempts: that it took.
    """

    labels: LabelMap
    attempts: int


@dataclass(frozen=True)
class Counts:
    """What a client has done so far.

    Attributes:
        requests: that ended, well or not.
        succeeded: with an answer.
        retries: attempts after the first, of all requests.
        failed: the others by kind, see `failures.KINDS`.
    """

    requests: int = 0
    succeeded: int = 0
    retries: int = 0
    failed: dict[str, int] = field(default_factory=dict)


class Client:
    """One deployment on a server; a context manager, for many threads at once. `connect` makes it.

    Closing it ends what other threads wait for. Where Ctrl-C shall end a program at once, close it before such threads
    are waited for: `with ThreadPoolExecutor() as threads, connect(url) as client: ...`.

    Args:
        transport: the way to the server; closed with this.
        url: of the server.
        server: its name and version.
        served: what it says of the deployment.
        deadline_s: of a request, over all its attempts.
        retries: attempts after the first, at most.
        silent_s: how long the server may be silent before requests fail at once; see `circuit`.
        clock: time and chance.

    Attributes:
        url: of the server.
        server: its name and version, such as "Triton 2.51.0".
        served: what it says of the deployment.
        deadline_s: of a request that states none.
    """

    def __init__(
        self,
        transport: Transport,
        url: str,
        server: str,
        served: Served,
        *,
        deadline_s: float = 30.0,
        retries: int = 4,
        silent_s: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self.url, self.server, self.served, self.deadline_s = url, server, served, deadline_s
        self._transport, self._manifest = transport, served.manifest_of()
        card = self._manifest.card
        self._classes = (card_from_dict(self._manifest.model, card).num_classes if card else 0) or _MOST_CLASSES
        self._closed = threading.Event()
        self._clock = clock or Clock(sleep=self._sleep)
        circuit = Circuit(url, silent_s, self._probe, self._clock.now)
        self._retrying = Retrying(url, retries, circuit, self._clock)
        self._lock, self._counts = threading.Lock(), Counts()

    @property
    def counts(self) -> Counts:
        """What was done so far; a copy."""
        with self._lock:
            return replace(self._counts, failed=dict(self._counts.failed))

    def segment(self, picture: bytes, *, deadline_s: float | None = None) -> LabelMap:
        """The class of each pixel of a picture file.

        Args:
            picture: a JPEG or PNG file, or another that Pillow reads.
            deadline_s: seconds until the answer is there, over all attempts; None: the client's.

        Returns:
            uint8 [height, width], of the upright picture's own size.

        Raises:
            Refused: the server refuses the picture: damaged, too large (an InputError).
            RequestError: the server is not there, busy, too slow, or fails (a ServerError); its `kind` says which.
            UsageError: the server no longer has the model, or the client is closed.
        """
        return self.segment_counted(picture, deadline_s=deadline_s).labels

    def segment_counted(self, picture: bytes, *, deadline_s: float | None = None) -> Segmented:
        """As `segment`, and how many attempts it took."""
        if not picture:
            raise Refused("The picture is empty: no bytes were given.", "Give the bytes of a JPEG or PNG file.")
        inputs = {PICTURE: np.frombuffer(picture, np.uint8)}
        most = self.served.most_pixels + _ENVELOPE

        def attempt(deadline: Deadline) -> LabelMap:
            answer = self._transport.infer(self.served.name, inputs, [LABELS], deadline, most)
            return self._checked_labels(answer[LABELS])

        return Segmented(*self._request(attempt, deadline_s))

    def infer(self, inputs: Mapping[str, Array], *, deadline_s: float | None = None) -> dict[str, Array]:
        """The network's outputs by name, for its inputs by name; as `segment` otherwise.

        Args:
            inputs: of the names, types and shapes of `served.manifest`, `served.batch` pictures at most.
            deadline_s: see `segment`.

        Raises:
            ArtefactError: inputs that the network does not take.
        """
        batch, most = check_inputs(self._manifest, inputs), self.served.batch
        if batch > most:
            what = f"{self.served.names.network} takes {most} pictures at once, {batch} were given."
            raise ArtefactError(what, "Give fewer; RemoteRunner splits batches.")
        names = [tensor.name for tensor in self._manifest.outputs]

        def attempt(deadline: Deadline) -> dict[str, Array]:
            outputs = self._transport.infer(self.served.names.network, inputs, names, deadline, LARGEST_ANSWER)
            if wrong := check_outputs(self._manifest, outputs, batch):
                raise failures.bad_answer(self.url, wrong)
            return outputs

        return self._request(attempt, deadline_s)[0]

    def ready(self, *, deadline_s: float | None = None) -> bool:
        """Whether the server and all its models are ready; no retries.

        Raises:
            RequestError: it does not answer.
        """
        return self._transport.ready(self._deadline(deadline_s))

    def statistics(self, *, deadline_s: float | None = None) -> dict[str, ModelStatistics]:
        """What the server has counted of the deployment's four models, by model."""
        names = self.served.names
        models = (names.ensemble, names.read, names.network, names.labels)
        deadline = self._deadline(deadline_s)
        statistics = self._transport.statistics
        return {model: self._retrying.run(partial(statistics, model), deadline)[0] for model in models}

    def close(self) -> None:
        """Ends requests that are under way with an error, and closes all connections. Twice is fine."""
        self._closed.set()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _request(self, attempt: Callable[[Deadline], _T], deadline_s: float | None) -> tuple[_T, int]:
        deadline = self._deadline(deadline_s)
        try:
            result, attempts = self._retrying.run(attempt, deadline)
        except CcdeployError as error:
            self._count(getattr(error, "attempts", 1), getattr(error, "kind", "usage"))
            raise
        self._count(attempts, None)
        return result, attempts

    def _deadline(self, seconds: float | None) -> Deadline:
        if self._closed.is_set():
            raise failures.closed()
        seconds = self.deadline_s if seconds is None else seconds
        if not 0 < seconds <= LONGEST_DEADLINE_S:
            what = f"A deadline of {seconds} s was given."
            raise UsageError(what, f"Give seconds, more than 0 and at most {LONGEST_DEADLINE_S:.0f}.")
        return Deadline(seconds, self._clock)

    def _checked_labels(self, labels: Array) -> LabelMap:
        height_width = labels.shape
        if labels.dtype != np.uint8 or len(height_width) != 2 or not labels.size:
            seen = f"labels are {labels.dtype} {list(height_width)}, uint8 [height, width] was expected"
            raise failures.bad_answer(self.url, seen)
        if (largest := int(labels.max())) >= self._classes:
            raise failures.bad_answer(self.url, f"a label is {largest}, there are {self._classes} classes")
        return labels.astype(np.uint8, copy=False)

    def _count(self, attempts: int, kind: str | None) -> None:
        with self._lock:
            counts = self._counts
            failed = dict(counts.failed)
            if kind is not None:
                failed[kind] = failed.get(kind, 0) + 1
            self._counts = Counts(
                counts.requests + 1, counts.succeeded + (kind is None), counts.retries + max(0, attempts - 1), failed
            )

    def _sleep(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise failures.closed()

    def _probe(self) -> bool:
        try:
            return self._transport.ready(Deadline(min(_PROBE_S, self.deadline_s), self._clock))
        except CcdeployError:
            return False
