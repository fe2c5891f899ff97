"""The first node whose output departs is named, wherever it lies, in few runs and with proof; or nothing is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from planted_faults import UNHARMED, behind, broken, changed, largest_after, node_of, nodes, scaled

from ccdeploy.bisect.bisection import ADDS_UP, BLAMED, SAME, Bisection, bisect
from ccdeploy.ccnet.preprocessing import noise_batch
from ccdeploy.comparison import TOLERANCES
from ccdeploy.engine.manifest import METADATA_KEY
from ccdeploy.errors import ArtefactError, UsageError
from ccdeploy.verify import Inputs

PROOF = 3
"""Runs beyond the search: a look at the outputs, the node alone, and the node in its place."""


def most_runs(found: Bisection) -> int:
    return math.ceil(math.log2(found.shared)) + PROOF


@pytest.mark.parametrize(
    ("network", "precision", "picked"), [("own", "fp32", None), ("ccnet", "fp32", 8), ("ccnet", "fp16", 4)]
)
def test_a_fault_in_any_node_is_named_at_that_node(exports, tmp_path: Path, network: str, precision: str, picked):
    """Every node of the small network; of the larger one the last of each operator, and those that chance picks."""
    reference, source = exports.file(network), exports.file(network, precision=precision)
    places = [node for node in nodes(source) if node.op_type not in UNHARMED]
    names = {node.name for node in places}
    if picked is not None:
        names = {str(name) for name in np.random.default_rng().choice(sorted(names), picked, replace=False)}
        names |= set({node.op_type: node.name for node in places if precision == "fp32"}.values())
    for name in names:
        found = bisect([reference, changed(source, tmp_path / "faulty.onnx", broken(name))], Inputs())
        assert found.outcome == BLAMED, name
        assert found.blame is not None
        assert found.blame.node == name
        assert found.blame.module == name.rpartition("/")[0]
        assert nodes(tmp_path / "faulty.onnx")[found.blame.number - 1].name == name
        tolerance = found.tolerance
        assert all(not reached.departs(tolerance) for reached in found.blame.inputs.values()), name
        assert found.blame.output is not None
        assert found.blame.output.departs(tolerance)
        assert found.blame.alone is not None
        assert found.blame.alone.departs(tolerance)
        assert len(found.runs) <= most_runs(found), name


@pytest.mark.parametrize(("name", "precisions"), [("ccnet", ["fp16"]), ("own", TOLERANCES), ("bare", ["bf16"])])
def test_good_files_of_every_precision_and_kind_pass(exports, name: str, precisions: list[str]):
    for precision in {"fp32", "fp16", "bf16"}.intersection(precisions):
        found = bisect([exports.file(name), exports.file(name, precision=precision)], Inputs())
        assert (found.outcome, found.blame) == (SAME, None)
        assert found.tolerance == TOLERANCES[precision].relative_l2
        assert len(found.runs) == 1
        assert found.runs[0].departs == ""
        assert found.precisions == ("fp32", precision)
        assert ("rounded" in found.how) == (precision != "fp32")


def test_a_weight_that_differs_is_named_with_how_it_differs(exports, tmp_path: Path):
    weight = "backbone.layer2.1.conv1.weight"
    faulty = changed(exports.file("ccnet"), tmp_path / "faulty.onnx", scaled(weight, 1.5))
    blame = bisect([exports.file("ccnet"), faulty], Inputs()).blame
    assert blame is not None
    assert (blame.node, blame.operator) == ("backbone.layer2.1.conv1/Conv", "Conv")
    by_name = {entry.name: entry for entry in blame.weights}
    assert by_name[weight].relative_l2 == pytest.approx(0.5, rel=1e-5)
    assert by_name[weight].ratio == pytest.approx(1.5, rel=1e-5)
    assert by_name["backbone.layer2.1.conv1.bias"].relative_l2 == 0
    assert by_name["backbone.layer2.1.conv1.bias"].ratio == 1
    assert blame.changes == ()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_one_channel_of_many_is_found_under_the_roundings_of_a_16_bit_file(exports, tmp_path: Path, precision: str):
    weight = "head.classifier.weight"
    tolerance = TOLERANCES[precision].relative_l2
    source = exports.file("ccnet", precision=precision)
    faulty = changed(source, tmp_path / "faulty.onnx", scaled(weight, 1 + 3 * tolerance, (4,)))
    found = bisect([exports.file("ccnet"), faulty], Inputs())
    assert found.outcome == BLAMED
    assert found.blame is not None
    assert found.blame.node == "head.classifier/Conv"
    assert found.blame.alone is not None
    assert found.blame.alone.channel == 4
    assert found.blame.alone.relative_l2 < tolerance < found.blame.alone.channel_l2


def test_values_beyond_float16_are_named_where_they_first_arise(exports, tmp_path: Path):
    conv = "backbone.layer3.0.conv2"
    card = exports.model().card
    x = noise_batch(card, 1, *card.input.size, seed=0)
    node = node_of(onnx.load(exports.file("ccnet")), f"{conv}/Conv")
    factor = 1.2e5 / largest_after(exports.file("ccnet"), node.output[0], x)

    def grown(model: onnx.ModelProto) -> None:
        for part in ("weight", "bias"):
            scaled(f"{conv}.{part}", factor)(model)

    files = [
        changed(exports.file("ccnet", precision=precision), tmp_path / f"{precision}.onnx", grown)
        for precision in ("fp32", "fp16", "bf16")
    ]
    found = bisect(files[:2], Inputs())
    assert found.blame is not None
    assert found.blame.node == f"{conv}/Conv"
    assert found.blame.alone is not None
    assert found.blame.alone.not_finite > 0
    assert found.blame.alone.largest > 65504
    assert found.blame.overflow.startswith(f"overflows float16: {found.blame.alone.not_finite} value")
    assert f"the largest in the reference is {found.blame.alone.largest:.3g}, float16 ends at 65504" in (
        found.blame.overflow
    )
    held = bisect([files[0], files[2]], Inputs())
    assert held.outcome != BLAMED
    assert all(far.not_finite == 0 for far in held.looked_at.values()), "bfloat16 holds it"


def test_not_a_number_in_a_weight_is_named(exports, tmp_path: Path):
    faulty = changed(exports.file("own"), tmp_path / "faulty.onnx", scaled("attention.qkv_conv.bias", np.nan, (1,)))
    found = bisect([exports.file("own"), faulty], Inputs())
    assert found.blame is not None
    assert found.blame.node == "attention.qkv_conv/Conv"
    assert "not finite; the largest in the reference is" in found.blame.overflow


def test_a_lost_mask_is_named_as_the_definition(exports, tmp_path: Path):
    def unmasked(model: onnx.ModelProto) -> None:
        (where,) = [node for node in model.functions[0].node if node.op_type == "Where"]
        where.input[1] = where.input[2]

    faulty = changed(exports.file("ccnet"), tmp_path / "faulty.onnx", unmasked)
    blame = bisect([exports.file("ccnet"), faulty], Inputs()).blame
    assert blame is not None
    assert (blame.node, blame.operator) == ("head.cca/CrissCrossAttention", "ccdeploy::CrissCrossAttention")
    assert blame.changes == ("the definition of CrissCrossAttention that the file carries",)


def test_a_node_that_does_not_run_is_named(exports, tmp_path: Path):
    def miscounted(model: onnx.ModelProto) -> None:
        (count,) = node_of(model, "head.cca/CrissCrossAttention_2").attribute
        count.i += 1

    faulty = changed(exports.file("ccnet"), tmp_path / "faulty.onnx", miscounted)
    found = bisect([exports.file("ccnet"), faulty], Inputs())
    assert found.outcome == BLAMED
    assert found.blame is not None
    assert found.blame.node == "head.cca/CrissCrossAttention_2"
    assert "does not run in onnxruntime" in found.blame.failure
    assert found.blame.changes == ("attribute query_channels: 5, 4 in the reference",)
    assert found.blame.alone is found.blame.output is None
    assert len(found.runs) <= most_runs(found)
    assert found.runs[0].departs == "does not run"


def test_an_inserted_node_is_shown_between_the_nodes_that_both_files_have(exports, tmp_path: Path):
    fault = behind("backbone.layer1.1.conv1/Conv", "Neg")
    faulty = changed(exports.file("ccnet"), tmp_path / "faulty.onnx", fault)
    blame = bisect([exports.file("ccnet"), faulty], Inputs()).blame
    assert blame is not None
    assert blame.node == "backbone.layer1.1.relu/Relu"
    assert blame.between == ("planted",)
    assert list(blame.inputs) == ["backbone.layer1.1.conv1/Conv"]


def test_a_fault_on_one_side_of_a_residual_is_not_blamed_on_the_sum(exports, tmp_path: Path):
    """The block's input is used twice; the other branch must stay known as good."""
    for name in ("backbone.layer2.0.downsample.0/Conv", "backbone.layer2.0.conv2/Conv"):
        faulty = changed(exports.file("ccnet"), tmp_path / "faulty.onnx", broken(name))
        blame = bisect([exports.file("ccnet"), faulty], Inputs()).blame
        assert blame is not None
        assert blame.node == name


