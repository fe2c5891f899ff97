"""The HTTP client against a server that does what servers do in bad hours."""

from __future__ import annotations

import json
import socket
import threading
import time

import client_fakes as fakes
import numpy as np
import psutil
import pytest
from client_fakes import LABEL_MAP, FakeServer

from ccdeploy.errors import ArtefactError, InputError, ServerError, UsageError
from ccdeploy.serving.client import Client, connect, retrying
from ccdeploy.serving.client.failures import (
    BadAnswer,
    Busy,
    DeadlineExceeded,
    Refused,
    ServerFault,
    Unreachable,
    seconds_of,
)
from ccdeploy.serving.contract import LABELS

PICTURE = b"a picture"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 1e-3)


def opened(server: FakeServer, **options) -> Client:
    return connect(server.url, model="fake", **options)


def told(client: Client, errors: list[Exception]) -> None:
    """Asks, in a thread, and keeps the error."""
    try:
        client.segment(PICTURE)
    except UsageError as error:
        errors.append(error)


def test_a_picture():
    with FakeServer() as server, opened(server) as client:
        found = client.segment(PICTURE)
        np.testing.assert_array_equal(found, LABEL_MAP)
        assert found.dtype == np.uint8
        found[0, 0] = 3  # the caller's own
        assert client.server == "Triton 1.0"
        assert client.served == fakes.SERVED
        assert client.ready()


def test_what_is_sent():
    sent = []

    def behave(handler):
        sent.append((handler.headers, handler.content))
        fakes.labels()(handler)

    with FakeServer(behave) as server, opened(server) as client:
        client.segment(PICTURE, deadline_s=20.0)
    headers, content = sent[0]
    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(content[:length])
    assert content[length:] == PICTURE
    assert head["inputs"][0]["name"] == "picture"
    assert head["inputs"][0]["datatype"] == "UINT8"
    assert head["inputs"][0]["shape"] == [len(PICTURE)]
    assert 0 < head["parameters"]["timeout"] <= 20_000_000


def test_a_connection_is_kept():
    with FakeServer() as server, opened(server) as client:
        for _ in range(5):
            client.segment(PICTURE)
        assert len(server.peers) == 2  # one for pictures, one for the rest


def test_a_connection_that_the_server_closed_meanwhile_costs_no_attempt():
    def closing(handler):
        fakes.labels()(handler)
        handler.hang_up()

    with FakeServer(closing) as server, opened(server, retries=0) as client:
        client.segment(PICTURE)
        while not next(iter(client._transport._pool._idle)).stale():
            time.sleep(0.001)
        client.segment(PICTURE)


@pytest.mark.parametrize(
    "behaviour",
    [fakes.reset, fakes.hang_up, fakes.truncated, *(fakes.status(code) for code in (429, 502, 503, 504))],
    ids=["reset", "hang up", "truncated", "429", "502", "503", "504"],
)
def test_failures_by_chance_are_repeated(behaviour):
    with FakeServer(behaviour, behaviour) as server, opened(server) as client:
        answer = client.segment_counted(PICTURE)
        assert answer.attempts == 3
        np.testing.assert_array_equal(answer.labels, LABEL_MAP)
        assert server.infers == 3
        assert (client.counts.requests, client.counts.succeeded, client.counts.retries) == (1, 1, 2)
        assert client.counts.failed == {}


@pytest.mark.parametrize(
    ("behaviour", "error", "kind"),
    [
        (fakes.status(400, "in ensemble 'fake': damaged"), Refused, "refused"),
        (fakes.status(413), Refused, "refused"),
        (fakes.status(500), ServerFault, "fault"),
        (fakes.status(501), ServerFault, "fault"),
        (fakes.status(204), ServerFault, "fault"),
        (fakes.status(404), UsageError, None),
        (fakes.status(403), UsageError, None),
        (fakes.status(302, headers={"Location": "http://elsewhere"}), UsageError, None),
        (fakes.body(b""), BadAnswer, "answer"),
        (fakes.body(b"<html>", "6"), BadAnswer, "answer"),
        (fakes.body(b"{}", "99"), BadAnswer, "answer"),
        (fakes.labels(LABEL_MAP.astype(np.int32)), BadAnswer, "answer"),
        (fakes.labels(LABEL_MAP[None]), BadAnswer, "answer"),
        (fakes.labels(np.zeros((0, 5), np.uint8)), BadAnswer, "answer"),
        (lambda handler: handler.send_outputs({"other": LABEL_MAP}), BadAnswer, "answer"),
        (fakes.labels(np.zeros((400, 400), np.uint8)), BadAnswer, "answer"),
    ],
    ids=[
        *("400", "413", "500", "501", "204", "404", "403", "302", "empty", "html", "header", "int32", "3 dimensions"),
        *("no pixels", "other output", "too large"),
    ],
)
def test_other_failures_are_told_at_once(behaviour, error, kind):
    with FakeServer(behaviour) as server, opened(server) as client:
        with pytest.raises(error) as caught:
            client.segment(PICTURE)
        assert server.infers == 1
        assert client.counts.failed == {kind or "usage": 1}
        assert getattr(caught.value, "kind", None) == kind
        np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)


