"""Networks of users' own: exported as they are written, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import samples
import torch
import user_networks
from networks import stirred
from onnxruntime import InferenceSession
from safetensors.torch import save_file

from ccdeploy.ccnet.loading import load_model
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.engine.manifest import read_manifest
from ccdeploy.errors import ModelError, UsageError
from ccdeploy.export import ExportOptions, export
from ccdeploy.runners.pytorch import PyTorchRunner
from ccdeploy.verify import Inputs, verify

SIZED = ExportOptions(size=(33, 49))


def exported(name: str, folder: Path, options: ExportOptions = SIZED) -> tuple[list[str], Path]:
    """Exports a network by its name, verifies the file, and gives what was said."""
    said: list[str] = []
    target = folder / "m.onnx"
    model = load_model(f"user_networks:{name}", seed=1)
    export(model, target, options, said.append)
    assert verify([target], Inputs(), model=model).outcome == "passed"
    return said, target


def test_hard_coded_cuda_calls_are_no_obstacle(tmp_path: Path):
    said, target = exported("Small", tmp_path)
    assert any("1 module proved and replaced (attention)" in line for line in said)
    manifest = read_manifest(target)
    assert (manifest.model, manifest.criss_cross_nodes, manifest.recurrence) == ("user_networks:Small", 2, 2)


def test_small_logits_are_enlarged_and_this_is_said(tmp_path: Path):
    said, target = exported("Small", tmp_path)
    assert any("enlarged" in line and "not aligned" in line for line in said)
    assert any("enlarged" in note for note in read_manifest(target).notes)
    assert read_manifest(target).outputs[0].shape == (1, 5, 33, 49)


def test_a_network_that_enlarges_by_itself_is_left_alone(tmp_path: Path):
    """`make` is a function: it gives a network that needs an argument."""
    said, target = exported("make", tmp_path)
    assert not any("enlarged" in line for line in said)
    assert read_manifest(target).outputs[0].shape == (1, 3, 33, 49)


@pytest.mark.parametrize("name", ["Tuple", "NamedLikeTensors", "Branches"])
def test_peculiar_networks_stay_the_same_network(tmp_path: Path, name: str):
    exported(name, tmp_path)


def test_half_precision_reaches_into_branches(tmp_path: Path):
    exported("Branches", tmp_path, ExportOptions(size=(33, 49), precision="fp16"))


def test_one_channel_networks_take_one_channel(tmp_path: Path):
    _, target = exported("Grey", tmp_path)
    assert read_manifest(target).inputs[0].shape == (1, 1, 33, 49)


def test_state_dict_of_a_user_s_network_is_taken(tmp_path: Path):
    network = stirred(user_networks.Small())
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    model = load_model("user_networks:Small", weights=tmp_path / "w.safetensors")
    export(model, tmp_path / "m.onnx", SIZED)
    record = read_manifest(tmp_path / "m.onnx").weights
    assert (record.source, record.file, record.layout) == ("file", "w.safetensors", "module")
    assert Path(record.path) == tmp_path / "w.safetensors"
    assert str(tmp_path).encode() not in (tmp_path / "m.onnx").read_bytes()
    values = noise_batch(model.card, 1, 33, 49, seed=5)
    (output,) = InferenceSession(tmp_path / "m.onnx").run(None, {"input": values})
    small = PyTorchRunner(model).infer({"input": values})["logits"]
    np.testing.assert_allclose(output, small, atol=1e-4)
    assert verify([tmp_path / "m.onnx"], Inputs()).outcome == "passed"


def test_network_that_runs_at_one_size_alone_is_exported_at_it(tmp_path: Path):
    """Nothing is tried on it at another size."""
    save_file(stirred(user_networks.OneSize()).state_dict(), tmp_path / "w.safetensors")
    model = load_model("user_networks:OneSize", weights=tmp_path / "w.safetensors")
    for precision in ("fp32", "fp16"):
        options = ExportOptions(size=user_networks.OneSize.SIZE, precision=precision)
        export(model, tmp_path / "m.onnx", options)
        assert verify([tmp_path / "m.onnx"], Inputs()).outcome == "passed"


def test_card_with_mean_and_std_gives_a_user_s_network_pictures(tmp_path: Path):
    model = load_model(str(samples.own_card(tmp_path)), seed=1)
    manifest = export(model, tmp_path / "m.onnx", ExportOptions(io="image"))
    assert manifest.inputs[0].shape == (1, 33, 49, 3)
    assert any("corners aligned" in note for note in manifest.notes), "the card says so"
    assert verify([tmp_path / "m.onnx"], Inputs(), model=model).outcome == "passed"


def test_labels_of_more_classes_than_a_byte_counts_are_whole(tmp_path: Path):
    """The card knows no classes: their number is the network's."""
    model = load_model(str(samples.own_card(tmp_path, "ManyClasses")), seed=1)
    with torch.no_grad():
        model.network.classifier.bias.add_(torch.linspace(-3, 3, 300))  # so that late classes win
    manifest = export(model, tmp_path / "m.onnx", ExportOptions(io="image"))
    assert manifest.outputs[0].dtype == "int32"
    assert verify([tmp_path / "m.onnx"], Inputs(), model=model).outcome == "passed"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Plain", "has no criss-cross attention."),
        ("OnlyPositions", r"something else \(attention: it computes something else"),
        ("Unused", "depends on none of them"),
        ("Breaks", r"does not run on a \[1, 3, 33, 49\] tensor \(RuntimeError: no such luck"),
    ],
)
def test_what_is_no_criss_cross_network_is_refused(tmp_path: Path, name: str, what: str):
    seed, weights = (1, None) if name != "Breaks" else (None, tmp_path / "w.safetensors")
    if weights:
        save_file(user_networks.Breaks().state_dict(), weights)
    model = load_model(f"user_networks:{name}", weights, seed)
    with pytest.raises(ModelError, match=what):
        export(model, tmp_path / "m.onnx", SIZED)
    assert not list(tmp_path.glob("*m.onnx*"))


