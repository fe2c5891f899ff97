"""Triton Inference Server and its clients: what is here to serve and to ask."""

from __future__ import annotations

from ccdeploy.doctor.finding import Finding, guarded
from ccdeploy.doctor.software import is_installed, version_of
from ccdeploy.serving.server.finding import PROGRAM, find_server
from ccdeploy.serving.server.installation import backends_of

GROUP = "Triton Inference Server"
CLIENT = "tritonclient"


def findings() -> list[Finding]:
    """All of the group. Never raises, starts nothing."""
    return [*guarded(PROGRAM, GROUP, lambda: [_server()]), *guarded(CLIENT, GROUP, lambda: [_client()])]


def _server() -> Finding:
    found = find_server()
    backends = ", ".join(backends_of(found)) or "none"
    return Finding(PROGRAM, True, f"{found.source}: {found.program}, backends: {backends}")


def _client() -> Finding:
    if not is_installed(CLIENT):
        remedy = 'Needed by package and for gRPC: pip install "ccdeploy[triton]"'
        return Finding(CLIENT, False, "not installed", remedy)
    return Finding(CLIENT, True, version_of(CLIENT) or "of unknown version")