def test_a_refusal_has_the_servers_reason_in_one_line():
    reason = "in ensemble 'fake',\nthe picture\x1b[31m is damaged"
    with FakeServer(fakes.status(400, reason)) as server, opened(server) as client:
        with pytest.raises(InputError) as caught:
            client.segment(PICTURE)
        assert "in ensemble 'fake', the picture?[31m is damaged" in caught.value.what


def test_labels_of_another_network(exports):
    from ccdeploy.engine.manifest import read_manifest

    manifest = read_manifest(exports.file("ccnet"))
    served = fakes.SERVED.__class__("fake", 1, "python", None, None, 10_000, 1, json.loads(manifest.to_json()))
    wrong = np.full((3, 4), 200, np.uint8)
    with FakeServer(fakes.labels(wrong)) as server:
        server.models["fake"] = served.to_json()
        with opened(server) as client, pytest.raises(BadAnswer, match="a label is 200, there are"):
            client.segment(PICTURE)


def test_an_empty_picture_is_not_sent():
    with FakeServer() as server, opened(server) as client:
        with pytest.raises(Refused, match="empty"):
            client.segment(b"")
        assert server.infers == 0


@pytest.mark.parametrize(
    "behaviour",
    [fakes.silent, fakes.dribbling("headers"), fakes.dribbling("body")],
    ids=["silent", "dribbling headers", "dribbling body"],
)
def test_a_deadline_holds_whatever_the_server_does(behaviour):
    with FakeServer(behaviour) as server, opened(server) as client:
        with pytest.raises(DeadlineExceeded, match=r"0\.2 s"):
            client.segment(PICTURE, deadline_s=0.2)
        assert server.infers == 1
        assert client.counts.failed == {"deadline": 1}
        np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)


def test_waiting_for_a_connection_is_within_the_deadline():
    with FakeServer(fakes.silent) as server, opened(server, connections=1) as client:
        errors: list[Exception] = []
        thread = threading.Thread(target=told, args=(client, errors))
        thread.start()
        while server.infers == 0:
            time.sleep(0.001)
        with pytest.raises(DeadlineExceeded, match="none of 1 connections"):
            client.segment(PICTURE, deadline_s=0.1)
        assert client.ready()
        client.close()
        thread.join(20)
        assert "closed" in errors[0].what


def test_closing_ends_what_is_under_way():
    errors: list[Exception] = []
    with FakeServer(usual=fakes.silent) as server:
        client = opened(server, connections=4, deadline_s=600.0)
        # Two of them wait for a connection.
        threads = [threading.Thread(target=told, args=(client, errors)) for _ in range(6)]
        for thread in threads:
            thread.start()
        while server.infers < 4:
            time.sleep(0.001)
        client.close()
        for thread in threads:
            thread.join(20)
        assert len(errors) == 6
        assert all("closed" in error.what for error in errors)
        client.close()
        with pytest.raises(UsageError, match="closed"):
            client.segment(PICTURE)


def test_closing_ends_a_wait_for_another_attempt(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT_S", 1e3)
    monkeypatch.setattr(retrying, "LONGEST_WAIT_S", 1e3)
    errors: list[Exception] = []
    with FakeServer(usual=fakes.status(503)) as server:
        client = opened(server, deadline_s=1e5)
        thread = threading.Thread(target=told, args=(client, errors))
        thread.start()
        while server.infers == 0:
            time.sleep(0.001)
        client.close()
        thread.join(20)
        assert "closed" in errors[0].what


def test_no_socket_stays_open():
    process = psutil.Process()
    with FakeServer() as server:
        client = opened(server)
        client.segment(PICTURE)
        port = server.server_address[1]
        client.close()
        ours = [each for each in process.net_connections("tcp") if each.raddr and each.raddr[1] == port]
        assert ours == []


def test_32_threads_and_each_gets_its_own():
    def behave(handler):
        length = int(handler.headers["Inference-Header-Content-Length"])
        number = int(handler.content[length:])
        handler.send_outputs({LABELS: np.full((1, number), number % 251, np.uint8)})

    with FakeServer(usual=behave) as server, opened(server, connections=8) as client:
        found: dict[int, np.ndarray] = {}

        def ask(first: int) -> None:
            for number in range(first, 321, 32):
                found[number] = client.segment(str(number).encode())

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(1, 33)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(1, 321))
        for number, labels in found.items():
            np.testing.assert_array_equal(labels, np.full((1, number), number % 251))
        assert client.counts.succeeded == 320
        assert len(server.peers) <= 8 + 1


