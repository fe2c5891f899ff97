"""What the server itself counted while it was measured: the difference of its statistics after and before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ccdeploy.benchmark.server.record import ServerSide

if TYPE_CHECKING:
    from ccdeploy.serving.client import Client
    from ccdeploy.serving.client.statistics import ModelStatistics


def server_side(client: Client) -> Callable[[], ServerSide]:
    """Reads the counters of a deployment's models; what is returned gives the figures of all requests since then.

    Raises:
        CcdeployError: the server does not tell; so does what is returned.
    """
    names = client.served.names
    before = client.statistics()

    def since() -> ServerSide:
        now = client.statistics()
        read, network, labels = (now[name].since(before[name]) for name in (names.read, names.network, names.labels))
        return ServerSide(
            batch=network.mean_batch,
            queue_ms=_mean_ms(network.queue.seconds, network.queue.count),
            compute_ms=_mean_ms(network.compute.seconds, network.compute.count),
            read_ms=_step_ms(read),
            labels_ms=_step_ms(labels),
        )

    return since


def _step_ms(step: ModelStatistics) -> float | None:
    return _mean_ms(step.success.seconds, step.success.count)


def _mean_ms(seconds: float, count: int) -> float | None:
    return 1e3 * seconds / count if count else None
