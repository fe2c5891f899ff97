"""Artefacts become a model repository: its files, configs, versions, and that a failure leaves nothing behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from repository_parts import a_contents, a_engine, a_profile

from ccdeploy.datasets.streets import Streets
from ccdeploy.engine.manifest import Plugin
from ccdeploy.errors import UsageError
from ccdeploy.serving.contract import PARAMETER, parse_served
from ccdeploy.serving.repository import Packaging, package, read_repository
from ccdeploy.serving.repository.schema import parsed

QUICK = Packaging(warmed=False)


def test_an_onnx_file_becomes_four_models(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet", dynamic="all")
    folder = tmp_path / "repository"
    (made,) = package([source], folder, Packaging(name="tiny"))
    assert sorted(path.name for path in folder.iterdir()) == ["tiny", "tiny_labels", "tiny_network", "tiny_read"]
    assert [path.name for path in tmp_path.iterdir()] == ["repository"], "nothing is left beside it"
    network = parsed(folder / "tiny_network" / "config.pbtxt")
    assert (network.backend, network.max_batch_size, list(network.input[0].dims)) == ("python", 8, [3, -1, -1])
    assert network.HasField("dynamic_batching")
    for model in (
        "read",
        "network",
        "labels",
    ):  # nothing that lets Triton's scheduler sleep
        batching = parsed(folder / f"tiny_{model}" / "config.pbtxt").dynamic_batching
        assert not batching.HasField("default_queue_policy")
        assert batching.max_queue_delay_microseconds == 0
    artefact = folder / "tiny_network" / "1" / source.name
    assert artefact.read_bytes() == source.read_bytes()
    assert json.loads(artefact.with_name(source.name + ".json").read_text())["weights"]["path"] == ""
    served = parse_served(parsed(folder / "tiny" / "config.pbtxt").parameters[PARAMETER].string_value, "here")
    assert served == made.served
    assert (served.size, served.resize, served.batch, served.version) == (None, None, 8, 1)
    assert read_repository(folder).deployments == (served,)
    assert all(os.access(path, os.R_OK) and path.stat().st_mode & 0o044 for path in folder.rglob("*"))


def test_warm_up_data_have_the_sizes_of_their_shapes(exports, tmp_path: Path) -> None:
    package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a"))
    (sample,) = parsed(tmp_path / "r" / "a_network" / "config.pbtxt").model_warmup
    assert list(sample.inputs["input"].dims) == [1, 3, 65, 97], "a model that forms no batches is given the whole shape"
    package([exports.file("ccnet", dynamic="batch")], tmp_path / "r", Packaging(name="b"))
    (sample,) = parsed(tmp_path / "r" / "b_network" / "config.pbtxt").model_warmup
    assert list(sample.inputs["input"].dims) == [3, 65, 97]
    data = np.fromfile(tmp_path / "r" / "b_network" / "warmup" / "input", np.float32)
    assert data.size == 3 * 65 * 97
    assert data.std() > 0.1, "a real picture"


def test_a_picture_to_warm_up_with(exports, tmp_path: Path) -> None:
    picture = tmp_path / "own.png"
    Image.fromarray(Streets(1, (33, 41))[0].picture).save(picture)
    package([exports.file("ccnet", dynamic="all")], tmp_path / "r", Packaging(name="a", warm_up=picture))
    (sample,) = parsed(tmp_path / "r" / "a_network" / "config.pbtxt").model_warmup
    assert list(sample.inputs["input"].dims) == [3, 33, 41]
    assert (tmp_path / "r" / "a_read" / "warmup" / "picture").read_bytes() == picture.read_bytes()


def test_a_second_packaging_is_a_second_version(exports, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    first, second = exports.file("ccnet", dynamic="all"), exports.copy(tmp_path, dynamic="all")
    package([first], folder, Packaging(name="a", warmed=False))
    package([second], folder, Packaging(name="a", warmed=False, keep=2))
    found = read_repository(folder)
    assert found.placements["a"].versions == (1, 2)
    assert found.deployments[0].version == 2
    assert {path.name for path in (folder / "a_network" / "1").iterdir()} >= {first.name}
    assert parsed(folder / "a_network" / "config.pbtxt").version_policy.latest.num_versions == 2
    ensemble = parsed(folder / "a" / "config.pbtxt")
    assert ensemble.version_policy.latest.num_versions == 1, "its steps are the latest ones, whatever its version"
    (made,) = package([second], folder, Packaging(name="a", warmed=False))
    assert read_repository(folder).placements["a"].versions == (3,)
    assert any("1, 2" in note for note in made.notes)
    assert (folder / "a_network" / "1").is_dir()


def test_replacing_starts_anew(exports, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    package([exports.file("ccnet")], folder, Packaging(name="a", version=7))
    package([exports.file("ccnet", io="image")], folder, Packaging(name="a", replace=True))
    assert read_repository(folder).placements["a"].versions_there == (1,)
    assert not (folder / "a_network" / "7").exists()
    (folder / "a_read" / "config.pbtxt").write_text("{{{")
    package([exports.file("ccnet")], folder, Packaging(name="a", replace=True))
    assert read_repository(folder).deployments[0].manifest["io"] == "tensor"


def test_weights_outside_the_file_come_along(exports, tmp_path: Path) -> None:
    model = onnx.load(exports.file("ccnet"))
    source = tmp_path / "large.onnx"
    onnx.save(model, source, save_as_external_data=True, location="large.onnx.data", size_threshold=0)
    package([source], tmp_path / "r", QUICK)
    files = {path.name for path in (tmp_path / "r" / "large_network" / "1").iterdir()}
    assert files == {"large.onnx", "large.onnx.data", "large.onnx.json", "model.py", "served.json"}


def test_an_engine_for_the_tensorrt_backend(exports, tmp_path: Path) -> None:
    profile = a_profile((1, 3, 33, 33), (2, 3, 65, 97), (4, 3, 129, 129))
    engine = a_engine(tmp_path, exports.file("ccnet", dynamic="all"), profiles=(profile,))
    (made,) = package([engine], tmp_path / "r", Packaging(instances=2, gpus=(1, 3)))
    config = parsed(tmp_path / "r" / "net_network" / "config.pbtxt")
    assert (config.backend, config.default_model_filename, config.max_batch_size) == ("tensorrt", "net.engine", 4)
    assert (list(config.instance_group[0].gpus), config.instance_group[0].count) == ([1, 3], 2)
    assert list(config.model_warmup[0].inputs["input"].dims) == [3, 65, 97], "the size that it is tuned for"
    assert made.served.batch == 4
    found = read_repository(tmp_path / "r")
    assert found.backends == ("python", "tensorrt")
    assert found.needs_gpu
    assert found.placements["net"].gpus == (1, 3)


def test_an_engine_that_carries_its_plugin(exports, tmp_path: Path) -> None:
    engine = a_engine(tmp_path, exports.file("ccnet"), plugin=Plugin("lib.so", "0" * 64, "1", embedded=True))
    (made,) = package([engine], tmp_path / "r", QUICK)
    assert any("native code" in note for note in made.notes)
    found = read_repository(tmp_path / "r")
    assert found.host_code
    assert found.plugins == ()


def test_a_later_version_takes_the_file_name_that_the_backend_expects(exports, tmp_path: Path) -> None:
    onnx_file = exports.file("ccnet")
    package([a_engine(tmp_path, onnx_file, "one.engine")], tmp_path / "r", Packaging(name="a", warmed=False))
    package([a_engine(tmp_path, onnx_file, "two.engine")], tmp_path / "r", Packaging(name="a", warmed=False, keep=2))
    assert (tmp_path / "r" / "a_network" / "2" / "one.engine").read_bytes() == b"engine two.engine"
    assert read_repository(tmp_path / "r").placements["a"].versions == (1, 2)


def test_tf32_is_off_where_onnxruntime_runs_on_gpus(exports, tmp_path: Path) -> None:
    package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a", backend="onnxruntime", gpus=(), warmed=False))
    config = parsed(tmp_path / "r" / "a_network" / "config.pbtxt")
    (cuda,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})


@pytest.mark.parametrize("failing", [0, 1, 3, 5])
def test_an_interruption_leaves_the_repository_as_it_was(
    exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    folder = tmp_path / "r"
    package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    before = a_contents(folder)
    calls = 0
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls - 1 == failing:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    monkeypatch.undo()
    assert a_contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    read_repository(folder)


def test_of_several_artefacts_all_or_none(exports, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    with pytest.raises(Exception, match="whole ONNX"):
        package([exports.file("ccnet"), damaged], tmp_path / "r", QUICK)
    assert not (tmp_path / "r").exists()


def test_two_at_once_are_one_too_many(exports, tmp_path: Path) -> None:
    import fcntl

    folder = tmp_path / "r"
    package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(UsageError, match="Another process"):
            package([exports.file("ccnet")], folder, Packaging(name="b", warmed=False))
    finally:
        os.close(handle)
    assert not (folder / "b").exists()


def test_what_a_killed_process_left_is_removed(exports, tmp_path: Path) -> None:
    for name in (".ccdeploy-r.abcd_123.part", ".ccdeploy-r.x.abcd_123.part", ".ccdeploy-s.abcd_123.part"):
        (tmp_path / name / "models").mkdir(parents=True)
    package([exports.file("ccnet")], tmp_path / "r", Packaging(name="a", warmed=False))
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".ccdeploy-r.x.abcd_123.part", ".ccdeploy-s.abcd_123.part", "r"], "those of other repositories stay"


def test_a_repository_beside_which_nothing_can_be_written(
    exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    assert read_repository(folder).placements["a"].versions == (2,)
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_quantised_file(exports, tmp_path: Path, kind: str) -> None:
    from ccdeploy.quantize.files import QuantizeOptions, quantize
    from ccdeploy.quantize.sources import PictureSource

    files = []
    for index, sample in enumerate(Streets(8, (43, 61))):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(sample.picture).save(files[-1])
    target = tmp_path / f"{kind}.onnx"
    quantize(exports.file("ccnet"), target, PictureSource(files, title="streets"), QuantizeOptions(kind))
    (made,) = package([target], tmp_path / "r", QUICK)
    assert made.served.manifest_of().types == f"{kind}+fp32"


def test_other_models_are_left_alone(exports, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    (folder / "other" / "1").mkdir(parents=True)
    (folder / "other" / "config.pbtxt").write_text('name: "other"\nbackend: "identity"\n')
    package([exports.file("ccnet")], folder, Packaging(name="a", warmed=False))
    assert read_repository(folder).foreign == ("other",)
    with pytest.raises(UsageError, match="another maker"):
        package([exports.file("ccnet")], folder, Packaging(name="other", warmed=False))


def test_names_in_other_alphabets(exports, tmp_path: Path) -> None:
    source = tmp_path / "straße.onnx"
    source.write_bytes(exports.file("ccnet").read_bytes())
    with pytest.raises(UsageError, match="straße"):
        package([source], tmp_path / "r", QUICK)
    package([source], tmp_path / "r", Packaging(name="street", warmed=False))
    assert (tmp_path / "r" / "street_network" / "1" / "street.onnx").is_file()
