"""Engines on a GPU, acted by fake_gpu: the order of calls, what goes in and comes out, and each way to be refused."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from engines import RECORD, engine_manifest
from fake_gpu import CARD, VERSION, FakeGpu
from fake_tensorrt import CONTEXT_BYTES, WEIGHTS_BYTES

from ccdeploy.ccnet.preprocessing import noise_batch, noise_pictures
from ccdeploy.engine.flavour import TENSORRT, TENSORRT_RTX
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import Manifest, Plugin, read_manifest
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.runners.engine import EngineRunner, why_not_runnable
from ccdeploy.runners.loaded import logger_for
from ccdeploy.runners.ort import OnnxRuntimeRunner

CLOSED = ["push", "free engine", "free runtime", "free logger", "pop"]


@pytest.fixture
def gpu(monkeypatch) -> FakeGpu:
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake


def test_engine_takes_its_inputs_and_gives_its_outputs(exports, gpu):
    path = exports.file("own", dynamic="all")
    batch = noise_batch(exports.model("own").card, 2, 20, 31, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        assert runner.how == f"TensorRT-RTX {VERSION}, {CARD.name}"
        first = runner.infer({"input": batch})
        again = runner.infer({"input": batch[:1].astype(np.float64)})
    expected = OnnxRuntimeRunner(path).infer({"input": batch})["logits"]
    assert list(first) == ["logits"]
    np.testing.assert_array_equal(first["logits"], expected, "the second inference left the first one's arrays alone")
    np.testing.assert_allclose(again["logits"], expected[:1], atol=1e-5)
    gpu.check_all_freed()


def test_calls_come_in_the_order_that_tensorrt_needs(exports, gpu):
    path = exports.file("own", io="image", dynamic="all")
    pictures = noise_pictures(exports.model("own").card, 1, 20, 31, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        runner.infer({"image": pictures})
    both = ("device memory", "pinned memory")
    assert gpu.calls == [
        *("init", "retain", "push", "make logger", "make runtime", "make engine", "pop"),
        *("push", "make context", "make stream", "make event", "make event", "pop"),
        *("push", "shape image [1, 20, 31, 3]"),
        *(*(f"make {memory}" for memory in both), "address image"),
        *(*(f"make {memory}" for memory in both), "address labels", "pop"),
        *("push", "copy in uint8 [1, 20, 31, 3]", "execute on 77", "copy out uint8 [1, 20, 31]", "pop"),
        *("push", "synchronize 77", "pop"),
        *("push", "synchronize 77", "free context", *(f"free {memory}" for memory in both * 2)),
        *("free event", "free event", "free stream", "pop"),
        *CLOSED,
    ]


def test_primary_context_is_retained_once_a_process(exports, gpu):
    """pycuda would leave it current when it releases it."""
    path = exports.file("own")
    for _ in range(2):
        EngineRunner(path, engine_manifest(path)).close()
    assert gpu.calls.count("retain") == 1


def test_second_inference_allocates_nothing_and_says_nothing_twice(exports, gpu):
    path = exports.file("own", dynamic="all")
    batch = noise_batch(exports.model("own").card, 1, 20, 31, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        runner.infer({"input": batch})
        before = len(gpu.calls)
        outputs = runner.infer({"input": batch + 1})
        assert gpu.calls[before:] == [
            *("push", "pop", "push", "copy in float32 [1, 3, 20, 31]", "execute on 77"),
            *("copy out float32 [1, 5, 20, 31]", "pop", "push", "synchronize 77", "pop"),
        ]
    np.testing.assert_array_equal(outputs["logits"], OnnxRuntimeRunner(path).infer({"input": batch + 1})["logits"])


def test_buffers_grow_for_larger_shapes_and_stay_for_smaller_ones(exports, gpu):
    path = exports.file("own", dynamic="all")
    batch = noise_batch(exports.model("own").card, 3, 20, 31, seed=0)
    expected = OnnxRuntimeRunner(path).infer({"input": batch})["logits"]
    with EngineRunner(path, engine_manifest(path)) as runner:
        for count, memories in ((1, 2), (3, 4), (2, 4), (3, 4)):
            outputs = runner.infer({"input": batch[:count]})["logits"]
            np.testing.assert_allclose(outputs, expected[:count], atol=1e-5)
            assert gpu.calls.count("make device memory") == memories
            assert len(gpu.memory) == 2, "the smaller ones were freed"
        assert gpu.named("address") == ["address input", "address logits"] * 2
        tensors = 4 * (batch.size + expected.size)
        assert runner.prepare({"input": batch}).device_bytes == WEIGHTS_BYTES + CONTEXT_BYTES + tensors
    gpu.check_all_freed()


def test_description_is_the_manifest_s(exports, gpu):
    path = exports.file("own", dynamic="all")
    manifest = engine_manifest(path)
    with EngineRunner(path, manifest, contexts=3) as runner:
        said = runner.describe()
    assert (said.artefact, said.kind, said.precision, said.contexts) == (str(path), "engine", "fp32", 3)
    assert (said.runtime, said.device) == (f"TensorRT-RTX {VERSION}, {CARD.name}", CARD.name)
    assert (said.inputs, said.outputs) == (manifest.inputs, manifest.outputs)


@pytest.mark.parametrize(
    ("shape", "name", "dtype", "what"),
    [
        ((2, 3, 33, 49), "input", "f4", r"does not take input of \[2, 3, 33, 49\] \(\[executionCon.*: so it is\)\."),
        ((3, 33, 49), "input", "f4", r"does not take input of \[3, 33, 49\]"),
        ((1, 3, 33, 49), "picture", "f4", "The engine takes input; picture was given"),
        ((1, 3, 33, 49), "input", "c8", "takes input of float32, complex64 was given"),
    ],
)
def test_inputs_that_the_engine_does_not_take_are_told(exports, gpu, shape, name: str, dtype: str, what: str):
    path = exports.file("own")
    batch = noise_batch(exports.model("own").card, 1, 33, 49, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        before = runner.infer({"input": batch})
        with pytest.raises(ArtefactError, match=what):
            runner.infer({name: np.zeros(shape, dtype)})
        with pytest.raises(ArtefactError, match=what):
            runner.prepare({name: np.zeros(shape, dtype)})
        np.testing.assert_array_equal(runner.infer({"input": batch})["logits"], before["logits"])
    gpu.check_all_freed()


def test_floats_do_not_become_pictures(exports, gpu):
    path = exports.file("own", io="image", dynamic="all")
    with EngineRunner(path, engine_manifest(path)) as runner, pytest.raises(ArtefactError, match="image of uint8, flo"):
        runner.infer({"image": np.zeros((1, 20, 31, 3), np.float32)})


@pytest.mark.parametrize(
    ("misbehaviour", "error", "what"),
    [
        ("refuses the engine", ArtefactError, rf"is refused by TensorRT-RTX {VERSION} \(\[exec.*: so it is\)\."),
        ("no context", MissingError, r"does not fit into the GPU's memory \(\[exec.*: so it is\)\."),
        ("one context", MissingError, "does not fit into the GPU's memory"),
        ("shares no profile", ArtefactError, "gives its profile to one context only"),
        ("gives bfloat16", ArtefactError, "its tensor input is of the type bfloat16, which NumPy does not have"),
        ("takes a shape", ArtefactError, "its tensor input is a shape, in host memory"),
    ],
)
def test_failing_start_frees_everything_inside_the_context(exports, gpu, misbehaviour: str, error, what: str):
    gpu.misbehaviour = misbehaviour
    path = exports.file("own")
    with pytest.raises(error, match=what) as raised:
        EngineRunner(path, engine_manifest(path), contexts=2)
    assert gpu.calls[-3:] == ["free runtime", "free logger", "pop"]
    gpu.check_all_freed()
    del raised  # until here the error held all frames


@pytest.mark.parametrize("flavour", [TENSORRT, TENSORRT_RTX])
@pytest.mark.parametrize("graph", [False, True])
def test_no_memory_at_any_allocation_is_told_and_everything_freed(exports, monkeypatch, graph: bool, flavour: str):
    path = exports.file("own")
    batch = noise_batch(exports.model("own").card, 1, 33, 49, seed=0)
    manifest = engine_manifest(path, flavour=flavour)
    for allowed in range(11):
        gpu = FakeGpu(flavour, allocations_left=allowed)
        with monkeypatch.context() as patch:
            gpu.install(patch)
            if allowed == 10:  # a stream and two events for each slot, two tensors on both sides
                with EngineRunner(path, manifest, 2, graph) as runner:
                    runner.infer({"input": batch})
            else:
                with pytest.raises(MissingError, match=r"The GPU failed \(cu\w+ failed: out of memory\)\.\nFree") as e:
                    run_twice(path, manifest, graph, batch)
                gpu.check_all_freed()
                del e


def run_twice(path: Path, manifest: Manifest, graph: bool, batch: np.ndarray) -> None:
    with EngineRunner(path, manifest, 2, graph) as runner:
        runner.infer({"input": batch})


def test_engine_runs_again_once_there_is_memory(exports, gpu):
    path = exports.file("own")
    batch = noise_batch(exports.model("own").card, 1, 33, 49, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        for left in (0, 1, 2, 1):  # of the input's two memories and the output's two; what was allocated stays
            gpu.allocations_left = left
            with pytest.raises(MissingError):
                runner.infer({"input": batch})
        gpu.allocations_left = 2
        outputs = runner.infer({"input": batch})
    np.testing.assert_array_equal(outputs["logits"], OnnxRuntimeRunner(path).infer({"input": batch})["logits"])
    gpu.check_all_freed()


@pytest.mark.parametrize(
    ("misbehaviour", "error", "what"),
    [
        ("fails to run", ArtefactError, r"TensorRT failed to run the engine \(\[exec.*: so it is\)\."),
        ("shape of values", ArtefactError, r"output logits has a shape that depends on its values: \[-1, -1, -1, -1\]"),
        ("refuses memory", ArtefactError, "does not take the memory of input"),
        ("breaks", MissingError, "The GPU failed .*illegal memory access"),
        ("interrupted", KeyboardInterrupt, None),
    ],
)
def test_failing_run_is_told_and_everything_freed(exports, gpu, misbehaviour: str, error, what: str | None):
    path = exports.file("own")
    with EngineRunner(path, engine_manifest(path)) as runner:
        gpu.misbehaviour = misbehaviour
        with pytest.raises(error, match=what):
            runner.infer({"input": np.zeros((1, 3, 33, 49), np.float32)})
    assert gpu.calls[-5:] == CLOSED
    gpu.check_all_freed()


def test_interrupted_inference_is_over_and_the_next_one_is_right(exports, gpu):
    """Its copies must not arrive in buffers that hold something else already."""
    path = exports.file("own")
    batch = noise_batch(exports.model("own").card, 1, 33, 49, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        gpu.misbehaviour = "interrupted"
        with pytest.raises(KeyboardInterrupt):
            runner.infer({"input": batch * 0})
        assert not gpu.streams[77].pending, "nothing of it is left"
        outputs = runner.infer({"input": batch})
    np.testing.assert_array_equal(outputs["logits"], OnnxRuntimeRunner(path).infer({"input": batch})["logits"])


def test_closing_waits_for_what_is_under_way_and_may_be_repeated(exports, gpu):
    path = exports.file("own")
    runner = EngineRunner(path, engine_manifest(path))
    prepared = runner.prepare({"input": np.zeros((1, 3, 33, 49), np.float32)})
    prepared.start()
    runner.close()
    calls = list(gpu.calls)
    assert calls.index("synchronize 77") < calls.index("free context")
    runner.close()
    prepared.close()
    assert gpu.calls == calls
    for use in (prepared.run, prepared.start, prepared.run_on_device, lambda: runner.infer({"input": np.zeros(1)})):
        with pytest.raises(UsageError, match=r"The runner of .* is closed\.\nOpen it again"):
            use()
    gpu.check_all_freed()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"compute_capabilities": ("7.5", "12.0")}, f"built for compute capability 7.5, 12.0, {CARD.name} has 8.9"),
        ({"version": "1.6.0.1"}, f"built by tensorrt-rtx 1.6.0.1, version {VERSION} is installed"),
        ({"plugin": Plugin("p.so", "00", "1", embedded=True)}, "embedded plugin"),
        ({"plugin": Plugin("p.so", "00", "1")}, "its plugin p.so (sha256 00...) is not beside it"),
    ],
)
def test_engine_of_another_machine_is_not_opened(exports, gpu, changes, reason: str):
    path = exports.file("own")
    manifest = engine_manifest(path, **changes)
    assert reason in why_not_runnable(manifest, path)
    assert bool(reason) == bool(why_not_runnable(manifest, path))
    if reason:
        with pytest.raises(MissingError, match=r"cannot run here: .*\n`ccdeploy doctor`"):
            EngineRunner(path, manifest)
        assert gpu.calls == [], "neither CUDA nor TensorRT was touched"


@pytest.mark.parametrize(
    ("needed", "served", "reason"),
    [
        (13, "13.0", ""),
        (13, "12.9", f"TensorRT-RTX {VERSION} is built for CUDA 13, the driver 580.65 serves CUDA 12.9"),
        (12, "13.1", ""),
        (None, "11.8", ""),
        (13, "", ""),
    ],
)
def test_driver_must_serve_the_cuda_that_tensorrt_is_built_for(exports, gpu, monkeypatch, needed, served: str, reason):
    path = exports.file("own")
    monkeypatch.setattr("ccdeploy.runners.engine.needed_cuda", lambda flavour: needed)
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport((CARD,), served, "580.65"))
    assert why_not_runnable(engine_manifest(path), path) == reason


def test_gpu_that_is_not_there_is_told(exports, gpu):
    path = exports.file("own")
    with pytest.raises(MissingError, match="GPU 1 was asked for, this machine has 1, counted from 0"):
        EngineRunner(path, engine_manifest(path), device=1)
    assert gpu.calls == []


@pytest.fixture
def plugin(exports, gpu, tmp_path: Path, monkeypatch) -> Manifest:
    """Of an engine with a plugin whose library the environment names."""
    library = tmp_path / "libccdeploy_plugins.so"
    library.write_bytes(b"\x7fELF" + bytes(12) + b"\x03\x00")
    monkeypatch.setenv("CCDEPLOY_PLUGIN", str(library))
    return engine_manifest(exports.file("own"), plugin=Plugin(library.name, sha256_of(library), "1"), plugin_layers=2)


def test_plugin_is_loaded_before_the_engine_and_told(exports, gpu, plugin: Manifest, tmp_path: Path):
    gpu.plugins = ["CrissCrossAttention"]
    with EngineRunner(exports.file("own"), plugin) as runner:
        assert f", plugin libccdeploy_plugins.so (sha256 {plugin.engine.plugin.sha256[:16]}...)" in runner.how
    load = gpu.calls.index(f"load {tmp_path / 'libccdeploy_plugins.so'}")
    assert gpu.calls.index("make runtime") < load < gpu.calls.index("make engine")


def test_library_without_the_plugin_is_told(exports, gpu, plugin: Manifest):
    """TensorRT itself says nothing when it loads one."""
    gpu.plugins = ["SomethingElse"]
    with pytest.raises(ArtefactError, match="found no CrissCrossAttention plugin in"):
        EngineRunner(exports.file("own"), plugin)
    assert gpu.calls[-3:] == ["free runtime", "free logger", "pop"]


def test_missing_parts_are_named(exports, gpu, monkeypatch):
    path = exports.file("own")
    manifest = engine_manifest(path)
    with monkeypatch.context() as patch:
        patch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="the driver sees no GPU"))
        assert why_not_runnable(manifest, path) == "no GPU: the driver sees no GPU"
    with monkeypatch.context() as patch:

        def missing(name: str) -> None:
            raise MissingError("TensorRT-RTX is not installed.", "Install it.")

        patch.setattr("ccdeploy.runners.engine.load_flavour", missing)
        assert why_not_runnable(manifest, path) == "TensorRT-RTX is not installed."
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pycuda is not installed" in why_not_runnable(manifest, path)


def test_pycuda_that_does_not_load_is_told(exports, gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.delattr(sys.modules["pycuda"], "driver")
    path = exports.file("own")
    with pytest.raises(MissingError, match="pycuda is installed but does not load"):
        EngineRunner(path, engine_manifest(path))


def test_manifest_of_an_onnx_file_is_no_engine_s(exports, gpu):
    with pytest.raises(ArtefactError, match="its manifest is of the kind onnx, engine was expected"):
        why_not_runnable(read_manifest(exports.file("own")), exports.file("own"))


def test_record_of_the_tests_is_of_the_acted_card():
    assert CARD.compute_capability in RECORD.compute_capabilities
    assert dataclasses.replace(RECORD, version=VERSION) == RECORD


USED = {
    "ICudaEngine": (
        *("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_location", "get_tensor_dtype"),
        *("device_memory_size_v2", "get_engine_stat", "create_runtime_config", "create_execution_context"),
        "create_engine_inspector",
    ),
    "IExecutionContext": (
        *("active_optimization_profile", "set_optimization_profile_async", "set_input_shape", "get_tensor_shape"),
        *("set_tensor_address", "execute_async_v3", "is_stream_capturable"),
    ),
    "IRuntimeConfig": ("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"),
    "CudaGraphStrategy": ("WHOLE_GRAPH_CAPTURE",),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
    "EngineInspector": ("get_engine_information",),
    "EngineStat": ("TOTAL_WEIGHTS_SIZE",),
    "LayerInformationFormat": ("JSON",),
    "Runtime": ("deserialize_cuda_engine",),
    "TensorIOMode": ("INPUT",),
    "TensorLocation": ("DEVICE",),
}
"""What the acted TensorRT has and the runner uses."""


def test_acted_names_are_those_of_the_real_tensorrt():
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    pairs = [(kind, name) for kind, names in USED.items() for name in names]
    missing = [f"{kind}.{name}" for kind, name in pairs if not hasattr(getattr(trt, kind), name)]
    assert missing == []
    severity = trt.ILogger.Severity
    assert {"INTERNAL_ERROR", "ERROR"} <= set(severity.__members__)


def test_logger_of_the_runner_is_one_to_the_real_tensorrt():
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    told: list[str] = []
    log = logger_for(trt, told)
    log.log(trt.ILogger.Severity.WARNING, "of no matter")
    log.log(trt.ILogger.Severity.ERROR, "so it is")
    assert told == ["so it is"]
    assert isinstance(log, trt.ILogger)
