"""A server that speaks as much of the protocol as the client needs, and does on demand what servers do in bad hours."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.manifest import Manifest, Tensor
from ccdeploy.runners import Array
from ccdeploy.serving.client.wire import bytes_on_wire, type_on_wire
from ccdeploy.serving.contract import LABELS, PARAMETER, TOKEN_HEADER, Served

MANIFEST = Manifest(
    kind="onnx",
    file="fake.onnx",
    sha256="",
    onnx_sha256="",
    ccdeploy="0.1.0",
    model="fake",
    card={},
    weights=Weights("random", seed=1),
    recurrence=2,
    precision="fp32",
    io="tensor",
    dynamic="all",
    inputs=(Tensor("input", "float32", "NCHW", ("batch", 3, "height", "width")),),
    outputs=(Tensor("logits", "float32", "NCHW", ("batch", 5, "height", "width")),),
    criss_cross_nodes=2,
)
SERVED = Served("fake", 1, "python", None, None, 10_000, 3, json.loads(MANIFEST.to_json(portable=True)))
LABEL_MAP = (np.arange(7 * 11, dtype=np.uint8) % 5).reshape(7, 11)
"""What the fake answers to every picture."""

Behaviour = Callable[["Handler"], None]


def answer_body(outputs: Mapping[str, Array]) -> tuple[bytes, int]:
    """An answer of the protocol."""
    contents = [bytes_on_wire(array) for array in outputs.values()]
    head = {
        "outputs": [
            {
                "name": name,
                "datatype": type_on_wire(array),
                "shape": list(array.shape),
                "parameters": {"binary_data_size": len(content)},
            }
            for (name, array), content in zip(outputs.items(), contents, strict=True)
        ]
    }
    text = json.dumps(head).encode()
    return text + b"".join(contents), len(text)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: FakeServer  # type: ignore[assignment]

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        fake, path = self.server, self.path.removeprefix(self.server.prefix)
        fake.seen(path, self)
        if path in fake.bodies:
            self.send_bytes(fake.bodies[path])
        elif path == "/v2/health/ready":
            fake.on_ready(self)
        elif path == "/v2":
            self.send_json({"name": "fake", "version": "1.0"})
        elif path.endswith("/config"):
            name = path.split("/")[3]
            if name not in fake.models:
                self.send_json({"error": f"Request for unknown model: '{name}' is not found"}, 404)
            else:
                value = fake.models[name]
                self.send_json({"parameters": {} if value is None else {PARAMETER: {"string_value": value}}})
        else:
            self.send_json({"error": "no such thing"}, 404)

    def do_POST(self) -> None:
        fake = self.server
        self.content = self.rfile.read(int(self.headers["Content-Length"]))
        fake.seen(self.path, self)
        if self.path == "/v2/repository/index":
            if self.path in fake.bodies:
                self.send_bytes(fake.bodies[self.path])
            elif fake.token is not None and self.headers.get(TOKEN_HEADER) != fake.token:
                self.send_json({"error": "This API is restricted"}, 403)
            else:
                self.send_json([{"name": name, "state": "READY"} for name in fake.models])
            return
        behaviour = fake.next_behaviour()
        behaviour(self)

    def send_json(self, data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_bytes(json.dumps(data).encode(), status, headers)

    def send_bytes(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_outputs(self, outputs: Mapping[str, Array]) -> None:
        body, head = answer_body(outputs)
        self.send_bytes(body, 200, {"Inference-Header-Content-Length": str(head)})

    def hang_up(self, abruptly: bool = False) -> None:
        """Ends the connection; `abruptly`: with a reset."""
        if abruptly:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        self.connection.close()


class FakeServer(ThreadingHTTPServer):
    """Listens from when it is made; a context manager.

    Args:
        script: what becomes of inference requests, one after another; then `usual`.
        usual: what becomes of the others.
        port: 0: a free one.
        tls: files of its certificate and the key; None: plain HTTP.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        *script: Behaviour,
        usual: Behaviour | None = None,
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.scheme = "http" if tls is None else "https"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.script, self.usual = deque(script), usual or labels()
        self.models: dict[str, str | None] = {
            "fake": SERVED.to_json(),
            "fake_read": None,
            "fake_network": SERVED.to_json(),
            "fake_labels": None,
        }
        self.prefix, self.token, self.on_ready = "", None, status(200)
        self.bodies: dict[str, bytes] = {}
        self.infers, self.probes, self.lock = 0, 0, threading.Lock()
        self.released = threading.Event()
        self.peers, self.connections = set[Any](), list[socket.socket]()
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def seen(self, path: str, handler: Handler) -> None:
        with self.lock:
            self.infers += path.endswith("/infer")
            self.probes += path.endswith("/ready")
            self.peers.add(handler.client_address)
            self.connections.append(handler.connection)

    def next_behaviour(self) -> Behaviour:
        with self.lock:
            return self.script.popleft() if self.script else self.usual

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # broken connections are what it is for

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.released.set()
        self.shutdown()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
        self.thread.join()


def labels(label_map: Array = LABEL_MAP) -> Behaviour:
    """Answers with labels."""
    return lambda handler: handler.send_outputs({LABELS: label_map})


def status(code: int, words: str = "the reason", headers: Mapping[str, str] | None = None) -> Behaviour:
    """Answers with an error, or another status."""
    return lambda handler: handler.send_json({"error": words}, code, headers)


def body(content: bytes, header_length: str | None = None) -> Behaviour:
    """Answers with these bytes."""
    headers = {} if header_length is None else {"Inference-Header-Content-Length": header_length}
    return lambda handler: handler.send_bytes(content, 200, headers)


def reset(handler: Handler) -> None:
    """Resets the connection in the place of an answer."""
    handler.hang_up(abruptly=True)


def hang_up(handler: Handler) -> None:
    """Closes the connection in the place of an answer."""
    handler.hang_up()


def truncated(handler: Handler) -> None:
    """Closes the connection in the middle of an answer."""
    content, head = answer_body({LABELS: LABEL_MAP})
    handler.send_response(200)
    handler.send_header("Inference-Header-Content-Length", str(head))
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[:-3])
    handler.wfile.flush()
    handler.hang_up()


def silent(handler: Handler) -> None:
    """Says nothing until the test is over."""
    handler.server.released.wait(30)


def dribbling(part: str) -> Behaviour:
    """Sends a byte now and then, without end: "headers" or "body"."""

    def behave(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if part == "body":
            handler.wfile.write(b"Content-Length: 1000\r\n\r\n")
        while not handler.server.released.is_set():
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return behave


def echoing_network(handler: Handler) -> None:
    """Answers as a network: logits that tell which picture they are of; see `network`."""
    length = int(handler.headers["Inference-Header-Content-Length"])
    head = json.loads(handler.content[:length])
    (source,) = head["inputs"]
    array = np.frombuffer(handler.content[length:], np.float32).reshape(source["shape"])
    handler.send_outputs({"logits": network(array)})


def network(array: Array) -> Array:
    """Logits [N, 5, H, W] of an input [N, 3, H, W]."""
    return np.concatenate([array, array[:, :2] * 2], axis=1).astype(np.float32)
