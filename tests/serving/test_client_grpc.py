"""The gRPC client against a server that fails in all the ways that gRPC has."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import client_fakes as fakes
import numpy as np
import pytest
from client_fakes import LABEL_MAP

from ccdeploy.errors import UsageError
from ccdeploy.serving.client import Client, connect, retrying
from ccdeploy.serving.client.failures import BadAnswer, Busy, DeadlineExceeded, Refused, ServerFault, Unreachable
from ccdeploy.serving.client.wire import bytes_on_wire, type_on_wire
from ccdeploy.serving.contract import LABELS, PARAMETER, TOKEN_HEADER

grpc = pytest.importorskip("grpc")
service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
service_pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

PICTURE = b"a picture"
Behaviour = Callable[[Any, Any], Any]


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """What the client needs; see `client_fakes.FakeServer`."""

    def __init__(self, script: tuple[Behaviour, ...]) -> None:
        self.script, self.requests, self.is_ready = deque(script), list[Any](), True
        self.released = threading.Event()

    def ServerReady(self, request, context):
        return service_pb2.ServerReadyResponse(ready=self.is_ready)

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="fake", version="1.0")

    def ModelConfig(self, request, context):
        answer = service_pb2.ModelConfigResponse()
        if request.name == "fake":
            answer.config.parameters[PARAMETER].string_value = fakes.SERVED.to_json()
        elif request.name != "foreign":
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.name}' is not found")
        return answer

    def RepositoryIndex(self, request, context):
        if (f"triton-grpc-protocol-{TOKEN_HEADER}", "secret") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header")
        names = ("fake", "fake_read", "fake_network", "fake_labels", "foreign")
        return service_pb2.RepositoryIndexResponse(
            models=[service_pb2.RepositoryIndexResponse.ModelIndex(name=name) for name in names]
        )

    def ModelInfer(self, request, context):
        self.requests.append(request)
        behaviour = self.script.popleft() if self.script else good
        return behaviour(self, context)


def good(servicer: Servicer, context: Any) -> Any:
    return answer(LABEL_MAP)


def answer(label_map: np.ndarray, name: str = LABELS, contents: list[bytes] | None = None) -> Any:
    message = service_pb2.ModelInferResponse(model_name="fake")
    message.outputs.add(name=name, datatype=type_on_wire(label_map), shape=label_map.shape)
    message.raw_output_contents.extend([bytes_on_wire(label_map)] if contents is None else contents)
    return message


def aborting(code: str, words: str = "the reason") -> Behaviour:
    return lambda servicer, context: context.abort(getattr(grpc.StatusCode, code), words)


def silent(servicer: Servicer, context: Any) -> Any:
    servicer.released.wait(30)
    return answer(LABEL_MAP)


class GrpcServer:
    """A context manager; listens from when it is entered."""

    def __init__(self, *script: Behaviour, port: int = 0, tls: tuple[Path, Path] | None = None) -> None:
        self.servicer = Servicer(script)
        self._server = grpc.server(futures.ThreadPoolExecutor(40))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self.servicer, self._server)
        if tls is None:
            self.url = f"grpc://127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        else:
            chain, key = (file.read_bytes() for file in tls)
            credentials = grpc.ssl_server_credentials([(key, chain)])
            self.url = f"grpcs://127.0.0.1:{self._server.add_secure_port(f'127.0.0.1:{port}', credentials)}"

    def opened(self, **options) -> Client:
        return connect(self.url, model="fake", **options)

    def __enter__(self) -> GrpcServer:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.servicer.released.set()
        self._server.stop(None).wait()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 1e-3)


def test_a_picture():
    with GrpcServer() as server, server.opened() as client:
        found = client.segment(PICTURE, deadline_s=20.0)
        np.testing.assert_array_equal(found, LABEL_MAP)
        found[0, 0] = 3  # the caller's own
        (request,) = server.servicer.requests
        assert request.raw_input_contents[0] == PICTURE
        assert 0 < request.parameters["timeout"].int64_param <= 20_000_000
        assert (client.server, client.served) == ("Triton 1.0", fakes.SERVED)
        assert client.ready()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("UNAVAILABLE", "Exceeds maximum queue size"),
        ("UNAVAILABLE", "Socket closed"),
        ("RESOURCE_EXHAUSTED", "too many"),
        ("CANCELLED", "by the server"),
    ],
)
def test_failures_by_chance_are_repeated(code: str, words: str):
    failure = aborting(code, words)
    with GrpcServer(failure, failure) as server, server.opened() as client:
        result = client.segment_counted(PICTURE)
        assert result.attempts == len(server.servicer.requests) == 3
        np.testing.assert_array_equal(result.labels, LABEL_MAP)
        assert (client.counts.succeeded, client.counts.retries) == (1, 2)


@pytest.mark.parametrize(
    ("behaviour", "error", "kind"),
    [
        (aborting("INVALID_ARGUMENT"), Refused, "refused"),
        (aborting("RESOURCE_EXHAUSTED", "Received message larger than max (9 vs. 4)"), Refused, "refused"),
        (aborting("INTERNAL"), ServerFault, "fault"),
        (aborting("UNKNOWN"), ServerFault, "fault"),
        (aborting("UNIMPLEMENTED"), ServerFault, "fault"),
        (aborting("NOT_FOUND"), UsageError, None),
        (aborting("UNAUTHENTICATED"), UsageError, None),
        (aborting("PERMISSION_DENIED"), UsageError, None),
        (aborting("UNAVAILABLE", "This protocol is restricted, expecting header 'x'"), UsageError, None),
        (lambda s, c: answer(LABEL_MAP, "other"), BadAnswer, "answer"),
        (lambda s, c: answer(LABEL_MAP, contents=[]), BadAnswer, "answer"),
        (lambda s, c: answer(LABEL_MAP, contents=[b"abc"]), BadAnswer, "answer"),
        (lambda s, c: answer(LABEL_MAP.astype(np.int64)), BadAnswer, "answer"),
        (lambda s, c: answer(np.zeros((400, 400), np.uint8)), BadAnswer, "answer"),
    ],
    ids=[
        *("INVALID_ARGUMENT", "message too large", "INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "NOT_FOUND"),
        *("UNAUTHENTICATED", "PERMISSION_DENIED", "restricted", "other output", "no bytes", "few bytes", "int64"),
        "too large",
    ],
)
def test_other_failures_are_told_at_once(behaviour: Behaviour, error: type[Exception], kind: str | None):
    with GrpcServer(behaviour) as server, server.opened() as client:
        with pytest.raises(error) as caught:
            client.segment(PICTURE)
        assert len(server.servicer.requests) == 1
        assert getattr(caught.value, "kind", None) == kind
        np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)


def test_a_deadline_holds():
    with GrpcServer(silent) as server, server.opened() as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
            client.segment(PICTURE, deadline_s=0.2)
        np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)


def test_a_full_queue_is_no_lost_connection():
    full = aborting("UNAVAILABLE", "in ensemble 'fake', Exceeds maximum queue size")
    with (
        GrpcServer(full) as server,
        server.opened(retries=0) as client,
        pytest.raises(Busy, match="maximum queue size"),
    ):
        client.segment(PICTURE)


def test_closing_ends_what_is_under_way():
    errors: list[Exception] = []

    def ask(client: Client) -> None:
        try:
            client.segment(PICTURE)
        except UsageError as error:
            errors.append(error)

    with GrpcServer(*[silent] * 4) as server:
        client = server.opened(deadline_s=600.0)
        threads = [threading.Thread(target=ask, args=(client,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(server.servicer.requests) < 4:
            time.sleep(0.001)
        client.close()
        for thread in threads:
            thread.join(20)
        assert len(errors) == 4
        assert all("closed" in error.what for error in errors)
        with pytest.raises(UsageError, match="closed"):
            client.segment(PICTURE)


def test_connecting_tells_what_is_wrong():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="refused"):
            connect(f"grpc://127.0.0.1:{free.getsockname()[1]}", model="fake")
    with GrpcServer() as server:
        with pytest.raises(UsageError, match="--model NAME"):
            connect(server.url)
        with connect(server.url, token="secret") as client:
            assert client.served.name == "fake"
        with pytest.raises(UsageError, match="serves no model missing"):
            connect(server.url, model="missing")
        with pytest.raises(UsageError, match="was not packaged by ccdeploy"):
            connect(server.url, model="foreign")
        server.servicer.is_ready = False
        with pytest.raises(Busy, match="not ready"):
            server.opened()


def test_the_other_protocol_at_the_other_end():
    with fakes.FakeServer() as server, pytest.raises((Unreachable, ServerFault, DeadlineExceeded)):
        connect(server.url.replace("http", "grpc"), model="fake", deadline_s=5.0)
    with GrpcServer() as server, pytest.raises((Unreachable, ServerFault, DeadlineExceeded, BadAnswer)):
        connect(server.url.replace("grpc", "http"), model="fake", deadline_s=5.0)
