"""Pictures to label maps: those of PyTorch, at the pictures' own sizes; what is damaged costs nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import samples
import torch
from fake_gpu import CARD, FakeGpu
from labelled import torch_labels
from onnx import numpy_helper
from PIL import Image

from ccdeploy.ccnet.loading import Model
from ccdeploy.ccnet.preprocessing import normalise
from ccdeploy.engine.manifest import METADATA_KEY, Engine, read_manifest, write_manifest
from ccdeploy.errors import ArtefactError, MissingError, UsageError
from ccdeploy.pictures import overlaid, painted
from ccdeploy.segment import loop, network
from ccdeploy.segment.loop import segment
from ccdeploy.segment.options import Options
from ccdeploy.segment.results import Report
from ccdeploy.segment.sinks import Outputs
from ccdeploy.segment.sources import find_sources
from ccdeploy.segmenters import Passing


def run(artefact: Path, paths: list[Path], folder: Path, watcher: Any = None, **options: Any) -> Report:
    recursive = options.pop("recursive", False)
    return segment(artefact, find_sources(paths, folder, recursive), folder, Options(**options), watcher)


def mask(folder: Path, key: str) -> np.ndarray:
    with Image.open(folder / f"{key}.mask.png") as image:
        return np.asarray(image)


def windowed(model: Model, picture: np.ndarray) -> np.ndarray:
    """Labels by torch alone: windows of 65x97 every 44x65, moved back to the edge, logits averaged."""
    x = torch.from_numpy(normalise(picture[None], model.card))
    height, width = picture.shape[:2]
    total, count = torch.zeros(21, height, width), torch.zeros(height, width)
    tops = {min(top, height - 65) for top in range(0, height - 65 + 44, 44)}
    lefts = {min(left, width - 97) for left in range(0, width - 97 + 65, 65)}
    with torch.no_grad():
        for top in tops:
            for left in lefts:
                logits = model.network(x[:, :, top : top + 65, left : left + 97])
                rows, columns = slice(top, top + 65), slice(left, left + 97)
                total[:, rows, columns] += torch.nn.functional.interpolate(
                    logits, (65, 97), mode="bilinear", align_corners=model.card.output.align_corners
                )[0]
                count[rows, columns] += 1
    return (total / count).argmax(dim=0).numpy()


def test_labels_are_those_of_pytorch(exports, tmp_path: Path, write_picture):
    """Smaller than the file's size, of it, and larger in one direction or both: odd sizes all."""
    shapes = [(65, 97), (31, 57), (66, 97), (65, 141), (131, 203)]
    pictures = [write_picture(tmp_path / "in" / f"{i}.png", *shape, seed=i) for i, shape in enumerate(shapes)]
    report = run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    model = exports.model()
    for index, picture in enumerate(pictures):
        found = mask(tmp_path / "out", str(index))
        expected = torch_labels(model, picture, samples.SIZE) if index < 2 else windowed(model, picture)
        assert (found.dtype, found.shape) == (np.uint8, picture.shape[:2])
        assert (found == expected).mean() > 0.999
        assert len(np.unique(expected)) > 3
    assert [result.passing for result in report.results] == ["whole pictures, brought to 65x97"] * 2 + [
        "windows of 65x97 every 44x65"
    ] * 3
    assert report.passing == {"windows of 65x97 every 44x65": 3, "whole pictures, brought to 65x97": 2}
    assert (report.outcome, report.exit_code) == ("done", 0)


def test_files_of_open_size_take_pictures_as_they_are(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "a.png", 83, 59)
    run(exports.file(dynamic="all"), [tmp_path / "a.png"], tmp_path / "out")
    assert (mask(tmp_path / "out", "a") == torch_labels(exports.model(), picture)).mean() > 0.999


def test_modes_are_as_asked(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "a.png", 131, 203)
    run(exports.file(), [tmp_path / "a.png"], tmp_path / "whole", passing=Passing("whole"))
    squeezed = mask(tmp_path / "whole", "a")
    assert (squeezed == torch_labels(exports.model(), picture, samples.SIZE)).mean() > 0.999
    report = run(exports.file(), [tmp_path / "a.png"], tmp_path / "flip", passing=Passing("slide", (0.7,), True))
    assert report.passing == {"windows of 65x97 every 44x65, scales 0.7, each also mirrored": 1}
    assert (mask(tmp_path / "flip", "a") != squeezed).mean() > 0.01


