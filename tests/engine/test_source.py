"""Whatever is wrong with an ONNX file is a ccdeploy error before TensorRT sees it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_models import CRISS_CROSS, DYNAMIC, STATIC, WEIGHTS, parse_model

from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.manifest import METADATA_KEY, Manifest, Tensor
from ccdeploy.engine.plugin import CrissCrossNode
from ccdeploy.engine.source import FOREIGN_NOTE, read_source
from ccdeploy.errors import ArtefactError, CcdeployError

MANIFEST = Manifest(
    kind="onnx",
    file="model.onnx",
    sha256="",
    onnx_sha256="",
    ccdeploy="0.1.0",
    model="some-card",
    card={"name": "some-card"},
    weights=Weights(source="random", seed=1),
    recurrence=2,
    precision="fp32",
    io="tensor",
    dynamic="none",
    inputs=(Tensor("input", "float32", "NCHW", (1, 3, 8, 8)),),
    outputs=(Tensor("y", "float32", "NCHW", (1, 4, 8, 8)),),
    criss_cross_nodes=0,
)


def save_with_manifest(manifest: Manifest | str, path: Path) -> Path:
    model = parse_model(STATIC)
    text = manifest if isinstance(manifest, str) else manifest.to_json(portable=True)
    onnx.helper.set_model_props(model, {METADATA_KEY: text})
    onnx.save(model, path)
    return path


def test_foreign_file_gets_an_honest_manifest(write_model):
    file = read_source(write_model(DYNAMIC))
    assert file.notes == (FOREIGN_NOTE,)
    assert file.manifest.precision == "fp32"
    assert file.manifest.card == {}
    assert file.manifest.weights.source == "unknown"
    assert file.manifest.inputs == (Tensor("input", "float32", "unknown", ("N", 3, "H", "W")),)
    assert file.manifest.sha256 == file.manifest.onnx_sha256 != ""


def test_own_manifest_is_read_from_the_file(tmp_path: Path):
    file = read_source(save_with_manifest(MANIFEST, tmp_path / "model.onnx"))
    assert file.notes == ()
    assert replace(file.manifest, sha256="", onnx_sha256="") == MANIFEST


@pytest.mark.parametrize(
    ("manifest", "what"),
    [
        ("{", "not JSON"),
        (replace(MANIFEST, criss_cross_nodes=2), "criss-cross nodes as 2, its graph has 0"),
        (replace(MANIFEST, inputs=(Tensor("input", "float32", "NCHW", (1, 3, 8, 9)),)), "its graph has input 1x3x8x8"),
        (replace(MANIFEST, outputs=(Tensor("y", "float32", "NCHW", (1, 4, "H", "W")),)), "y 1x4x?x?"),
    ],
)
def test_manifest_that_does_not_fit_is_refused(tmp_path: Path, manifest: Manifest | str, what: str):
    with pytest.raises(ArtefactError) as error:
        read_source(save_with_manifest(manifest, tmp_path / "model.onnx"))
    assert what in error.value.what


def test_criss_cross_nodes_are_counted_and_defined_operators_left_out(write_model):
    file = read_source(write_model(CRISS_CROSS))
    assert file.criss_cross == (CrissCrossNode("first", 2, 4), CrissCrossNode("y", 2, 4))
    assert [operator.name for operator in file.operators] == ["Add"]


def test_operators_inside_branches_are_seen(write_model):
    graph = (
        "g (bool c, float[1] x) => (float[1] y) { y = If (c) <"
        "then_branch = t () => (float[1] a) { a = acme.Foo(x) },"
        "else_branch = e () => (float[1] b) { b = Relu(x) }> }"
    )
    names = {str(operator) for operator in read_source(write_model(graph)).operators}
    assert names == {"If (node 'y')", "acme::Foo (node 'a')", "Relu (node 'b')"}


@pytest.mark.parametrize(("dtype", "precision"), [("float", "fp32"), ("float16", "fp16"), ("bfloat16", "bf16")])
def test_precision_of_a_foreign_file_is_that_of_its_weights(write_model, dtype: str, precision: str):
    graph = (
        f"g ({dtype}[2] x) => ({dtype}[2] y) <{dtype}[2] w = {{1, 2}}, int64[3] i = {{1, 2, 3}}> {{ y = Add(x, w) }}"
    )
    assert read_source(write_model(graph, opset=22)).manifest.precision == precision


def test_weights_listed_as_inputs_need_no_feed(tmp_path: Path):
    model = parse_model(STATIC)
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 3, 1, 1]))
    onnx.save(model, tmp_path / "old.onnx")
    assert [tensor.name for tensor in read_source(tmp_path / "old.onnx").inputs] == ["input"]


def test_missing_file_is_refused(tmp_path: Path):
    for path in (tmp_path / "absent.onnx", tmp_path):
        with pytest.raises(ArtefactError, match="does not exist"):
            read_source(path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a model", bytes(range(256)) * 20])
def test_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ArtefactError):
        read_source(path)


def test_invalid_graph_is_refused(write_model):
    with pytest.raises(ArtefactError, match="is not valid ONNX"):
        read_source(write_model("g (float[1] x) => (float[1] y) { y = Relu(absent) }"))


def test_every_truncation_and_many_mutations_end_in_a_ccdeploy_error(write_model, tmp_path: Path):
    whole = write_model(CRISS_CROSS).read_bytes()
    path = tmp_path / "damaged.onnx"
    generator = random.Random(0)
    damaged = [whole[:length] for length in range(0, len(whole), 5)]
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(generator.randint(1, 4)):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            read_source(path)
        except CcdeployError:
            refused += 1
    assert refused > len(damaged) // 4


def save_with_external_weights(folder: Path) -> Path:
    model = parse_model(f"g (float[1,3,8,8] input) => (float[1,4,8,8] y) {WEIGHTS} {{ y = Conv(input, w) }}")
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w"))
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    return folder / "m.onnx"


def test_external_weights_are_accepted(tmp_path: Path):
    assert read_source(save_with_external_weights(tmp_path)).manifest.precision == "fp32"


def test_missing_external_weights_are_named(tmp_path: Path):
    path = save_with_external_weights(tmp_path)
    (tmp_path / "m.data").unlink()
    with pytest.raises(ArtefactError, match=r"m\.data is missing"):
        read_source(path)


def test_short_external_weights_are_named(tmp_path: Path):
    path = save_with_external_weights(tmp_path)
    (tmp_path / "m.data").write_bytes(b"short")
    with pytest.raises(ArtefactError, match="has 5 bytes, the weight 'w' ends at byte 48"):
        read_source(path)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("location", "../m.data", "outside of the model's own folder"),
        ("location", "/etc/hostname", "outside of the model's own folder"),
        ("length", "many", "damaged reference"),
    ],
)
def test_reference_out_of_the_folder_or_damaged_is_refused(tmp_path: Path, key: str, value: str, what: str):
    path = save_with_external_weights(tmp_path)
    model = onnx.load(path, load_external_data=False)
    next(entry for entry in model.graph.initializer[0].external_data if entry.key == key).value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match=what):
        read_source(path)