def test_of_two_faults_the_first_is_named(exports, tmp_path: Path):
    faulty = changed(exports.file("ccnet"), tmp_path / "two.onnx", broken("head.convb.conv/Conv"))
    changed(faulty, faulty, broken("backbone.layer1.0/Add"))
    blame = bisect([exports.file("ccnet"), faulty], Inputs()).blame
    assert blame is not None
    assert blame.node == "backbone.layer1.0/Add"


def test_a_fault_that_a_relu_hides_departs_nowhere(exports, tmp_path: Path):
    """What is below zero is multiplied, and cut off by the next node."""
    faulty = changed(exports.file("ccnet"), tmp_path / "f.onnx", behind("backbone.layer1.0.conv1/Conv", "LeakyRelu"))
    found = bisect([exports.file("ccnet"), faulty], Inputs())
    assert (found.outcome, found.blame, len(found.runs)) == (SAME, None, 1)


def test_small_differences_that_add_up_are_blamed_on_no_node(exports, tmp_path: Path):
    """Each convolution is off by less than the tolerance; the network is off by more."""
    source = exports.file("ccnet")
    weights = [node.input[1] for node in nodes(source) if node.op_type == "Conv"]

    def drifting(model: onnx.ModelProto) -> None:
        generator = np.random.default_rng(0)
        for name in dict.fromkeys(weights):
            array = numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))
            noise = generator.standard_normal(array.shape).astype(np.float32)
            tensor = next(t for t in model.graph.initializer if t.name == name)
            tensor.CopyFrom(numpy_helper.from_array(array * (1 + 1e-3 * noise), name))

    faulty = changed(source, tmp_path / "drifting.onnx", drifting)
    whole = max(far.relative_l2 for far in bisect([source, faulty], Inputs(), tolerance=0.9).looked_at.values())
    found = bisect([source, faulty], Inputs(), tolerance=whole * 0.9)
    assert found.outcome == ADDS_UP
    assert found.blame is not None
    assert not found.blame.proved
    assert found.blame.alone is not None
    assert not found.blame.alone.departs(found.tolerance)
    assert len(found.runs) <= most_runs(found)
    smaller = bisect([source, faulty], Inputs(), tolerance=1e-5)
    assert smaller.outcome == BLAMED
    assert smaller.blame is not None
    assert smaller.blame.node == "backbone.stem.0/Conv"


