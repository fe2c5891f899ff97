"""What a server could not serve, or would serve wrongly, is refused when it is packaged, with the reason."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repository_parts import a_card, a_changed, a_engine, a_profile

from ccdeploy.engine.manifest import Plugin, Quantization, read_manifest
from ccdeploy.errors import ArtefactError, CcdeployError, InputError, MissingError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.serving.contract import MODEL_NAME
from ccdeploy.serving.repository import Packaging, package, read_repository
from ccdeploy.serving.repository.options import check_packaging
from ccdeploy.serving.repository.subject import check_name, subject_of

INT8 = Quantization("int8", "minmax", 1, "noise", "tensorrt", ())
BACKENDS = [
    ("onnx-tensorrt", {"backend": "tensorrt"}, {}, "TensorRT backend takes engines"),
    ("int8-onnxruntime", {"backend": "onnxruntime"}, {"quantization": INT8}, "saturate"),
    (
        "fp8-onnxruntime-gpu",
        {"backend": "onnxruntime", "gpus": ()},
        {"quantization": dataclasses.replace(INT8, type="fp8")},
        "zero points",
    ),
    ("bf16-onnxruntime", {"backend": "onnxruntime"}, {"precision": "bf16"}, "bfloat16"),
    ("max-batch", {"max_batch": 4}, {}, "one picture at a time"),
    ("plugin", {"plugin": Path("lib.so")}, {}, "for engines"),
    ("name", {"name": "a/b"}, {}, "a/b"),
]


@pytest.mark.parametrize(
    ("packaging", "manifest", "reason"), [case[1:] for case in BACKENDS], ids=[c[0] for c in BACKENDS]
)
def test_refused_onnx_files(
    exports, tmp_path: Path, packaging: dict[str, Any], manifest: dict[str, Any], reason: str
) -> None:
    source = a_changed(exports.file("ccnet"), tmp_path, **manifest)
    with pytest.raises(UsageError, match=reason):
        package([source], tmp_path / "r", Packaging(**packaging))
    assert not (tmp_path / "r").exists()


ENGINES = [
    ("rtx", {"flavour": "tensorrt-rtx"}, {}, UsageError, "tensorrt-rtx"),
    ("onnxruntime", {}, {"backend": "onnxruntime"}, UsageError, "takes ONNX files"),
    ("no-plugin", {"plugin": Plugin("lib.so", "0" * 64, "1")}, {}, MissingError, "lib.so"),
    ("odd-plugin", {"plugin": Plugin("../lib.so", "0" * 64, "1")}, {}, ArtefactError, "file's name"),
    ("embedded", {"plugin": Plugin("lib.so", "0" * 64, "1", True)}, {"backend": "python"}, UsageError, "native code"),
    ("needs-none", {}, {"plugin": Path("lib.so")}, UsageError, "needs no plugin"),
]


@pytest.mark.parametrize(
    ("engine", "packaging", "error", "reason"), [case[1:] for case in ENGINES], ids=[c[0] for c in ENGINES]
)
def test_refused_engines(
    exports,
    tmp_path: Path,
    engine: dict[str, Any],
    packaging: dict[str, Any],
    error: type[CcdeployError],
    reason: str,
) -> None:
    source = a_engine(tmp_path, exports.file("ccnet"), **engine)
    with pytest.raises(error, match=reason):
        package([source], tmp_path / "r", Packaging(warmed=False, **packaging))


def test_an_rtx_engine_runs_in_the_python_backend(exports, tmp_path: Path) -> None:
    source = a_engine(tmp_path, exports.file("ccnet"), flavour="tensorrt-rtx")
    package([source], tmp_path / "r", Packaging(backend="python", warmed=False))
    assert read_repository(tmp_path / "r").placements["net"].gpus == ()


def test_profiles_bound_the_batch(exports, tmp_path: Path) -> None:
    onnx = exports.file("ccnet", dynamic="all")
    several = a_engine(
        tmp_path, onnx, "two.engine", profiles=(a_profile((2, 3, 65, 97), (2, 3, 65, 97), (4, 3, 65, 97)),)
    )
    with pytest.raises(UsageError, match="2 pictures or more"):
        subject_of(several, Packaging())
    single = a_engine(tmp_path, onnx, profiles=(a_profile((1, 3, 33, 33), (1, 3, 65, 97), (4, 3, 65, 97)),))
    with pytest.raises(UsageError, match="--max-batch 5"):
        subject_of(single, Packaging(max_batch=5))
    assert subject_of(single, Packaging()).served.batch == 4


def test_a_warm_up_that_the_engine_does_not_take(exports, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (200, 200)).save(tmp_path / "large.png")
    profile = a_profile((1, 3, 33, 33), (1, 3, 65, 97), (1, 3, 129, 129))
    engine = a_engine(tmp_path, exports.file("ccnet", dynamic="all"), profiles=(profile,))
    with pytest.raises(InputError, match="33x33 to 129x129"):
        package([engine], tmp_path / "r", Packaging(warm_up=tmp_path / "large.png"))


def a_library(folder: Path, name: str) -> tuple[Path, Plugin]:
    """A file that looks like a shared library, and an engine's record of it."""
    path = folder / name
    path.write_bytes(b"\x7fELF" + bytes(12) + (3).to_bytes(2, "little") + name.encode())
    return path, Plugin("lib.so", sha256_of(path), "1")


