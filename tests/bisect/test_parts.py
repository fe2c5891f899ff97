"""Parts of a file run as the whole does, cuts hold all that is needed, and figures are what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper
from planted_faults import changed, nodes

from ccdeploy.bisect import distance as distance_module
from ccdeploy.bisect.distance import distance
from ccdeploy.bisect.matching import Matching
from ccdeploy.bisect.networks import Network
from ccdeploy.errors import ArtefactError


def relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a.astype(float) - b) / np.linalg.norm(b.astype(float)))


def saved(path: Path, text: str) -> Path:
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_the_figures_are_relative_l2_of_the_whole_and_of_the_worst_channel(monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng()
    expected = generator.standard_normal((3, 5, 7, 4)).astype(np.float32)
    got = expected + 0.01 * generator.standard_normal(expected.shape).astype(np.float32)
    got[:, 2] *= 1.5
    norms = np.linalg.norm(expected.transpose(1, 0, 2, 3).reshape(5, -1), axis=1)
    gaps = np.linalg.norm((got - expected).transpose(1, 0, 2, 3).reshape(5, -1), axis=1)
    channels = gaps / np.maximum(norms, np.sqrt((norms**2).mean()))
    for slab in (1, 40, 1 << 20):
        monkeypatch.setattr(distance_module, "SLAB", slab)
        found = distance(got, expected)
        assert found.relative_l2 == pytest.approx(relative(got, expected), rel=1e-5)
        assert found.channel == 2
        assert found.channel_l2 == pytest.approx(channels[2], rel=1e-5)
        assert found.figure == found.channel_l2 > found.relative_l2
        assert found.largest == pytest.approx(np.abs(expected).max())


def test_a_channel_that_is_nearly_dead_is_measured_against_the_others():
    expected = np.ones((1, 4, 8, 8), np.float32)
    expected[:, 1] = 1e-6
    got = expected.copy()
    got[:, 1] = 2e-6
    assert distance(got, expected).figure < 1e-5
    got[:, 3] += 0.1
    assert distance(got, expected).channel == 3


def test_only_what_is_not_finite_in_one_alone_departs():
    expected = np.array([1.0, np.inf, np.nan, 2.0, -7e4], np.float32)
    assert not distance(expected.copy(), expected).departs(1e-9)
    for stray in (np.inf, -np.inf, np.nan):
        got = expected.copy()
        got[4] = stray
        found = distance(got, expected)
        assert (found.not_finite, found.largest) == (1, 7e4)
        assert found.departs(1e9)
    assert distance(np.array([1.0, 5, np.nan, 2, -7e4]), expected).not_finite == 1, "finite where inf was expected"


def test_integers_are_counted():
    expected = np.arange(200).reshape(1, 10, 20)
    got = expected.copy()
    got[0, 0, 0] += 1
    assert not distance(got, expected).departs(1e-9)
    got[0, :3, 0] += 1
    assert distance(got, expected).departs(1e9)
    assert distance(got, expected).relative_l2 == pytest.approx(2 / 200 + 1 / 200)
    assert distance(np.array([3, 4]), np.array([3, 5])).departs(1e9), "one size of two"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_from_any_cut_the_rest_comes_out_as_in_one_run(exports, precision: str):
    """The frontier holds all that is needed, and each part runs alone as it does in the whole."""
    good, bad = Network(exports.file("ccnet")), Network(exports.file("ccnet", precision=precision))
    matching = Matching(good, bad)
    assert len(matching) >= 64
    x = np.random.default_rng().standard_normal((1, 3, 65, 97)).astype(np.float32)
    everything = {rank: matching.at(rank).bad for rank in range(1, len(matching) + 1)}
    whole = bad.run(list(everything.values()), {"input": x})
    for cut in np.random.default_rng().permutation(len(matching) - 2)[:3] + 1:
        frontier = matching.frontier(int(cut))
        assert max(frontier) == cut
        assert len(frontier) <= 4, "a residual network is narrow at any cut"
        held = {everything[rank]: whole[everything[rank]] for rank in frontier}
        beyond = [everything[rank] for rank in everything if rank > cut]
        for value, got in bad.run(beyond, held | {"input": x}).items():
            assert relative(got, whole[value]) < (1e-5 if precision == "fp32" else 2e-3), value
        first = min(frontier)  # others can be computed again from it
        if first != cut:
            less = {name: array for name, array in held.items() if name != everything[first]}
            with pytest.raises(ArtefactError):
                bad.run(beyond, less)


def test_values_are_matched_by_their_nodes_not_by_their_names(exports):
    """The tracer's `conv2d_23` is one convolution in the fp32 file and another in the fp16 file."""
    good, bad = Network(exports.file("ccnet")), Network(exports.file("ccnet", precision="fp16"))
    makers = [{value: node.name for node in network.nodes for value in node.output} for network in (good, bad)]
    matching = Matching(good, bad)
    assert any(match.good != match.bad and match.bad in makers[0] for match in matching.matches)
    for match in matching.matches:
        if match.bad not in bad.outputs:
            assert makers[0][match.good] == makers[1][match.bad] == match.node
    assert {match.bad for match in matching.matches} >= set(bad.outputs)


