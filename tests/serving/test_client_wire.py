"""Tensors on the wire, and addresses: whatever a server or a user sends is read, or is an error that says why."""

from __future__ import annotations

import json

import client_fakes as fakes
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccdeploy.errors import UsageError
from ccdeploy.serving.client.address import Address, parse_address
from ccdeploy.serving.client.failures import one_line
from ccdeploy.serving.client.statistics import parse_statistics
from ccdeploy.serving.client.wire import Malformed, bytes_on_wire, from_wire, parse_answer, request_body, type_on_wire

ARRAYS = {
    "float32": np.arange(15, dtype=np.float32).reshape(3, 5) - 7,
    "float16": np.arange(7, dtype=np.float16),
    "bfloat16": np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(1, 2, 3),
    "uint8": np.arange(11, dtype=np.uint8),
    "int32": np.arange(13, dtype=np.int32) - 5,
    "int64": np.array(-(1 << 40)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_there_and_back(name: str):
    array = ARRAYS[name]
    body, head = fakes.answer_body({"first": ARRAYS["uint8"], name: array})
    found = parse_answer(body, str(head), [name])
    assert list(found) == [name]
    assert found[name].dtype == array.dtype
    assert found[name].flags.writeable
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    "array",
    [np.arange(12, dtype=np.float32).reshape(3, 4).T, np.arange(5, dtype=">f4"), np.arange(20, dtype=np.int32)[::3]],
    ids=["transposed", "big-endian", "strided"],
)
def test_memory_layouts(array: np.ndarray):
    content = bytes_on_wire(array)
    np.testing.assert_array_equal(from_wire("x", type_on_wire(array), list(array.shape), content), array)


def test_types_that_the_server_does_not_have():
    with pytest.raises(UsageError, match="complex64"):
        request_body({"x": np.zeros(3, np.complex64)}, ["y"], 1)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [7, 12]},
        {"shape": [-7, -11]},
        {"shape": [7.0, 11]},
        {"shape": [True, 77]},
        {"shape": "7x11"},
        {"shape": None},
        {"datatype": "FP32"},
        {"datatype": "BYTES"},
        {"datatype": ["UINT8"]},
        {"parameters": {}},
        {"parameters": None},
        {"parameters": {"binary_data_size": 78}},
        {"parameters": {"binary_data_size": -1}},
        {"parameters": {"binary_data_size": "77"}},
        {"name": "other"},
        {"name": ["labels"]},
    ],
    ids=str,
)
def test_answers_that_contradict_themselves(change: dict):
    body, head = fakes.answer_body({"labels": fakes.LABEL_MAP})
    data = json.loads(body[:head])
    data["outputs"][0].update(change)
    text = json.dumps(data).encode()
    with pytest.raises(Malformed):
        parse_answer(text + body[head:], str(len(text)), ["labels"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_answers(data: st.DataObject):
    body, head = fakes.answer_body({"labels": fakes.LABEL_MAP})
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, head - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    length = data.draw(st.sampled_from([str(head), None, "", "-1", "0", "1e3", "9" * 50, str(head + 1), "٣"]))
    try:
        found = parse_answer(bytes(damaged[:cut]), length, ["labels"])
    except Malformed:
        return
    assert found["labels"].size == fakes.LABEL_MAP.size


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes(content: bytes, length: int):
    with pytest.raises(Malformed):
        parse_answer(content, str(length), ["labels"])


def test_deeply_nested_json():
    text = b"[" * 100_000
    with pytest.raises(Malformed):
        parse_answer(text, str(len(text)), ["labels"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:8000", Address("http", "host", 8000)),
        ("HTTP://Host", Address("http", "host", 80)),
        ("https://host", Address("https", "host", 443)),
        ("https://host/a/b/", Address("https", "host", 443, "/a/b")),
        ("http://[::1]:8000/", Address("http", "::1", 8000)),
        ("grpc://127.0.0.1:8001", Address("grpc", "127.0.0.1", 8001)),
        ("grpcs://host", Address("grpcs", "host", 443)),
    ],
    ids=str,
)
def test_addresses(url: str, expected: Address):
    assert parse_address(url) == expected
    assert parse_address(str(expected)) == expected


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("localhost:8000", "no scheme"),
        ("", "no scheme"),
        ("ftp://host", "ftp://"),
        ("http://", "no host"),
        ("http://:8000", "no host"),
        ("http://host:0", "no port"),
        ("http://host:99999", "ort out of range"),
        ("http://host:eight", "eight"),
        ("grpc://host", "no port"),
        ("grpc://host:1/path", "the path /path"),
        ("http://host/?model=a", r"something after \? or #"),
        ("http://host/#x", r"something after \? or #"),
        ("http://ho st:1", "white space"),
        ("http://host:1\r\nX: y", "white space"),
        ("http://[::1", "IPv6"),
    ],
)
def test_no_addresses(url: str, seen: str):
    with pytest.raises(UsageError, match=seen) as caught:
        parse_address(url)
    assert "http://HOST:8000" in caught.value.remedy


def test_a_password_is_not_repeated():
    with pytest.raises(UsageError, match="a user in it") as caught:
        parse_address("http://me:secret@host:1")
    assert "secret" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_an_address_or_an_error(text: str):
    for url in (text, f"http://{text}", f"grpc://{text}:1"):
        try:
            address = parse_address(url)
        except UsageError:
            continue
        assert parse_address(str(address)) == address


def test_one_line():
    assert one_line(" a\n\tb\x00\x1b[0m ") == "a b??[0m"
    assert len(one_line("x" * 5000)) == 400


def test_statistics():
    def times(count: int, ns: object) -> dict:
        return {"count": count, "ns": ns}

    def version(inferences: int, batches: list) -> dict:
        stats = {"success": times(3, 6_000_000_000), "queue": times(3, "3000000000"), "compute_infer": times(3, 1)}
        return {
            "name": "m",
            "inference_count": str(inferences),
            "execution_count": 4,
            "inference_stats": stats,
            "batch_stats": batches,
        }

    one = {"batch_size": "1", "compute_infer": times(2, 1_000_000_000)}
    two = {"batch_size": 2, "compute_infer": times(1, 5_000_000_000)}
    other = {**version(99, []), "name": "n"}
    found = parse_statistics("m", {"model_stats": [other, version(4, [two, one]), version(8, [one])]})
    assert (found.inferences, found.executions, found.mean_batch) == (12, 8, 1.5)
    assert (found.successes, found.success.seconds, found.queue.seconds) == (6, 12.0, 6.0)
    assert found.failures == 0
    assert [(batch.size, batch.count, batch.compute_s) for batch in found.batches] == [(1, 4, 2.0), (2, 1, 5.0)]
    before = parse_statistics("m", {"model_stats": [version(4, [one])]})
    since = found.since(before)
    assert (since.inferences, since.executions, since.successes) == (8, 4, 3)
    assert [(batch.size, batch.count) for batch in since.batches] == [(1, 2), (2, 1)]
    assert found.since(found).mean_batch is None


@pytest.mark.parametrize("data", [{}, [], None, {"model_stats": []}, {"model_stats": [{"name": "m"}]}], ids=str)
def test_no_statistics(data: object):
    with pytest.raises((LookupError, TypeError, ValueError)):
        parse_statistics("m", data)
