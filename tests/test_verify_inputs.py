"""What artefacts are verified with: the checkpoint they were exported from, pictures, and a GPU for engines."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import samples
import torch
import user_networks
from fake_gpu import CARD, FakeGpu
from networks import stirred
from PIL import Image
from safetensors.torch import save_file

from ccdeploy.ccnet.loading import load_model
from ccdeploy.engine.gpu import GpuReport
from ccdeploy.engine.manifest import Engine, manifest_path, read_manifest, write_manifest
from ccdeploy.errors import ArtefactError, CheckpointError, InputError, UsageError
from ccdeploy.export import ExportOptions, export
from ccdeploy.files import sha256_of
from ccdeploy.verify import DIFFERENT, NOT_RUN, PASSED, Inputs, verify


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and its export."""
    folder = tmp_path_factory.mktemp("trained")
    save_file(stirred(user_networks.Small()).state_dict(), folder / "w.safetensors")
    model = load_model(str(samples.own_card(folder)), folder / "w.safetensors")
    export(model, folder / "m.onnx", ExportOptions())
    return folder


@pytest.fixture
def moved(trained: Path, tmp_path: Path, monkeypatch) -> Path:
    """The artefact without its checkpoint, on a machine that never saw it."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(trained / "m.onnx", tmp_path / "m.onnx"))


def test_checkpoint_is_found_where_it_was(trained: Path):
    assert verify([trained / "m.onnx"], Inputs()).outcome == PASSED


def test_moved_checkpoint_is_found_beside_the_artefact_or_given(trained: Path, moved: Path, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"w\.safetensors, sha256 .* not where they were"):
        verify([moved], Inputs())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(trained / "w.safetensors", elsewhere / "other-name.safetensors")
    assert verify([moved], Inputs(), weights=elsewhere / "other-name.safetensors").outcome == PASSED
    shutil.copy(trained / "w.safetensors", moved.parent / "w.safetensors")
    assert verify([moved], Inputs()).outcome == PASSED


def test_another_checkpoint_is_refused_by_its_digest(trained: Path, moved: Path, tmp_path: Path):
    other = tmp_path / "w.safetensors"
    save_file(stirred(user_networks.Small(), seed=1).state_dict(), other)
    with pytest.raises(CheckpointError, match=f"has the sha256 {sha256_of(other)[:12]}.*was exported from"):
        verify([moved], Inputs(), weights=other)
    with pytest.raises(CheckpointError, match="not where they were"):
        verify([moved], Inputs())  # of the right name, beside the artefact, and another file
    with pytest.raises(CheckpointError, match="does not exist"):
        verify([moved], Inputs(), weights=tmp_path / "absent.pth")


def test_changed_checkpoint_is_different_even_under_the_old_digest(trained: Path):
    """The network itself is compared, not its papers."""
    model = load_model(str(samples.own_card(trained)), trained / "w.safetensors")
    with torch.no_grad():
        model.network.attention.gamma.mul_(0.5)
    report = verify([trained / "m.onnx"], Inputs(), model=model)
    assert (report.outcome, report.verdicts[0].departs) == (DIFFERENT, "criss-cross 1")


def test_random_weights_take_no_checkpoint(exports, trained: Path):
    with pytest.raises(UsageError, match="was exported with random weights"):
        verify([exports.file("own")], Inputs(), weights=trained / "w.safetensors")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "c.png"):
        shades = generator.integers(0, 256, (7, 5, 3), dtype=np.uint8)
        Image.fromarray(shades).resize((70, 50)).save(folder / name)
    return folder


def test_every_picture_is_compared(exports, pictures: Path):
    files = tuple(sorted(pictures.iterdir()))
    seen = []
    report = verify(
        [exports.file("own", dynamic="all", precision="fp16")],
        Inputs(images=files, batch=2),
        model=exports.model("own"),
        say=seen.append,
    )
    assert report.outcome == PASSED
    assert report.inputs == ", ".join(map(str, files))
    assert [line for line in seen if "PyTorch" in line] == ["running small in PyTorch on 2x3x33x49"] * 2


def test_pictures_reach_a_bgr_network_as_its_card_says(exports, pictures: Path):
    inputs = Inputs(images=tuple(sorted(pictures.iterdir())))
    files = [exports.file("official", io="image"), exports.file("official")]
    assert verify(files, inputs, model=exports.model("official")).outcome == PASSED


def test_watcher_sees_the_first_picture_once_an_artefact(exports, pictures: Path):
    seen = []
    files = [exports.file("own"), exports.file("own", io="image", precision="fp16")]
    verify(
        files,
        Inputs(images=tuple(sorted(pictures.iterdir()))),
        model=exports.model("own"),
        watch=lambda number, path, *arrays: seen.append((number, path, [array.shape for array in arrays])),
    )
    shapes = [(33, 49, 3), (33, 49), (33, 49)]
    assert {Path(path) for _, path, _ in seen} == set(files)
    assert all(shape == shapes for _, _, shape in seen)
    assert sorted(number for number, path, _ in seen if Path(path) == files[0]) == list(range(len(seen) // 2))


def test_damaged_picture_is_told(exports, pictures: Path):
    (pictures / "b.jpg").write_bytes(b"cut")
    with pytest.raises(InputError, match=r"b\.jpg"):
        verify([exports.file("own")], Inputs(images=tuple(sorted(pictures.iterdir()))), model=exports.model("own"))


def test_feature_maps_are_no_pictures(exports, pictures: Path):
    with pytest.raises(UsageError, match="does not take pictures"):
        verify([exports.file("bare")], Inputs(images=(pictures / "a.png",)), model=exports.model("bare"))


def test_grey_pictures_reach_a_network_of_one_channel(tmp_path: Path, pictures: Path):
    model = load_model(str(samples.own_card(tmp_path, "Grey", channels=1)), seed=1)
    for io in ("tensor", "image"):
        target = tmp_path / f"{io}.onnx"
        export(model, target, ExportOptions(io=io))
        assert verify([target], Inputs(images=(pictures / "a.png",)), model=model).outcome == PASSED


@pytest.fixture
def engine(exports, tmp_path: Path) -> Path:
    """What fake_gpu runs as an engine, with an engine's manifest."""
    source = exports.file("own", precision="fp16")
    path = Path(shutil.copy(source, tmp_path / "m.engine"))
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",))
    manifest = dataclasses.replace(read_manifest(source), kind="engine", file=path.name, engine=record)
    write_manifest(manifest, path)
    return path


