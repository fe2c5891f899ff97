"""Real builds with TensorRT-RTX, without a GPU: engines, manifests, and each way to be refused."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import ADA, CRISS_CROSS, DYNAMIC, STATIC, parse_model

from ccdeploy.engine import flavour
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.job import Progress
from ccdeploy.engine.manifest import Profile, read_manifest
from ccdeploy.engine.plugin import STANDARD_LAYERS
from ccdeploy.engine.source import FOREIGN_NOTE
from ccdeploy.errors import ArtefactError, BuildError, CcdeployError, MissingError, UsageError
from ccdeploy.files import sha256_of

pytest.importorskip("tensorrt_rtx_bindings")

RTX = "tensorrt-rtx"
SHAPES = Profile("input", (1, 3, 8, 8), (1, 3, 16, 16), (2, 3, 32, 32))


@pytest.fixture(autouse=True)
def _no_gpu(set_gpus):
    set_gpus()


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.engine"


def test_static_model_becomes_an_engine_with_its_manifest(write_model, engine: Path):
    model = write_model(STATIC)
    manifest = build_engine(model, engine, flavour=RTX, compute_capabilities=["8.6"])
    assert engine.stat().st_size > 0
    assert read_manifest(engine) == manifest
    assert manifest.kind == "engine"
    assert manifest.sha256 == sha256_of(engine)
    assert manifest.onnx_sha256 == sha256_of(model)
    assert manifest.notes == (FOREIGN_NOTE,)
    record = manifest.engine
    assert record is not None
    assert record.flavour == RTX
    assert record.version
    assert record.compute_capabilities == ("8.6",)
    assert (record.layers, record.plugin_layers, record.plugin, record.profiles) == (2, 0, None, ())
    assert record.build_seconds > 0


def test_dynamic_model_keeps_its_profile(write_model, engine: Path):
    manifest = build_engine(write_model(DYNAMIC), engine, flavour=RTX, profiles=[SHAPES])
    assert manifest.engine is not None
    assert manifest.engine.profiles == (SHAPES,)


def test_all_targets_at_once(write_model, engine: Path):
    targets = ["7.5", "8.0", "8.6", "8.9", "12.0", "12.1"]
    manifest = build_engine(write_model(STATIC), engine, flavour=RTX, compute_capabilities=targets)
    assert manifest.engine is not None
    assert manifest.engine.compute_capabilities == tuple(targets)


def test_default_target_is_written_down_and_told(write_model, engine: Path, set_gpus):
    set_gpus(ADA)
    manifest = build_engine(write_model(STATIC), engine, flavour=RTX)
    assert manifest.engine is not None
    assert manifest.engine.compute_capabilities == ("8.9",)
    assert any("NVIDIA RTX 4090" in note for note in manifest.notes)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precisions_build(write_model, engine: Path, dtype: str):
    graph = (
        f"g ({dtype}[1,2,8,8] input) => ({dtype}[1,2,8,8] y) <{dtype}[2,2,1,1] w = {{1, 2, 3, 4}}>"
        "{ y = Conv(input, w) }"
    )
    manifest = build_engine(write_model(graph, opset=22), engine, flavour=RTX)
    assert manifest.precision == {"float16": "fp16", "bfloat16": "bf16"}[dtype]


def test_bf16_for_turing_is_refused_before_the_build(write_model, engine: Path):
    model = write_model("g (bfloat16[2] x) => (bfloat16[2] y) <bfloat16[2] w = {1, 2}> { y = Add(x, w) }", opset=22)
    with pytest.raises(UsageError, match=r"bf16, which needs compute capability 8\.0 or newer; got 7\.5"):
        build_engine(model, engine, flavour=RTX, compute_capabilities=["7.5"])


def test_uint8_pictures_in_and_uint8_labels_out_build(write_model, engine: Path):
    """uint8 must be cast before anything else touches it; labels go through float, as TensorRT documents."""
    model = write_model(
        "g (uint8[1,8,8,3] image) => (uint8[1,8,8] labels) <float[4,3,1,1] w = {1,2,3,4,5,6,7,8,9,10,11,12}> {"
        "f = Cast <to = 1> (image) t = Transpose <perm = [0, 3, 1, 2]> (f) z = Conv(t, w)"
        "i = ArgMax <axis = 1, keepdims = 0> (z) r = Cast <to = 1> (i) labels = Cast <to = 2> (r) }"
    )
    manifest = build_engine(model, engine, flavour=RTX)
    assert (manifest.inputs[0].dtype, manifest.outputs[0].dtype) == ("uint8", "uint8")


def test_progress_covers_the_whole_build(write_model, engine: Path):
    seen: list[Progress] = []
    build_engine(write_model(STATIC), engine, flavour=RTX, progress=seen.append)
    whole = [step for step in seen if step.depth == 0]
    assert len({step.phase for step in whole}) == 1
    assert whole[0].done == 0
    assert whole[-1].done == whole[-1].total > 0
    assert max(step.depth for step in seen) >= 2


def test_criss_cross_definition_is_built_and_auto_plugin_says_so(write_model, engine: Path):
    model = write_model(CRISS_CROSS)
    manifest = build_engine(model, engine, flavour=RTX)
    assert manifest.criss_cross_nodes == 2
    assert manifest.engine is not None
    assert (manifest.engine.plugin, manifest.engine.plugin_layers) == (None, 0)
    why = "the kernel does not compute this model: channels is 4, a multiple of 32 from 32 to 2048 was expected"
    assert f"{STANDARD_LAYERS}: {why} (node 'first')" in manifest.notes
    asked = build_engine(model, engine, flavour=RTX, plugin="none")
    assert not any(STANDARD_LAYERS in note for note in asked.notes)


def test_auto_flavour_is_told(write_model, engine: Path, monkeypatch):
    monkeypatch.setitem(flavour._MODULES, "tensorrt", ("absent",))
    notes = build_engine(write_model(STATIC), engine).notes
    assert any("was chosen: TensorRT is not installed" in note for note in notes)


def test_external_weights_are_found_from_any_working_folder(tmp_path: Path, engine: Path, monkeypatch):
    model = parse_model(STATIC)
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"))
    (tmp_path / "models").mkdir()
    onnx.save(model, tmp_path / "models" / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    monkeypatch.chdir(tmp_path)
    build_engine(Path("models/m.onnx"), Path("here.engine"), flavour=RTX)
    assert (tmp_path / "here.engine").exists()


def test_level_and_workspace_are_taken(write_model, engine: Path):
    manifest = build_engine(write_model(STATIC), engine, flavour=RTX, workspace_bytes=1 << 30, optimization_level=0)
    assert manifest.engine is not None
    assert manifest.engine.workspace_bytes == 1 << 30


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"profiles": []}, "is dynamic"),
        ({"compute_capabilities": ["8.7"]}, "Jetson Orin"),
        ({"timing_cache": Path("cache")}, "no timing cache"),
        ({"embed_plugin": True}, "no plugin to embed"),
        ({"embed_plugin": True, "plugin": "auto"}, "no plugin to embed"),
        ({"optimization_level": 9}, "Optimization level 9"),
        ({"workspace_bytes": -1}, "-1 bytes"),
        ({"flavour": "tensor-rt"}, "no TensorRT flavour"),
    ],
)
def test_wrong_option_is_refused_without_a_trace(write_model, engine: Path, options: dict, what: str):
    with pytest.raises(UsageError) as error:
        build_engine(write_model(DYNAMIC), engine, **{"flavour": RTX, "profiles": [SHAPES], **options})
    assert what in error.value.what
    assert not engine.parent.exists()


def test_full_tensorrt_that_is_not_installed_ends_with_3(write_model, engine: Path, monkeypatch):
    monkeypatch.setitem(flavour._MODULES, "tensorrt", ("absent",))
    with pytest.raises(MissingError, match="TensorRT is not installed"):
        build_engine(write_model(STATIC), engine, flavour="tensorrt")


def test_engine_does_not_overwrite_its_model(write_model):
    model = write_model(STATIC)
    with pytest.raises(UsageError, match="overwrite its own model"):
        build_engine(model, model.parent / "." / model.name, flavour=RTX)


@pytest.mark.parametrize(
    ("graph", "operator"),
    [
        ("g (float[2] x) => (float[2] y) { y = acme.Foo(x) }", "acme::Foo (node 'y')"),
        ("g (float[1,2,2] x) => (float[1] y) { y = Det(x) }", "Det (node 'y')"),
        (
            "g (float[2] q, float[2] x) => (float[2] y) "
            "{ y = ccdeploy.CrissCrossAttention <query_channels = 1> (q, x) }",
            "CrissCrossAttention",
        ),
    ],
)
def test_operator_that_tensorrt_does_not_know_is_named(write_model, engine: Path, graph: str, operator: str):
    with pytest.raises(BuildError, match="does not know the operator") as error:
        build_engine(write_model(graph), engine, flavour=RTX, plugin="none")
    assert operator in error.value.what


def test_refused_node_is_named_with_tensorrts_reason(write_model, engine: Path):
    graph = "g (uint8[2,3] image) => (uint8[3,2] y) { y = Transpose <perm = [1, 0]> (image) }"
    with pytest.raises(BuildError, match="Transpose") as error:
        build_engine(write_model(graph), engine, flavour=RTX)
    assert "UInt8" in error.value.what
    assert "driver version" not in error.value.what


def test_failed_build_leaves_the_old_engine_alone(write_model, engine: Path):
    model = write_model(STATIC)
    build_engine(model, engine, flavour=RTX)
    before = {path.name: path.read_bytes() for path in engine.parent.iterdir()}
    write_model("g (float[2] x) => (float[2] y) { y = acme.Foo(x) }")
    with pytest.raises(BuildError):
        build_engine(model, engine, flavour=RTX)
    assert {path.name: path.read_bytes() for path in engine.parent.iterdir()} == before


@pytest.mark.parametrize("content", [b"", random.Random(1).randbytes(4096)])
def test_file_that_is_no_model_is_refused(tmp_path: Path, engine: Path, content: bytes):
    path = tmp_path / "noise.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtefactError):
        build_engine(path, engine, flavour=RTX)
    assert not engine.parent.exists()


def test_damaged_models_that_pass_the_checks_end_in_a_ccdeploy_error(write_model, tmp_path: Path, engine: Path):
    whole = write_model(CRISS_CROSS).read_bytes()
    path = tmp_path / "damaged.onnx"
    generator = random.Random(2)
    for _ in range(12):
        changed = bytearray(whole)
        changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        with contextlib.suppress(CcdeployError):
            build_engine(path, engine, flavour=RTX, plugin="none")
    assert left_over(engine) in (set(), {"model.engine", "model.engine.json"})


def left_over(engine: Path) -> set[str]:
    return {path.name for path in engine.parent.iterdir()} if engine.parent.exists() else set()


def test_workspace_too_small_for_any_kernel_is_reported(write_model, engine: Path):
    with pytest.raises(BuildError, match="within workspace limit") as error:
        build_engine(write_model(DYNAMIC), engine, flavour=RTX, profiles=[SHAPES], workspace_bytes=1)
    assert "--workspace" in error.value.remedy
