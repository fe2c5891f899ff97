"""The server's log: read as it comes, and what of it says why a server ended."""

from __future__ import annotations

import os
import threading

import pytest

from ccdeploy.errors import ArtefactError, MissingError, ServerError, UsageError
from ccdeploy.serving.server import log as log_module
from ccdeploy.serving.server.failures import ending, explained_end, reasons, stuck
from ccdeploy.serving.server.log import Log

NOISE = [
    'W1129 17:22:04.345715 6348 pinned_memory_manager.cc:273] "Unable to allocate pinned system memory"',
    'E1129 17:22:04.346007 6348 server.cc:241] "CudaDriverHelper has not been initialized."',
    "Error: Failed to initialize NVML",
    "+--------+---------+--------+",
    "| Model  | Version | Status |",
]
LAST = [
    'I1129 17:22:30.020498 6526 server.cc:345] "Timeout 30: Found 0 live models"',
    "error: creating server: Internal - failed to load all models",
]


@pytest.mark.parametrize(
    ("lines", "kind", "what"),
    [
        (
            [
                "E1129 17:22:27.213339 6487 model_lifecycle.cc:642] \"failed to load 'tiny_read' version 1: Internal: "
                'ValueError: no such thing | here\\n\\nAt:\\n  /m/model.py(5): initialize\\n"'
            ],
            ArtefactError,
            "The server does not take tiny_read: ValueError: no such thing | here.",
        ),
        (
            [
                "E1011 10:00:00.0 1 model_lifecycle.cc:621] failed to load 'tiny_network' version 2: Invalid argument: "
                "unable to find 'libtriton_tensorrt.so' for model 'tiny_network', searched: /m"
            ],
            ArtefactError,
            "tiny_network: unable to find 'libtriton_tensorrt.so' for model 'tiny_network', searched: /m.",
        ),
        (
            [
                "E1129 1 1 model_lifecycle.cc:642] \"failed to load 'd' version 1: Invalid argument: unable to find "
                "backend library for backend 'tensorrt', try specifying runtime on the model configuration.\""
            ],
            MissingError,
            "d: unable to find backend library for backend 'tensorrt'",
        ),
        (
            ["| d     | 1       | UNAVAILABLE: Internal: ModuleNotFoundError: No module named 'ccdeploy' |"],
            MissingError,
            "d: ModuleNotFoundError: No module named 'ccdeploy'.",
        ),
        (
            [
                "E1129 17:32:36.9 27207 model_repository_manager.cc:724] \"failed to load model 'double': at least one "
                "version must be available under the version policy of model 'double'\""
            ],
            ArtefactError,
            "double: at least one version must be available",
        ),
        (
            [
                "E1129 17:32:39.1 27351 model_repository_manager.cc:1460] \"Poll failed for model directory 'double': "
                "unexpected directory name 'double' for model 'triple', directory name must equal model name\""
            ],
            ArtefactError,
            "double: unexpected directory name",
        ),
        (
            [
                'E1129 17:36:47.4 1423 main.cc:257] "failed to start HTTP service: Unavailable - Socket '
                "'127.0.0.1:36581' already in use \""
            ],
            UsageError,
            "could not listen: HTTP service: Unavailable - Socket '127.0.0.1:36581' already in use.",
        ),
        (["tritonserver: error while loading shared libraries: libx.so"], ServerError, "libx.so"),
    ],
)
def test_the_decisive_line_is_found(lines, kind, what):
    ended = LAST if kind in (ArtefactError, MissingError) else []
    error = explained_end(1, [*NOISE[:4], *lines, *ended])
    assert type(error) is kind
    assert what in error.what
    assert "Timeout" not in error.what
    assert "\n" not in error.what


def test_models_that_only_miss_another_are_not_the_reason():
    lines = [
        "E1 1 1 model_repository_manager.cc:615] \"Invalid argument: ensemble 'tiny' depends on 'tiny_network' which "
        'has no loaded version"',
        "E1 1 1 x] \"failed to load 'tiny_network' version 1: Internal: broken\"",
        "| tiny | 1 | UNAVAILABLE: Invalid argument: ensemble 'tiny' depends on 'tiny_network' which has no loaded "
        "version |",
    ]
    assert reasons(lines) == {"tiny_network": "broken"}


def test_a_silent_end_and_a_signal():
    assert "(exit status 7): it said nothing" in explained_end(7, []).what
    assert "(SIGSEGV)" in explained_end(-11, NOISE).what
    assert ending(-200) == "signal 200"


def test_many_reasons_are_counted_not_all_told():
    lines = [f"E1 1 1 x] \"failed to load 'm{number}' version 1: Internal: {'x' * 1000}\"" for number in range(9)]
    what = explained_end(1, lines).what
    assert "and 6 more" in what
    assert len(what) < 1300


def test_a_stub_that_hangs_is_seen():
    assert stuck(NOISE) is None
    error = stuck(
        [*NOISE, "I1 1 1 pb_stub.cc:2105]  Failed to preinitialize Python stub: Python model file not found in 'x'"]
    )
    assert "Python model file not found in 'x'." in str(error)


def test_a_callback_that_never_returns_does_not_hold_up_the_server(monkeypatch):
    monkeypatch.setattr(log_module, "WAITING", 10)
    monkeypatch.setattr(log_module, "_SLOW_CALLBACK_S", 0.1)
    go = threading.Event()
    told: list[str] = []

    def slow(line: str) -> None:
        go.wait()
        told.append(line)

    log = Log(slow)
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:  # more than a pipe holds
        for number in range(20_000):
            stream.write(f"line {number}\n".encode())
        stream.flush()
    log._reader.join()
    assert log.tail()[-1] == "line 19999"
    go.set()
    log._teller.join()
    assert told[0] == "line 0"
    assert "lines of the server's log were left out here" in told[-1]


def test_lines_come_in_order_with_bytes_that_are_no_text():
    told: list[str] = []
    log = Log(told.append)
    end, start = os.pipe()
    log.follow(os.fdopen(end, "rb"))
    with os.fdopen(start, "wb") as stream:
        stream.write(b"one\n\xfftwo\r\nlast, without an end")
    log.join()
    assert told == ["one", "\ufffdtwo", "last, without an end"]
