"""The published networks with the real plugin: as many plugin layers as criss-cross passes, in every type and shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ccdeploy.ccnet.loading import Model, load_model
from ccdeploy.engine.build import build_engine
from ccdeploy.engine.manifest import Manifest, Profile, read_manifest
from ccdeploy.export import ExportOptions, export
from ccdeploy.native.library import Library, find_cached

pytest.importorskip("tensorrt_rtx_bindings")

RTX = "tensorrt-rtx"
CARDS = {
    "R18": "ccnet_r18-d8_edge",
    "R50": "ccnet_r50-d8_512x1024_40k_cityscapes",
    "R101": "ccnet_r101-d8_769x769_40k_cityscapes",
}
SIZE = (97, 129)
RANGE = Profile("input", (1, 3, 65, 65), (1, 3, 97, 129), (3, 3, 129, 193))


class Networks:
    """Each network with random weights, and its exports; a large network is kept only while its tests run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name, self._model = "", None

    def file(self, name: str, precision: str, dynamic: str) -> Path:
        target = self.folder / f"{name}.{precision}.{dynamic}.onnx"
        if not target.exists():
            export(self._load(name), target, ExportOptions(size=SIZE, precision=precision, dynamic=dynamic))
        return target

    def _load(self, name: str) -> Model:
        if self.name != name or self._model is None:
            self.name, self._model = name, load_model(CARDS[name], seed=1)
        return self._model


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    return Networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture
def build(networks: Networks, tmp_path: Path) -> Callable[..., Manifest]:
    """Builds an engine of a network and returns what its manifest says."""

    def run(name: str, precision: str, dynamic: str, **options) -> Manifest:
        profiles = [RANGE] if dynamic == "all" else []
        engine = tmp_path / "m.engine"
        targets = options.pop("compute_capabilities", ["8.6"])
        build_engine(
            networks.file(name, precision, dynamic),
            engine,
            flavour=RTX,
            compute_capabilities=targets,
            profiles=profiles,
            optimization_level=0,
            **options,
        )
        return read_manifest(engine)

    return run


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("dynamic", ["none", "all"])
@pytest.mark.parametrize("name", CARDS)
def test_every_pass_is_a_plugin_layer(
    build: Callable[..., Manifest], plugin_library: Library, name: str, precision: str, dynamic: str
):
    manifest = build(name, precision, dynamic, plugin=str(plugin_library.path))
    assert manifest.recurrence == manifest.criss_cross_nodes == 2
    record = manifest.engine
    assert record is not None
    assert record.plugin_layers == manifest.recurrence
    assert record.plugin is not None
    assert (record.plugin.sha256, record.plugin.version) == (plugin_library.sha256, "1")
    assert plugin_library.info is not None
    assert record.plugin.architectures == ("86-real", "89")
    assert record.plugin.source_sha256 == plugin_library.info.source


@pytest.mark.parametrize(("name", "precision"), [("R18", "fp32"), ("R50", "bf16"), ("R101", "fp16")])
def test_same_network_builds_from_standard_layers(build: Callable[..., Manifest], name: str, precision: str):
    record = build(name, precision, "all", plugin="none").engine
    assert record is not None
    assert (record.plugin, record.plugin_layers) == (None, 0)
    assert record.layers > 100


def test_auto_takes_the_library_of_the_cache_and_embeds_it(
    build: Callable[..., Manifest], plugin_library: Library, tmp_path: Path
):
    targets = ["8.6", "8.9", "12.0", "12.1"]  # by machine code and by PTX
    manifest = build("R18", "fp16", "none", compute_capabilities=targets, embed_plugin=True)
    record = manifest.engine
    assert record is not None
    assert record.plugin is not None
    assert record.plugin.embedded
    taken = find_cached(targets)  # the fixture's, or one that another test has compiled for more of these targets
    assert taken is not None
    assert record.plugin.sha256 == taken.sha256
    assert record.plugin_layers == 2
    assert taken.path.read_bytes() in (tmp_path / "m.engine").read_bytes()
    assert not any("plugin" in note for note in manifest.notes), "nothing was compiled or declined"
