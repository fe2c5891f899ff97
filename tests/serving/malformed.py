"""Malformed requests, drawn from a seed: what a broken or a hostile client sends over HTTP and gRPC."""

from __future__ import annotations

import json
import random
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

LENGTH = "Inference-Header-Content-Length"
BINARY = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    """One HTTP request. `declared` is a Content-Length that is a lie; the connection is closed behind the body."""

    kind: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None
    method: str = "POST"

    def sent(self, host: str, port: int, timeout: float = 20.0) -> tuple[int | None, bytes]:
        """Status and body of the answer; None where the server closed the connection without one."""
        length = len(self.body) if self.declared is None else self.declared
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"Content-Length: {length}", *(f"{name}: {value}" for name, value in self.headers.items())]
        with socket.create_connection((host, port), timeout=timeout) as connection:
            try:
                connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + self.body)
                if self.declared is not None:
                    connection.shutdown(socket.SHUT_WR)
                answer = b""
                while part := connection.recv(65536):
                    answer += part
            except ConnectionError:
                return None, b""
        if not answer:
            return None, b""
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def png(width: int, height: int, pixels: bytes | None = None) -> bytes:
    """A PNG that says it has such a size, with less in it unless pixels are given."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(pixels or b"\0" * 64)) + chunk(b"IEND", b"")


Draw = Callable[[random.Random], Request]


def drawn(seed: int, jpeg: bytes, png_picture: bytes, name: str = "tiny") -> Request:
    """The request of a seed."""
    generator = random.Random(seed)
    infer = f"/v2/models/{name}/infer"

    def raw(kind: str, content: bytes) -> Request:
        return Request(kind, infer, content, {LENGTH: "0", "Content-Type": BINARY})

    def kserve(kind: str, inputs: list[object], data: bytes = b"", path: str = infer, **more: object) -> Request:
        head = json.dumps({"inputs": inputs, **more}).encode()
        return Request(kind, path, head + data, {LENGTH: str(len(head)), "Content-Type": BINARY})

    def tensor(
        shape: list[int], datatype: str = "UINT8", tensor_name: str = "picture", size: int | None = None
    ) -> dict:
        parameters = {"binary_data_size": size} if size is not None else {}
        return {"name": tensor_name, "shape": shape, "datatype": datatype, "parameters": parameters}

    size = len(jpeg)
    cut = generator.randrange(1, size - 1)
    noise = generator.randbytes(generator.randrange(1, 4096))
    side = generator.choice([0, -1, 1 << 31, 1 << 40, (1 << 63) - 1])
    network = f"/v2/models/{name}_network/infer"
    labels = f"/v2/models/{name}_labels/infer"
    logits = tensor([1, 21, 2, 2], "FP32", "logits", 336)
    makers: list[Callable[[], Request]] = [
        lambda: raw("noise for a picture", noise),
        lambda: raw("truncated JPEG", jpeg[: min(cut, size // 2)]),
        lambda: raw("truncated PNG", png_picture[: len(png_picture) // 2]),
        lambda: raw("empty picture", b""),
        lambda: raw("huge PNG", png(generator.choice([20000, 65535, 1 << 30]), generator.choice([20000, 65535]))),
        lambda: raw("PNG with too little in it", png(generator.randrange(300, 4000), generator.randrange(300, 4000))),
        lambda: raw("PNG of no size", png(0, generator.randrange(2))),
        lambda: kserve("shape that is not the data's", [tensor([cut], size=size)], jpeg),
        lambda: kserve("data that is not the shape's", [tensor([size], size=cut)], jpeg[:cut]),
        lambda: kserve("shape of more dimensions", [tensor([1, size], size=size)], jpeg),
        lambda: kserve("huge or negative shape", [tensor([side], size=size)], jpeg),
        lambda: kserve("shape that is no list", [{**tensor([size], size=size), "shape": "large"}], jpeg),
        lambda: kserve(
            "wrong type", [tensor([size // 4], generator.choice(["FP32", "INT32"]), size=size // 4 * 4)], jpeg
        ),
        lambda: kserve("strings", [tensor([1], "BYTES", size=size)], jpeg),
        lambda: kserve("unknown type", [tensor([size], "COMPLEX", size=size)], jpeg),
        lambda: kserve("wrong name", [tensor([size], tensor_name="image", size=size)], jpeg),
        lambda: kserve("no inputs", []),
        lambda: kserve(
            "an input too many", [tensor([size], size=size), tensor([1], tensor_name="b", size=1)], jpeg + b"1"
        ),
        lambda: kserve("an input twice", [tensor([1], size=1), tensor([1], size=1)], b"12"),
        lambda: kserve("output that is not there", [tensor([size], size=size)], jpeg, outputs=[{"name": "mask"}]),
        lambda: kserve("negative size", [tensor([size], size=-size)], jpeg),
        lambda: kserve("size beyond the body", [tensor([size], size=1 << 40)], jpeg),
        lambda: kserve("numbers out of range", [{**tensor([2]), "parameters": {}, "data": [-1, 300]}]),
        lambda: kserve("text for numbers", [{**tensor([2]), "parameters": {}, "data": ["a", {}]}]),
        lambda: kserve(
            "shared memory that is not there",
            [{**tensor([size]), "parameters": {"shared_memory_region": "x", "shared_memory_byte_size": size}}],
        ),
        lambda: kserve("channels", [tensor([1, 4, 8, 8], "FP32", "input", 1024)], b"\0" * 1024, network),
        lambda: kserve("huge input", [tensor([1, 3, 65536, 65536], "FP32", "input", 64)], b"\0" * 64, network),
        lambda: kserve("batch too large", [tensor([999, 3, 1, 1], "FP32", "input", 11988)], b"\0" * 11988, network),
        lambda: kserve("no pixels", [tensor([1, 3, 0, 8], "FP32", "input", 0)], b"", network),
        lambda: kserve(
            "labels of a huge size",
            [logits, tensor([2], "INT32", "size", 8)],
            b"\0" * 336 + struct.pack("<ii", generator.choice([65536, 2**31 - 1]), 65536),
            labels,
        ),
        lambda: kserve(
            "labels of no size",
            [logits, tensor([2], "INT32", "size", 8)],
            b"\0" * 336 + struct.pack("<ii", generator.choice([0, -1, -(2**31)]), 3),
            labels,
        ),
        lambda: kserve("no such model", [tensor([size], size=size)], jpeg, "/v2/models/other/infer"),
        lambda: kserve("no such version", [tensor([size], size=size)], jpeg, f"/v2/models/{name}/versions/99/infer"),
        lambda: kserve(
            "version that is no number", [tensor([size], size=size)], jpeg, f"/v2/models/{name}/versions/x/infer"
        ),
        lambda: Request("no JSON", infer, noise, {"Content-Type": "application/json"}),
        lambda: Request("JSON that is no request", infer, generator.choice([b"[]", b"1", b'"x"', b"null", b"{}"])),
        lambda: Request("JSON that is cut", infer, b'{"inputs": [{"name": "picture", "shape": [3'),
        lambda: Request("deep JSON", infer, b"[" * 5000 + b"]" * 5000),
        lambda: Request("header length beyond the body", infer, jpeg, {LENGTH: str(size * 2)}),
        lambda: Request("header length of no sense", infer, jpeg, {LENGTH: generator.choice(["-1", "1e9"])}),
        lambda: Request(
            "body that ends early", infer, jpeg[:cut], {LENGTH: "0", "Content-Type": BINARY}, declared=size
        ),
        lambda: Request("body that never begins", infer, b"", {LENGTH: "0", "Content-Type": BINARY}, declared=1 << 30),
        lambda: Request("compression that is none", infer, jpeg, {LENGTH: "0", "Content-Encoding": "gzip"}),
        lambda: Request("method", infer, b"", method=generator.choice(["GET", "PUT", "DELETE"])),
        lambda: Request(
            "path", generator.choice(["/v2/models//infer", "/v2/../etc", "/v3", "/v2/models/%00/infer"]), jpeg
        ),
    ]
    return makers[seed % len(makers)]()
