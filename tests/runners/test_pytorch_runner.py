"""The plain network in PyTorch, as it is timed: the reference's logits, on the CPU and on an acted GPU."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.errors import ArtefactError, MissingError, ModelError, UsageError
from ccdeploy.runners.pytorch import CudaPrepared, PlainRunner, PyTorchRunner, open_model


@pytest.fixture
def batch(exports) -> np.ndarray:
    return np.asarray(noise_batch(exports.model("own").card, 2, 33, 49, seed=3))


def test_plain_network_gives_the_reference_s_logits(exports, batch):
    model = exports.model("own")
    expected = PyTorchRunner(model).infer({"input": batch})["logits"]
    with open_model(model) as runner:
        outputs = runner.infer({"picture": batch})
        said = runner.describe()
    assert list(outputs) == ["logits"]
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    assert (said.kind, said.precision, said.device, said.artefact) == ("pytorch", "fp32", "CPU", model.name)
    assert said.runtime == runner.how == f"PyTorch {torch.__version__}, CPU, float32"
    assert str(said.inputs[0]) == "input: float32 NCHW batchx3xheightxwidth"
    assert str(said.outputs[0]) == "logits: float32 NCHW batchxclassesxheightxwidth", "its card names no classes"


def test_features_of_a_bare_module_are_not_logits(exports):
    model = exports.model("bare")
    x = np.random.default_rng(4).standard_normal((1, model.card.input.channels, 7, 9), dtype=np.float32)
    expected = PyTorchRunner(model).infer({"input": x})["features"]
    with open_model(model) as runner:
        outputs = runner.infer({"input": x})
        assert runner.describe().outputs == ()
    assert list(outputs) == ["features"]
    np.testing.assert_allclose(outputs["features"], expected, atol=1e-5)


def test_other_types_leave_the_network_as_it_is(exports, batch):
    model = exports.model("own")
    expected = PyTorchRunner(model).infer({"input": batch})["logits"]
    for dtype, limit in ((torch.float64, 1e-4), (torch.bfloat16, 0.2)):
        with open_model(model, dtype=dtype) as runner:
            logits = runner.infer({"input": batch})["logits"]
            assert str(dtype).removeprefix("torch.") in runner.how
        assert logits.dtype == np.float32
        assert np.linalg.norm(logits - expected) < limit * np.linalg.norm(expected)
        assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


def test_compiled_network_is_told_and_called(exports, batch, monkeypatch):
    calls = []

    def compiled(network):
        calls.append("compile")

        def forward(x):
            calls.append("run")
            return network(x)

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    with open_model(exports.model("own"), compiled=True) as runner:
        assert runner.how.endswith(", torch.compile")
        runner.infer({"input": batch})
    assert calls == ["compile", "run"]


def test_network_that_raises_is_told(exports, batch, monkeypatch):
    def refuse(network):
        def forward(x):
            raise RuntimeError("no backend")

        return forward

    monkeypatch.setattr(torch, "compile", refuse)
    with open_model(exports.model("own"), compiled=True) as runner, pytest.raises(ModelError, match="no backend"):
        runner.infer({"input": batch})


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:1", ""])
def test_unknown_device_is_told(exports, device: str):
    with pytest.raises(UsageError, match="is no device to run a network on"):
        open_model(exports.model("own"), device)


@pytest.mark.parametrize(
    ("cuda", "count", "device", "what"),
    [
        (None, 0, "cuda", "is built without CUDA"),
        ("13.0", 0, "cuda", "sees 0 GPUs, cuda was asked for"),
        ("13.0", 1, "cuda:1", "sees 1 GPUs, cuda:1 was asked for"),
    ],
)
def test_missing_gpu_is_told(exports, monkeypatch, cuda, count: int, device: str, what: str):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(MissingError, match=what):
        open_model(exports.model("own"), device)


def test_inputs_and_slots_that_do_not_exist_are_told(exports, batch):
    runner = open_model(exports.model("own"))
    with pytest.raises(ArtefactError, match="takes one input, none was given"):
        runner.prepare({})
    with pytest.raises(ArtefactError, match="takes one input, a, b was given"):
        runner.infer({"a": batch, "b": batch})
    with pytest.raises(UsageError, match="Slot 1 was asked for"):
        runner.prepare({"input": batch}, slot=1)
    runner.close()
    runner.close()
    with pytest.raises(UsageError, match="is closed"):
        runner.infer({"input": batch})


class ActedCuda:
    """Streams whose work is done at once on the CPU, and events that count the networks run between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.pinned: list[torch.Tensor] = []
        acted = self

        class Stream:
            def __init__(self, device: torch.device) -> None:
                assert device.type == "cpu"

            def synchronize(self) -> None:
                acted.calls.append("synchronize")

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self, stream: Stream) -> None:
                assert isinstance(stream, Stream)
                self.at = acted.calls.count("forward")
                acted.calls.append("record")

            def synchronize(self) -> None:
                acted.calls.append("synchronize event")

            def elapsed_time(self, end: Event) -> float:
                assert acted.calls[-1] == "synchronize event"
                return 4.0 * (end.at - self.at)

        @contextmanager
        def on(stream: Stream):
            yield

        def pinned(tensor: torch.Tensor) -> torch.Tensor:
            acted.calls.append("pin")
            acted.pinned.append(tensor.clone())
            return acted.pinned[-1]

        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", on)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1234)
        monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)


def test_inference_on_a_gpu_is_timed_between_events(exports, batch, monkeypatch):
    acted = ActedCuda(monkeypatch)
    runner = PlainRunner(exports.model("own"), torch.device("cpu"), torch.float32, compiled=False)
    expected = runner.infer({"input": batch})["logits"]
    plain = runner.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        acted.calls.append("forward")
        return plain(x)

    monkeypatch.setattr(runner, "forward", forward)
    with CudaPrepared(runner, torch.device("cpu"), "logits", {"input": batch}) as prepared:
        assert prepared.outputs == {}
        assert prepared.run_on_device() == 4.0 / 1e3
        assert acted.calls == ["pin", "record", "forward", "record", "synchronize event"]
        prepared.run()
        assert acted.calls[5:] == ["forward", "pin", "synchronize"]
        kept = prepared.outputs["logits"]
        np.testing.assert_array_equal(kept, expected)
        prepared.start()
        for use in (prepared.start, prepared.run_on_device, lambda: prepared.outputs):
            with pytest.raises(UsageError, match="under way"):
                use()
        prepared.wait()
        assert acted.calls.count("pin") == 2, "host memory is used again"
        assert acted.pinned[1].data_ptr() == prepared._result.data_ptr(), "and it is the page-locked one"
        with pytest.raises(UsageError, match="nothing was started"):
            prepared.wait()
        assert prepared.device_bytes == 1234
        prepared.start()
    assert acted.calls[-1] == "synchronize", "closing waits"
