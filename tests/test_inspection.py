"""What is in an artefact: told right of each kind, of changed and damaged files too, and nothing of it is run."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import onnx
import onnx_ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ccdeploy.engine.manifest import Engine, Manifest, manifest_path, read_manifest, write_manifest
from ccdeploy.engine.onnx_files import write_onnx
from ccdeploy.errors import ArtefactError, CcdeployError, MissingError, UsageError
from ccdeploy.files import sha256_of
from ccdeploy.inspection import EngineFile, Folder, OnnxFile, PluginFile, inspect
from ccdeploy.inspection.folder import AS_RECORDED, CHANGED, MISSING
from ccdeploy.native.library import source_digest
from ccdeploy.runners.layers import Layer

# --- ONNX


def onnx_file(path: Path) -> OnnxFile:
    seen = inspect(path)
    assert isinstance(seen, OnnxFile)
    return seen


def test_an_export_is_told_whole(exports: Any) -> None:
    path = exports.file("own", precision="fp16")
    seen, model = onnx_file(path), onnx.load(path)
    assert (seen.size, seen.whole_size, seen.digest.sha256) == (
        path.stat().st_size,
        path.stat().st_size,
        sha256_of(path),
    )
    assert seen.digest.recorded == sha256_of(path)
    assert not seen.digest.changed
    graph = seen.graph
    assert graph.nodes["Conv"] == sum(node.op_type == "Conv" for node in model.graph.node)
    assert graph.criss_cross_nodes == graph.nodes["ccdeploy::CrissCrossAttention"] == 2
    assert list(graph.nodes.values()) == sorted(graph.nodes.values(), reverse=True)
    assert graph.types == "fp16"
    halves = sum(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    assert graph.initializers["float16"] == halves > 0
    assert sum(graph.initializers.values()) == len(model.graph.initializer)
    assert (graph.quantize_nodes, graph.dequantize_nodes, graph.external_files) == (0, 0, ())
    assert [str(value) for value in graph.inputs] == ["input: float32 1x3x33x49"]
    assert graph.opsets == {"ai.onnx": 18, "ccdeploy": 1}
    assert seen.manifest is not None


FOREIGN = """
<ir_version: 10, opset_import: ["": 21]>
g (float[batch, 2, ?] x, uint8 any, seq(float[1]) many) => (float[batch, 2, ?] y, float z)
<int8 weight = {1}, float scale = {0.5}, float unused = {1.0}>
{
  q = QuantizeLinear(x, scale)
  y = DequantizeLinear(q, scale)
  w = DequantizeLinear(weight, scale)
  z = Relu(w)
}
"""


def test_a_foreign_file_is_told_by_its_graph(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    model = onnx.parser.parse_model(FOREIGN)
    model.graph.input[1].type.tensor_type.ClearField("shape")
    listed = onnx.helper.make_tensor_value_info("scale", onnx.TensorProto.FLOAT, [])
    model.graph.input.append(listed)  # as old files list their weights
    onnx.save(model, path)
    seen = onnx_file(path)
    assert seen.manifest is None
    assert (seen.digest.recorded, seen.digest.changed) == ("", False)
    graph = seen.graph
    assert (graph.quantize_nodes, graph.dequantize_nodes) == (1, 2)
    assert graph.types == "int8+fp32"
    assert graph.initializers == {"float32": 2, "int8": 1}
    assert [str(value) for value in graph.inputs] == [
        "x: float32 batchx2x?",
        "any: uint8 of any shape",
        "many: sequence of any shape",
    ]
    assert [str(value) for value in graph.outputs][1].startswith("z: float32")


def test_weights_beside_the_file_count(exports: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    source = exports.file("own")
    write_onnx(onnx_ir.load(source), path, read_manifest(source), largest=0)
    data = tmp_path / "large.onnx.data"
    seen = onnx_file(path)
    assert seen.graph.external_data
    assert [(file.file, file.size) for file in seen.graph.external_files] == [("large.onnx.data", data.stat().st_size)]
    assert seen.whole_size == path.stat().st_size + data.stat().st_size
    data.unlink()
    seen = onnx_file(path)
    assert [file.size for file in seen.graph.external_files] == [None]
    assert seen.whole_size == path.stat().st_size


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret", "a/../../secret", "zero\0byte"])
def test_names_that_lead_out_of_the_folder_are_not_looked_at(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret").write_text("x")
    model = onnx.parser.parse_model(FOREIGN)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    assert [file.size for file in onnx_file(tmp_path / "in" / "m.onnx").graph.external_files] == [None]


def test_a_file_that_changed_since_is_told(exports: Any, ccdeploy: Any, tmp_path: Path) -> None:
    source = exports.file("own")
    path = tmp_path / "m.onnx"
    shutil.copy(source, path)
    shutil.copy(manifest_path(source), manifest_path(path))
    assert not onnx_file(path).digest.changed
    model = onnx.load(path)
    model.doc_string = "changed"
    onnx.save(model, path)
    seen = onnx_file(path)
    assert seen.digest.changed
    assert (seen.digest.sha256, seen.digest.recorded) == (sha256_of(path), sha256_of(source))
    shown = ccdeploy("inspect", path).out
    assert f"changed since  its manifest was written, which is of {sha256_of(source)[:16]}..." in shown
    assert json.loads(ccdeploy("inspect", path, "--json").out)["changed"] is True
    assert "changed since" not in ccdeploy("inspect", source).out


# --- engines


@pytest.fixture
def engine(exports: Any, tmp_path: Path) -> Path:
    path = tmp_path / "m.engine"
    path.write_bytes(b"an engine")
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",), layers=3)
    source = read_manifest(exports.file("own"))
    write_manifest(
        dataclasses.replace(source, kind="engine", engine=record, file=path.name, sha256=sha256_of(path)), path
    )
    return path


def engine_file(path: Path) -> EngineFile:
    seen = inspect(path)
    assert isinstance(seen, EngineFile)
    return seen


def test_layers_are_counted_by_type_where_the_engine_loads(
    engine: Path, ccdeploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [Layer("a", "gemm"), Layer("b", "PluginV3"), Layer("c", "gemm"), Layer("d")]

    def read(path: Path, manifest: Manifest) -> list[Layer]:
        assert (path, manifest.engine and manifest.engine.layers) == (engine, 3)
        return layers

    monkeypatch.setattr("ccdeploy.inspection.engine_file.engine_layers", read)
    assert engine_file(engine).layers == {"gemm": 2, "PluginV3": 1, "of unknown type": 1}
    assert "layers       2 gemm, 1 PluginV3, 1 of unknown type" in ccdeploy("inspect", engine).out


def test_without_a_gpu_layers_are_not_read_and_the_reason_is_told(
    engine: Path, ccdeploy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, manifest: Manifest) -> list[Layer]:
        raise MissingError("no GPU here", "Get one.")

    monkeypatch.setattr("ccdeploy.inspection.engine_file.engine_layers", refuse)
    seen = engine_file(engine)
    assert (seen.layers, seen.layers_not_read) == (None, "no GPU here")
    ended = ccdeploy("inspect", engine)
    assert ended.code == 0
    assert "layers       not read: no GPU here" in ended.out
    document = json.loads(ccdeploy("inspect", engine, "--json").out)
    assert (document["kind"], document["layers"], document["layers_not_read"]) == ("engine", None, "no GPU here")


def test_an_engine_that_changed_since_is_not_loaded(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccdeploy.inspection.engine_file.engine_layers", lambda *_: pytest.fail("it was loaded"))
    engine.write_bytes(b"another")
    seen = engine_file(engine)
    assert seen.digest.changed
    assert (seen.layers, seen.layers_not_read) == (None, "the file has changed since its manifest was written")


def test_a_manifest_of_an_onnx_file_is_not_an_engine_s(exports: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(b"?")
    write_manifest(read_manifest(exports.file("own")), path)
    with pytest.raises(ArtefactError, match=r"m\.bin is no \.onnx file, but the manifest beside it is of one"):
        inspect(path)


# --- plugins

PLUGIN = r"""
#include <stdio.h>
__attribute__((constructor)) static void loaded(void) { fclose(fopen(MARKER, "w")); }
const char *ccdeploy_build_info(void) {
  return "{\"version\": \"0.1.0\", \"architectures\": \"80-real;89\", \"compiler\": \"13.0.88\", "
         "\"source\": \"SOURCE\"}";
}
int ENTRY(void) { return 0; }
static int hidden(void) { return ENTRY(); }
int (*ccdeploy_table)(void) = hidden;
"""


@pytest.fixture
def library(tmp_path: Path) -> Any:
    def make(name: str = "libplugin.so", *, source: str = "", entry: str = "getCreators") -> Path:
        code = PLUGIN.replace("SOURCE", source or source_digest()).replace("ENTRY", entry)
        flags = ["-x", "c", "-", "-shared", "-fPIC", f'-DMARKER="{tmp_path / "loaded"}"', "-o", str(tmp_path / name)]
        subprocess.run(["g++", *flags], input=code, text=True, check=True)
        return tmp_path / name

    return make


def plugin_file(path: Path) -> PluginFile:
    seen = inspect(path)
    assert isinstance(seen, PluginFile)
    return seen


def test_a_plugin_is_read_and_never_loaded(library: Any, ccdeploy: Any, tmp_path: Path) -> None:
    import platform

    path = library()
    seen = plugin_file(path)
    assert seen.sha256 == sha256_of(path)
    assert seen.elf.machine == platform.machine().replace("_", "-")
    assert "libc.so.6" in seen.elf.needed
    assert seen.c_interface == ("ccdeploy_build_info", "ccdeploy_table")
    assert "hidden" not in seen.elf.exported
    assert "fopen" not in seen.elf.exported, "what it takes from others it does not give"
    assert seen.is_tensorrt_plugin
    assert seen.build is not None
    assert (seen.build.version, seen.build.architectures, seen.current) == ("0.1.0", "80-real;89", True)
    shown = ccdeploy("inspect", path).out
    for text in (
        f"sha256       {sha256_of(path)}",
        "built by     ccdeploy 0.1.0, nvcc 13.0.88",
        "runs on      compute capability 8.0, 8.9 and newer",
        "this ccdeploy's",
        "TensorRT     finds plugins in it",
        "C interface  ccdeploy_build_info, ccdeploy_table",
    ):
        assert text in shown
    document = json.loads(ccdeploy("inspect", path, "--json").out)
    assert (document["kind"], document["is_tensorrt_plugin"], document["current"]) == ("plugin", True, True)
    assert not (tmp_path / "loaded").exists(), "its code ran"


def test_a_plugin_of_other_sources_and_a_foreign_library_are_told(library: Any, ccdeploy: Any, tmp_path: Path) -> None:
    path = library(source="ab" * 32, entry="somethingElse")
    seen = plugin_file(path)
    assert seen.current is False
    assert not seen.is_tensorrt_plugin
    shown = ccdeploy("inspect", path).out
    assert "abababababababab..., other than this ccdeploy's" in shown
    assert "finds no plugin in it" in shown
    foreign = tmp_path / "foreign.so"
    foreign.write_bytes(path.read_bytes().replace(b'{"version"', b'{"Version"'))
    assert (plugin_file(foreign).build, plugin_file(foreign).current) == (None, None)
    assert "not known: it does not tell what it was built from" in ccdeploy("inspect", foreign).out
    assert not (tmp_path / "loaded").exists()


def test_a_library_is_known_by_its_content(library: Any, tmp_path: Path) -> None:
    path = library("a.plugin")
    assert plugin_file(path).kind == "plugin"
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(UsageError, match="not an ELF shared library"):
        inspect(tmp_path / "text.so")


@pytest.fixture(scope="module")
def elf_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("elf") / "small.so"
    command = ["g++", "-x", "c", "-", "-shared", "-fPIC", "-nostdlib", "-s", "-o", str(path)]
    subprocess.run(command, input="int f(void) { return 1; }", text=True, check=True)
    return path.read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_libraries_are_read_or_refused(elf_bytes: bytes, data: st.DataObject) -> None:
    content = bytearray(elf_bytes)
    headers = list(range(64)) + list(range(len(content) - 700, len(content)))
    for place in data.draw(st.lists(st.sampled_from(headers), max_size=6)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([1.0, 1.0, 0.9, 0.5, 0.02]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.so"
        path.write_bytes(content[: int(len(content) * cut)])
        told: CcdeployError | None = None
        try:
            inspect(path)
        except CcdeployError as error:
            told = error
        assert told is None or (told.what and told.remedy)


# --- folders of deploy


def deployed(folder: Path, **changes: Any) -> Path:
    """A folder as `ccdeploy deploy` leaves it, with an index of two artefacts."""
    folder.mkdir(exist_ok=True)
    artefacts = []
    for name, kind in (("net.fp16.onnx", "onnx"), ("net.fp16.engine", "engine")):
        (folder / name).write_bytes(name.encode() * 100)
        artefacts.append({"file": name, "kind": kind, "precision": "fp16", "sha256": sha256_of(folder / name)})
    (folder / "verification.json").write_text("{}")
    index = {
        "ccdeploy": "0.1.0",
        "model": "net",
        "artefacts": artefacts,
        "outcome": "passed",
        "verification": "verification.json",
        "benchmark": "benchmark.json",
        "picture": None,
        "steps": [
            {"name": "export fp16", "outcome": "done", "reason": "", "seconds": 1.5},
            {"name": "accuracy", "outcome": "not run", "reason": "not asked for", "seconds": None},
        ],
    }
    (folder / "deploy.json").write_text(json.dumps(index | changes))
    return folder


def folder_of(path: Path) -> Folder:
    seen = inspect(path)
    assert isinstance(seen, Folder)
    return seen


def test_a_folder_is_told_with_what_changed_and_what_is_missing(tmp_path: Path, ccdeploy: Any) -> None:
    folder = deployed(tmp_path / "net")
    seen = folder_of(folder)
    assert [artefact.state for artefact in seen.artefacts] == [AS_RECORDED, AS_RECORDED]
    assert seen.size == sum((folder / artefact.file).stat().st_size for artefact in seen.artefacts)
    assert [(document.kind, document.state) for document in seen.documents] == [
        ("verification", "there"),
        ("benchmark", MISSING),
    ]
    assert seen.not_done == {"accuracy": "not run: not asked for"}
    (folder / "net.fp16.onnx").write_bytes(b"another")
    (folder / "net.fp16.engine").unlink()
    assert [artefact.state for artefact in folder_of(folder).artefacts] == [CHANGED, MISSING]
    ended = ccdeploy("inspect", folder)
    assert ended.code == 0
    for line in (
        "network       net",
        "onnx          net.fp16.onnx, 7 B: changed since",
        "engine        net.fp16.engine: missing",
        "outcome       passed",
        "benchmark     benchmark.json: missing",
        "accuracy      not run: not asked for",
    ):
        assert line in ended.out
    document = json.loads(ccdeploy("inspect", folder, "--json").out, parse_constant=pytest.fail)
    assert document["kind"] == "folder"
    assert [artefact["state"] for artefact in document["artefacts"]] == [CHANGED, MISSING]


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "", ".", "zero\0byte"])
def test_an_index_that_leads_out_of_its_folder_is_not_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("x")
    entry = {"file": name, "kind": "onnx", "precision": "fp16", "sha256": sha256_of(tmp_path / "secret")}
    seen = folder_of(deployed(tmp_path / "net", artefacts=[entry], verification=name or None))
    assert [artefact.state for artefact in seen.artefacts] == [MISSING]
    assert [document.state for document in seen.documents if document.kind == "verification"] == [MISSING] * bool(name)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 99}', '{"model": 1}', "[" * 100_000])
def test_a_damaged_index_is_an_error(tmp_path: Path, content: str) -> None:
    deployed(tmp_path)
    (tmp_path / "deploy.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"deploy\.json"):
        inspect(tmp_path)


# --- neither


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("picture.png", b"\x89PNG", "is none of what ccdeploy makes"),
        ("empty.engine", b"", "is none of what ccdeploy makes"),
        ("empty.onnx", b"", "is empty"),
        ("text.onnx", b"hello", "is not a"),
        ("missing.engine", None, "does not exist"),
    ],
)
def test_what_is_no_artefact_is_refused(
    ccdeploy: Any, tmp_path: Path, name: str, content: bytes | None, what: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ended = ccdeploy("inspect", tmp_path / name)
    assert ended.code == 2
    assert what in ended.err
    assert ended.out == ""


def test_a_folder_of_something_else_is_refused(ccdeploy: Any, tmp_path: Path) -> None:
    ended = ccdeploy("inspect", tmp_path)
    assert ended.code == 2
    assert "is a folder without deploy.json" in ended.err