def test_faults_in_mid_load_lose_nothing():
    faults = [fakes.reset, fakes.hang_up, fakes.status(503), fakes.truncated, fakes.labels()] * 8
    with FakeServer(*faults) as server, opened(server, retries=50) as client:
        results: list[np.ndarray] = []
        threads = [threading.Thread(target=lambda: results.append(client.segment(PICTURE))) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 32
        assert all(np.array_equal(labels, LABEL_MAP) for labels in results)
        assert client.counts.retries == server.infers - 32 == 32


def test_a_server_that_dies_and_comes_back():
    with FakeServer() as server:
        client = opened(server, retries=0, silent_s=0.0)
        port = server.server_address[1]
        client.segment(PICTURE)
    with pytest.raises(Unreachable, match="no answer"):
        client.segment(PICTURE)
    with pytest.raises(Unreachable, match="not asked any more"):
        client.segment(PICTURE)
    with FakeServer(port=port) as server:
        while True:
            try:
                np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)
                break
            except Unreachable:
                time.sleep(0.05)
        assert server.infers == 1
        assert server.probes == 1
    client.close()


def test_connecting_tells_what_is_wrong():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ServerError, match=r"127\.0\.0\.1.*refused"):
            connect(f"http://127.0.0.1:{free.getsockname()[1]}", model="fake")
    with FakeServer() as server:
        server.on_ready = fakes.status(400)
        with pytest.raises(Busy, match="not ready"):
            opened(server)
        server.on_ready = fakes.status(200)
        with pytest.raises(UsageError, match="serves no model missing"):
            connect(server.url, model="missing")
        with pytest.raises(UsageError, match="was not packaged by ccdeploy"):
            connect(server.url, model="fake_labels")
        with pytest.raises(UsageError, match="part of the deployment fake"):
            connect(server.url, model="fake_network")
        for wrong in ({"deadline_s": 0}, {"deadline_s": float("nan")}, {"retries": -1}, {"connections": 0}):
            with pytest.raises(UsageError, match="were given"):
                connect(server.url, model="fake", **wrong)
        with opened(server) as client, pytest.raises(UsageError, match="A deadline of inf s"):
            client.segment(PICTURE, deadline_s=float("inf"))


ODD = [b"", b"<html>", b"[]", b"7", b"null", b'{"a": 1}', b"\xff", b"[" * 9999]


@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize(
    "path", ["/v2", "/v2/models/fake/config", "/v2/repository/index", "/v2/models/fake/stats"], ids=str
)
def test_odd_answers_to_other_questions(path: str, body: bytes):
    with FakeServer() as server:
        server.bodies[path] = body
        # An empty list is an index of no models, and a table without parameters the config of a foreign model.
        with pytest.raises((BadAnswer, UsageError)), connect(server.url) as client:
            client.statistics()


@pytest.mark.parametrize("value", ["", "{}", "[]", '{"format": 2}', '{"format": 1, "name": "fake"}'], ids=str)
def test_a_parameter_that_is_damaged(value: str):
    with FakeServer() as server:
        server.models["fake"] = value
        with pytest.raises(ArtefactError, match="fake on http"):
            opened(server)


def test_the_only_deployment_needs_no_name():
    with FakeServer() as server:
        with connect(server.url) as client:
            assert client.served.name == "fake"
        server.token = "secret"
        with pytest.raises(UsageError, match="--model NAME"):
            connect(server.url)
        with connect(server.url, token="secret") as client:
            assert client.served.name == "fake"
        server.models.update({name.replace("fake", "two"): value for name, value in server.models.items()})
        with pytest.raises(UsageError, match="2 deployments"):
            connect(server.url, token="secret")
        server.models = {"fake": None}
        with pytest.raises(UsageError, match="no deployment"):
            connect(server.url, token="secret")


def test_a_prefix_of_paths():
    with FakeServer() as server:
        server.prefix = "/triton"
        with connect(f"{server.url}/triton/", model="fake") as client:
            np.testing.assert_array_equal(client.segment(PICTURE), LABEL_MAP)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        (" 7 ", 7.0),
        ("-1", None),
        ("soon", None),
        ("9" * 400, 999999999.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("Wed, 99 Oct 2015", None),
    ],
    ids=["none", "3", "spaces", "negative", "word", "huge", "past", "no date"],
)
def test_retry_after(value: str | None, seconds: float | None):
    assert seconds_of(value) == seconds


def test_a_wait_that_the_server_asks_for_beyond_the_deadline():
    with FakeServer(usual=fakes.status(503, headers={"Retry-After": "3600"})) as server, opened(server) as client:
        with pytest.raises(Busy):
            client.segment(PICTURE)
        assert server.infers == 1
