"""Mixed files: the named layers are float32 among 16-bit ones; what would overflow holds after the named fix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import samples
import torch
from onnx import TensorProto
from PIL import Image

from ccdeploy.ccnet.loading import Model, load_model
from ccdeploy.engine.manifest import Manifest
from ccdeploy.errors import InputError, ModelError, UsageError
from ccdeploy.export import ExportOptions, check_options, export
from ccdeploy.verify import Inputs, verify

NARROW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
KEEP = re.compile(r"--keep-fp32 ([\w.]+)")


def outcome(path: Path, model: Model, images: tuple[Path, ...] = ()) -> str:
    return verify([path], Inputs(images=images), model=model).outcome


def weight_types(path: Path) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in onnx.load(path).graph.initializer if len(tensor.dims) == 4}


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, ...]:
    """Two pictures of edges and noise."""
    generator, files = np.random.default_rng(4), []
    for name in ("a.png", "b.png"):
        values = generator.integers(0, 256, (40, 50, 3), np.uint8)
        values[:, 20:] = 255 * (generator.random(3) > 0.5)
        Image.fromarray(values).save(tmp_path / name)
        files.append(tmp_path / name)
    return tuple(files)


@pytest.mark.parametrize(
    ("precision", "keep", "prefixes"),
    [
        ("fp16", ("head.cca",), ("head.cca.",)),
        ("fp16", ("backbone.layer3.*", "head.conv?"), ("backbone.layer3.", "head.conva.", "head.convb.")),
        ("bf16", ("head.c*",), ("head.conva.", "head.cca.", "head.convb.", "head.classifier.")),
    ],
)
def test_kept_layers_are_float32_and_the_file_is_the_network(
    exports, tmp_path: Path, precision: str, keep: tuple[str, ...], prefixes: tuple[str, ...]
):
    model, target = exports.model("ccnet"), tmp_path / "m.onnx"
    manifest = export(model, target, ExportOptions(precision=precision, keep_fp32=keep))
    types = weight_types(target)
    assert types.keys() == weight_types(exports.file("ccnet", precision=precision)).keys(), (
        "names are the network's own"
    )
    for name, kind in types.items():
        assert kind == (TensorProto.FLOAT if name.startswith(prefixes) else NARROW[precision]), name
    (note,) = [note for note in manifest.notes if note.startswith("kept in float32: ")]
    assert all(prefix.rstrip(".") in note for prefix in prefixes if prefix.startswith("head"))
    assert outcome(target, model) == "passed"


def test_casts_lie_where_types_meet_and_nowhere_else(exports, tmp_path: Path):
    model, target = exports.model("ccnet"), tmp_path / "m.onnx"
    export(model, target, ExportOptions(precision="fp16", keep_fp32=("head.cca",)))
    graph = onnx.load(target).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    passes = [node for node in graph.node if node.op_type == "CrissCrossAttention"]
    assert [types[node.output[0]] for node in passes] == [TensorProto.FLOAT] * 2
    assert [node.name for node in passes] == ["head.cca/CrissCrossAttention", "head.cca/CrissCrossAttention_2"]
    casts = [node.name for node in graph.node if node.op_type == "Cast"]
    assert len(casts) == 4, casts  # the input, into the module, out of it, the logits; none between the passes
    assert "head.cca/Cast" in casts
    assert "head.convb.conv/Cast" in casts


def overflowing(tmp_path: Path) -> Model:
    """A CCNet whose first block gives values beyond float16, and takes them back."""
    model = load_model(str(samples.ccnet_card(tmp_path)), seed=3)
    block = model.network.backbone.layer1[0]
    with torch.no_grad():
        for tensor in (block.bn1.weight, block.bn1.bias):
            tensor.mul_(80000)
        block.conv2.weight.div_(80000)
    return model


def in_head(tmp_path: Path) -> Model:
    """A CCNet whose criss-cross values are beyond float16."""
    model = load_model(str(samples.ccnet_card(tmp_path)), seed=3)
    cca, bottleneck = model.network.head.cca, model.network.head.convb.conv
    with torch.no_grad():
        cca.value_conv.weight.mul_(60000)
        cca.query_conv.weight.zero_()  # energies of such values would choose by their roundings
        cca.query_conv.bias.zero_()
        bottleneck.weight.div_(60000)
    return model


def own(tmp_path: Path) -> Model:
    """A network of the user's own, whose norm has a tiny variance in one channel."""
    model = load_model(str(samples.own_card(tmp_path)), seed=3)
    norm = model.network.backbone[1]
    norm.running_var[2], norm.eps, norm.running_mean[2] = 1e-13, 1e-14, 0.0
    with torch.no_grad():
        model.network.attention.query_conv.weight[:, 2] = 0
        model.network.attention.key_conv.weight[:, 2] = 0
    return model


@pytest.mark.parametrize("make", [overflowing, in_head])
def test_a_file_that_would_overflow_is_refused_and_holds_with_the_named_layers(
    tmp_path: Path, pictures: tuple[Path, ...], make: Callable[[Path], Model]
):
    model, target = make(tmp_path), tmp_path / "m.onnx"
    options: dict[str, Any] = {"precision": "fp16", "images": pictures}
    with pytest.raises(ModelError) as caught:
        export(model, target, ExportOptions(**options))
    assert not target.exists()
    keep = tuple(KEEP.findall(caught.value.remedy))
    assert keep
    export(model, target, ExportOptions(**options, keep_fp32=keep))
    assert outcome(target, model, pictures) == "passed"


