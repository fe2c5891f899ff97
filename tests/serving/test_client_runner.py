"""The network on a server as a runner, against a server whose answers are known."""

from __future__ import annotations

import client_fakes as fakes
import numpy as np
import pytest
from client_fakes import FakeServer

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.serving.client import BadAnswer, RemoteRunner, connect
from ccdeploy.serving.client import runner as runners

RNG = np.random.default_rng(7)


def pictures(count: int, height: int = 5, width: int = 7) -> np.ndarray:
    return RNG.random((count, 3, height, width), np.float32)


@pytest.fixture
def server():
    with FakeServer(usual=fakes.echoing_network) as fake:
        yield fake


@pytest.fixture
def runner(server: FakeServer):
    with connect(server.url, model="fake") as client, RemoteRunner(client, contexts=2) as opened:
        yield opened


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 9])
def test_batches_are_split(server: FakeServer, runner: RemoteRunner, count: int):
    batch = pictures(count)
    logits = runner.infer({"input": batch})["logits"]
    np.testing.assert_array_equal(logits, fakes.network(batch))
    assert server.infers == -(-count // 3)  # the server takes 3 at once


def test_large_batches_are_split(server: FakeServer, runner: RemoteRunner, monkeypatch: pytest.MonkeyPatch):
    batch = pictures(5)
    monkeypatch.setattr(runners, "REQUEST_BYTES", 2 * batch[0].nbytes + 1)
    np.testing.assert_array_equal(runner.infer({"input": batch})["logits"], fakes.network(batch))
    assert server.infers == 3
    monkeypatch.setattr(runners, "REQUEST_BYTES", 1)
    np.testing.assert_array_equal(runner.infer({"input": batch})["logits"], fakes.network(batch))
    assert server.infers == 3 + 5


@pytest.mark.parametrize(
    ("inputs", "wrong"),
    [
        ({}, "nothing was given"),
        ({"image": pictures(1)}, "image was given"),
        ({"input": pictures(1), "more": pictures(1)}, "input, more was given"),
        ({"input": pictures(1).astype(np.float64)}, "float64, float32 was expected"),
        ({"input": pictures(1)[0]}, r"\[3, 5, 7\], batchx3xheightxwidth was expected"),
        ({"input": pictures(1)[:, :2]}, r"\[1, 2, 5, 7\]"),
        ({"input": pictures(5)[:, :2]}, r"\[5, 2, 5, 7\]"),
        ({"input": pictures(0)}, r"\[0, 3, 5, 7\]"),
    ],
    ids=["none", "name", "two", "type", "dimensions", "channels", "channels of many", "no pictures"],
)
def test_inputs_that_do_not_fit_are_not_sent(server: FakeServer, runner: RemoteRunner, inputs, wrong: str):
    with pytest.raises(ArtefactError, match=wrong):
        runner.infer(inputs)
    assert server.infers == 0


def test_the_client_itself_does_not_split(server: FakeServer):
    with connect(server.url, model="fake") as client, pytest.raises(ArtefactError, match="3 pictures at once, 4"):
        client.infer({"input": pictures(4)})


@pytest.mark.parametrize(
    ("outputs", "wrong"),
    [
        ({"logits": fakes.network(pictures(1))}, "logits is of 1 pictures, 2 were sent"),
        ({"logits": fakes.network(pictures(2))[:, :4]}, r"\[2, 4, 5, 7\]"),
        ({"logits": fakes.network(pictures(2)).astype(np.float16)}, "float16, float32 was expected"),
        ({"labels": np.zeros((2, 5, 7), np.uint8)}, "logits is not in it"),
    ],
    ids=["batch", "classes", "type", "name"],
)
def test_outputs_that_do_not_fit(server: FakeServer, runner: RemoteRunner, outputs, wrong: str):
    server.usual = lambda handler: handler.send_outputs(outputs)
    with pytest.raises(BadAnswer, match=wrong):
        runner.infer({"input": pictures(2)})


def test_what_it_says_of_itself(server: FakeServer, runner: RemoteRunner):
    assert runner.how == f"Triton 1.0 at {server.url}, model fake_network, backend python"
    description = runner.describe()
    assert (description.artefact, description.kind, description.precision) == ("fake", "onnx", "fp32")
    assert (description.inputs, description.outputs) == (fakes.MANIFEST.inputs, fakes.MANIFEST.outputs)
    assert (description.contexts, description.runtime) == (2, runner.how)


def test_prepared(runner: RemoteRunner):
    first, second = pictures(4), pictures(2)
    with runner.prepare({"input": first}) as one, runner.prepare({"input": second}, slot=1) as two:
        one.start()
        two.start()
        two.wait()
        one.wait()
        np.testing.assert_array_equal(one.outputs["logits"], fakes.network(first))
        np.testing.assert_array_equal(two.outputs["logits"], fakes.network(second))
        one.run()
        assert one.run_on_device() is None
        assert one.device_bytes is None
    with pytest.raises(UsageError, match="Slot 2"):
        runner.prepare({"input": first}, slot=2)
    with pytest.raises(ArtefactError, match="nothing was given"):
        runner.prepare({})


def test_closed(server: FakeServer):
    with connect(server.url, model="fake") as client:
        runner = RemoteRunner(client)
        runner.close()
        runner.close()
        with pytest.raises(UsageError, match="closed"):
            runner.infer({"input": pictures(1)})
        np.testing.assert_array_equal(  # the client is the caller's
            client.infer({"input": (batch := pictures(1))})["logits"], fakes.network(batch)
        )
    with pytest.raises(UsageError, match="0 contexts"):
        RemoteRunner(client, contexts=0)
