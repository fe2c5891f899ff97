"""Who can reach a server, and who can change it."""

from __future__ import annotations

import ipaddress

import pytest
from server_toys import TOY_READER, asked, doubled, toy

from ccdeploy.serving.contract import TOKEN_HEADER
from ccdeploy.serving.server import Options, running

TOKEN = "a-token-of-the-tests_0123456789"
FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
UNLOAD = "/v2/repository/models/double/unload"
LOAD = "/v2/repository/models/double/load"


@pytest.fixture
def toys(server_is_there, tmp_path, monkeypatch):
    """A repository of the toy, which is taken for one of ours."""
    import ccdeploy.serving.repository as repository

    monkeypatch.setattr(repository, "read_repository", repository.read_repository)  # put back afterwards
    exec(TOY_READER, {})
    return toy(tmp_path / "repository")


def test_nothing_listens_outside_loopback(server):
    listening = [
        connection.laddr
        for process in server.processes()
        for connection in process.net_connections(kind="inet")
        if connection.status == "LISTEN"
    ]
    assert {address.port for address in listening} == set(server.running.ports.values())
    for address in listening:
        ip = ipaddress.ip_address(address.ip)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, address


def test_an_address_of_ipv6(toys):
    with running(toys, Options(address="::1", **FREE)) as server:
        assert server.http.startswith("http://[::1]:")
        assert doubled(server.http, b"\x05") == b"\x0a"
        import tritonclient.grpc as grpc

        with grpc.InferenceServerClient(server.grpc.removeprefix("grpc://")) as client:
            assert client.is_server_ready()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/tiny/load"),
        ("POST", "/v2/repository/models/tiny/unload"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("POST", "/v2/systemsharedmemory/region/x/register"),
        ("POST", "/v2/systemsharedmemory/unregister"),
        ("GET", "/v2/cudasharedmemory/status"),
        ("POST", "/v2/cudasharedmemory/region/x/register"),
        ("GET", "/v2/trace/setting"),
        ("POST", "/v2/trace/setting"),
        ("POST", "/v2/models/tiny/trace/setting"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/logging"),
    ],
)
@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "wrong"}], ids=["none", "empty", "wrong"])
def test_http_refuses_control_without_the_token(server, method, path, headers):
    assert asked(server.running.http, method, path, headers) == 403


def test_http_answers_the_rest_without_a_token(server):
    for path in ("/v2", "/v2/health/ready", "/v2/models/tiny", "/v2/models/tiny/config", "/v2/models/tiny/stats"):
        assert asked(server.running.http, "GET", path) == 200


def test_grpc_refuses_control_without_the_token(server):
    import tritonclient.grpc as grpc
    from tritonclient.utils import InferenceServerException

    with grpc.InferenceServerClient(server.running.grpc.removeprefix("grpc://")) as client:
        assert client.is_model_ready("tiny")
        for headers in (None, {f"triton-grpc-protocol-{TOKEN_HEADER}": "wrong"}):
            for call in (
                lambda headers=headers: client.get_model_repository_index(headers=headers),
                lambda headers=headers: client.unload_model("tiny", headers=headers),
                lambda headers=headers: client.get_system_shared_memory_status(headers=headers),
                lambda headers=headers: client.register_system_shared_memory("x", "/x", 1, headers=headers),
                lambda headers=headers: client.get_cuda_shared_memory_status(headers=headers),
                lambda headers=headers: client.get_trace_settings(headers=headers),
                lambda headers=headers: client.update_log_settings({"log_verbose_level": 1}, headers=headers),
            ):
                with pytest.raises(InferenceServerException, match="This protocol is restricted"):
                    call()
        assert client.is_model_ready("tiny")


def test_the_token_alone_does_not_unload_a_model(server):
    headers = {TOKEN_HEADER: server.running.token}
    assert asked(server.running.http, "POST", "/v2/repository/models/tiny/unload", headers) not in (200, 403)
    assert asked(server.running.http, "GET", "/v2/models/tiny/ready") == 200


def test_model_control_takes_the_token_over_both_protocols(toys):
    with running(toys, Options(model_control=True, token=TOKEN, **FREE)) as server:
        assert server.token == TOKEN
        assert doubled(server.http, b"\x07") == b"\x0e"
        assert asked(server.http, "POST", UNLOAD) == 403
        assert asked(server.http, "GET", "/v2/models/double/ready") == 200
        assert asked(server.http, "POST", UNLOAD, {TOKEN_HEADER: TOKEN}) == 200
        assert asked(server.http, "POST", LOAD, {TOKEN_HEADER: TOKEN}) == 200
        import tritonclient.grpc as grpc

        headers = {f"triton-grpc-protocol-{TOKEN_HEADER}": TOKEN}
        with grpc.InferenceServerClient(server.grpc.removeprefix("grpc://")) as client:
            client.unload_model("double", headers=headers)
            client.load_model("double", headers=headers)
            assert client.is_model_ready("double")


def test_a_token_that_is_drawn_is_in_no_log_and_no_command(server):
    assert len(server.running.token) >= 32
    for text in (*server.log, *server.running.command, *server.running.docker, repr(server.running)):
        assert server.running.token not in text


def test_what_is_said_of_a_running_server(server):
    assert server.running.version.startswith("2.")
    assert server.running.poll() is None
    assert [served.name for served in server.running.deployments] == ["tiny"]


def test_a_callback_of_the_log_that_fails_is_told_of_and_harms_nothing(toys):
    def fails(line: str) -> None:
        raise RuntimeError("no more paper")

    with running(toys, Options(**FREE), fails) as server:
        assert doubled(server.http, b"\x01") == b"\x02"
        import os
        import signal

        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(RuntimeError, match="no more paper"):
            server.wait()
    assert server.poll() is not None


def test_two_servers_at_once(toys):
    with running(toys, Options(**FREE)) as one, running(toys, Options(**FREE)) as other:
        assert one.http != other.http
        assert doubled(one.http, b"\x01") == doubled(other.http, b"\x01") == b"\x02"
    assert one.poll() is not None
