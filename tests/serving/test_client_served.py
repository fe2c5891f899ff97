"""The client against the real server, over both protocols: the local runner's results, and Triton's own errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from serving_parts import SIZES, ServedNetwork, card_of, expected, picture

from ccdeploy.artefacts import manifest_of
from ccdeploy.errors import UsageError
from ccdeploy.pictures import decoded
from ccdeploy.runners import open_runner
from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for
from ccdeploy.serving.client import Client, DeadlineExceeded, Refused, RemoteRunner, connect
from ccdeploy.serving.repository import Packaging, package
from ccdeploy.serving.server import Options, Running, running

PROTOCOLS = ["http", "grpc"]


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def client(server: ServedNetwork, protocol: str):
    with connect(getattr(server.running, protocol), model="tiny") as opened:
        yield opened


@pytest.fixture(scope="module")
def pictures(server: ServedNetwork) -> list[bytes]:
    formats = ["PNG", "JPEG"]
    return [picture(server.artefact, h, w, seed, formats[seed % 2]) for seed, (h, w) in enumerate(SIZES)]


@pytest.fixture(scope="module")
def labels(server: ServedNetwork, pictures: list[bytes]) -> list[np.ndarray]:
    return expected(server.artefact, pictures)


def test_bit_equal_for_mixed_sizes(client: Client, pictures, labels):
    for content, wanted in zip(pictures, labels, strict=True):
        np.testing.assert_array_equal(client.segment(content), wanted)
    assert client.counts.succeeded == client.counts.requests == len(pictures)
    assert client.server.startswith("Triton ")
    assert client.ready()


def test_the_manifest_comes_whole(client: Client, server: ServedNetwork):
    import dataclasses

    local = manifest_of(server.artefact)
    assert dataclasses.replace(client.served.manifest_of(), sha256=local.sha256, onnx_sha256=local.onnx_sha256) == (
        dataclasses.replace(local, weights=dataclasses.replace(local.weights, path=""))
    )


def test_32_threads_share_a_client(client: Client, pictures, labels):
    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(client.segment, pictures * 16))
    for number, each in enumerate(found):
        np.testing.assert_array_equal(each, labels[number % len(labels)])
    assert client.counts.failed == {}


def test_the_network_is_bit_equal(client: Client, server: ServedNetwork):
    # Two more than the server takes at once.
    batch = np.random.default_rng(3).normal(size=(client.served.batch + 2, 3, 33, 47)).astype(np.float32)
    with RemoteRunner(client) as remote, open_runner(server.artefact) as local:
        most = client.served.batch
        parts = [local.infer({"input": part})["logits"] for part in (batch[:most], batch[most:])]
        np.testing.assert_array_equal(remote.infer({"input": batch})["logits"], np.concatenate(parts))
        assert remote.describe().kind == "onnx"


@pytest.mark.parametrize("passing", [Passing("slide"), Passing("whole", (0.5, 1.25), True)], ids=["slide", "scales"])
def test_windows_and_passes_are_bit_equal(client: Client, server: ServedNetwork, pictures, passing: Passing):
    path, manifest, card = server.artefact, manifest_of(server.artefact), card_of(server.artefact)
    plan = plan_for(path, manifest, card, passing)
    runners = [open_runner(path), RemoteRunner(client)]
    found = []
    for runner in runners:
        # One window at a time: the sums of a batch may be rounded otherwise than those of its parts.
        with ArtefactSegmenter(path, manifest, card, plan, runner, batch=1) as segmenter:
            pixels = [decoded(content, "test", 1 << 26) for content in pictures[:4]]
            found.append([segmenter.labels(each, (each.shape[0], each.shape[1])) for each in pixels])
    for local, remote in zip(*found, strict=True):
        np.testing.assert_array_equal(remote, local)


@pytest.mark.parametrize(
    "content", [b"no picture", b"\xff\xd8\xff\xe0" + bytes(50), b"\x89PNG\r\n\x1a\n"], ids=["text", "jpeg", "png"]
)
def test_damaged_pictures_are_refused_with_the_reason(client: Client, pictures, labels, content: bytes):
    with pytest.raises(Refused, match="picture") as caught:
        client.segment(content)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.what
    assert client.counts.failed == {"refused": 1}
    np.testing.assert_array_equal(client.segment(pictures[0]), labels[0])


def test_a_deadline_that_is_too_short(client: Client, pictures, labels):
    large = np.zeros((client.served.batch, 3, 400, 600), np.float32)
    with pytest.raises(DeadlineExceeded):
        client.infer({"input": large}, deadline_s=0.05)
    np.testing.assert_array_equal(client.segment(pictures[1]), labels[1])


@pytest.fixture(scope="module")
def bounded(server_is_there: None, artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same deployment with bounded queues, which also know of deadlines."""
    folder = tmp_path_factory.mktemp("bounded")
    package([artefact], folder / "repository", Packaging(name="tiny", queue_size=200, cpu_instances=1, warmed=False))
    with running(folder / "repository", Options(http_port=0, grpc_port=0, metrics_port=0)) as started:
        yield started


def test_what_nobody_waits_for_is_dropped_from_a_bounded_queue(bounded: Running, protocol: str):
    one = {"input": np.zeros((1, 3, 385, 385), np.float32)}
    with connect(getattr(bounded, protocol), model="tiny", retries=0, silent_s=600.0) as client:
        network = client.served.names.network
        before = client.statistics()[network]

        def ask(_: int) -> None:
            with suppress(DeadlineExceeded):  # the first may be in time
                client.infer(one, deadline_s=0.02)

        with ThreadPoolExecutor(32) as threads:
            list(threads.map(ask, range(64)))
        client.infer(one)  # behind all of them
        since = client.statistics()[network].since(before)
    assert since.inferences < 60
    assert since.failures > 0


def test_statistics(client: Client, pictures):
    before = client.statistics()
    names = client.served.names
    assert list(before) == [names.ensemble, names.read, names.network, names.labels]
    for content in pictures[:3]:
        client.segment(content)
    for model, after in client.statistics().items():
        since = after.since(before[model])
        assert (since.name, since.inferences, since.successes, since.failures) == (model, 3, 3, 0)
        assert since.success.seconds > 0
    assert sum(batch.count for batch in since.batches) == since.executions == 3


def test_errors_of_names(server: ServedNetwork, protocol: str):
    url = getattr(server.running, protocol)
    with pytest.raises(UsageError, match="serves no model missing"):
        connect(url, model="missing")
    with pytest.raises(UsageError, match=r"part of the deployment tiny") as caught:
        connect(url, model="tiny_network")
    assert "--model tiny" in caught.value.remedy
    with pytest.raises(UsageError, match="was not packaged by ccdeploy"):
        connect(url, model="tiny_read")
    with pytest.raises(UsageError, match="--model NAME"):
        connect(url)
    with pytest.raises(UsageError, match="--model NAME"):
        connect(url, token="wrong")
    with connect(url, token=server.running.token) as opened:
        assert opened.served.name == "tiny"


def test_closing_in_mid_load(server: ServedNetwork, protocol: str, pictures):
    ended: list[Exception] = []
    client = connect(getattr(server.running, protocol), model="tiny", deadline_s=600.0)
    started = threading.Barrier(9)

    def ask() -> None:
        started.wait()
        try:
            while True:
                client.segment(pictures[0])
        except UsageError as error:
            ended.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait()
    client.close()
    for thread in threads:
        thread.join(60)
    assert len(ended) == 8
    assert all("closed" in str(error) for error in ended)
