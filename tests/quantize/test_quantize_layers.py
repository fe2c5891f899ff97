"""Which convolutions are quantised: found by the graph, kept by pattern, and never none in silence."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.op import onnx_op
from ccdeploy.quantize.layers import choose_layers


def graph_of(path: Path, rename: bool = False) -> ir.Graph:
    onnx_op.register_schema()
    model = ir.serde.deserialize_model(onnx.load(path))
    if rename:
        for index, node in enumerate(model.graph):
            node.name = f"node_{index}"
    return model.graph


@pytest.mark.parametrize("precision", ["fp32", "fp16"])  # fp32 files project flat, between two reshapes
def test_attention_and_classifier_stay_float_by_default(exports, precision: str):
    layers = choose_layers(graph_of(exports.file("ccnet", precision=precision)))
    assert layers.kept == {
        "head.cca.qkv_conv/Conv": "criss-cross projection",
        "head.cca.qkv_conv/Conv_2": "criss-cross projection",
        "head.classifier/Conv": "classifier",
    }
    assert "head.bottleneck.conv/Conv" in layers.quantised
    assert len(layers.quantised) == 25


def test_they_are_found_by_the_graph_and_not_by_name(exports):
    plain, renamed = (choose_layers(graph_of(exports.file(), rename)) for rename in (False, True))
    assert list(renamed.kept.values()) == list(plain.kept.values())
    assert all(name.startswith("node_") for name in renamed.kept)


def test_both_can_be_quantised_on_request(exports):
    layers = choose_layers(graph_of(exports.file()), attention=True, classifier=True)
    assert layers.kept == {}
    assert len(layers.quantised) == 28


def test_patterns_match_names_and_modules(exports):
    graph = graph_of(exports.file())
    layers = choose_layers(graph, ["backbone.layer4.*", "head.conva.conv", "*stem.0/Conv"])
    chosen = [name for name, reason in layers.kept.items() if reason == "--keep"]
    assert len([name for name in chosen if name.startswith("backbone.layer4.")]) == 5
    assert {"head.conva.conv/Conv", "backbone.stem.0/Conv"} <= set(chosen)
    assert len(chosen) == 7


def test_pattern_that_matches_nothing_lists_near_names(exports):
    with pytest.raises(UsageError) as error:
        choose_layers(graph_of(exports.file()), ["head.conv_a*"])
    assert error.value.what == "--keep 'head.conv_a*' matches none of the 28 convolutions."
    assert "head.conva.conv/Conv" in error.value.remedy


def test_nothing_left_to_quantise_is_an_error(exports):
    with pytest.raises(UsageError, match=r"All 28 convolutions stay in the float type \(--keep\)"):
        choose_layers(graph_of(exports.file()), ["*"])


def test_bare_module_needs_the_option(exports):
    graph = graph_of(exports.file("bare"))
    with pytest.raises(UsageError, match=r"\(criss-cross projection\)") as error:
        choose_layers(graph)
    assert "--quantize-attention" in error.value.remedy
    assert len(choose_layers(graph, attention=True).quantised) == 2


def test_graph_without_convolutions_is_refused():
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    with pytest.raises(ArtefactError, match="no convolution"):
        choose_layers(ir.serde.deserialize_model(model).graph)


def test_computed_weights_are_left_alone():
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float[1,2,5,5] x, float[2,2,1,1] w) => (float[1,2,5,5] y) <float[2,2,1,1] v = {1,2,3,4}> {
          a = Conv(x, w)  b = Conv(a, v)  y = Relu(b) }"""
    )
    model.graph.node[0].name, model.graph.node[1].name = "a/Conv", "b/Conv"
    layers = choose_layers(ir.serde.deserialize_model(model).graph, classifier=True)
    assert layers.quantised == ("b/Conv",)
    assert layers.kept == {"a/Conv": "weights that are computed, not stored"}