def test_size_and_statistics_of_a_bare_class_must_be_given(tmp_path: Path):
    model = load_model("user_networks:Small", seed=1)
    with pytest.raises(UsageError, match="size of its input is not known"):
        export(model, tmp_path / "m.onnx", ExportOptions())
    with pytest.raises(UsageError, match="mean and std"):
        export(model, tmp_path / "m.onnx", ExportOptions(size=(33, 49), io="image"))


def test_weights_that_fp16_cannot_hold_are_named(tmp_path: Path):
    model = load_model("user_networks:Small", seed=1)
    with torch.no_grad():
        model.network.classifier.weight[0, 0] = 70000
    with pytest.raises(ModelError, match=r"classifier\.weight holds 7e\+04, the largest fp16 value is 65504"):
        export(model, tmp_path / "m.onnx", ExportOptions(size=(33, 49), precision="fp16"))
    export(model, tmp_path / "m.onnx", ExportOptions(size=(33, 49), precision="bf16"))


def test_activations_that_overflow_fp16_are_told_with_their_layer(tmp_path: Path):
    model = load_model("user_networks:Small", seed=1)
    with torch.no_grad():
        model.network.classifier.weight.mul_(40000)
    said: list[str] = []
    options = ExportOptions(size=(33, 49), precision="fp16")
    manifest = export(model, tmp_path / "m.onnx", options, said.append)
    (note,) = [note for note in manifest.notes if "overflows" in note]
    assert note in said
    assert note.startswith("overflows fp16 on noise: classifier: values up to")
    assert "the largest is 65504" in note
    report = verify([tmp_path / "m.onnx"], Inputs(), model=model)
    assert (report.outcome, report.verdicts[0].departs) == ("different", "logits")


def test_every_weight_of_the_file_is_finite_and_used(exports):
    graph = onnx.load(exports.file("own")).graph
    used = {name for node in graph.node for name in node.input}
    for tensor in graph.initializer:
        assert tensor.name in used
        assert np.isfinite(onnx.numpy_helper.to_array(tensor).astype(np.float64)).all()
