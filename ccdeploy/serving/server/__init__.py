"""Runs Triton Inference Server on a repository that `ccdeploy package` made.

    with running(Path("repository"), Options(http_port=0, grpc_port=0, metrics_port=0)) as server:
        print(server.http)

The server listens on loopback only unless told otherwise, and nothing of it stays behind, however this process ends.
"""

from __future__ import annotations

from ccdeploy.serving.server.lifetime import Running, running
from ccdeploy.serving.server.options import Options

__all__ = ["Options", "Running", "running"]
