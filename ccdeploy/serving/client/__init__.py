"""Clients of a deployment on Triton Inference Server, over HTTP and gRPC.

    from pathlib import Path
    from ccdeploy.serving.client import connect

    with connect("http://127.0.0.1:8000", model="streets") as client:
        labels = client.segment(Path("street.jpg").read_bytes())  # uint8 [height, width]

A client is for many threads at once. Each request has a deadline that spans its attempts; those that failed by chance
are repeated with back-off, and `client.counts` says how often. `RemoteRunner(client)` is the network on the server as
any other runner, for windows and several passes.
"""

from __future__ import annotations

from ccdeploy.serving.client.client import Client, Counts, Segmented
from ccdeploy.serving.client.failures import (
    BadAnswer,
    Busy,
    DeadlineExceeded,
    Refused,
    RequestError,
    ServerFault,
    Unreachable,
)
from ccdeploy.serving.client.opening import connect
from ccdeploy.serving.client.runner import RemoteRunner
from ccdeploy.serving.client.statistics import BatchStatistics, ModelStatistics, Times

__all__ = [
    "BadAnswer",
    "BatchStatistics",
    "Busy",
    "Client",
    "Counts",
    "DeadlineExceeded",
    "ModelStatistics",
    "Refused",
    "RemoteRunner",
    "RequestError",
    "Segmented",
    "ServerFault",
    "Times",
    "Unreachable",
    "connect",
]
