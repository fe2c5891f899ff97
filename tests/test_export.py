"""An exported file computes what the network computes, says what it is, and is fit to be given away."""

from __future__ import annotations

import getpass
import json
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import samples
import torch

from ccdeploy import __version__
from ccdeploy.ccnet.loading import load_model
from ccdeploy.ccnet.preprocessing import noise_batch, noise_pictures, normalise
from ccdeploy.comparison import TOLERANCES
from ccdeploy.engine.manifest import METADATA_KEY, Tensor, parse_manifest, read_manifest
from ccdeploy.engine.onnx_files import write_onnx
from ccdeploy.export import ExportOptions, export
from ccdeploy.files import sha256_of
from ccdeploy.runners.ort import StagedRunner
from ccdeploy.runners.pytorch import PyTorchRunner

FIXED = [(1, *samples.SIZE)]
OTHERS = [(1, 33, 40), (3, 64, 51)]


def infer(path: Path, value: np.ndarray) -> np.ndarray:
    """The file as it stands, in a plain onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    (output,) = session.run(None, {entry.name: value})
    return np.asarray(output)


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def logits_of(exports, name: str, batch: np.ndarray) -> np.ndarray:
    outputs = PyTorchRunner(exports.model(name)).infer({"input": batch})
    return np.asarray(outputs.get("logits", outputs.get("features")))


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("ccnet", {}, FIXED),
        ("ccnet", {"precision": "fp16"}, FIXED),
        ("ccnet", {"dynamic": "all"}, [*FIXED, *OTHERS, (1, 1, 1), (2, 8, 1)]),
        ("official", {}, FIXED),
        ("own", {"dynamic": "batch"}, [(1, 33, 49), (4, 33, 49)]),
        ("own", {"dynamic": "size"}, [(1, 33, 49), (1, 20, 71), (1, 2, 1)]),
        ("own", {"dynamic": "all", "precision": "fp16"}, OTHERS),
        ("own", {"batch": 2, "size": (16, 24)}, [(2, 16, 24)]),
        ("bare", {}, [(1, 9, 13)]),
    ],
)
def test_file_computes_what_the_network_computes(exports, name: str, options: dict[str, Any], sizes):
    path = exports.file(name, **options)
    for batch, height, width in sizes:
        values = noise_batch(exports.model(name).card, batch, height, width, seed=5)
        gap = relative(infer(path, values), logits_of(exports, name, values))
        assert gap <= TOLERANCES[options.get("precision", "fp32")].relative_l2, (batch, height, width)


def test_bf16_file_computes_what_the_network_computes(exports):
    """Plain onnxruntime has no bf16 convolution for the CPU; the widened copy rounds as the file does."""
    values = noise_batch(exports.model("ccnet").card, 1, *samples.SIZE, seed=5)
    path = exports.file("ccnet", precision="bf16")
    (output,) = StagedRunner(path, []).infer({"input": values}).values()
    gap = relative(np.asarray(output), logits_of(exports, "ccnet", values))
    assert 1e-3 < gap <= TOLERANCES["bf16"].relative_l2  # not float32 under another name either


@pytest.mark.parametrize("name", ["ccnet", "official"])
def test_image_file_normalises_and_labels_as_the_card_says(exports, name: str):
    """The official variant takes BGR: with the order mistaken, or mean and std, labels would differ."""
    card = exports.model(name).card
    pictures = noise_pictures(card, 1, *samples.SIZE, seed=2)
    pictures[..., 0] //= 2  # red and blue differ
    labels = infer(exports.file(name, io="image"), pictures)
    assert (labels.dtype, labels.shape) == (np.uint8, (1, *samples.SIZE))
    values = normalise(pictures, card)
    expected = logits_of(exports, name, values).argmax(axis=1)
    assert (labels == expected).mean() >= 0.9999
    assert len(np.unique(labels)) > 3
    from_tensor = infer(exports.file(name), values).argmax(axis=1)
    assert (labels == from_tensor).mean() >= 0.9999
    swapped = normalise(pictures[..., ::-1], card)
    assert (logits_of(exports, name, swapped).argmax(axis=1) != expected).mean() > 0.01


def test_dynamic_image_file_takes_other_sizes_and_batches(exports):
    card = exports.model("own").card
    path = exports.file("own", io="image", dynamic="all")
    for batch, height, width in OTHERS:
        pictures = noise_pictures(card, batch, height, width, seed=2)
        expected = logits_of(exports, "own", normalise(pictures, card)).argmax(axis=1)
        assert (infer(path, pictures) == expected).mean() >= 0.999


@pytest.mark.parametrize(("name", "passes"), [("ccnet", 0), ("bare", 1), ("bare", 3)])
def test_each_pass_is_one_node_and_the_definition_is_carried_once(exports, tmp_path: Path, name: str, passes: int):
    model = load_model(str(exports.cards[name]), seed=1, recurrence=passes)
    manifest = export(model, tmp_path / "m.onnx", ExportOptions())
    graph = onnx.load(tmp_path / "m.onnx")
    nodes = [(node.domain, node.op_type) for node in graph.graph.node]
    assert nodes.count(("ccdeploy", "CrissCrossAttention")) == passes
    assert [(function.domain, function.name) for function in graph.functions] == [("ccdeploy", "CrissCrossAttention")]
    assert (manifest.criss_cross_nodes, manifest.recurrence) == (passes, passes)
    # The last pass of a bare module is its output.
    bare = [*(f"criss-cross {number}" for number in range(1, passes)), "features"]
    assert list(manifest.stages) == (bare if name == "bare" else ["backbone", "logits"])
    values = noise_batch(model.card, 1, *model.card.input.size, seed=0)
    *_, expected = PyTorchRunner(model).infer({"input": values}).values()
    assert relative(infer(tmp_path / "m.onnx", values), np.asarray(expected)) <= 1e-5


def test_a_reader_finds_the_network_s_own_names(exports):
    model = onnx.load(exports.file("ccnet"))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    for name in (
        "backbone.stem.0/Conv",
        "backbone.layer4.1.conv2/Conv",
        "head.conva.conv/Conv",
        "head.classifier/Conv",
    ):
        assert name in names
    assert sum(name.startswith("head.cca/CrissCrossAttention") for name in names) == 2
    weights = {tensor.name for tensor in model.graph.initializer}
    assert {"backbone.layer1.0.conv1.weight", "head.classifier.bias", "head.cca.qkv_conv.weight"} <= weights
    assert not any(name.startswith("network.") for name in weights | set(names))
    assert not any("bn" in name or "norm" in name for name in weights), "batch norms are folded"


@pytest.mark.parametrize("options", [{}, {"precision": "fp16"}, {"io": "image"}, {"dynamic": "all"}])
def test_file_tells_nothing_of_the_machine(exports, options: dict[str, Any]):
    content = exports.file("ccnet", **options).read_bytes()
    places = [Path.cwd(), Path.home(), exports.folder, Path(__file__).parent, sysconfig.get_path("purelib")]
    for place in [str(place) for place in places] + ["site-packages", "ccdeploy/", ".py", "stack_trace", "pkg.torch"]:
        if place != "/":
            assert place.encode() not in content, place
    if len(getpass.getuser()) > 6:
        assert getpass.getuser().encode() not in content


def test_own_network_s_file_tells_nothing_of_the_machine(tmp_path: Path):
    """Its branches are graphs inside the graph, where traces hide too."""
    model = load_model(str(samples.own_card(tmp_path, "Branches")), seed=1)
    export(model, tmp_path / "m.onnx", ExportOptions())
    graph = onnx.load(tmp_path / "m.onnx")
    assert any(node.op_type == "If" for node in graph.graph.node)
    content = (tmp_path / "m.onnx").read_bytes()
    for place in (str(Path(__file__).parent), str(tmp_path), "site-packages", ".py", "stack_trace", "pkg.torch"):
        assert place.encode() not in content, place
    values = noise_batch(model.card, 1, 33, 49, seed=0)
    expected = PyTorchRunner(model).infer({"input": values})["logits"]
    assert relative(infer(tmp_path / "m.onnx", values), np.asarray(expected)) <= 1e-5


def test_manifest_lies_inside_and_beside_and_is_of_this_file(exports):
    path = exports.file("ccnet", precision="fp16")
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    inside, beside = parse_manifest(entry.value, "inside"), read_manifest(path)
    assert beside.sha256 == beside.onnx_sha256 == sha256_of(path)
    assert inside.sha256 == "", "a file cannot hold its own digest"
    assert (inside.model, inside.precision, inside.stages) == (beside.model, beside.precision, beside.stages)
    assert beside.file == path.name
    assert (beside.weights.source, beside.weights.seed) == ("random", 3)
    assert beside.card == exports.model("ccnet").card.to_dict()
    assert beside.ccdeploy == model.producer_version == __version__
    assert model.producer_name == "ccdeploy"
    values = {output.name for node in model.graph.node for output in [*model.graph.value_info, *model.graph.output]}
    assert set(beside.stages.values()) <= values


@pytest.mark.parametrize(
    ("name", "options", "source", "output"),
    [
        ("ccnet", {}, ("input", "float32", "NCHW", (1, 3, 65, 97)), ("logits", "float32", "NCHW", (1, 21, 65, 97))),
        (
            "ccnet",
            {"precision": "bf16"},
            ("input", "float32", "NCHW", (1, 3, 65, 97)),
            ("logits", "float32", "NCHW", (1, 21, 65, 97)),
        ),
        ("ccnet", {"io": "image"}, ("image", "uint8", "NHWC", (1, 65, 97, 3)), ("labels", "uint8", "NHW", (1, 65, 97))),
        (
            "own",
            {"io": "image", "dynamic": "all"},
            ("image", "uint8", "NHWC", ("batch", "height", "width", 3)),
            ("labels", "uint8", "NHW", ("batch", "height", "width")),
        ),
        (
            "own",
            {"dynamic": "size"},
            ("input", "float32", "NCHW", (1, 3, "height", "width")),
            ("logits", "float32", "NCHW", (1, 5, "height", "width")),
        ),
        ("bare", {}, ("input", "float32", "NCHW", (1, 16, 9, 13)), ("features", "float32", "NCHW", (1, 16, 9, 13))),
    ],
)
def test_inputs_and_outputs_are_as_the_manifest_says(exports, name: str, options, source, output):
    path = exports.file(name, **options)
    manifest = read_manifest(path)
    assert manifest.inputs == (Tensor(*source),)
    assert manifest.outputs == (Tensor(*output),)
    graph = onnx.load(path).graph
    for value, said in ((graph.input, source), (graph.output, output)):
        shape = tuple(dim.dim_param or dim.dim_value for dim in value[0].type.tensor_type.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value[0].type.tensor_type.elem_type)
        assert (len(value), value[0].name, dtype.name, shape) == (1, said[0], said[1], said[3])


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_weights_have_the_float_type_of_the_precision(exports, precision: str):
    graph = onnx.load(exports.file("ccnet", precision=precision)).graph
    kind = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}[precision]
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert kinds == {kind}


def test_weights_beyond_the_limit_lie_beside_and_move_with_the_file(exports, tmp_path: Path):
    from ccdeploy.export import _input_shape, _trace, prepare

    model = exports.model("own")
    options = ExportOptions()
    shape = _input_shape(model, options)
    graph, _ = _trace(model, prepare(model, options, shape)[0], shape, options)
    target = tmp_path / "a" / "big.onnx"
    manifest = write_onnx(graph, target, read_manifest(exports.file("own")), largest=100)
    assert sorted(file.name for file in target.parent.iterdir()) == ["big.onnx", "big.onnx.data", "big.onnx.json"]
    assert manifest.sha256 == sha256_of(target)
    assert str(tmp_path).encode() not in target.read_bytes()
    moved = shutil.move(target.parent, tmp_path / "b") / Path("big.onnx")
    values = noise_batch(model.card, 1, 33, 49, seed=5)
    assert relative(infer(moved, values), logits_of(exports, "own", values)) <= 1e-5
    assert relative(np.asarray(StagedRunner(moved, []).infer({"input": values})["logits"]), infer(moved, values)) < 1e-6


def test_manifest_beside_is_plain_json(exports):
    text = Path(f"{exports.file('ccnet')}.json").read_text(encoding="utf-8")
    document = json.loads(text, parse_constant=pytest.fail)
    assert document["format"] == 1
    assert document["inputs"][0]["shape"] == [1, 3, 65, 97]


def test_export_leaves_the_model_as_it_was(exports):
    model = exports.model("own")
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    exports.file("own", precision="fp16")
    after = model.network.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert after[name].dtype == tensor.dtype
        assert torch.equal(after[name], tensor)
    assert not model.network.training
