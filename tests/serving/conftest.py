"""A small network behind the real server, on loopback, once for all tests that ask for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_parts import ServedNetwork

from ccdeploy.errors import MissingError

REQUIRED = os.environ.get("CCDEPLOY_TESTS_SERVER") == "required"


@pytest.fixture(scope="session")
def artefact(exports) -> Path:
    """An exported CCNet that takes pictures and batches of any size: criss-cross, with a gamma that is not 0."""
    return exports.file("ccnet", dynamic="all")


@pytest.fixture(scope="session")
def repository(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`artefact` packaged as "tiny" for the Python backend."""
    from ccdeploy.serving.repository import Packaging, package

    folder = tmp_path_factory.mktemp("served") / "repository"
    package([artefact], folder, Packaging(name="tiny"))
    return folder


@pytest.fixture(scope="session")
def server_is_there() -> None:
    """Skips tests of the real server where there is none; fails them where it must be there."""
    from ccdeploy.serving.server.finding import find_server

    try:
        find_server()
    except MissingError as error:
        if REQUIRED:
            raise
        pytest.skip(error.what)


@pytest.fixture(scope="session")
def server(server_is_there: None, repository: Path, artefact: Path) -> Iterator[ServedNetwork]:
    """`repository`, served. Not to be stopped; what a test changes in it, it changes for all."""
    from ccdeploy.serving.server import Options, running

    lines: list[str] = []
    with running(repository, Options(http_port=0, grpc_port=0, metrics_port=0), lines.append) as started:
        yield ServedNetwork(started, artefact, lines)
