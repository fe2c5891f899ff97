"""The step of the GPU check that runs whole engines, on the acted GPU: what it must find, and what it must not miss."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import gpu_check_parts  # noqa: F401  # puts the folder of the steps on the path
import numpy as np
import pytest
from fake_gpu import RUN_MS, VERSION, FakeGpu
from gpu_steps import engines
from gpu_steps.context import Build, Context
from gpu_steps.record import DIFFERS, FAILED, NOT_RUN, OK, Row

from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.engine.flavour import TENSORRT, FlavourStatus
from ccdeploy.engine.manifest import Engine, read_manifest, write_manifest
from ccdeploy.errors import BuildError, UsageError
from ccdeploy.runners.pytorch import PyTorchRunner

PLUGIN = {"Name": "cca", "LayerType": "PluginV3"}


@pytest.fixture
def gpu(monkeypatch) -> FakeGpu:
    fake = FakeGpu(TENSORRT, layers=[{"Name": "conv1", "LayerType": "gemm"}, PLUGIN, PLUGIN])
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def engine(exports, tmp_path: Path) -> Path:
    source, path = exports.file("own", dynamic="all"), tmp_path / "own.engine"
    path.write_bytes(source.read_bytes())
    record = Engine(TENSORRT, VERSION, ("8.9",))
    write_manifest(dataclasses.replace(read_manifest(source), kind="engine", file=path.name, engine=record), path)
    return path


@pytest.fixture
def given(exports) -> engines.Given:
    batch = noise_batch(exports.model("own").card, 2, 20, 31, seed=0)
    expected = PyTorchRunner(exports.model("own"), double=True).infer({"input": batch})["logits"]
    return engines.Given(batch, np.asarray(expected, np.float64))


def by_name(rows: Any) -> dict[str, Row]:
    return {row.name.removeprefix("e: "): row for row in rows}


def test_right_engine_passes_every_check(engine, given, gpu):
    rows = by_name(engines.checked("e", engine, given, "fp32"))
    plain = ["runtime", "against PyTorch", "run again", "after a smaller batch", "on the device"]
    names = [*plain, "CUDA graph", "two contexts at once", "layers"]
    assert {name: row.status for name, row in rows.items()} == dict.fromkeys(names, OK)
    assert rows["on the device"].numbers["ms"] == RUN_MS
    assert "launch graph" in gpu.calls
    assert rows["layers"].said == "3 layers: 2 PluginV3, 1 gemm; 2 of the plugin"
    gpu.check_all_freed()


def test_wrong_result_differs(engine, given, gpu):
    wrong = engines.Given(given.batch, given.expected * 1.02)  # 2 %
    row = by_name(engines.checked("e", engine, wrong, "fp16"))["against PyTorch"]
    assert row.status == DIFFERS
    assert "5e-03 allowed" in row.said


@pytest.mark.parametrize(
    ("misbehaviour", "name"), [("not capturable", "CUDA graph"), ("one context", "two contexts at once")]
)
def test_what_raises_is_a_failure_and_the_rest_goes_on(engine, given, gpu, misbehaviour: str, name: str):
    gpu.misbehaviour = misbehaviour
    rows = by_name(engines.checked("e", engine, given, "fp32"))
    assert [row.name for row in rows.values() if row.status == FAILED] == [f"e: {name}"]
    assert rows["layers"].status == OK


def test_engine_that_does_not_run_fails_once(engine, given, gpu):
    gpu.misbehaviour = "fails to run"
    rows = by_name(engines.checked("e", engine, given, "fp32"))
    assert {name: row.status for name, row in rows.items()} == {"runtime": OK, "plain": FAILED}


@pytest.mark.parametrize(
    ("layers", "status"), [(["conv1", "cca"], NOT_RUN), ([PLUGIN], DIFFERS), ([PLUGIN] * 3, DIFFERS)]
)
def test_layers_of_the_plugin_are_counted(engine, given, gpu, layers, status: str):
    gpu.layers = layers
    assert by_name(engines.checked("e", engine, given, "fp32"))["layers"].status == status


def test_one_bit_is_seen():
    values = np.ones((1, 2, 3, 4), np.float32)
    other = values.copy()
    other.view(np.uint32)[0, 0, 0, 0] ^= 1
    assert engines.same("x", values, values.copy()).status == OK
    assert engines.same("x", other, values).status == DIFFERS
    assert engines.same("x", values[:, :1], values).status == DIFFERS
    assert engines.compared("x", np.full_like(values, np.nan), values, "fp16").status == DIFFERS
    assert engines.compared("x", values[:, :1], values, "fp16").status == DIFFERS


def test_rehearsal_runs_no_engine(tmp_path: Path):
    (row,) = engines.run(Context(str(tmp_path), Build("cpu")))
    assert (row.status, row.said) == (NOT_RUN, "a rehearsal: TensorRT runs on a GPU only")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name in ("pycuda", "onnx") else real(name, *rest)
    )
    (row,) = engines.run(Context(str(tmp_path), Build("cuda")))
    assert (row.status, row.said) == (NOT_RUN, "not installed: onnx, pycuda")


@pytest.fixture
def whole(engine, given, gpu, tmp_path: Path, monkeypatch) -> Context:
    """The step on a machine with full TensorRT; only building is acted."""
    statuses = [FlavourStatus(TENSORRT, True, VERSION), FlavourStatus("tensorrt-rtx", False, reason="no RTX here.")]
    monkeypatch.setattr("ccdeploy.engine.flavour.probe_flavours", lambda: statuses)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 9))
    monkeypatch.setattr("ccdeploy.ccnet.loading.load_model", lambda name: None)
    monkeypatch.setattr(engines, "inputs_of", lambda model: given)
    monkeypatch.setattr(engines, "PRECISIONS", ("fp32",))
    monkeypatch.setattr(engines, "exported", lambda model, target, precision: target.write_bytes(engine.read_bytes()))
    return Context(str(tmp_path), Build("cuda", library="lib.so"))


def test_whole_step_names_each_engine(whole: Context, engine: Path, monkeypatch):
    def built(source, target, flavour, capability, given, library):
        assert (flavour, capability, library) == (TENSORRT, "8.9", Path("lib.so"))
        target.write_bytes(engine.read_bytes())
        manifest = read_manifest(engine)
        write_manifest(manifest, target)
        return manifest

    monkeypatch.setattr(engines, "built", built)
    rows = list(engines.run(whole))
    assert {row.status for row in rows} == {OK}
    assert rows[0].name == "fp32, onnxruntime on the CPU"
    assert {row.name.split(":")[0] for row in rows[1:]} == {"fp32, tensorrt"}
    assert len(rows) == 10


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("9.0 is no target.", "-"), NOT_RUN), (BuildError("No.", "-"), FAILED)]
)
def test_engine_that_is_not_built_is_told(whole: Context, monkeypatch, error, status: str):
    def built(*arguments):
        raise error

    monkeypatch.setattr(engines, "built", built)
    rows = list(engines.run(whole))
    assert [row.status for row in rows] == [OK, status]
    assert error.what in rows[1].said


def test_without_tensorrt_it_says_why(whole: Context, monkeypatch):
    statuses = [FlavourStatus(TENSORRT, False, reason="TensorRT is not installed.")]
    monkeypatch.setattr("ccdeploy.engine.flavour.probe_flavours", lambda: statuses)
    (row,) = engines.run(whole)
    assert (row.status, row.said) == (NOT_RUN, "TensorRT is not installed.")
