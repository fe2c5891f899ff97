"""Files of two float types build: TensorRT takes the casts, and criss-cross layers in float32 beside 16-bit ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ccdeploy.engine.build import build_engine
from ccdeploy.engine.manifest import Engine, read_manifest
from ccdeploy.export import ExportOptions, export
from ccdeploy.native.library import Library

pytest.importorskip("tensorrt_rtx_bindings")


@pytest.fixture
def build(exports, tmp_path: Path) -> Callable[..., Engine]:
    """Exports a small network mixed, builds an engine of it, and returns what its manifest says."""

    def run(name: str, keep: tuple[str, ...], precision: str, plugin: str, dynamic: str = "none") -> Engine:
        options = ExportOptions(precision=precision, keep_fp32=keep, dynamic=dynamic)
        export(exports.model(name), tmp_path / "m.onnx", options)
        build_engine(
            tmp_path / "m.onnx",
            tmp_path / "m.engine",
            flavour="tensorrt-rtx",
            compute_capabilities=["8.6"],
            plugin=plugin,
            optimization_level=0,
        )
        manifest = read_manifest(tmp_path / "m.engine")
        assert f"kept in float32: {', '.join(keep)}" in manifest.notes
        assert manifest.engine is not None
        return manifest.engine

    return run


@pytest.mark.parametrize(
    ("name", "keep", "precision"),
    [
        ("ccnet", ("head.cca", "head.classifier"), "fp16"),
        ("ccnet", ("backbone.layer1", "backbone.layer3.0.conv2"), "bf16"),
        ("own", ("attention",), "fp16"),
    ],
)
def test_mixed_files_build_from_standard_layers(
    build: Callable[..., Engine], name: str, keep: tuple[str, ...], precision: str
):
    record = build(name, keep, precision, "none")
    assert record.plugin_layers == 0
    assert record.layers > 20


@pytest.mark.parametrize("keep", [("head.cca",), ("head.conva",)], ids=str)
def test_each_pass_is_a_plugin_layer_in_either_type(plugin_library: Library, tmp_path: Path, keep: tuple[str, ...]):
    from ccdeploy.ccnet.loading import load_model

    model = load_model("ccnet_r18-d8_edge", seed=1)  # wide enough for the kernel
    export(model, tmp_path / "m.onnx", ExportOptions(size=(97, 129), precision="fp16", keep_fp32=keep))
    manifest = build_engine(
        tmp_path / "m.onnx",
        tmp_path / "m.engine",
        flavour="tensorrt-rtx",
        compute_capabilities=["8.6"],
        plugin=str(plugin_library.path),
        optimization_level=0,
    )
    assert manifest.engine is not None
    assert manifest.engine.plugin_layers == manifest.criss_cross_nodes == 2