def test_numbered_nodes_are_matched_only_where_both_files_have_as_many(tmp_path: Path):
    head = '<ir_version: 9, opset_import: ["": 18]> g (float[2] x) => (float[2] y)'
    one = saved(tmp_path / "one.onnx", head + " { a = Abs(x) b = Neg(a) c = Neg(b) y = Exp(c) }")
    two = saved(tmp_path / "two.onnx", head + " { a = Abs(x) c = Neg(a) y = Exp(c) }")

    def name(model: onnx.ModelProto) -> None:
        seen = dict.fromkeys(["Abs", "Neg", "Exp"], 0)
        for node in model.graph.node:
            seen[node.op_type] += 1
            node.name = f"m/{node.op_type}" + (f"_{seen[node.op_type]}" if seen[node.op_type] > 1 else "")

    matching = Matching(*(Network(changed(path, path, name)) for path in (one, two)))
    assert [match.node for match in matching.matches] == ["m/Abs", "m/Exp"]
    assert matching.parents == [[], [1]]


def test_orders_that_contradict_are_refused(tmp_path: Path):
    head = '<ir_version: 9, opset_import: ["": 18]> g (float[2] x) => (float[2] y)'
    one = saved(tmp_path / "one.onnx", head + " { [first] a = Abs(x) [second] y = Exp(a) }")
    two = saved(tmp_path / "two.onnx", head + " { [second] a = Exp(x) [first] y = Abs(a) }")
    with pytest.raises(ArtefactError, match="contradicting orders"):
        Matching(Network(one), Network(two))


def test_values_that_a_branch_takes_from_around_it_are_kept(tmp_path: Path):
    text = """<ir_version: 9, opset_import: ["": 18]>
        g (float[2] x, bool b) => (float[2] y) {
          n = Neg (x)
          z = If (b) <
            then_branch = t () => (float[2] p) { p = Abs (n) },
            else_branch = e () => (float[2] q) { q = Exp (n) }>
          y = Neg (z) }"""
    network = Network(saved(tmp_path / "if.onnx", text))
    x = np.array([1.0, -2.0], np.float32)
    for flag, expected in ((True, np.abs(x)), (False, np.exp(-x))):
        got = network.run(["z"], {"n": -x, "b": np.array(flag)})
        np.testing.assert_allclose(got["z"], expected, rtol=1e-6)


def test_weights_beside_the_file_are_read_and_their_absence_is_told(exports, tmp_path: Path):
    model = onnx.load(exports.file("own"))
    onnx.save(model, tmp_path / "large.onnx", save_as_external_data=True, location="large.data", size_threshold=100)
    x = np.random.default_rng().standard_normal((1, 3, 33, 49)).astype(np.float32)
    whole = Network(exports.file("own")).run(["logits"], {"input": x})["logits"]
    assert relative(Network(tmp_path / "large.onnx").run(["logits"], {"input": x})["logits"], whole) < 1e-6
    (tmp_path / "large.data").unlink()
    with pytest.raises(ArtefactError, match="its weights cannot be read"):
        Network(tmp_path / "large.onnx")


def test_weights_are_held_once_and_shared_with_every_part(exports):
    network = Network(exports.file("ccnet"))
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(exports.file("ccnet")).graph.initializer}
    large = {name for name, array in stored.items() if array.nbytes > 1024}
    assert large
    part, names = network._part([network.nodes[-1].output[0]], {})
    assert sum(len(tensor.raw_data) for tensor in part.graph.initializer if tensor.name in large) == 0
    assert large <= set(names)
    for name, array in stored.items():
        np.testing.assert_array_equal(network.stored(name), array)
    assert network.stored(nodes(exports.file("ccnet"))[0].output[0]) is None