def test_single_channels_that_drift_are_a_note_where_the_whole_is_within_the_tolerance(exports, tmp_path: Path):
    reference, artefact = exports.file("ccnet"), exports.file("ccnet", precision="fp16")
    far = bisect([reference, artefact], Inputs()).looked_at.values()
    whole, worst = max(one.relative_l2 for one in far), max(one.channel_l2 for one in far)
    assert whole < worst
    found = bisect([reference, artefact], Inputs(), tolerance=(whole + worst) / 2)
    assert (found.outcome, found.blame) == (SAME, None)
    assert any("single channels are up to" in note for note in found.notes)


@pytest.mark.parametrize("options", [{"precision": "fp16"}, {"dynamic": "all", "io": "image"}])
def test_one_artefact_is_compared_with_a_new_export_of_its_network(exports, tmp_path: Path, options):
    fault = scaled("attention.qkv_conv.weight", 1.3)
    faulty = changed(exports.file("own", **options), tmp_path / "faulty.onnx", fault)
    found = bisect([faulty], Inputs(batch=1, size=(41, 57)) if "dynamic" in options else Inputs())
    assert found.blame is not None
    assert found.blame.node == "attention.qkv_conv/Conv"
    assert found.reference == f"{exports.model('own').name}, exported anew"
    assert found.precisions == ("fp32", options.get("precision", "fp32"))


def test_a_file_of_open_sizes_is_run_at_those_of_the_fixed_one(exports, tmp_path: Path):
    opened = changed(exports.file("own", dynamic="all"), tmp_path / "open.onnx", broken("backbone.2/Relu"))
    for pair in ([exports.file("own"), opened], [opened, exports.file("own")]):
        blame = bisect(pair, Inputs(batch=3)).blame
        assert blame is not None
        assert blame.node == "backbone.2/Relu"


