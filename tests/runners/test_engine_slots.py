"""Several contexts of an engine, prepared inferences and CUDA graphs, on the acted GPU."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from engines import engine_manifest
from fake_gpu import COPY_MS, RUN_MS, FakeGpu

from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.engine.flavour import TENSORRT, TENSORRT_RTX
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.runners.engine import EngineRunner
from ccdeploy.runners.graphs import CaptureError, Graph
from ccdeploy.runners.ort import OnnxRuntimeRunner

PLAIN = ("copy in", "execute", "copy out", "synchronize")
GRAPH = ("begin capture", "end capture", "launch graph")


def opened(exports, gpu: FakeGpu, monkeypatch, contexts: int = 1, cuda_graph: bool = False) -> EngineRunner:
    gpu.install(monkeypatch)
    path = exports.file("own", dynamic="all")
    return EngineRunner(path, engine_manifest(path, flavour=gpu.flavour), contexts, cuda_graph)


@pytest.fixture
def batch(exports) -> np.ndarray:
    return np.asarray(noise_batch(exports.model("own").card, 3, 20, 31, seed=0))


@pytest.fixture
def expected(exports, batch) -> np.ndarray:
    return OnnxRuntimeRunner(exports.file("own", dynamic="all")).infer({"input": batch})["logits"]


def test_two_slots_are_under_way_at_once(exports, batch, expected, monkeypatch):
    gpu = FakeGpu()
    with opened(exports, gpu, monkeypatch, contexts=2) as runner:
        assert gpu.named("profile") == ["profile 0 on 78"], "the first context has the profile by itself"
        with runner.prepare({"input": batch[:1]}) as first, runner.prepare({"input": batch[1:2]}, 1) as second:
            before = len(gpu.calls)
            first.start()
            second.start()
            assert not [call for call in gpu.calls[before:] if call.startswith("synchronize")]
            second.wait()
            np.testing.assert_allclose(second.outputs["logits"], expected[1:2], atol=1e-5)
            with pytest.raises(UsageError, match="An inference is under way"):
                _ = first.outputs
            first.wait()
            np.testing.assert_allclose(first.outputs["logits"], expected[:1], atol=1e-5)
        expected_order = ["execute on 77", "execute on 78", "synchronize 78", "synchronize 77"]
        assert gpu.named("execute", "synchronize")[-4:] == expected_order
    gpu.check_all_freed()


def test_slot_that_is_not_there_is_told(exports, batch, monkeypatch):
    with opened(exports, FakeGpu(), monkeypatch, contexts=2) as runner:
        for slot, remedy in ((2, "contexts=3 or more"), (-1, "counted from 0")):
            with pytest.raises(UsageError, match=rf"Slot {slot} was asked for, there are 2 \(0 to 1\).\n.*{remedy}"):
                runner.prepare({"input": batch}, slot)


def test_slot_serves_one_inference_at_a_time(exports, batch, monkeypatch):
    with opened(exports, FakeGpu(), monkeypatch) as runner:
        prepared = runner.prepare({"input": batch})
        with pytest.raises(UsageError, match="nothing was started"):
            prepared.wait()
        prepared.start()
        for use in (
            prepared.start,
            prepared.run,
            prepared.run_on_device,
            lambda: runner.infer({"input": batch}),
            lambda: runner.prepare({"input": batch}),
        ):
            with pytest.raises(UsageError, match=r"under way in this slot.\nCall wait"):
                use()
        prepared.wait()
        assert runner.infer({"input": batch})["logits"].shape[0] == 3


def test_prepared_inference_keeps_its_own_inputs(exports, batch, expected, monkeypatch):
    gpu = FakeGpu()
    with opened(exports, gpu, monkeypatch) as runner:
        mine = batch[:1].copy()
        prepared = runner.prepare({"input": mine})
        mine[:] = np.nan
        assert prepared.outputs == {}, "not what happens to lie in the buffers"
        assert prepared.run_on_device() == RUN_MS / 1e3
        assert prepared.outputs == {}
        prepared.run()
        np.testing.assert_allclose(prepared.outputs["logits"], expected[:1], atol=1e-5)
        runner.infer({"input": batch[1:]})
        with pytest.raises(UsageError, match="The outputs are gone"):
            _ = prepared.outputs
        prepared.run()
        kept = prepared.outputs["logits"]
        np.testing.assert_allclose(kept, expected[:1], atol=1e-5)
        before = len(gpu.calls)
        prepared.run()
        assert gpu.calls[before:].count("push") == 2, "it is not bound again"
    np.testing.assert_allclose(kept, expected[:1], atol=1e-5, err_msg="outputs outlive the runner")


def test_next_inference_in_a_slot_starts_anew(exports, batch, expected, monkeypatch):
    gpu = FakeGpu()
    with opened(exports, gpu, monkeypatch) as runner:
        runner.prepare({"input": batch[:1]}).run()
        other = runner.prepare({"input": batch[1:2]})
        assert other.outputs == {}, "not those of the inference before"
        before = len(gpu.calls)
        other.run_on_device()
        assert "copy in float32 [1, 3, 20, 31]" in gpu.calls[before:], "it is timed on its own inputs"
        other.run()
        np.testing.assert_allclose(other.outputs["logits"], expected[1:2], atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("flavour", [TENSORRT, TENSORRT_RTX])
def test_time_on_the_device_is_that_of_the_inference_alone(exports, batch, monkeypatch, flavour: str, graph: bool):
    gpu = FakeGpu(flavour)
    with opened(exports, gpu, monkeypatch, cuda_graph=graph) as runner, runner.prepare({"input": batch}) as prepared:
        assert prepared.run_on_device() == RUN_MS / 1e3
        assert "copy out float32 [3, 5, 20, 31]" not in gpu.calls
        copies = len(gpu.named("copy in"))
        assert copies >= 1, "the inputs are on the device"
        before, clock = len(gpu.calls), gpu.clock
        assert prepared.run_on_device() == RUN_MS / 1e3
        assert gpu.clock - clock == RUN_MS
        how = "launch graph" if graph and flavour == TENSORRT else "execute on 77" + " by graph" * graph
        assert gpu.calls[before:] == ["push", "record 77", how, "record 77", "synchronize 77", "pop"]
        prepared.run()
        assert gpu.clock - clock == 2 * RUN_MS + 2 * COPY_MS


def test_graph_is_captured_once_and_launched_afterwards(exports, batch, expected, monkeypatch):
    gpu = FakeGpu(TENSORRT)
    with opened(exports, gpu, monkeypatch, cuda_graph=True) as runner:
        assert runner.how.endswith(", CUDA graph")
        for index in range(3):
            outputs = runner.infer({"input": batch[index : index + 1]})
            np.testing.assert_allclose(outputs["logits"], expected[index : index + 1], atol=1e-5)
        steps = [call.split(" float")[0].removesuffix(" on 77") for call in gpu.named(*PLAIN, *GRAPH)]
        first = ["copy in", "execute", "synchronize 77", "begin capture", "execute", "end capture"]
        each = ["copy in", "launch graph", "copy out", "synchronize 77"]
        assert steps == [*first, *each * 3]
    assert gpu.calls.count("destroy graph") == 1
    assert gpu.calls.index("destroy graph") < gpu.calls.index("free context")
    gpu.check_all_freed()


def test_graph_is_captured_again_for_other_shapes_only(exports, batch, expected, monkeypatch):
    """A smaller batch in the same buffers is another graph, too."""
    gpu = FakeGpu(TENSORRT)
    with opened(exports, gpu, monkeypatch, cuda_graph=True) as runner:
        for count, captures in ((1, 1), (3, 2), (3, 2), (2, 3)):
            outputs = runner.infer({"input": batch[:count]})
            np.testing.assert_allclose(outputs["logits"], expected[:count], atol=1e-5)
            assert gpu.calls.count("begin capture") == captures
            assert (len(gpu.executables), len(gpu.graphs)) == (1, 0), "the older ones are destroyed"
    gpu.check_all_freed()


def test_each_slot_has_a_graph_of_its_own(exports, batch, expected, monkeypatch):
    gpu = FakeGpu(TENSORRT)
    with opened(exports, gpu, monkeypatch, contexts=2, cuda_graph=True) as runner:
        pair = [runner.prepare({"input": batch[i : i + 1]}, i) for i in range(2)]
        for prepared in pair:
            prepared.run()
        for prepared in pair:
            prepared.start()
        for index, prepared in enumerate(pair):
            prepared.wait()
            np.testing.assert_allclose(prepared.outputs["logits"], expected[index : index + 1], atol=1e-5)
        assert (gpu.calls.count("begin capture"), gpu.calls.count("launch graph")) == (2, 4)
    gpu.check_all_freed()


def test_tensorrt_rtx_captures_by_itself(exports, batch, expected, monkeypatch):
    gpu = FakeGpu(TENSORRT_RTX)
    with opened(exports, gpu, monkeypatch, cuda_graph=True) as runner:
        for count in (1, 3, 3):
            outputs = runner.infer({"input": batch[:count]})
            np.testing.assert_allclose(outputs["logits"], expected[:count], atol=1e-5)
    assert gpu.calls.count("execute on 77 by graph") == 5, "once more at each new shape"
    assert gpu.calls.count("capturable?") == 2
    assert not gpu.named("begin capture")
    gpu.check_all_freed()


@pytest.mark.parametrize(
    ("flavour", "misbehaviour", "reason"),
    [
        (TENSORRT, "not capturable", "TensorRT refused to run while its stream was captured .*so it is"),
        (TENSORRT, "invalidates the capture", r"cuStreamEndCapture answered CUDA_ERROR_STREAM_CAPTURE \(901\)"),
        (TENSORRT, "cuStreamBeginCapture_v2 fails", r"cuStreamBeginCapture_v2 answered CUDA_ERROR_OUT_OF_MEMORY \(2\)"),
        (TENSORRT, "cuGraphInstantiateWithFlags fails", "cuGraphInstantiateWithFlags answered CUDA_ERROR_OUT"),
        (TENSORRT, "cuGraphLaunch fails", "cuGraphLaunch answered CUDA_ERROR_OUT_OF_MEMORY"),
        (TENSORRT_RTX, "not capturable", "TensorRT-RTX 1.7.1.116 says that it cannot"),
    ],
)
def test_graph_that_cannot_be_had_is_an_error(exports, batch, monkeypatch, flavour, misbehaviour: str, reason: str):
    """Never a plain run instead; and the engine runs as before once the reason is gone."""
    gpu = FakeGpu(flavour)
    with opened(exports, gpu, monkeypatch, cuda_graph=True) as runner:
        gpu.misbehaviour = misbehaviour
        for _ in range(2):
            with pytest.raises(ArtefactError, match=f"cannot be run as a CUDA graph: {reason}.*\nOpen it without cud"):
                runner.infer({"input": batch})
            assert gpu.capturing is None
            assert not gpu.named("copy out")
        gpu.misbehaviour = ""
        assert runner.infer({"input": batch})["logits"].shape[0] == 3
    gpu.check_all_freed()


def test_strategy_that_tensorrt_rtx_does_not_take_is_an_error(exports, monkeypatch):
    gpu = FakeGpu(TENSORRT_RTX, "takes no strategy")
    with pytest.raises(ArtefactError, match="does not take the CUDA graph strategy"):
        opened(exports, gpu, monkeypatch, cuda_graph=True)
    gpu.check_all_freed()


def test_interrupted_capture_leaves_the_stream_usable(monkeypatch):
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    import pycuda.driver as cuda

    def interrupt() -> bool:
        raise KeyboardInterrupt

    gpu.depth = 1
    stream = cuda.Stream(1)
    with pytest.raises(KeyboardInterrupt):
        Graph(stream.handle, interrupt)
    assert (gpu.capturing, gpu.graphs) == (None, {})
    graph = Graph(stream.handle, lambda: True)
    graph.destroy()
    graph.destroy()
    assert gpu.calls.count("destroy graph") == 1


def test_capture_without_a_driver_library_is_told(monkeypatch):
    def missing() -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr("ccdeploy.runners.graphs.load_driver", missing)
    with pytest.raises(CaptureError, match=r"libcuda\.so\.1"):
        Graph(77, lambda: True)


def test_runner_may_be_used_in_another_thread(exports, batch, expected, monkeypatch):
    """The context is current only while a call lasts, so no thread owns it."""
    gpu = FakeGpu()
    results = []
    with opened(exports, gpu, monkeypatch) as runner:
        assert gpu.depth == 0
        thread = threading.Thread(target=lambda: results.append(runner.infer({"input": batch})["logits"]))
        thread.start()
        thread.join()
    np.testing.assert_allclose(results[0], expected, atol=1e-5)
    gpu.check_all_freed()


def test_runner_that_was_not_closed_frees_inside_the_context(exports, batch, monkeypatch):
    gpu = FakeGpu()
    prepared = opened(exports, gpu, monkeypatch).prepare({"input": batch})
    gc.collect()
    prepared.run()
    del prepared
    gc.collect()
    gpu.check_all_freed()
