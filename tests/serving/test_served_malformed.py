"""10,000 malformed requests: each gets a clean error, and the server is as healthy and as right as before."""

from __future__ import annotations

import json
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from malformed import drawn
from serving_parts import ServedNetwork, expected, picture
from tritonclient.grpc import service_pb2, service_pb2_grpc

from ccdeploy.serving.client import connect

REQUESTS, GRPC_REQUESTS = 10_000, 1_000
PARSER = (b'{"error":"failed to parse', b'{"error":"Unable to parse')
CLEAN = {"INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}


@pytest.fixture(scope="module")
def valid(artefact) -> tuple[bytes, bytes]:
    """A JPEG and a PNG that are whole."""
    return picture(artefact, 61, 83, 3, "JPEG"), picture(artefact, 31, 57, 4)


@pytest.fixture
def unharmed(server: ServedNetwork, artefact, valid):
    """After the test the server is ready, none of its processes was replaced, and its answers are the right ones."""
    before = {process.pid for process in server.processes()}
    wanted = expected(artefact, valid)
    yield
    assert {process.pid for process in server.processes()} == before
    for url in (server.running.http, server.running.grpc):
        with connect(url, model="tiny") as client:
            for content, labels in zip(valid, wanted, strict=True):
                np.testing.assert_array_equal(client.segment(content), labels)


def test_malformed_http(server: ServedNetwork, valid, unharmed):
    address = urlsplit(server.running.http)
    assert address.hostname
    assert address.port
    host, port = address.hostname, address.port

    def answer(seed: int) -> tuple[str, str]:
        request = drawn(seed, *valid)
        status, body = request.sent(host, port)
        if request.declared is not None and status is None:
            return request.kind, "closed"
        if status == 500 and body.startswith(PARSER):  # the server calls what is no JSON an internal error
            status = 400
        if status is None or not 400 <= status < 500:
            return request.kind, f"{status}: {body[:200]!r}"
        if body.startswith(b"{"):  # what is no path or no method is answered without a document
            assert json.loads(body)["error"]
        return request.kind, "clean"

    with ThreadPoolExecutor(16) as pool:
        answers = Counter(pool.map(answer, range(REQUESTS)))
    assert sum(answers.values()) == REQUESTS
    unclean = {key: count for key, count in answers.items() if key[1] not in ("clean", "closed")}
    assert not unclean, "\n".join(map(str, unclean.items()))
    assert len({kind for kind, _ in answers}) > 40


def test_malformed_grpc(server: ServedNetwork, valid, unharmed):
    jpeg, _ = valid
    channel = grpc.insecure_channel(server.running.grpc.removeprefix("grpc://"))
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

    def request(seed: int) -> object:
        generator = random.Random(seed)
        size = len(jpeg)
        built = service_pb2.ModelInferRequest(model_name="tiny")
        tensor = built.inputs.add(name="picture", datatype="UINT8", shape=[size])
        built.raw_input_contents.append(jpeg)
        match seed % 10:
            case 0:
                tensor.shape[0] = generator.choice([0, -1, size + 1, 1 << 40])
            case 1:
                tensor.datatype = generator.choice(["FP32", "", "COMPLEX", "INT64"])
            case 2:
                tensor.name = generator.choice(["", "image", "\0", "x" * 5000])
            case 3:
                built.raw_input_contents[0] = jpeg[: generator.randrange(1, size // 2)]
            case 4:
                built.inputs.add(name="more", datatype="UINT8", shape=[4])
                built.raw_input_contents.append(b"more")
            case 5:
                del built.raw_input_contents[:]
            case 6:
                built.model_name = generator.choice(["", "other", "../tiny", "tiny_read/1"])
            case 7:
                built.model_version = generator.choice(["99", "x", "-1"])
            case 8:
                tensor.shape[0] = 100
                built.raw_input_contents[0] = generator.randbytes(100)
            case 9:
                built.outputs.add(name="mask")
        return built

    def answer(seed: int) -> str:
        try:
            stub.ModelInfer(request(seed), timeout=20)
        except grpc.RpcError as error:
            return error.code().name
        return f"accepted (kind {seed % 10})"

    with channel, ThreadPoolExecutor(8) as pool:
        answers = Counter(pool.map(answer, range(GRPC_REQUESTS)))
    assert sum(answers.values()) == GRPC_REQUESTS
    assert set(answers) <= CLEAN, answers
