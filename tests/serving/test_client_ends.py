"""How a client ends: on Ctrl-C at once, whatever its threads wait for; and how it finds a server that comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import client_fakes as fakes
import numpy as np
import pytest
from client_fakes import LABEL_MAP, FakeServer
from test_client_grpc import GrpcServer
from test_client_grpc import silent as silent_rpc

from ccdeploy.errors import UsageError
from ccdeploy.serving.client import Unreachable, connect
from ccdeploy.serving.client.address import parse_address

PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from ccdeploy.serving.client import connect

with ThreadPoolExecutor(6) as threads, connect(sys.argv[1], model="fake", deadline_s=600.0, connections=4) as client:
    list(threads.map(client.segment, [b"x"] * 6))
"""


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_ctrl_c_ends_a_program_whose_server_is_silent(protocol: str):
    server = FakeServer(usual=fakes.silent) if protocol == "http" else GrpcServer(*[silent_rpc] * 6)
    with server:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, server.url],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored behind a shell's "&"
        )
        try:
            while (server.infers if protocol == "http" else len(server.servicer.requests)) < 4:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)  # the deadline is ten times as long
        finally:
            process.kill()
    assert "KeyboardInterrupt" in errors
    assert process.returncode != 0


def test_grpc_finds_a_server_that_comes_back():
    with GrpcServer() as server:
        client = server.opened(retries=0, silent_s=0.0)
        client.segment(b"x")
    with pytest.raises(Unreachable):
        client.segment(b"x")
    with pytest.raises(Unreachable, match="not asked any more"):
        client.segment(b"x")
    with GrpcServer(port=parse_address(server.url).port):
        while True:
            try:
                np.testing.assert_array_equal(client.segment(b"x"), LABEL_MAP)
                break
            except Unreachable:
                time.sleep(0.05)
    client.close()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for a name that it signs itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return certificate, key


def test_tls(tmp_path: Path):
    mine, key = certificate(tmp_path, "localhost")
    other, _ = certificate(tmp_path, "elsewhere")
    with FakeServer(tls=(mine, key)) as http, GrpcServer(tls=(mine, key)) as rpc:
        for url in (http.url.replace("127.0.0.1", "localhost"), rpc.url.replace("127.0.0.1", "localhost")):
            with connect(url, model="fake", ca=mine) as client:
                np.testing.assert_array_equal(client.segment(b"x"), LABEL_MAP)
            for ca in (other, None):
                with pytest.raises(UsageError, match="certificate is not trusted"):
                    connect(url, model="fake", ca=ca, deadline_s=10.0)
        for url in (http.url, rpc.url):  # not the name that it is made for
            with pytest.raises(UsageError, match="certificate is not trusted"):
                connect(url, model="fake", ca=mine)
        with pytest.raises(UsageError, match="no certificates"):
            connect(http.url, model="fake", ca=tmp_path / "missing.pem")
        with pytest.raises(UsageError, match="no certificates"):
            connect(rpc.url, model="fake", ca=key)
        with pytest.raises(UsageError, match="A file of certificates"):
            connect("http://localhost:1", ca=mine)
        with pytest.raises(Unreachable):  # plain HTTP to a port of TLS
            connect(http.url.replace("https", "http"), model="fake")
