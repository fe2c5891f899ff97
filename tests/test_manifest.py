"""A manifest says only what it can say: whatever is missing, mistyped or absurd in one is told by its field."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ccdeploy.ccnet.provenance import Weights
from ccdeploy.engine.manifest import (
    Engine,
    Manifest,
    Plugin,
    Profile,
    Quantization,
    Tensor,
    manifest_path,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from ccdeploy.errors import ArtefactError

ONNX = Manifest(
    kind="onnx",
    file="m.onnx",
    sha256="aa",
    onnx_sha256="aa",
    ccdeploy="0.1.0",
    model="some-card",
    card={"description": "Größe"},
    weights=Weights("file", "bb", "w.pth", "official", path="/home/me/w.pth"),
    recurrence=2,
    precision="fp16",
    io="image",
    dynamic="all",
    inputs=(Tensor("image", "uint8", "NHWC", ("batch", "height", "width", 3)),),
    outputs=(Tensor("labels", "uint8", "NHW", ("batch", "height", "width")),),
    criss_cross_nodes=2,
    stages={"backbone": "backbone", "logits": "logits"},
    notes=("a note",),
)
ENGINE = dataclasses.replace(
    ONNX,
    kind="engine",
    engine=Engine(
        "tensorrt-rtx",
        "1.7",
        ("8.6",),
        (Profile("image", (1, 8, 8, 3), (1, 16, 16, 3), (2, 32, 32, 3)),),
        Plugin("p.so", "cc", "1"),
        2,
        40,
        1 << 30,
        1.5,
    ),
)


QUANTIZED = dataclasses.replace(
    ONNX,
    quantization=Quantization(
        "int8", "percentile", 16, "photos", "tensorrt", ("a/Conv", "b/Conv"), {"c/Conv": "classifier"}, 99.9
    ),
)


@pytest.mark.parametrize("manifest", [ONNX, ENGINE, QUANTIZED])
def test_manifest_comes_back_as_it_was_written(tmp_path: Path, manifest: Manifest):
    path = write_manifest(manifest, tmp_path / "m.onnx")
    assert path == manifest_path(tmp_path / "m.onnx") == tmp_path / "m.onnx.json"
    assert read_manifest(tmp_path / "m.onnx") == manifest
    assert "Größe" in path.read_text(encoding="utf-8")


def test_portable_manifest_leaves_out_what_is_only_true_here():
    text = ONNX.to_json(portable=True)
    assert "/home/me" not in text
    assert parse_manifest(text, "m").sha256 == ""
    assert parse_manifest(text, "m").weights.sha256 == "bb"
    assert "/home/me" in ONNX.to_json()


def changed(manifest: Manifest, path: str, value: Any) -> str:
    """A manifest's JSON with one entry replaced, or taken out."""
    data: Any = json.loads(manifest.to_json())
    *parents, last = path.split(".")
    place = data
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("precision", KeyError, "the field `manifest.precision` is missing"),
        ("weights.source", KeyError, "the field `manifest.weights.source` is missing"),
        ("recurrence", "2", "`manifest.recurrence` is '2', int was expected"),
        ("recurrence", True, "`manifest.recurrence` is True"),
        ("criss_cross_nodes", 2.0, "`manifest.criss_cross_nodes` is 2.0"),
        ("card", [], "`manifest.card` is list, a table"),
        ("notes", "a note", "`manifest.notes` is str, a list"),
        ("stages", {"backbone": 5}, "`manifest.stages.backbone` is 5"),
        ("inputs.0.shape", [None], r"`manifest.inputs\[0\].shape\[0\]` is None"),
        ("inputs", ["image"], r"`manifest.inputs\[0\]` is str, a table"),
        ("weights.seed", 1.5, "`manifest.weights.seed` is 1.5, int was expected"),
        ("weights.seed", -1, "`manifest.weights.seed` is -1, 0 or more"),
        ("kind", "model", "`manifest.kind` is 'model', one of onnx, engine"),
        ("precision", "fp17", "`manifest.precision` is 'fp17'"),
        ("io", "", "`manifest.io` is ''"),
        ("dynamic", "some", "`manifest.dynamic` is 'some'"),
        ("kind", "engine", "`manifest.engine` does not go with"),
        ("inputs", [], "one input, one output"),
        ("outputs", [], "one input, one output"),
        ("inputs.0.layout", "NHW", "is not of four dimensions"),
        ("inputs.0.shape", [1, 2, 3], "is not of four dimensions"),
        ("inputs.0.shape", [1, 0, 3, 3], "outside of 1 to 65536"),
        ("inputs.0.shape", [1, 10**12, 3, 3], "outside of 1 to 65536"),
        ("format", 99, "manifest format 99, this ccdeploy reads format 1"),
        ("format", "1", "the field `format` is missing"),
        ("format", KeyError, "the field `format` is missing"),
    ],
)
def test_wrong_entry_is_named(path: str, value: Any, what: str):
    with pytest.raises(ArtefactError, match=what):
        parse_manifest(changed(ONNX, path, value), "m.json")


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("engine.build_seconds", 10**400, "`manifest.engine.build_seconds`"),
        ("engine.profiles.0.min", [1.5], r"`manifest.engine.profiles\[0\].min\[0\]` is 1.5, int"),
        ("engine.plugin", {"file": "p.so"}, "the field `manifest.engine.plugin.sha256` is missing"),
        ("engine.workspace_bytes", "1", "`manifest.engine.workspace_bytes` is '1', int was expected"),
        ("engine", None, "`manifest.engine` does not go with"),
    ],
)
def test_wrong_entry_of_an_engine_is_named(path: str, value: Any, what: str):
    with pytest.raises(ArtefactError, match=what):
        parse_manifest(changed(ENGINE, path, value), "m.json")


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        ("quantization.type", "int4", "`manifest.quantization.type` is 'int4', one of int8, fp8 was expected"),
        ("quantization.layers", "a/Conv", "`manifest.quantization.layers` is str, a list"),
        ("quantization.kept", ["c/Conv"], "`manifest.quantization.kept` is list, a table"),
        ("quantization.pictures", KeyError, "the field `manifest.quantization.pictures` is missing"),
    ],
)
def test_wrong_entry_of_a_quantization_is_named(path: str, value: Any, what: str):
    with pytest.raises(ArtefactError, match=what):
        parse_manifest(changed(QUANTIZED, path, value), "m.json")


