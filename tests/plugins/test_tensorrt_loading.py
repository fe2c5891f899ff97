"""The real library in real TensorRTs: found by every way of loading, used by the parser, and nothing else in it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.parser
import pytest
from tensorrt_hosts import HOSTS, RTX, registry_reports

if TYPE_CHECKING:
    from ccdeploy.native.library import Library

PARSE_SCRIPT = Path(__file__).parent / "tensorrt_parse.py"
BOTH = ["", "ccdeploy"]
WAYS = {
    "load": [BOTH],
    "open": [BOTH],
    "load, unload": [BOTH, []],
    "open, close": [BOTH, []],
    "open, load": [BOTH, BOTH],
    "load, open": [BOTH, BOTH],
    "open, load, unload": [BOTH, BOTH, []],
    "load, unload, open": [BOTH, [], BOTH],
    "open, close, load": [BOTH, [], BOTH],
    "load, unload, load": [BOTH, [], BOTH],
}
"""Orders of actions, and in which namespaces the plugin is found after each."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HOSTS)
def test_plugin_is_found_by_every_way_of_loading(plugin_library: Library, name: str, way: str):
    """The processes end without a crash, too: the registry outlives the library in some, not in others."""
    actions = way.split(", ")
    reports, _ = registry_reports(HOSTS[name], plugin_library.path, *actions)
    for report, expected in zip(reports, WAYS[way], strict=True):
        assert report["found"] == expected
        assert sorted(report["listed"]) == [["CrissCrossAttention", "1", namespace] for namespace in expected]
        assert report["result"] is (True if report["action"] == "load" else None)
    assert reports[-1]["mapped"] is (actions[-1] not in ("close", "unload") or way == "open, load, unload")


@pytest.mark.parametrize("name", HOSTS)
def test_nothing_is_found_without_the_library(plugin_library: Library, name: str):
    reports, _ = registry_reports(HOSTS[name], plugin_library.path, "nothing")
    assert (reports[0]["found"], reports[0]["listed"], reports[0]["mapped"]) == ([], [], False)


@pytest.mark.parametrize("name", HOSTS)
def test_refusal_is_told_where_there_is_no_logger(plugin_library: Library, name: str):
    """TensorRT gives its logger finder; without builder or runtime that finds none."""
    reports, said = registry_reports(HOSTS[name], plugin_library.path, "load", "refuse")
    assert reports[-1]["result"] is None
    assert "CrissCrossAttention: query_channels is 7, a multiple of 8 from 8 to 128 was expected" in said


def test_builder_may_have_a_registry_of_its_own(plugin_library: Library):
    """As trtexec loads it. The library then stands there and not, by itself, in that of the process too."""
    RTX.folder()
    script = """
import sys, tensorrt_rtx_bindings as trt
builder = trt.Builder(trt.Logger(trt.Logger.INTERNAL_ERROR))
own, common = builder.get_plugin_registry(), trt.get_plugin_registry()
assert own.load_library(sys.argv[1]) is not None
for registry, expected in ((own, True), (common, False)):
    for namespace in ("", "ccdeploy"):
        assert (registry.get_creator("CrissCrossAttention", "1", namespace) is not None) is expected
"""
    done = subprocess.run([sys.executable, "-c", script, str(plugin_library.path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


PRELOADED = """
#include <cstdio>
extern "C" void* getPluginRegistry() noexcept;
struct Creator;
int main()
{
    // getCreator is the eleventh function of the registry of TensorRT 11; see abi_host.h.
    using Function = Creator* (*)(void*, char const*, char const*, char const*);
    void* const registry = getPluginRegistry();
    auto const get_creator = (*static_cast<Function**>(registry))[10];
    std::puts(get_creator(registry, "CrissCrossAttention", "1", "ccdeploy") != nullptr ? "found" : "not found");
}
"""


def test_preloaded_library_enters_a_tensorrt_that_the_program_is_linked_with(plugin_library: Library, tmp_path: Path):
    folder = HOSTS["TensorRT 11.4 lean"].folder()
    assert folder is not None
    (core,) = (folder / "tensorrt_lean_libs").glob("libnvinfer_lean.so.*")
    (tmp_path / "main.cpp").write_text(PRELOADED)
    command = [os.environ.get("CXX", "c++"), "main.cpp", "-o", "main", str(core), f"-Wl,-rpath,{core.parent}"]
    subprocess.run([*command, "-Wl,--allow-shlib-undefined"], check=True, cwd=tmp_path)
    for preloaded, expected in (("", "not found"), (str(plugin_library.path), "found")):
        environment = {**os.environ, "LD_PRELOAD": preloaded}
        done = subprocess.run([tmp_path / "main"], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, expected), done.stderr


def test_library_opened_without_tensorrt_does_nothing(plugin_library: Library):
    script = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).ccdeploy_api_version() == 1 or sys.exit(1)"
    done = subprocess.run([sys.executable, "-c", script, str(plugin_library.path)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


Parse = Callable[..., dict[str, Any]]


@pytest.fixture
def parse(plugin_library: Library, tmp_path: Path) -> Parse:
    RTX.folder()
    import tensorrt_rtx_libs

    # The parser opens the core library by a name that its wheel lacks.
    (core,) = Path(tensorrt_rtx_libs.__file__).parent.glob("libtensorrt_rtx.so.*")
    (tmp_path / "libtensorrt_rtx.so").symlink_to(core)

    def run(
        how: str = "load",
        *,
        type: str = "float16",
        plane: str = "9,11",
        batch: str = "2",
        query_channels: int = 8,
        attributes: str = "",
        domain: str = "ccdeploy",
    ) -> dict[str, Any]:
        operand = f"{type}[{batch},{{}},{plane}]"
        imports = '"": 22' + (f', "{domain}": 1' if domain else "")
        model = onnx.parser.parse_model(
            f"<ir_version: 10, opset_import: [{imports}]>"
            f"g ({operand.format(80)} qkv, {operand.format(64)} residual) => ({operand.format(64)} y) {{"
            f"  activated = Relu(qkv)"
            f"  y = {domain + '.' if domain else ''}CrissCrossAttention"
            f"      <query_channels = {query_channels}{attributes}> (activated, residual) }}"
        )
        onnx.save(model, tmp_path / "model.onnx")
        command = [sys.executable, str(PARSE_SCRIPT), str(plugin_library.path), how, str(tmp_path / "model.onnx")]
        paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("LD_LIBRARY_PATH", "")]))
        environment = {**os.environ, "LD_LIBRARY_PATH": paths}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout.splitlines()[-1]))

    return run