def test_the_named_plugin_must_be_the_engines(exports, tmp_path: Path) -> None:
    one, one_record = a_library(tmp_path, "one.so")
    two, two_record = a_library(tmp_path, "two.so")
    engine = a_engine(tmp_path, exports.file("ccnet"), plugin=one_record)
    with pytest.raises(UsageError, match="sha256"):
        package([engine], tmp_path / "r", Packaging(plugin=two, warmed=False))
    package([engine], tmp_path / "r", Packaging(plugin=one, warmed=False))
    found = read_repository(tmp_path / "r")
    assert [path.name for path in found.plugins] == ["lib.so"]
    assert found.plugins[0].is_absolute()
    other = a_engine(tmp_path, exports.file("ccnet"), "other.engine", plugin=two_record)
    with pytest.raises(UsageError, match="different plugin libraries"):
        package([other], tmp_path / "r", Packaging(plugin=two, warmed=False))
    with pytest.raises(ArtefactError, match=r"versions \[1, 2\] of net are of different plugin libraries"):
        package([other], tmp_path / "r", Packaging(name="net", plugin=two, warmed=False, keep=2))
    package([other], tmp_path / "r", Packaging(name="net", plugin=two, warmed=False))


def test_networks_that_take_no_colour_pictures(exports, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="normalised"):
        package([exports.file("bare")], tmp_path / "r")
    with pytest.raises(UsageError, match="batches of 2"):
        package([exports.file("ccnet", batch=2)], tmp_path / "r")


