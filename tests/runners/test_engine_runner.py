"""Engines on a GPU, acted by fake_gpu: the order of calls, what goes in and comes out, and each way to be refused."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_gpu import CARD, VERSION, FakeGpu

from ccdeploy.ccnet.preprocessing import noise_batch, noise_pictures
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import Engine, Manifest, Plugin, read_manifest
from ccdeploy.errors import ArtefactError, MissingError
from ccdeploy.files import sha256_of
from ccdeploy.runners.engine import EngineRunner, why_not_runnable
from ccdeploy.runners.ort import OnnxRuntimeRunner

RECORD = Engine("tensorrt-rtx", VERSION, ("8.6", "8.9"))


@pytest.fixture
def gpu(monkeypatch) -> FakeGpu:
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake


def engine_manifest(path: Path, **changes) -> Manifest:
    record = dataclasses.replace(RECORD, **changes)
    return dataclasses.replace(read_manifest(path), kind="engine", engine=record)


def test_engine_takes_its_inputs_and_gives_its_outputs(exports, gpu):
    path = exports.file("own", dynamic="all")
    batch = noise_batch(exports.model("own").card, 2, 20, 31, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        assert runner.how == f"TensorRT-RTX {VERSION}, {CARD.name}"
        first = runner.infer({"input": batch})
        again = runner.infer({"input": batch[:1].astype(np.float64)})
    expected = OnnxRuntimeRunner(path).infer({"input": batch})["logits"]
    assert list(first) == ["logits"]
    np.testing.assert_array_equal(first["logits"], expected)
    np.testing.assert_allclose(again["logits"], expected[:1], atol=1e-5)


def test_calls_come_in_the_order_that_tensorrt_needs(exports, gpu):
    path = exports.file("own", io="image", dynamic="all")
    pictures = noise_pictures(exports.model("own").card, 1, 20, 31, seed=0)
    with EngineRunner(path, engine_manifest(path)) as runner:
        runner.infer({"image": pictures})
    assert gpu.calls == [
        *("init", "push", "make logger", "make runtime", "make engine", "make context", "make stream"),
        *("shape image [1, 20, 31, 3]", "make buffer", "copy in uint8 [1, 20, 31, 3]"),
        *("make buffer", "execute", "copy out uint8 [1, 20, 31]", "synchronize", "free buffer", "free buffer"),
        *("free stream", "free context", "free engine", "free runtime", "free logger", "pop"),
    ]


def test_shape_outside_of_the_profile_is_refused(exports, gpu):
    path = exports.file("own")
    with (
        EngineRunner(path, engine_manifest(path)) as runner,
        pytest.raises(ArtefactError, match=r"does not take input of \[2, 3, 33, 49\]"),
    ):
        runner.infer({"input": np.zeros((2, 3, 33, 49), np.float32)})
    assert gpu.calls[-1] == "pop"


def test_input_that_the_engine_does_not_have_is_refused(exports, gpu):
    path = exports.file("own")
    with EngineRunner(path, engine_manifest(path)) as runner, pytest.raises(ArtefactError, match="input input is none"):
        runner.infer({"picture": np.zeros((1, 3, 33, 49), np.float32)})


@pytest.mark.parametrize(
    ("misbehaviour", "error", "what"),
    [
        ("refuses the engine", ArtefactError, f"is refused by TensorRT-RTX {VERSION}"),
        ("no context", MissingError, "does not fit into the GPU's memory"),
    ],
)
def test_failing_start_frees_everything_inside_the_context(exports, gpu, misbehaviour: str, error, what: str):
    gpu.misbehaviour = misbehaviour
    path = exports.file("own")
    with pytest.raises(error, match=what) as raised:
        EngineRunner(path, engine_manifest(path))
    assert gpu.calls[-3:] == ["free runtime", "free logger", "pop"]
    assert not any("outside" in call for call in gpu.calls)
    del raised


@pytest.mark.parametrize(
    ("misbehaviour", "error", "what"),
    [
        ("fails to run", ArtefactError, "TensorRT failed to run the engine"),
        ("no memory", MissingError, "The GPU failed .*out of memory"),
    ],
)
def test_failing_run_is_told_and_everything_freed(exports, gpu, misbehaviour: str, error, what: str):
    path = exports.file("own")
    with EngineRunner(path, engine_manifest(path)) as runner:
        gpu.misbehaviour = misbehaviour
        with pytest.raises(error, match=what):
            runner.infer({"input": np.zeros((1, 3, 33, 49), np.float32)})
    assert gpu.calls[-6:] == [*(f"free {x}" for x in ("stream", "context", "engine", "runtime", "logger")), "pop"]


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