def test_engine_is_run_and_compared(exports, engine: Path, monkeypatch):
    FakeGpu().install(monkeypatch)
    report = verify([exports.file("own"), engine], Inputs(), model=exports.model("own"))
    verdict = report.verdicts[1]
    assert (report.outcome, verdict.outcome) == (PASSED, PASSED)
    assert verdict.how == f"TensorRT-RTX 1.7.1.116, {CARD.name}"
    assert [comparison.stage for comparison in verdict.comparisons] == ["logits", "labels"]


def test_engine_without_a_gpu_is_not_run_and_nothing_is_claimed(exports, engine: Path, monkeypatch):
    monkeypatch.setattr("ccdeploy.runners.engine.probe_gpus", lambda: GpuReport(reason="no driver here"))
    report = verify([engine, exports.file("own")], Inputs(), model=exports.model("own"))
    first, second = report.verdicts
    assert (report.outcome, first.outcome, second.outcome) == (NOT_RUN, NOT_RUN, PASSED)
    assert first.reason == "no GPU: no driver here"
    assert first.comparisons == ()
    monkeypatch.setattr("ccdeploy.verify.reference_model", pytest.fail)
    assert verify([engine], Inputs()).outcome == NOT_RUN, "the network is not even loaded"


def test_engine_is_believed_only_with_its_own_manifest(exports, engine: Path):
    engine.write_bytes(engine.read_bytes() + b"\0")
    with pytest.raises(ArtefactError, match="its manifest is of"):
        verify([engine], Inputs())
    manifest_path(engine).write_text("{}")
    with pytest.raises(ArtefactError, match="not a ccdeploy manifest"):
        verify([engine], Inputs())
    manifest_path(engine).unlink()
    with pytest.raises(ArtefactError, match="no readable manifest"):
        verify([engine], Inputs())
    engine.unlink()
    with pytest.raises(ArtefactError, match="does not exist"):
        verify([engine], Inputs())


def test_engine_of_a_foreign_file_has_nothing_to_be_compared_with(engine: Path):
    foreign = dataclasses.replace(read_manifest(engine), card={}, precision="unknown")
    write_manifest(foreign, engine)
    with pytest.raises(ArtefactError, match="was not exported by ccdeploy"):
        verify([engine], Inputs())