@pytest.mark.parametrize(
    ("export", "batch", "calls"),
    [
        ({"batch": 3}, None, [3, 3, 3]),
        ({"dynamic": "batch"}, None, [1] * 7),
        ({"dynamic": "batch"}, 4, [4, 3]),
        ({"dynamic": "all"}, 4, [2, 2, 1, 2]),
    ],
)
def test_batches_change_no_label(exports, tmp_path: Path, write_picture, monkeypatch, export: dict, batch, calls):
    """Of open size only pictures of one size share a batch; a fixed batch is filled up."""
    shapes = [(65, 97), (40, 97)] * 2 + [(65, 97), (22, 44), (65, 97)]
    for index, shape in enumerate(shapes):
        write_picture(tmp_path / "in" / f"{index}.png", *shape, seed=index)
    seen = []

    def spied(path: Path, **options: Any) -> Any:
        runner = original(path, **options)
        infer = runner.infer
        runner.infer = lambda inputs: seen.append(len(inputs["input"])) or infer(inputs)
        return runner

    original = network.open_runner
    monkeypatch.setattr(network, "open_runner", spied)
    report = run(exports.file(**export), [tmp_path / "in"], tmp_path / "out", batch=batch)
    assert sum(seen) == sum(calls)
    assert sorted(seen) == sorted(calls)
    assert [result.source for result in report.results] == [str(tmp_path / "in" / f"{i}.png") for i in range(7)]
    alone = {"dynamic": "all"} if export == {"dynamic": "all"} else {}
    run(exports.file(**alone), [tmp_path / "in"], tmp_path / "alone")
    for index in range(7):
        assert (mask(tmp_path / "out", str(index)) == mask(tmp_path / "alone", str(index))).mean() > 0.999


def test_windows_share_batches_too(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "a.png", 131, 203)
    for folder, options in (("three", {"batch": 3}), ("five", {"dynamic": "batch"})):
        batch = 5 if folder == "five" else None
        run(exports.file(**options), [tmp_path / "a.png"], tmp_path / folder, batch=batch)
        assert (mask(tmp_path / folder, "a") == windowed(exports.model(), picture)).mean() > 0.999