def test_tensors_that_no_step_feeds_or_reads(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet", dynamic="all")
    manifest = read_manifest(source)
    (given,), (got,) = manifest.inputs, manifest.outputs
    cases: list[tuple[dict[str, Any], type[CcdeployError], str]] = [
        ({"inputs": (dataclasses.replace(given, layout="NHWC"),)}, UsageError, "layouts NHWC and NCHW"),
        ({"inputs": (dataclasses.replace(given, dtype="bfloat16"),)}, UsageError, "NumPy does not have"),
        ({"inputs": (dataclasses.replace(given, dtype="complex64"),)}, UsageError, "no type for tensors of complex64"),
        ({"inputs": (dataclasses.replace(given, shape=("batch", 3, 65, "width")),)}, UsageError, "one side open"),
        ({"inputs": (dataclasses.replace(given, name="x"),)}, ArtefactError, "graph's inputs are input"),
        ({"outputs": (dataclasses.replace(got, shape=(1, 21, "a", "b")),)}, ArtefactError, "graph's output"),
        ({"outputs": (dataclasses.replace(got, name="y"),)}, ArtefactError, "are none"),
    ]
    for changes, error, reason in cases:
        with pytest.raises(error, match=reason):
            subject_of(a_changed(source, tmp_path, **changes), Packaging())


def test_too_many_classes(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet")
    manifest = read_manifest(source)
    (output,) = manifest.outputs
    classes = [{"name": f"class {index}", "color": [index % 256, index // 256, 0]} for index in range(257)]
    card = a_card(manifest, output={"classes": classes})
    wide = dataclasses.replace(output, shape=(1, 257, 65, 97))
    engine = a_engine(tmp_path, a_changed(source, tmp_path, card=card, outputs=(wide,)))
    with pytest.raises(UsageError, match="257 classes"):
        subject_of(engine, Packaging())
    with pytest.raises(ArtefactError, match="21 classes, its card has 257"):
        subject_of(a_changed(source, tmp_path, card=card), Packaging())


def test_a_card_that_slides_is_told(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet", dynamic="all")
    slides = {"mode": "slide", "crop": [65, 97], "stride": [33, 49], "flip": True, "scales": [1.0, 1.5]}
    card = a_card(read_manifest(source), evaluation=slides)
    notes = " ".join(subject_of(a_changed(source, tmp_path, card=card), Packaging()).notes)
    assert "evaluates in windows" in notes
    assert "--mode slide" in notes
    assert "passes each picture once" in notes


def test_resize_of_the_card_bounds_pictures(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet", dynamic="all")
    card = a_card(read_manifest(source), evaluation={"resize": [64, 128]})
    served = subject_of(a_changed(source, tmp_path, card=card), Packaging()).served
    assert (served.resize, served.size, served.most_pixels) == ((64, 128), None, 1 << 26)


@pytest.mark.parametrize(
    ("options", "difference"),
    [({"dynamic": "batch"}, "inputs"), ({"io": "image", "dynamic": "all"}, "inputs")],
    ids=["size", "io"],
)
def test_another_contract_under_the_same_name(
    exports, tmp_path: Path, options: dict[str, str], difference: str
) -> None:
    package([exports.file("ccnet", dynamic="all")], tmp_path / "r", Packaging(name="a", warmed=False))
    with pytest.raises(UsageError, match=f"in its {difference}"):
        package([exports.file("ccnet", **options)], tmp_path / "r", Packaging(name="a", warmed=False))


def test_other_classes_under_the_same_name(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet")
    package([source], tmp_path / "r", Packaging(name="a", warmed=False))
    manifest = read_manifest(source)
    classes = [{**entry, "name": f"other {index}"} for index, entry in enumerate(manifest.card["output"]["classes"])]
    changed = a_changed(source, tmp_path, card=a_card(manifest, output={"classes": classes}))
    with pytest.raises(UsageError, match="in its classes"):
        package([changed], tmp_path / "r", Packaging(name="a", warmed=False))


def test_versions_that_cannot_be(exports, tmp_path: Path) -> None:
    package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a", warmed=False, version=5))
    for version, reason in ((5, "5 already"), (3, "up to 5")):
        with pytest.raises(UsageError, match=reason):
            package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a", warmed=False, version=version))


def test_names_that_would_clash(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet")
    package([source], tmp_path / "r", Packaging(name="a", warmed=False))
    with pytest.raises(UsageError, match="a_read, which there is already"):
        package([source], tmp_path / "r", Packaging(name="a_read", warmed=False))
    with pytest.raises(UsageError, match="One name"):
        package([source, source], tmp_path / "s", Packaging(name="a"))
    with pytest.raises(UsageError, match="there is already"):
        package([exports.copy(tmp_path), exports.copy(tmp_path)], tmp_path / "s", Packaging(warmed=False))
    with pytest.raises(UsageError, match="No artefact"):
        package([], tmp_path / "s")


@pytest.mark.parametrize(
    ("field", "value"),
    [("keep", 0), ("version", 0), ("queue_size", 0), ("instances", 0), ("most_pixels", 0), ("queue_delay_us", -1)],
    ids=["keep", "version", "queue", "instances", "pixels", "delay"],
)
def test_values_that_no_server_takes(field: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"{field} is {value}"):
        check_packaging(Packaging(**{field: value}))


@given(st.text(max_size=120))
def test_a_name_is_refused_or_harmless(name: str) -> None:
    import re

    try:
        check_name(name, "it")
    except UsageError:
        return
    assert re.fullmatch(MODEL_NAME, name)
    assert name.isascii()
    assert Path(name).name == name


def test_a_folder_that_cannot_be(exports, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        package([exports.file("ccnet")], tmp_path / "file", Packaging(warmed=False))
    with pytest.raises(UsageError, match="cannot be written"):
        package([exports.file("ccnet")], tmp_path / "file" / "r", Packaging(warmed=False))


def test_without_tritons_client(exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", None)
    with pytest.raises(MissingError, match=r"Triton's client") as missing:
        package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a", warmed=False))
    assert missing.value.remedy == 'pip install "ccdeploy[triton]"'
    assert list(tmp_path.iterdir()) == []
