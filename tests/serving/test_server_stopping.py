"""Nothing of a server stays behind, however it, or ccdeploy, ends: processes, files, shared memory, ports."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import server_toys
from server_toys import Serving, toy, until

pytestmark = pytest.mark.usefixtures("server_is_there")


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts `ccdeploy serve` on a toy; what it leaves running where a test fails is killed."""
    started: list[Serving] = []

    def start(*options: str, **model: str) -> Serving:
        started.append(Serving(toy(tmp_path / "repository", **model), tmp_path, "--json", *options))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_stops_a_server_that_is_ready_and_that_is_no_error(serving, number):
    server = serving()
    server.ready()
    assert server_toys.doubled(server.document["http"], bytes([1, 2, 60])) == bytes([2, 4, 120])
    server.tell(number)
    assert server.ended() == 0
    assert "ccdeploy: stopped" in server.says()
    server.leaves_nothing()


def test_the_death_of_ccdeploy_ends_the_server(serving):
    server = serving()
    server.ready()
    server.tell(signal.SIGKILL)
    assert server.ended() == -signal.SIGKILL
    server.leaves_nothing()


def test_the_death_of_the_guard_ends_the_server(serving):
    server = serving()
    server.ready()
    psutil.Process(server.document["server"]["pid"]).parent().kill()
    assert server.ended() == 3
    assert "ended by itself (SIGKILL)" in server.process.stdout.read()
    server.leaves_nothing()


def test_the_death_of_the_server_is_an_error(serving):
    server = serving()
    server.ready()
    os.kill(server.document["server"]["pid"], signal.SIGKILL)
    assert server.ended() == 3
    assert "ended by itself (SIGKILL)" in server.process.stdout.read()
    server.leaves_nothing()


def test_a_second_ctrl_c_does_not_wait(serving):
    server = serving(finalize="time.sleep(3600)")
    server.ready()
    server.tell(signal.SIGINT)
    until(lambda: "stopping: requests in flight finish first" in server.says(), "it says that it stops")
    server.tell(signal.SIGINT)
    assert server.ended() == 130
    server.leaves_nothing()


def test_a_model_that_does_not_end_is_killed_after_the_time_to_exit(serving):
    server = serving("--exit-timeout", "1", finalize="time.sleep(3600)")
    server.ready()
    server.tell(signal.SIGTERM)
    assert server.ended() == 0
    server.leaves_nothing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_while_it_starts(serving, number):
    server = serving(initialize="time.sleep(3600)")
    until(server.look, "the model's process starts")
    server.tell(number)
    assert server.ended() == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    server.leaves_nothing()


def test_a_model_that_fails_to_load(serving):
    server = serving(initialize="raise ValueError('no weights | at all')")
    until(lambda: server.look() or server.process.poll() is not None, "it starts or ends")
    assert server.ended() == 2
    said = server.process.stdout.read()
    assert "The server does not take double: ValueError: no weights | at all." in said
    assert "Timeout" not in said
    server.leaves_nothing()


def test_a_model_whose_file_is_missing_does_not_hang(serving, tmp_path):
    server = serving()
    (tmp_path / "repository" / "double" / "1" / "model.py").unlink()
    assert server.ended() == 2
    assert "Python model file not found" in server.process.stdout.read()
    assert not list(server.temporary.iterdir())


def test_a_server_that_is_not_ready_in_time(serving):
    server = serving("--start-timeout", "2", initialize="time.sleep(3600)")
    until(lambda: server.look() or server.process.poll() is not None, "it starts or ends")
    assert server.ended() == 3
    assert "not ready within 2 s" in server.process.stdout.read()
    server.leaves_nothing()


def test_a_port_in_use_is_named_before_anything_starts(serving):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = serving("--grpc-port", str(port))
        assert server.ended() == 2
    said = server.process.stdout.read()
    assert f"Port {port} of 127.0.0.1, for gRPC, is in use" in said
    assert "--grpc-port" in said
    assert not list(server.temporary.iterdir())


def test_requests_in_flight_finish(serving, tmp_path):
    arrived = tmp_path / "arrived"
    server = serving(execute=f"open({str(arrived)!r}, 'w').close(); time.sleep(1.5)")
    server.ready()
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(server_toys.doubled(server.document["http"], b"\x03")))
    asking.start()
    until(arrived.exists, "the request reaches the model")
    server.tell(signal.SIGTERM)
    asking.join()
    assert answers == [b"\x06"]
    assert server.ended() == 0