def test_batches_that_a_file_does_not_take(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    with pytest.raises(UsageError, match="takes batches of 3, 2 was asked for"):
        run(exports.file(batch=3), [tmp_path / "a.png"], tmp_path / "out", batch=2)
    assert not (tmp_path / "out").exists()


def test_files_that_give_labels(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "a.png", *samples.SIZE)
    write_picture(tmp_path / "b.png", 131, 203)
    report = run(exports.file(io="image"), [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")
    assert (mask(tmp_path / "out", "a") == torch_labels(exports.model(), picture)).mean() > 0.999
    assert mask(tmp_path / "out", "b").shape == (131, 203)
    assert report.passing == {"whole pictures, brought to 65x97": 2}


def test_16_bit_files_run_as_they_stand_or_say_that_they_do_not(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "a.png", *samples.SIZE)
    expected = torch_labels(exports.model(), picture)
    fp16 = run(exports.file(precision="fp16"), [tmp_path / "a.png"], tmp_path / "fp16")
    assert "rounded" not in fp16.subject.runtime
    assert (mask(tmp_path / "fp16", "a") == expected).mean() > 0.99
    bf16 = run(exports.file(precision="bf16"), [tmp_path / "a.png"], tmp_path / "bf16")
    assert bf16.subject.runtime.endswith(
        "each node rounded to the file's type, because onnxruntime has no bfloat16 convolution for the CPU"
    )
    assert (mask(tmp_path / "bf16", "a") == expected).mean() > 0.9
    assert (fp16.subject.precision, bf16.subject.precision) == ("fp16", "bf16")


def test_an_engine_runs_on_the_gpu(exports, tmp_path: Path, write_picture, monkeypatch):
    picture = write_picture(tmp_path / "a.png", *samples.SIZE)
    source = exports.file()
    engine = Path(shutil.copy(source, tmp_path / "m.engine"))
    record = Engine("tensorrt-rtx", "1.7.1.116", ("8.9",))
    write_manifest(dataclasses.replace(read_manifest(source), kind="engine", file=engine.name, engine=record), engine)
    with pytest.raises(MissingError, match="cannot run here: no GPU"):
        run(engine, [tmp_path / "a.png"], tmp_path / "out")
    FakeGpu().install(monkeypatch)
    report = run(engine, [tmp_path / "a.png"], tmp_path / "out")
    assert CARD.name in report.subject.runtime
    assert (mask(tmp_path / "out", "a") == torch_labels(exports.model(), picture)).mean() > 0.999


def test_a_provider_that_is_not_there_is_an_error(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    with pytest.raises(MissingError, match="CUDAExecutionProvider"):
        run(exports.file(), [tmp_path / "a.png"], tmp_path / "out", provider="cuda")


# What is written.


def test_overlays_masks_legend_and_record(exports, tmp_path: Path, write_picture):
    picture = write_picture(tmp_path / "in" / "x" / "a.png", 40, 50)
    report = run(exports.file(), [tmp_path / "in"], tmp_path / "out", recursive=True, outputs=Outputs("png", "colour"))
    card, labels = exports.model().card, mask(tmp_path / "out" / "x", "a")
    with Image.open(tmp_path / "out" / "x" / "a.overlay.png") as image:
        np.testing.assert_array_equal(np.asarray(image), overlaid(picture, labels, card, 0.5))
    with Image.open(tmp_path / "out" / "x" / "a.mask.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), painted(labels, card))
    record = json.loads((tmp_path / "out" / "segments.json").read_text(), parse_constant=pytest.fail)
    assert record == json.loads(json.dumps(report.to_dict()))
    (result,) = record["results"]
    assert result["files"] == {"overlay": "x/a.overlay.png", "mask": "x/a.mask.png"}
    assert (result["source"], result["height"], result["width"]) == (str(tmp_path / "in" / "x" / "a.png"), 40, 50)
    names = [info.name for info in card.classes]
    shares = {names[index]: float((labels == index).mean()) for index in np.unique(labels)}
    assert result["shares"] == pytest.approx(shares, abs=1e-6)
    assert result["seconds"] > 0
    assert [entry["name"] for entry in record["classes"]] == names
    assert (record["outcome"], record["sources"], record["legend"]) == ("done", 1, "legend.png")
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == [
        *("a.mask.png", "a.overlay.png", "legend.png", "segments.json", "x")
    ]


@pytest.mark.parametrize(
    ("outputs", "files"),
    [
        (Outputs(), {"a.overlay.jpg", "a.mask.png"}),
        (Outputs(mask="none"), {"a.overlay.jpg"}),
        (Outputs("none"), {"a.mask.png"}),
    ],
)
def test_what_is_left_out_is_not_written(exports, tmp_path: Path, write_picture, outputs: Outputs, files: set[str]):
    write_picture(tmp_path / "a.png", 20, 30)
    run(exports.file(), [tmp_path / "a.png"], tmp_path / "out", outputs=outputs)
    assert {path.name for path in (tmp_path / "out").iterdir()} == files | {"legend.png", "segments.json"}


def test_nothing_to_write_is_refused():
    with pytest.raises(UsageError, match="Neither overlays nor masks"):
        Outputs("none", "none")


def test_classes_that_nobody_names(exports, tmp_path: Path, write_picture):
    """A network of the user's own, whose card has none: colours and numbers, and no legend."""
    write_picture(tmp_path / "a.png", 33, 49)
    report = run(exports.file("own"), [tmp_path / "a.png"], tmp_path / "out")
    labels = mask(tmp_path / "out", "a")
    assert set(report.results[0].shares) == {f"class {index}" for index in np.unique(labels)}
    assert (report.legend, report.subject.classes) == ("", ())
    assert not (tmp_path / "out" / "legend.png").exists()


def test_results_of_an_earlier_run_are_replaced_and_sources_never(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "in" / "a.png", 20, 30)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mask.png").write_bytes(b"old")
    run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    assert mask(tmp_path / "out", "a").shape == (20, 30)
    write_picture(tmp_path / "a.mask.png", 20, 30)
    write_picture(tmp_path / "a.png", 20, 30)
    before = (tmp_path / "a.mask.png").read_bytes()
    with pytest.raises(UsageError, match=r"Results of .*a\.png would replace .*a\.mask\.png"):
        run(exports.file(), [tmp_path / "a.png", tmp_path / "a.mask.png"], tmp_path)
    assert (tmp_path / "a.mask.png").read_bytes() == before
    write_picture(tmp_path / "legend.png", 20, 30)
    with pytest.raises(UsageError, match=r"Results of this run would replace .*legend\.png"):
        run(exports.file(), [tmp_path / "legend.png"], tmp_path)
    with pytest.raises(UsageError, match="is a file, a folder was expected"):
        run(exports.file(), [tmp_path / "in"], tmp_path / "a.png")


# What is damaged.


def spoil(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "text": b"no picture"}[kind])


def test_damaged_pictures_are_named_and_skipped_and_nothing_else_is_lost(exports, tmp_path: Path, write_picture):
    for index in range(24):
        write_picture(tmp_path / "in" / f"{index:02d}.{'jpg' if index % 3 else 'png'}", 40, 50, seed=index)
    damaged = {"01.jpg": "truncated", "12.png": "empty", "23.jpg": "text"}
    for name, kind in damaged.items():
        spoil(tmp_path / "in" / name, kind)
    told = Told()
    report = run(exports.file(batch=3), [tmp_path / "in"], tmp_path / "out", told)
    assert (report.outcome, report.exit_code) == ("some skipped", 2)
    assert [Path(result.source).stem for result in report.results] == [
        f"{index:02d}" for index in range(24) if index not in (1, 12, 23)
    ]
    assert [Path(skipped.source).name for skipped in report.skipped] == list(damaged)
    assert all(skipped.source in skipped.reason for skipped in report.skipped)
    assert len(list((tmp_path / "out").glob("*.mask.png"))) == 21
    for result in report.results:
        name = Path(result.source).stem
        alone = run(exports.file(), [Path(result.source)], tmp_path / "alone") if name in ("02", "13") else None
        if alone:
            assert (mask(tmp_path / "alone", name) == mask(tmp_path / "out", name)).mean() > 0.999
    assert told.events[0] == ("begin", "pictures", 24)
    assert told.events.count("advance") == 24
    assert [event[1] for event in told.events if event[0] == "skipped"] == [
        skipped.source for skipped in report.skipped
    ]


class Told:
    """Remembers what a watcher is told, and by which thread."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def begin(self, what: str, total: int | None) -> None:
        self.events.append(("begin", what, total))

    def advance(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.events.append("advance")

    def skipped(self, skipped: Any) -> None:
        self.events.append(("skipped", skipped.source))


def test_pictures_that_are_all_damaged(exports, tmp_path: Path):
    (tmp_path / "in").mkdir()
    for index in range(3):
        (tmp_path / "in" / f"{index}.png").write_bytes(b"no")
    report = run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    assert (len(report.results), len(report.skipped), report.exit_code) == (0, 3, 2)
    assert json.loads((tmp_path / "out" / "segments.json").read_text())["outcome"] == "some skipped"


def test_pictures_of_absurd_size_and_of_16_bits_are_skipped(exports, tmp_path: Path, write_picture, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    write_picture(tmp_path / "in" / "bomb.png", 100, 100)
    write_picture(tmp_path / "in" / "fits.png", 80, 80)
    deep = np.arange(900, dtype=np.uint16).reshape(30, 30) * 70
    Image.fromarray(deep).save(tmp_path / "in" / "deep.png")
    report = run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    assert ["bomb.png" in report.skipped[0].reason, "I;16 pixels" in report.skipped[1].reason] == [True, True]
    assert [Path(result.source).name for result in report.results] == ["fits.png"]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_every_kind_of_picture_is_segmented(exports, tmp_path: Path, write_picture, mode: str):
    picture = Image.fromarray(write_picture(tmp_path / "x.png", 30, 40)).convert(mode)
    picture.save(tmp_path / f"a.{'tif' if mode == 'CMYK' else 'png'}")
    path = next(tmp_path.glob("a.*"))
    report = run(exports.file(), [path], tmp_path / "out", outputs=Outputs("png"))
    assert report.exit_code == 0
    expected = torch_labels(exports.model(), np.array(picture.convert("RGB")), samples.SIZE)
    assert (mask(tmp_path / "out", "a") == expected).mean() > 0.999


def test_turned_pictures_are_segmented_upright(exports, tmp_path: Path, write_picture):
    stored = Image.fromarray(write_picture(tmp_path / "x.png", 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    stored.save(tmp_path / "a.png", exif=exif)
    run(exports.file(), [tmp_path / "a.png"], tmp_path / "out")
    upright = np.array(stored.transpose(Image.Transpose.ROTATE_270))
    expected = torch_labels(exports.model(), upright, samples.SIZE)
    assert (mask(tmp_path / "out", "a") == expected).mean() > 0.999


def test_a_picture_that_the_artefact_cannot_take_is_skipped(exports, tmp_path: Path, write_picture, monkeypatch):
    """Such as one too large for the device; a broken artefact fails on a small picture too, and ends the run."""
    for index, side in enumerate((40, 90, 50)):
        write_picture(tmp_path / "in" / f"{index}.png", side, side)
    from ccdeploy.runners.ort import OnnxRuntimeRunner

    infer = OnnxRuntimeRunner.infer

    def limited(self: Any, inputs: Any) -> Any:
        if inputs["input"].shape[2] > 80:
            raise ArtefactError("onnxruntime failed (no memory).", "Smaller.")
        return infer(self, inputs)

    monkeypatch.setattr(OnnxRuntimeRunner, "infer", limited)
    report = run(exports.file(dynamic="all"), [tmp_path / "in"], tmp_path / "out", batch=3)
    assert [skipped.reason for skipped in report.skipped] == ["onnxruntime failed (no memory)."]
    assert [Path(result.source).name for result in report.results] == ["0.png", "2.png"]

    def broken(self: Any, inputs: Any) -> Any:
        raise ArtefactError("onnxruntime failed (broken).", "Export again.")

    monkeypatch.setattr(OnnxRuntimeRunner, "infer", broken)
    with pytest.raises(ArtefactError, match="broken"):
        run(exports.file(dynamic="all"), [tmp_path / "in"], tmp_path / "other")


def test_a_picture_that_does_not_fit_into_memory_is_skipped(exports, tmp_path: Path, write_picture, monkeypatch):
    for index in range(2):
        write_picture(tmp_path / "in" / f"{index}.png", 20, 20 + index)
    original = network.read_full_size

    def scarce(path: Path) -> Any:
        if path.name == "0.png":
            raise MemoryError
        return original(path)

    monkeypatch.setattr(network, "read_full_size", scarce)
    report = run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    assert "0.png does not fit into memory" in report.skipped[0].reason
    assert len(report.results) == 1


def test_labels_of_logits_that_are_not_finite_are_told(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    path = exports.copy(tmp_path)
    model = onnx.load(path)
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == "head.classifier.bias"]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(np.nan), tensor.name))
    onnx.save(model, path)
    report = run(path, [tmp_path / "a.png"], tmp_path / "out")
    assert "infinite or NaN in 1 of 1 pictures" in report.notes[0]


def test_artefacts_that_cannot_segment(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    with pytest.raises(UsageError, match="does not say how pictures are normalised"):
        run(exports.file("bare"), [tmp_path / "a.png"], tmp_path / "out")
    foreign = exports.copy(tmp_path)
    model = onnx.load(foreign)
    del model.metadata_props[:]
    onnx.save(model, foreign)
    with pytest.raises(ArtefactError, match="carries no ccdeploy manifest"):
        run(foreign, [tmp_path / "a.png"], tmp_path / "out")
    path = exports.copy(tmp_path)
    model = onnx.load(path)
    (entry,) = [entry for entry in model.metadata_props if entry.key == METADATA_KEY]
    document = json.loads(entry.value)
    document["card"]["output"]["classes"].pop()
    entry.value = json.dumps(document)
    onnx.save(model, path)
    with pytest.raises(ArtefactError, match=r"logits are \[1, 21, 65, 97\], \[1, 20, 65, 97\] was expected"):
        run(path, [tmp_path / "a.png"], tmp_path / "out")
    assert not (tmp_path / "out" / "segments.json").exists()


# What ends early.


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_what_was_done_before_an_end_is_whole_and_recorded(
    exports, tmp_path: Path, write_picture, monkeypatch, error: BaseException
):
    for index in range(8):
        write_picture(tmp_path / "in" / f"{index}.png", 20, 30, seed=index)
    original, calls = loop.write_picture, []

    def write(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise error
        return original(*arguments)

    monkeypatch.setattr(loop, "write_picture", write)
    monkeypatch.setattr(loop, "WRITERS", 1)
    with pytest.raises(type(error)):
        run(exports.file(), [tmp_path / "in"], tmp_path / "out")
    record = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert record["outcome"] == "interrupted"
    assert len(record["results"]) >= 3
    written = {file for result in record["results"] for file in result["files"].values()}
    assert {path.name for path in (tmp_path / "out").iterdir()} == written | {
        "legend.png",
        "segments.json",
        "segments.journal.jsonl",
    }
    for name in written:
        with Image.open(tmp_path / "out" / name) as image:
            image.load()


def test_a_folder_that_cannot_be_written_is_told(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    with pytest.raises(UsageError, match=r"cannot be written: Not a directory"):
        run(exports.file(), [tmp_path / "a.png"], tmp_path / "a.png" / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]
