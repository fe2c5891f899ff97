"""What a server is told: addresses, ports, tokens, and the same as commands for people."""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccdeploy.errors import UsageError
from ccdeploy.serving.server.commands import DRAW_TOKEN, arguments, commands_for, shell_text
from ccdeploy.serving.server.finding import Found
from ccdeploy.serving.server.options import Options, read_token
from ccdeploy.serving.server.ports import taken_ports

FREE = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}


def contents(path: Path, **more) -> SimpleNamespace:
    return SimpleNamespace(**{"path": path, "plugins": (), "host_code": False, "needs_gpu": False, **more})


@pytest.mark.parametrize(
    ("address", "loopback", "reachable"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("127.8.0.1", True, "127.8.0.1"),
        ("::1", True, "[::1]"),
        ("0.0.0.0", False, "127.0.0.1"),
        ("::", False, "[::1]"),
        ("192.0.2.7", False, "192.0.2.7"),
        ("2001:db8::7", False, "[2001:db8::7]"),
    ],
)
def test_addresses(address, loopback, reachable):
    options = Options(address=address)
    assert options.loopback is loopback
    assert options.reachable_host == reachable


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "localhost"},
        {"address": ""},
        {"address": "127.0.0.1:8000"},
        {"address": "[::1]"},
        {"address": "--help"},
        {"http_port": -1},
        {"grpc_port": 65536},
        {"http_port": 8001},
        {"token": ""},
        {"token": "short"},
        {"token": "a token with spaces in it"},
        {"token": "colon:colon:colon:colon"},
        {"token": "ö" * 20},
        {"token": "a" * 257},
        {"token": "a" * 20 + "\n"},
        {"http_threads": 0},
        {"start_timeout_s": 0.0},
        {"exit_timeout_s": -1},
    ],
    ids=str,
)
def test_what_no_server_could_do_is_refused(wrong):
    with pytest.raises(UsageError):
        Options(**wrong)


def test_a_token_is_read_from_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("  0123456789abcdef_-~.\n")
    assert read_token(file) == "0123456789abcdef_-~."


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"0123456789abcdef\n0123456789abcdef", b"\xff" * 20])
def test_a_file_without_a_token_is_refused_and_not_shown(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="token") as error:
        read_token(file)
    assert "0123456789abcdef" not in str(error.value)


def test_a_file_of_the_token_that_is_missing(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        read_token(tmp_path / "none")


def test_free_ports_differ():
    for _ in range(20):
        ports = taken_ports(Options(**FREE))
        assert len(set(ports.values())) == 3
        assert all(ports.values())


@pytest.mark.parametrize("name", ["http", "grpc", "metrics"])
def test_a_port_in_use_is_refused_with_its_option(name):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = Options(**{**FREE, f"{name}_port": taken.getsockname()[1]})
        with pytest.raises(UsageError, match="in use") as error:
            taken_ports(options)
    assert f"--{name}-port" in error.value.remedy


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(UsageError, match="cannot be listened on"):
        taken_ports(Options(address="192.0.2.1", **FREE))


def test_a_server_is_told_loopback_and_a_token_unless_asked():
    words = arguments("/models", Options(), "secret")
    assert "--model-control-mode=none" in words
    assert not [word for word in words if word.startswith("--load-model")]
    for option in ("http", "grpc", "metrics"):
        assert f"--{option}-address=127.0.0.1" in words
    guarded = "model-repository,shared-memory,trace,logging:ccdeploy-token=secret"
    assert f"--http-restricted-api={guarded}" in words
    assert f"--grpc-restricted-protocol={guarded}" in words


def test_plugins_and_embedded_plugins_reach_tensorrt():
    words = arguments("/models", Options(), "secret", plugins=["/a.so", "/b.so"], host_code=True)
    assert "--backend-config=tensorrt,plugins=/a.so;/b.so" in words
    assert "--backend-config=tensorrt,version-compatible=true" in words
    assert not [word for word in arguments("/models", Options(), "secret") if "tensorrt" in word]


def test_the_command_is_of_the_server_that_was_found_but_not_of_the_wheel():
    found = Found(Path("/opt/x/bin/tritonserver"), "as named", Path("/opt/x/backends"))
    assert commands_for(contents(Path("/models")), Options(), found=found).server[2] == str(found.program)
    wheel = Found(Path("/w/bin/tritonserver"), "in the wheel", Path("/w/backends"), Path("/w"))
    assert commands_for(contents(Path("/models")), Options(), found=wheel).server[2] == "tritonserver"


def test_docker_publishes_on_the_address_that_was_asked_for_and_mounts_read_only(tmp_path):
    plugin = tmp_path / "tiny_network" / "1" / "plugin.so"
    words = commands_for(
        contents(tmp_path, plugins=(plugin,), needs_gpu=True), Options(http_port=18000, image="mine:2")
    ).docker
    assert [word for word in words if word.startswith("--publish")] == [
        "--publish=127.0.0.1:18000:8000",
        "--publish=127.0.0.1:8001:8001",
        "--publish=127.0.0.1:8002:8002",
    ]
    assert f"--mount=type=bind,source={tmp_path},target=/models,readonly" in words
    assert "--gpus=all" in words
    assert "--backend-config=tensorrt,plugins=/models/tiny_network/1/plugin.so" in words
    assert words.index("mine:2") < words.index("tritonserver")
    assert "--publish=[::1]:8000:8000" in commands_for(contents(tmp_path), Options(address="::1")).docker
    assert "--gpus=all" not in commands_for(contents(tmp_path), Options()).docker


@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(str.strip))
def test_any_path_goes_through_a_shell_whole(name):
    commands = commands_for(contents(Path("/m") / name), Options())
    expected = f"--model-repository={Path('/m') / name}"
    assert expected in shlex.split(shell_text(commands.server))
    assert shlex.split(shell_text(commands.docker))  # it has no quote that is open


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "$HOME", "$CCDEPLOY_TOKEN", "a,b", "`id`", "x\ny"])
def test_a_shell_fills_in_the_token_and_nothing_else(tmp_path, name):
    commands = commands_for(contents(tmp_path / name), Options())
    for words in (commands.server, commands.docker):
        line = f"CCDEPLOY_TOKEN=the-token; set -- {shell_text(words)}; printf '%s\\0' \"$@\""
        got = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")[:-1]
        assert len(got) == len(words)
        assert got[-1] == words[-1]
        assert [word for word in got if word.endswith("ccdeploy-token=the-token")]
        assert [word for word in got if str(tmp_path / name).replace('"', '""') in word or str(tmp_path / name) in word]


def test_without_a_token_a_shell_stops_instead_of_guarding_with_nothing(tmp_path):
    line = (
        f"unset CCDEPLOY_TOKEN; set -- {shell_text(commands_for(contents(tmp_path), Options()).server)}; echo started"
    )
    ended = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert ended.returncode != 0
    assert ended.stdout == b""


def test_the_token_that_a_shell_draws_is_one():
    line = f'{DRAW_TOKEN}; printf "%s" "$CCDEPLOY_TOKEN"'
    token = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=True).stdout.decode()
    assert Options(token=token).token == token