def test_manifest_from_before_quantization_is_read():
    assert parse_manifest(changed(ONNX, "quantization", KeyError), "m") == ONNX
    assert (ONNX.types, QUANTIZED.types) == ("fp16", "int8+fp16")


def test_whole_numbers_stand_for_floats():
    assert parse_manifest(changed(ENGINE, "engine.build_seconds", 3), "m").engine.build_seconds == 3.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "[" * 100000, "NaN", '{"format": 1' + "0" * 5000 + "}"],
)
def test_what_is_no_manifest_is_told(text: str):
    with pytest.raises(ArtefactError, match=r"m\.json"):
        parse_manifest(text, "m.json")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", '"\\ud800"'])
def test_values_that_strict_json_cannot_hold_are_refused(value: str):
    """They would come out again in every --json."""
    text = ENGINE.to_json().replace('"Größe"', value)
    with pytest.raises(ArtefactError, match="is not JSON"):
        parse_manifest(text, "m.json")


def test_unreadable_manifests_are_told(tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"m\.onnx has no readable manifest: m\.onnx\.json was expected"):
        read_manifest(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ArtefactError, match="no readable manifest"):
        read_manifest(tmp_path / "m.onnx")


def test_manifest_of_a_foreign_file_may_hold_any_tensors():
    """An engine can be built from any ONNX file; its manifest must be readable again."""
    foreign = dataclasses.replace(
        ENGINE,
        card={},
        precision="unknown",
        dynamic="unknown",
        inputs=(Tensor("x", "float32", "unknown", (10**6,)),) * 2,
    )
    assert parse_manifest(foreign.to_json(), "m") == foreign
