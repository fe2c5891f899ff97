"""A server that starts at once: one model in Python that doubles bytes, which waits where a test tells it to."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

CONFIG = """
name: "double" backend: "python" max_batch_size: 0
input [{ name: "x" data_type: TYPE_UINT8 dims: [-1] }]
output [{ name: "y" data_type: TYPE_UINT8 dims: [-1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, arguments):
        {initialize}

    def execute(self, requests):
        answers = []
        for request in requests:
            x = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "x"))
            {execute}
            y = np.ascontiguousarray(x * 2)
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("y", y)]))
        return answers

    def finalize(self):
        {finalize}
"""
# A repository of nothing but the toy: what reads repositories takes only those of `ccdeploy package`.
TOY_READER = """
from types import SimpleNamespace
import ccdeploy.serving.repository as repository
repository.read_repository = lambda path: SimpleNamespace(
    path=path, deployments=(), plugins=(), host_code=False, backends=("python",), needs_gpu=False)
"""
SERVE = TOY_READER + "from ccdeploy.commands import main; main()"
FREE = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
PATIENCE_S = 60.0


def toy(folder: Path, *, initialize: str = "pass", execute: str = "pass", finalize: str = "pass") -> Path:
    """A repository in `folder`."""
    version = folder / "double" / "1"
    version.mkdir(parents=True)
    (folder / "double" / "config.pbtxt").write_text(CONFIG)
    (version / "model.py").write_text(MODEL.format(initialize=initialize, execute=execute, finalize=finalize))
    return folder


def doubled(url: str, content: bytes) -> bytes:
    """What the toy answers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    connection.request("POST", "/v2/models/double/infer", content, headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return body[int(answer.headers["Inference-Header-Content-Length"]) :]


def asked(url: str, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    """The status of an answer."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE_S)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def until(condition: Callable[[], bool], what: str) -> None:
    """Waits for something that must come; how long is of no interest."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {PATIENCE_S} s"
        time.sleep(0.05)


class Serving:
    """`ccdeploy serve` on a toy, in a process of its own, with a temporary folder of its own."""

    def __init__(self, repository: Path, folder: Path, *options: str, script: str = SERVE) -> None:
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, "serve", str(repository), *FREE, *options],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "TMPDIR": str(self.temporary)},
                text=True,
            )
        self.seen: dict[int, psutil.Process] = {}
        self.ports: list[int] = []
        self.identity = ""

    def look(self) -> bool:
        """Notes its processes; whether a model's process is among them."""
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.seen |= {process.pid: process for process in family}
            words = [word for process in family for word in process.cmdline()]
            self.identity = next((word[5:] for word in words if word.startswith("--id=")), self.identity)
            return any("python_backend_stub" in word for word in words)
        except psutil.Error:
            return False

    def ready(self) -> None:
        """Waits until it says that it is."""
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "}\n")
        self.document = json.loads("".join(lines) + "}")
        assert self.look()
        self.ports = [int(self.document[name].split(":")[2].split("/")[0]) for name in ("http", "grpc", "metrics")]

    def says(self) -> str:
        return self.log.read_text(errors="replace")

    def ended(self) -> int:
        """Waits until it has ended; its exit status."""
        return self.process.wait(PATIENCE_S)

    def leaves_nothing(self) -> None:
        """No process, temporary file, shared memory or listening port of it is there, in a while."""
        until(lambda: not any(_runs(process) for process in self.seen.values()), "its processes end")
        until(lambda: not list(self.temporary.iterdir()), "its temporary folder goes")
        assert self.identity.startswith("ccdeploy-")
        until(lambda: not list(Path("/dev/shm").glob(f"{self.identity}*")), "its shared memory goes")
        for port in self.ports:
            with socket.socket() as free:
                free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                free.bind(("127.0.0.1", port))

    def kill(self) -> None:
        """Ends all of it, where a test failed."""
        self.look()
        self.process.kill()
        self.process.wait()
        for process in self.seen.values():
            if _runs(process):
                process.kill()

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
