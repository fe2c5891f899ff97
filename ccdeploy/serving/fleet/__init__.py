"""What Kubernetes, systemd and Docker need to serve a model repository: three files, rendered from what is in it."""

from __future__ import annotations

from ccdeploy.serving.fleet.options import FleetOptions
from ccdeploy.serving.fleet.rendering import File, Fleet, render
from ccdeploy.serving.fleet.writing import write

__all__ = ["File", "Fleet", "FleetOptions", "render", "write"]