def test_the_first_batch_of_pictures_that_differs_is_bisected(exports, tmp_path: Path):
    """A fault that only bright pictures meet: black ones come first."""
    for number, grey in enumerate((0, 0, 255)):
        Image.fromarray(np.full((20, 20, 3), grey, np.uint8)).save(tmp_path / f"{number}.png")

    def clipped(model: onnx.ModelProto) -> None:
        behind("Cast", "Clip")(model)
        (clip,) = [node for node in model.graph.node if node.name == "planted"]
        model.graph.initializer.append(numpy_helper.from_array(np.float32(100), "brightest"))
        clip.input.extend(["", "brightest"])

    source = exports.file("own", io="image")
    faulty = changed(source, tmp_path / "clipped.onnx", clipped)
    pictures = tuple(tmp_path / f"{number}.png" for number in range(3))
    found = bisect([source, faulty], Inputs(pictures))
    assert [run.departs for run in found.runs[:3]] == ["", "", found.runs[2].departs]
    assert found.runs[2].departs
    assert found.blame is not None
    assert found.blame.between == ("planted",)
    assert bisect([source, faulty], Inputs(pictures[:2])).outcome == SAME


def test_a_run_gives_few_values(exports, tmp_path: Path):
    """What is held and given is a cut through the network, not all that was computed."""
    faulty = changed(exports.file("ccnet"), tmp_path / "f.onnx", broken("head.classifier/Conv"))
    found = bisect([exports.file("ccnet"), faulty], Inputs())
    assert max(run.values for run in found.runs) <= 5
    assert found.shared > 60


def test_files_of_different_networks_are_refused(exports, tmp_path: Path):
    with pytest.raises(ArtefactError, match=r"share \d+ of \d+ and \d+ nodes by name: they are not the same network"):
        bisect([exports.file("ccnet"), exports.file("own")], Inputs(size=None))
    with pytest.raises(ArtefactError, match="they are not the same network"):
        bisect([exports.file("bare"), exports.file("own")], Inputs())
    own, opened = exports.file("own"), exports.file("own", dynamic="all")
    with pytest.raises(UsageError, match=r"takes float 1x3x33x49, .* takes float 1x3x20x30"):
        bisect([own, exports.file("own", size=(20, 30))], Inputs())
    with pytest.raises(UsageError, match=r"takes float \?x3x\?x\?, .*; --size is 40x41"):
        bisect([opened, own], Inputs(size=(40, 41)))
    with pytest.raises(ArtefactError, match=r"takes float 1x3x33x49, .* takes uint8 1x33x49x3: one cannot be run"):
        bisect([own, exports.file("own", io="image")], Inputs())


def test_files_of_other_weights_are_compared_with_a_note(exports, tmp_path: Path):
    def reseeded(model: onnx.ModelProto) -> None:
        (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
        assert '"seed": 3' in entry.value
        entry.value = entry.value.replace('"seed": 3', '"seed": 4')

    other = changed(exports.file("own"), tmp_path / "other.onnx", reseeded)
    found = bisect([exports.file("own"), other], Inputs())
    assert found.notes == ("the two files were exported from different weights",)
    assert found.outcome == SAME


def test_a_file_that_lost_its_manifest_is_compared_with_one_that_has_it(exports, tmp_path: Path):
    def stripped(model: onnx.ModelProto) -> None:
        scaled("classifier.weight", 1.2)(model)
        del model.metadata_props[:]

    for precision in ("fp32", "fp16", "bf16"):
        lost = changed(exports.file("own", precision=precision), tmp_path / "lost.onnx", stripped)
        for files in ([exports.file("own"), lost], [lost, exports.file("own")]):
            found = bisect(files, Inputs())
            assert found.precisions[files.index(lost)] == precision
            assert found.tolerance == TOLERANCES[precision].relative_l2
            assert found.blame is not None
            assert found.blame.node == "classifier/Conv"
    with pytest.raises(ArtefactError, match=r"Neither .* nor .* carries a ccdeploy manifest"):
        bisect([lost, lost], Inputs())


def test_damaged_files_are_told(exports, tmp_path: Path):
    good = exports.file("own")
    for name, content in (("empty", b""), ("half", good.read_bytes()[: good.stat().st_size // 2]), ("text", b"onnx")):
        damaged = tmp_path / f"{name}.onnx"
        damaged.write_bytes(content)
        for files in ([good, damaged], [damaged, good], [damaged]):
            with pytest.raises(ArtefactError):
                bisect(files, Inputs())
    with pytest.raises(ArtefactError, match="does not exist"):
        bisect([good, tmp_path / "absent.onnx"], Inputs())


def test_wrong_numbers_of_artefacts_and_weights_for_two_are_refused(exports):
    own = exports.file("own")
    with pytest.raises(UsageError, match="given 3 artefacts, one or two were expected"):
        bisect([own] * 3, Inputs())
    with pytest.raises(UsageError, match="given 0 artefacts"):
        bisect([], Inputs())
    with pytest.raises(UsageError, match="--weights was given with two"):
        bisect([own, own], Inputs(), weights=Path("some.pth"))
