"""Artefacts and networks as subjects: names, shapes, inputs, and one alone in a process of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ccdeploy.benchmark.alone import measure_alone, run_alone
from ccdeploy.benchmark.artefact import Artefact
from ccdeploy.benchmark.network import Network
from ccdeploy.benchmark.settings import Settings
from ccdeploy.benchmark.subjects import subject_from_spec, subjects_of, with_compared
from ccdeploy.errors import ArtefactError, UsageError

ONE = Settings(batch=2, threads=1, seed=7)


def foreign(path: Path, shape: list[int | str], element: int = TensorProto.FLOAT) -> Path:
    """An ONNX file without a manifest: y = x."""
    infos = [helper.make_tensor_value_info(name, element, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [infos[0]], [infos[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def test_the_facts_are_the_manifests(exports) -> None:
    facts = Artefact(exports.file("ccnet", precision="fp16"), ONE, "small").facts()
    assert (facts.name, facts.kind, facts.precision, facts.io) == ("small", "onnx", "fp16", "tensor")
    assert facts.input == (1, 3, 65, 97)  # the batch is fixed
    assert (facts.recurrence, facts.weights, facts.threads) == (2, "seed 3", 1)
    assert facts.input_type == "float32 NCHW"
    assert len(facts.sha256) == 64


def test_open_dimensions_are_what_the_settings_say(exports) -> None:
    path = exports.file("ccnet", dynamic="all")
    artefact = Artefact(path, Settings(batch=3, size=(33, 41)))
    assert artefact.facts().input == (3, 3, 33, 41)
    assert artefact.fixed_batch() is None
    (array,) = artefact.inputs(batch=2).values()
    assert (array.shape, array.dtype) == ((2, 3, 33, 41), np.float32)


def test_a_size_that_is_fixed_cannot_be_another(exports) -> None:
    with pytest.raises(UsageError, match="takes 65x97 and nothing else, --size is 33x41"):
        Artefact(exports.file("ccnet"), Settings(size=(33, 41))).facts()


def test_pictures_are_fed_to_an_artefact_that_takes_them(exports) -> None:
    artefact = Artefact(exports.file("ccnet", io="image"), ONE)
    (array,) = artefact.inputs().values()
    assert (array.shape, array.dtype) == ((1, 65, 97, 3), np.uint8)
    assert artefact.facts().io == "image"
    assert np.unique(array).size > 100


def test_all_of_a_contract_get_the_same_noise_and_another_seed_gives_another(exports) -> None:
    fp32, fp16 = (Artefact(exports.file("ccnet", **options), ONE) for options in ({}, {"precision": "fp16"}))
    (a,), (b,) = fp32.inputs().values(), fp16.inputs().values()
    np.testing.assert_array_equal(a, b)
    (c,) = Network(ONE, of=fp32).inputs(1).values()
    np.testing.assert_array_equal(a, c)
    (other,) = Artefact(exports.file("ccnet"), Settings(seed=8)).inputs().values()
    assert (other != a).any()


def test_a_network_in_pytorch_is_comparable_to_the_artefact_of_it(exports) -> None:
    from ccdeploy.benchmark.compare import check_comparable

    artefact = Artefact(exports.file("ccnet"), Settings(threads=1), "file")
    network = Network(Settings(threads=1), of=artefact)
    check_comparable(artefact.facts(), network.facts())
    assert network.facts().kind == "pytorch"
    with pytest.raises(UsageError, match="their networks differ"):
        check_comparable(Artefact(exports.file("own"), Settings(threads=1)).facts(), network.facts())


def test_a_foreign_file_runs_without_being_known(tmp_path: Path) -> None:
    artefact = Artefact(foreign(tmp_path / "foreign.onnx", ["n", 3, "h", "w"]), Settings(batch=2, size=(5, 7)))
    facts = artefact.facts()
    assert (facts.input, facts.model, facts.precision, facts.io) == ((2, 3, 5, 7), "", "unknown", "unknown")
    assert facts.notes == ("a foreign file: it carries no manifest of ccdeploy",)
    with artefact.open() as runner:
        (fed,) = artefact.inputs().values()
        np.testing.assert_array_equal(runner.infer(artefact.inputs())["y"], fed)
    with pytest.raises(UsageError, match="no network in PyTorch is known to belong to it"):
        Network(ONE, of=artefact)


def test_a_foreign_file_with_an_axis_that_nobody_states_is_refused(tmp_path: Path) -> None:
    artefact = Artefact(foreign(tmp_path / "foreign.onnx", [1, "channels", 5, 5]), ONE)
    with pytest.raises(UsageError, match="the dimension channels of its input x is open"):
        artefact.facts()


def test_names_are_short_and_unique(exports, tmp_path: Path) -> None:
    one = exports.file("ccnet")
    (tmp_path / "other").mkdir()
    twin = Path(shutil.copy(one, tmp_path / "other" / one.name))
    assert [s.name for s in subjects_of([one], ONE)] == [one.name]
    assert [s.name for s in subjects_of([one, one], ONE)] == [one.name, f"{one.name} (2)"]
    assert [s.name for s in subjects_of([one, twin], ONE)] == [str(one), str(twin)]


def test_what_is_compared_is_found_among_files_and_names(exports) -> None:
    a, b = exports.file("ccnet"), exports.file("ccnet", precision="fp16")

    def names(artefacts: list[Path], compare: tuple[object, object], pytorch: bool = False) -> tuple[list[str], object]:
        subjects, pair = with_compared(artefacts, (str(compare[0]), str(compare[1])), ONE, pytorch)
        return [subject.name for subject in subjects], pair

    assert names([], (a, b)) == ([a.name, b.name], (a.name, b.name))
    assert names([a, b], (b.name, a.name)) == ([a.name, b.name], (b.name, a.name))
    assert names([a], (a.name, b)) == ([a.name, b.name], (a.name, b.name))
    assert names([a], (a, a)) == ([a.name, f"{a.name} (2)"], (a.name, f"{a.name} (2)"))
    assert names([a, a], (a, a)) == ([a.name, f"{a.name} (2)"], (a.name, f"{a.name} (2)"))
    assert names([a], (a.name, "PyTorch"), pytorch=True) == ([a.name], (a.name, "PyTorch"))
    with pytest.raises(UsageError, match=r"--compare names PyTorch, which is no file and none of the contestants"):
        names([a], (a.name, "PyTorch"))


@pytest.mark.parametrize("kind", ["onnx", "of", "model"])
def test_alone_in_a_process_memory_and_times_are_its_own(exports, kind: str) -> None:
    artefact = Artefact(exports.file("ccnet"), ONE)
    subject = {
        "onnx": lambda: artefact,
        "of": lambda: Network(ONE, of=artefact),
        "model": lambda: Network(ONE, model=exports.model("ccnet")),
    }[kind]()
    again = subject_from_spec(json.loads(json.dumps(subject.spec())))
    assert again.facts() == subject.facts()
    found, reason = measure_alone(subject)
    assert reason == ""
    assert found is not None
    assert 10e6 < found.host_before_bytes <= found.host_bytes < 3e9
    assert found.load_s > 0
    assert found.first_inference_s > 0
    assert found.device_bytes is None


def test_alone_the_parents_memory_is_not_counted(exports) -> None:
    held = np.ones(600 << 17)  # 600 MiB that the child does not have
    found, _ = measure_alone(Artefact(exports.file("ccnet"), ONE))
    assert found is not None
    assert found.host_bytes < held.nbytes


def test_what_fails_alone_is_a_reason_in_one_line(exports, tmp_path: Path) -> None:
    subject = Artefact(exports.copy(tmp_path), ONE)
    subject.path.write_bytes(b"no longer ONNX")
    found, reason = measure_alone(subject)
    assert found is None
    assert "copy.onnx" in reason
    assert "\n" not in reason
    assert "Traceback" not in reason


def test_alone_here_gives_the_same_kind_of_figures(exports) -> None:
    found = run_alone(Artefact(exports.file("ccnet"), ONE))
    assert found.host_bytes >= found.host_before_bytes


def test_what_is_no_artefact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="does not exist"):
        subjects_of([tmp_path / "none.engine"], ONE)
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ArtefactError, match=r"empty\.onnx"):
        subjects_of([tmp_path / "empty.onnx"], ONE)
