"""What the HTTP and the gRPC transport have in common: one attempt each, no retries, errors of `failures`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.runners import Array
from ccdeploy.serving.client.address import Address
from ccdeploy.serving.client.retrying import Deadline
from ccdeploy.serving.client.statistics import ModelStatistics


@dataclass(frozen=True)
class Connecting:
    """How a transport connects.

    Attributes:
        address: of the server.
        connections: HTTP: open at once, at most; further requests wait for one within their deadlines.
        token: sent with requests for the index of models; None: none is.
        ca: PEM file of the certificates that a server's is checked against; None: the system's.
    """

    address: Address
    connections: int = 32
    token: str | None = None
    ca: Path | None = None


class Transport(ABC):
    """A way to a server, for many threads at once.

    Every method makes one attempt within a deadline and raises RequestError where the server is not there, busy, too
    slow or wrong, Refused where it refuses the request, and UsageError for a model it does not have, or what it does
    not allow.
    """

    @abstractmethod
    def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        deadline: Deadline,
        most_bytes: int,
    ) -> dict[str, Array]:
        """The outputs by name; an answer of more than `most_bytes` is not read."""

    @abstractmethod
    def ready(self, deadline: Deadline) -> bool:
        """Whether the server says that it is ready: it, and all its models."""

    @abstractmethod
    def server(self, deadline: Deadline) -> str:
        """The server and its version, such as "Triton 2.51.0"; its name is of one start only."""

    @abstractmethod
    def parameter(self, model: str, deadline: Deadline) -> str | None:
        """The value of the parameter `contract.PARAMETER` in a model's config; None where it has none."""

    @abstractmethod
    def index(self, deadline: Deadline) -> list[str]:
        """The names of the models in the server's repository."""

    @abstractmethod
    def statistics(self, model: str, deadline: Deadline) -> ModelStatistics:
        """What the server has counted of a model since it loaded it."""

    @abstractmethod
    def close(self) -> None:
        """Breaks what is under way and closes all connections."""
