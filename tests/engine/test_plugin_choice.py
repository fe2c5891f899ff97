"""`--plugin auto` takes, compiles or declines a library and says which; what is named is used or is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from stand_ins import Sandbox

from ccdeploy.engine import plugin
from ccdeploy.engine.manifest import Plugin
from ccdeploy.engine.plugin import STANDARD_LAYERS, CrissCrossNode, PluginChoice, find_for_engine, plugin_record
from ccdeploy.errors import BuildError, MissingError, UsageError
from ccdeploy.native.build import build_library
from ccdeploy.native.library import Library

NODES = (CrissCrossNode("pass 1", 64, 512), CrissCrossNode("pass 2", 64, 512))
RTX_TARGETS = ("8.0", "8.6", "8.9")


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    return Sandbox(tmp_path, monkeypatch)


def auto(*targets: str, nodes: tuple[CrissCrossNode, ...] = NODES, precision: str = "fp16", say=lambda line: None):
    return plugin.resolve_plugin("auto", nodes, precision, targets or RTX_TARGETS, say)


def library_for(sandbox: Sandbox, *architectures: int) -> Library:
    return build_library(sandbox.toolchain(), architectures).cached.library


def test_auto_takes_a_cached_library_that_runs_on_every_target(sandbox: Sandbox):
    library = library_for(sandbox, 80, 86)
    assert auto() == PluginChoice(library)
    sandbox.code().write_text("this would not compile")  # other sources: the cached library does not count
    with pytest.raises(BuildError, match="failed to compile") as error:
        auto()
    assert "--plugin none builds without the plugin" in error.value.remedy


def test_auto_compiles_for_the_targets_and_says_so(sandbox: Sandbox):
    told: list[str] = []
    choice = auto(say=told.append)
    assert choice.library is not None
    assert choice.library.info is not None
    assert choice.library.info.architectures == "80-real,86-real,89"
    assert told[0] == "compiling the plugin for compute capability 8.0, 8.6, 8.9: this is done once"
    (note,) = choice.notes
    assert "compiled for 8.0, 8.6, 8.9 and newer" in note
    assert "nvcc 12.6.85" in note
    assert auto() == PluginChoice(choice.library), "the second time there is nothing to say"


def test_auto_without_a_compiler_declines_aloud(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    def missing(*arguments: object) -> None:
        raise MissingError("No usable nvcc.", "Install one.")

    monkeypatch.setattr(plugin, "find_toolchain", missing)
    assert auto() == PluginChoice(None, (f"{STANDARD_LAYERS}: it is not built yet. No usable nvcc. Install one.",))


def test_auto_with_a_compiler_that_is_too_old_for_the_gpu_declines_aloud(sandbox: Sandbox):
    """The stand-in nvcc knows 7.5 to 9.0: PTX serves what is newer, nothing serves what is older."""
    (note,) = auto("7.0").notes
    assert note.startswith(f"{STANDARD_LAYERS}: it is not built yet. The library is needed for compute capability 7.0")
    assert auto("12.0").library is not None


@pytest.mark.parametrize(
    ("node", "limit"),
    [
        (CrissCrossNode("odd", 64, 500), "channels is 500, a multiple of 32 from 32 to 2048 was expected (node 'odd')"),
        (CrissCrossNode("odd", 4, 32), "query_channels is 4, a multiple of 8 from 8 to 128 was expected (node 'odd')"),
        (CrissCrossNode("odd", 256, 2048), "query_channels is 256"),
    ],
)
def test_model_beyond_the_kernel_is_declined_by_auto_and_refused_for_a_file(
    sandbox: Sandbox, node: CrissCrossNode, limit: str
):
    nodes = (*NODES, node)
    (note,) = auto(nodes=nodes).notes
    assert note.startswith(STANDARD_LAYERS)
    assert limit in note
    assert not sandbox.cache.exists(), "nothing was compiled"
    file = str(library_for(sandbox, 80).path)
    with pytest.raises(UsageError) as error:
        plugin.resolve_plugin(file, nodes, "fp16", RTX_TARGETS)
    assert limit in error.value.what


def test_model_of_which_the_file_tells_nothing_is_left_to_tensorrt(sandbox: Sandbox):
    library = library_for(sandbox, 80)
    assert auto(nodes=(CrissCrossNode("foreign", 3, None),)) == PluginChoice(library)
    assert auto(nodes=NODES, precision="unknown") == PluginChoice(library)
    assert auto(nodes=(CrissCrossNode("foreign", 8, 5),), precision="unknown").library is None


def test_models_without_criss_cross_need_no_plugin(sandbox: Sandbox):
    assert auto(nodes=()) == PluginChoice(None)
    assert plugin.resolve_plugin("none", NODES, "fp16", RTX_TARGETS) == PluginChoice(None)
    with pytest.raises(UsageError, match="no criss-cross node"):
        plugin.resolve_plugin(str(library_for(sandbox, 80).path), (), "fp16", RTX_TARGETS)


def test_environment_comes_before_the_cache(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch):
    library_for(sandbox, 80, 86, 89)
    named = library_for(sandbox, 80)
    monkeypatch.setenv("CCDEPLOY_PLUGIN", str(named.path))
    choice = auto()
    assert choice.library == named
    assert choice.notes == (f"the plugin is {named.path}, which CCDEPLOY_PLUGIN names",)
    with pytest.raises(UsageError, match=r"holds code for compute capability 8\.0.*; the engine is for 7\.5 too"):
        auto("7.5", "8.6")


def test_named_file_of_other_sources_is_used_and_told(sandbox: Sandbox):
    library = library_for(sandbox, 87)
    sandbox.code().write_text(sandbox.code().read_text() + "// changed\n")
    choice = plugin.resolve_plugin(str(library.path), NODES, "fp16", ["8.7"])
    assert choice.library == library
    (note,) = choice.notes
    assert "is of ccdeploy 0." in note
    assert "other sources" in note


def test_named_file_without_code_for_a_target_is_refused(sandbox: Sandbox):
    library = library_for(sandbox, 87)
    assert plugin.resolve_plugin(str(library.path), NODES, "fp16", ["8.7"]) == PluginChoice(library)
    with pytest.raises(UsageError, match=r"the engine is for 8\.0, 8\.6 too") as error:
        plugin.resolve_plugin(str(library.path), NODES, "fp16", ["8.0", "8.6", "8.9"])
    assert "ccdeploy build-plugin --arch 8.0,8.6,8.9" in error.value.remedy


# --- The library that an engine is run with


def test_engine_finds_the_very_library_it_was_built_with(sandbox: Sandbox, tmp_path: Path):
    library = library_for(sandbox, 86)
    record = plugin_record(library, "1", embedded=False)
    assert (record.architectures, record.source_sha256) == (("86",), library.info.source if library.info else "")
    engine = tmp_path / "engines" / "m.engine"
    engine.parent.mkdir()
    found = find_for_engine(record, engine, "8.9")
    assert found is not None
    assert found.path == library.path
    beside = engine.with_name(record.file)
    beside.write_bytes(library.path.read_bytes())
    found = find_for_engine(record, engine, "8.9")
    assert found is not None
    assert found.path == beside


def test_engine_takes_a_library_of_the_same_sources_for_this_gpu(sandbox: Sandbox, tmp_path: Path):
    built_with = library_for(sandbox, 86)
    record = plugin_record(built_with, "1", embedded=False)
    built_with.path.unlink()
    library_for(sandbox, 90)
    assert find_for_engine(record, tmp_path / "m.engine", "8.9") is None
    here = library_for(sandbox, 89)
    assert find_for_engine(record, tmp_path / "m.engine", "8.9") == here


@pytest.mark.parametrize("name", ["../libccdeploy_plugins.so", "/libccdeploy_plugins.so", "", ".."])
def test_manifest_cannot_send_the_search_to_another_folder(sandbox: Sandbox, tmp_path: Path, name: str):
    library = library_for(sandbox, 86)
    (tmp_path / "libccdeploy_plugins.so").write_bytes(library.path.read_bytes() + b"other")
    record = Plugin(name, "00", "1")
    assert find_for_engine(record, tmp_path / "engines" / "m.engine", "8.9") is None
