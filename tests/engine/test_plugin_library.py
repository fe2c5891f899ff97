"""A plugin library is used for every criss-cross node, or the build fails: there is nothing in between."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_models import CRISS_CROSS, FOR_THE_KERNEL, STATIC

from ccdeploy.engine import plugin
from ccdeploy.engine.build import build_engine
from ccdeploy.errors import BuildError, UsageError
from ccdeploy.files import sha256_of


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with probe.so, a plugin, and empty.so, a shared library that holds none."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "empty.cpp").write_text('extern "C" int nothing() { return 0; }\n')
    for name, source in (("probe", Path(__file__).parent / "probe_plugin.cpp"), ("empty", folder / "empty.cpp")):
        command = [compiler, "-std=c++17", "-shared", "-fPIC", "-o", str(folder / f"{name}.so"), str(source)]
        subprocess.run(command, check=True)
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.engine"


def check_built_with_the_plugin(manifest, library: Path) -> None:
    assert manifest.engine is not None
    assert manifest.engine.plugin_layers == manifest.criss_cross_nodes == 2
    assert manifest.engine.plugin is not None
    assert manifest.engine.plugin.file == "probe.so"
    assert manifest.engine.plugin.sha256 == sha256_of(library)
    assert manifest.engine.plugin.version == "1"


def test_rtx_prefers_the_plugin_to_the_definition(libraries: Path, write_model, engine: Path):
    """The parser of TensorRT-RTX also needs libtensorrt_rtx.so here, which its wheel lacks."""
    pytest.importorskip("tensorrt_rtx_bindings")
    library = libraries / "probe.so"
    manifest = build_engine(
        write_model(FOR_THE_KERNEL), engine, flavour="tensorrt-rtx", compute_capabilities=["8.6"], plugin=str(library)
    )
    check_built_with_the_plugin(manifest, library)
    assert not manifest.engine.plugin.embedded


def test_full_tensorrt_prefers_the_plugin_with_and_without_parser_flag(
    full_tensorrt, libraries: Path, write_model, engine: Path, monkeypatch: pytest.MonkeyPatch
):
    rtx = pytest.importorskip("tensorrt_rtx_libs")
    # The facade's parser is that of TensorRT-RTX, which looks for its library under this name.
    (engine.parent.parent / "libtensorrt_rtx.so").symlink_to(Path(rtx.__file__).parent / "libtensorrt_rtx.so.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(engine.parent.parent))
    library = libraries / "probe.so"
    manifest = build_engine(write_model(FOR_THE_KERNEL), engine, flavour="tensorrt", plugin=str(library))
    check_built_with_the_plugin(manifest, library)
    flag = full_tensorrt.calls().get("parser_flag")
    assert flag == (None if manifest.engine.version == "10.3.0" else "ENABLE_PLUGIN_OVERRIDE")


def test_embedded_plugin_is_in_the_engine(libraries: Path, write_model, engine: Path):
    pytest.importorskip("tensorrt_rtx_bindings")
    library = libraries / "probe.so"
    manifest = build_engine(
        write_model(FOR_THE_KERNEL), engine, flavour="tensorrt-rtx", plugin=str(library), embed_plugin=True
    )
    assert manifest.engine is not None
    assert manifest.engine.plugin is not None
    assert manifest.engine.plugin.embedded
    assert library.read_bytes() in engine.read_bytes()


def test_library_without_plugin_is_refused(libraries: Path, write_model, engine: Path):
    pytest.importorskip("tensorrt_rtx_bindings")
    with pytest.raises(BuildError, match="found no CrissCrossAttention plugin"):
        build_engine(write_model(FOR_THE_KERNEL), engine, flavour="tensorrt-rtx", plugin=str(libraries / "empty.so"))


@pytest.mark.parametrize("full_tensorrt", ["11.4.0"], indirect=True)
def test_plugin_that_the_parser_passes_over_fails_the_build(full_tensorrt, libraries: Path, write_model, engine: Path):
    full_tensorrt.misbehave("no-override")
    with pytest.raises(BuildError, match="made 0 plugin layers of 2 criss-cross nodes; 2 were expected"):
        build_engine(write_model(FOR_THE_KERNEL), engine, flavour="tensorrt", plugin=str(libraries / "probe.so"))
    assert not engine.exists()


def test_plugin_for_a_model_without_criss_cross_is_refused(libraries: Path, write_model, engine: Path):
    with pytest.raises(UsageError, match="no criss-cross node"):
        build_engine(write_model(STATIC), engine, plugin=str(libraries / "probe.so"))


def test_plugin_for_a_model_beyond_the_kernel_is_refused_before_the_build(libraries: Path, write_model, engine: Path):
    with pytest.raises(UsageError, match="does not compute this model: channels is 4, a multiple of 32"):
        build_engine(write_model(CRISS_CROSS), engine, flavour="tensorrt-rtx", plugin=str(libraries / "probe.so"))
    assert not engine.parent.exists()


def test_every_node_becomes_a_plugin_layer_or_none_does():
    assert plugin.expected_plugin_layers(4, with_plugin=False) == 0
    assert plugin.expected_plugin_layers(4, with_plugin=True) == 4


def test_wrong_plugin_name_is_told_before_the_model_is_read(engine: Path):
    with pytest.raises(UsageError, match=r"missing\.so cannot be read"):
        build_engine(Path("missing.onnx"), engine, plugin="missing.so")