def test_where_all_layers_would_have_to_stay_bf16_is_named_and_holds(tmp_path: Path, pictures: tuple[Path, ...]):
    model, target = own(tmp_path), tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=r"backbone\.0\.weight holds .*its batch norm is folded in") as caught:
        export(model, target, ExportOptions(precision="fp16", images=pictures))
    assert caught.value.remedy.startswith("Export with --precision bf16")
    assert not KEEP.findall(caught.value.remedy), "that would be an fp32 file by another name"
    export(model, target, ExportOptions(precision="bf16"))
    assert outcome(target, model, pictures) == "passed"


def test_a_file_that_would_overflow_holds_rescaled(tmp_path: Path, pictures: tuple[Path, ...]):
    model, target = overflowing(tmp_path), tmp_path / "m.onnx"
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    options = ExportOptions(precision="fp16", images=pictures, rescale=True)
    manifest = export(model, target, options)
    (note,) = [note for note in manifest.notes if note.startswith("rescaled")]
    assert re.search(r"backbone\.layer1\.0\.conv1 by 2\^-\d+, backbone\.layer1\.0\.conv2 by 2\^\d+$", note)
    assert outcome(target, model, pictures) == "passed"
    after = model.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items()), "the user's network is not touched"


def test_values_that_overflow_on_noise_are_notes_and_the_file_is_as_said(tmp_path: Path):
    model, target = overflowing(tmp_path), tmp_path / "m.onnx"
    manifest = export(model, target, ExportOptions(precision="fp16"))
    notes = [note for note in manifest.notes if "overflows fp16 on noise" in note]
    assert notes[0].startswith("overflows fp16 on noise: backbone.layer1.0.conv1: values up to ")
    assert outcome(target, model) == "different", "each node rounded: infinite"


def test_pictures_are_measured_at_the_size_of_the_file(tmp_path: Path, pictures: tuple[Path, ...]):
    model, said = load_model(str(samples.own_card(tmp_path)), seed=3), []
    sizes: list[tuple[int, ...]] = []
    handle = model.network.backbone.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    export(
        model,
        tmp_path / "m.onnx",
        ExportOptions(size=(49, 71), precision="fp16", images=pictures),
        lambda s: said.append(s),
    )
    handle.remove()
    assert sizes.count((1, 3, 49, 71)) >= len(pictures)
    assert [line for line in said if line.startswith("measuring")] == [
        f"measuring ranges, picture {number} of 2: {file}" for number, file in enumerate(pictures, 1)
    ]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"keep_fp32": ("head",)}, "--keep-fp32 goes with a 16-bit file, this one is fp32"),
        ({"precision": "bf16", "rescale": True}, "--rescale fits a network to fp16, this file is bf16"),
        ({"images": (Path("p.png"),)}, "--images measures the ranges of an fp16 file, this one is fp32"),
        ({"images": (Path("p.png"),), "precision": "bf16"}, "this one is bf16"),
    ],
)
def test_options_that_do_not_go_together_are_told(tmp_path: Path, options: dict[str, Any], what: str):
    with pytest.raises(UsageError, match=re.escape(what)):
        check_options(ExportOptions(**options), tmp_path / "m.onnx")


def test_pictures_that_cannot_be_measured_on_are_told(exports, tmp_path: Path):
    options = ExportOptions(precision="fp16", images=(tmp_path / "torn.png",))
    with pytest.raises(UsageError, match="does not take pictures"):
        export(exports.model("bare"), tmp_path / "m.onnx", options)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"torn\.png"):
        export(exports.model("own"), tmp_path / "m.onnx", options)
    assert not list(tmp_path.glob("*.onnx*"))


def test_code_of_a_user_s_that_mixes_types_names_the_way_out(tmp_path: Path):
    model: Model = load_model("user_networks:Multiplies", seed=1)
    options = ExportOptions(size=(33, 49), precision="fp16", keep_fp32=("backbone.0",))
    with pytest.raises(ModelError) as caught:
        export(model, tmp_path / "m.onnx", options)
    assert caught.value.what.startswith("user_networks:Multiplies does not run with backbone.0 kept in float32 (")
    assert "--keep-fp32" in caught.value.remedy
    assert not (tmp_path / "m.onnx").exists()
    manifest: Manifest = export(
        model, tmp_path / "m.onnx", ExportOptions(size=(33, 49), precision="fp16", keep_fp32=("attention",))
    )
    assert "kept in float32: attention" in manifest.notes
    assert outcome(tmp_path / "m.onnx", model) == "passed"


def test_files_of_any_size_and_batch_are_mixed_too(tmp_path: Path):
    model, target = load_model(str(samples.own_card(tmp_path)), seed=3), tmp_path / "m.onnx"
    options = ExportOptions(precision="fp16", keep_fp32=("attention", "backbone"), dynamic="all", io="image")
    export(model, target, options)
    report = verify([target], Inputs(size=(20, 31), batch=3), model=model)
    assert report.outcome == "passed"
