"""Quantised CCNets become engines: int8 for every card, fp8 where the hardware has it, criss-cross as plugin layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import samples
from PIL import Image

from ccdeploy.ccnet.loading import load_model
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.manifest import Profile, read_manifest
from ccdeploy.export import ExportOptions, export
from ccdeploy.native.library import Library
from ccdeploy.pictures import picture_files
from ccdeploy.quantize.files import QuantizeOptions, quantize
from ccdeploy.quantize.sources import PictureSource

pytest.importorskip("tensorrt_rtx_bindings")

CARDS = {"int8": ["8.6", "8.9", "12.0"], "fp8": ["8.9", "12.0"]}
CASES = [("int8", "fp16"), ("int8", "fp32"), ("fp8", "fp16"), ("int8", "bf16")]


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory):
    """Writes quantised files of a small CCNet whose channels the kernel takes."""
    folder = tmp_path_factory.mktemp("quantised")
    card = samples.ccnet_card(folder)
    card.write_text(
        card.read_text().replace("channels = 16", "channels = 32").replace("_channels = 4", "_channels = 8")
    )
    model = load_model(str(card), seed=2)
    generator = np.random.default_rng(3)
    for index in range(2):
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / f"{index}.png")
    pictures = PictureSource(picture_files([folder]), title="noise")

    def file(kind: str, precision: str, placement: str = "tensorrt", **more) -> Path:
        source = folder / f"{precision}.{len(more)}.onnx"
        if not source.exists():
            export(model, source, ExportOptions(precision=precision, **more))
        target = folder / f"{kind}.{placement}.{source.name}"
        if not target.exists():
            quantize(source, target, pictures, QuantizeOptions(kind, placement=placement, fewest=1))
        return target

    return file


@pytest.mark.parametrize(("kind", "precision"), CASES)
def test_engine_has_a_plugin_layer_a_pass(
    quantised, plugin_library: Library, tmp_path: Path, kind: str, precision: str
):
    engine = tmp_path / "m.engine"
    build_engine(
        quantised(kind, precision),
        engine,
        flavour="tensorrt-rtx",
        compute_capabilities=CARDS[kind],
        plugin=str(plugin_library.path),
        optimization_level=0,
    )
    manifest = read_manifest(engine)
    assert manifest.types == f"{kind}+{precision}"
    assert manifest.engine is not None
    assert manifest.engine.plugin_layers == 2
    assert manifest.engine.compute_capabilities == tuple(CARDS[kind])


@pytest.mark.parametrize(("kind", "placement"), [("int8", "tensorrt"), ("int8", "cpu"), ("fp8", "tensorrt")])
def test_same_network_builds_from_standard_layers(quantised, tmp_path: Path, kind: str, placement: str):
    engine = tmp_path / "m.engine"
    build_engine(
        quantised(kind, "fp16", placement),
        engine,
        flavour="tensorrt-rtx",
        compute_capabilities=CARDS[kind],
        plugin="none",
        optimization_level=0,
    )
    record = read_manifest(engine).engine
    assert record is not None
    assert record.plugin_layers == 0
    assert record.layers > 100


def test_pictures_in_and_labels_out_at_any_size(quantised, plugin_library: Library, tmp_path: Path):
    engine = tmp_path / "m.engine"
    profile = Profile("image", (1, 33, 33, 3), (1, 65, 97, 3), (2, 97, 129, 3))
    build_engine(
        quantised("int8", "fp16", io="image", dynamic="all"),
        engine,
        flavour="tensorrt-rtx",
        compute_capabilities=["8.6"],
        profiles=[profile],
        plugin=str(plugin_library.path),
        optimization_level=0,
    )
    record = read_manifest(engine).engine
    assert record is not None
    assert record.plugin_layers == 2
