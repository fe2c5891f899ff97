"""Layers of an engine, as TensorRT's inspector tells them: names and types, or names alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines import engine_manifest
from fake_gpu import FakeGpu

from ccdeploy.errors import ArtefactError, MissingError
from ccdeploy.runners.layers import Layer, engine_layers, parsed_layers

PATH = Path("x.engine")


def test_layers_are_read_and_the_engine_freed(exports, monkeypatch):
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    path = exports.file("own")
    assert engine_layers(path, engine_manifest(path)) == [Layer("conv1", "gemm"), Layer("relu1")]
    gpu.check_all_freed()
    assert not gpu.named("make context"), "no context is needed, nor its memory"


def test_inspector_that_tells_nothing_leaves_nothing_behind(exports, monkeypatch):
    gpu = FakeGpu(layers=[])
    gpu.install(monkeypatch)
    path = exports.file("own")
    with pytest.raises(ArtefactError, match="names none of its 0 layers"):
        engine_layers(path, engine_manifest(path))
    gpu.check_all_freed()


def test_engine_of_another_card_is_not_inspected(exports, monkeypatch):
    gpu = FakeGpu()
    gpu.install(monkeypatch)
    path = exports.file("own")
    with pytest.raises(MissingError, match=r"built for compute capability 7\.5"):
        engine_layers(path, engine_manifest(path, compute_capabilities=("7.5",)))
    assert gpu.calls == []


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ('{"Layers": ["a", "b"]}', [Layer("a"), Layer("b")]),
        ('{"Layers": [{"Name": "a", "LayerType": "conv", "Inputs": []}]}', [Layer("a", "conv")]),
        (
            '{"Layers": [{"Name": "a"}, {"Name": "b", "LayerType": 7}, {"Name": ""}, 3, null, ""]}',
            [Layer("a"), Layer("b")],
        ),
    ],
)
def test_entries_of_either_kind_are_understood(text: str, layers):
    assert parsed_layers(text, PATH) == layers


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not JSON"),
        ('{"Layers": [', "is not JSON"),
        ("[]", "tells nothing of its layers"),
        ("{}", "tells nothing of its layers"),
        ('{"Layers": {"Name": "a"}}', "tells nothing of its layers"),
        ('{"Layers": []}', "names none of its 0 layers"),
        ('{"Layers": [{}, 1]}', "names none of its 2 layers"),
    ],
)
def test_what_is_no_list_of_layers_is_told(text: str, what: str):
    with pytest.raises(ArtefactError, match=rf"x\.engine: .*{what}"):
        parsed_layers(text, PATH)