@pytest.mark.parametrize("how", ["load", "open"])
@pytest.mark.parametrize("type", ["float", "float16", "bfloat16"])
def test_engine_is_built_with_static_and_dynamic_sizes(parse: Parse, type: str, how: str):
    for sizes in ({}, {"batch": "N", "plane": "H,W"}):
        assert parse(how, type=type, **sizes) == {"parsed": True, "namespaces": [""], "built": True, "errors": []}


@pytest.mark.parametrize(
    ("attributes", "domain", "found"),
    [
        ("", "ccdeploy", ""),
        (', plugin_version = "1"', "ccdeploy", ""),
        (', plugin_namespace = "ccdeploy"', "ccdeploy", "ccdeploy"),
        (', plugin_version = "1", plugin_namespace = "ccdeploy"', "", "ccdeploy"),
        (', plugin_version = "1", plugin_namespace = ""', "", ""),
        (', plugin_namespace = "nvidia"', "ccdeploy", "ccdeploy"),  # the node's domain comes second
        (', plugin_namespace = "nvidia"', "", ""),
        ("", "nvidia.com", ""),
        ("", "", ""),
    ],
)
def test_parser_finds_the_plugin_however_the_node_names_it(parse: Parse, attributes: str, domain: str, found: str):
    report = parse(attributes=attributes, domain=domain)
    assert (report["namespaces"], report["built"]) == ([found], True), report["errors"]


@pytest.mark.parametrize(
    ("attributes", "domain"),
    [(', plugin_version = "2"', "ccdeploy"), (', plugin_namespace = "nvidia"', "nvidia.com")],
)
def test_parser_finds_no_plugin_of_another_version_or_namespace(parse: Parse, attributes: str, domain: str):
    report = parse(attributes=attributes, domain=domain)
    assert not report["parsed"]
    assert any("Plugin not found" in error for error in report["errors"])


def test_refusals_reach_the_logger_of_tensorrt(parse: Parse):
    report = parse(query_channels=7)
    assert not report["parsed"]
    sentence = "CrissCrossAttention: query_channels is 7, a multiple of 8 from 8 to 128 was expected"
    assert sentence in report["errors"]
    report = parse(query_channels=16)
    assert (report["parsed"], report["built"]) == (True, False)
    sentence = "CrissCrossAttention: qkv has 80 channels, 96 (2 x 16 query channels + 64) were expected"
    assert sentence in report["errors"]


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_only_the_contract_is_exported(plugin_library: Library):
    header = Path(__file__).parent.parent.parent / "plugins" / "include" / "ccdeploy" / "criss_cross.h"
    contract = set(re.findall(r"CCDEPLOY_PUBLIC .*?\b(ccdeploy_\w+)\(", header.read_text()))
    assert len(contract) == 7
    symbols = output_of("nm", "-D", "--defined-only", str(plugin_library.path)).split()[2::3]
    assert set(symbols) == contract | {"getCreators", "setLoggerFinder"}


def test_library_needs_nothing_but_the_c_library(plugin_library: Library):
    """No CUDA, no TensorRT, no C++ runtime whose version could be the wrong one."""
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", output_of("readelf", "-d", str(plugin_library.path)))
    allowed = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1"}
    assert "libc.so.6" in needed
    assert {name for name in needed if not name.startswith("ld-linux")} <= allowed
