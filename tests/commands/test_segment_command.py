"""`ccdeploy segment`: what it says, its exit codes, one JSON document, and an end at once on Ctrl-C."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from ccdeploy.ccnet.preprocessing import noise_pictures
from ccdeploy.commands import segment_view
from ccdeploy.commands.segment_view import Bar, Lines
from ccdeploy.segment.results import Skipped


@pytest.fixture
def pictures(exports, tmp_path: Path) -> Path:
    """Four pictures, of which one is damaged and one larger than the exports."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index, (height, width) in enumerate([(40, 50), (80, 130), (65, 97)]):
        picture = noise_pictures(exports.model().card, 1, height, width, seed=index)[0]
        Image.fromarray(picture).save(folder / f"{index}.png")
    (folder / "9.jpg").write_bytes(b"no picture")
    return folder


def test_words_and_exit_code(ccdeploy, exports, tmp_path: Path, pictures: Path):
    ended = ccdeploy("segment", exports.file(), pictures, "-o", tmp_path / "out")
    assert ended.code == 2
    lines = ended.out.splitlines()
    assert lines[0].startswith("segmented  3 of 4 pictures in ")
    assert lines[0].endswith(" ms each from pixels to labels")
    assert lines[1:3] == ["network    small-mmsegmentation-2, fp32", lines[2]]
    assert lines[2].startswith("runtime    onnxruntime ")
    assert lines[3:5] == [
        "passing    whole pictures, brought to 65x97 (2)",
        "passing    windows of 65x97 every 44x65",
    ]
    assert lines[5] == f"results    {tmp_path / 'out'}: 0.overlay.jpg, 0.mask.png, ..., legend.png, segments.json"
    bad = f"{pictures / '9.jpg'} is not a picture that can be read."
    assert lines[6:] == [f"skipped    {bad} Give a JPEG or PNG file."]
    assert ended.err.splitlines() == ["loading PyTorch", "pictures: 4", f"skipped: {bad}"]
    (pictures / "9.jpg").unlink()
    assert ccdeploy("segment", exports.file(), pictures, "-o", tmp_path / "out").code == 0


def test_json_is_one_strict_document(ccdeploy, exports, tmp_path: Path, pictures: Path):
    ended = ccdeploy("segment", exports.file(), pictures, "-o", tmp_path / "out", "--json")
    document = json.loads(ended.out, parse_constant=pytest.fail)
    assert document == json.loads((tmp_path / "out" / "segments.json").read_text())
    assert (ended.code, document["outcome"], document["sources"]) == (2, "some skipped", 4)
    assert [Path(entry["source"]).name for entry in document["results"]] == ["0.png", "1.png", "2.png"]
    assert document["skipped"] == [
        {
            "source": str(pictures / "9.jpg"),
            "reason": f"{pictures / '9.jpg'} is not a picture that can be read.",
            "remedy": "Give a JPEG or PNG file.",
        }
    ]


def test_options_arrive(ccdeploy, exports, tmp_path: Path, pictures: Path):
    options = ("--mode", "slide", "--scale", 0.5, "--scale", 1.5, "--flip", "--batch", 2, "--provider", "cpu")
    written = ("--overlay", "png", "--mask", "colour", "--opacity", 1)
    ended = ccdeploy("segment", exports.file(dynamic="all"), pictures / "0.png", "-o", tmp_path, *options, *written)
    assert ended.code == 0, ended.err
    assert "passing    windows of 65x97 every 44x65, scales 0.5, 1.5, each also mirrored" in ended.out
    with Image.open(tmp_path / "0.overlay.png") as overlay, Image.open(tmp_path / "0.mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(overlay), np.asarray(mask.convert("RGB")))


def test_a_video_and_its_frames(ccdeploy, exports, tmp_path: Path):
    import cv2

    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (98, 66))
    for frame in np.random.default_rng(0).integers(0, 256, (7, 66, 98, 3), np.uint8):
        writer.write(frame)
    writer.release()
    ended = ccdeploy("segment", exports.file(), clip, "-o", tmp_path / "out", "--every", 2)
    assert ended.code == 0, ended.err
    assert f"frames     {clip}: 4, one in 2, 66x98 at 5 frames/s" in ended.out
    assert f"{clip}: 4" in ended.err
    ended = ccdeploy("segment", exports.file(), clip, "-o", tmp_path / "out", "--frames", "--mask", "none")
    assert f"frames     {clip}: 7, 66x98\n" in ended.out
    assert len(list((tmp_path / "out" / "clip.frames").iterdir())) == 7
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    ended = ccdeploy("segment", exports.file(), clip, "-o", tmp_path / "out")
    assert ended.code == 2
    assert " of 7 frames; what was read is kept." in ended.out


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("absent.png",), 2, "absent.png does not exist."),
        ((), 2, "Nothing to segment was named."),
        (("in", "--batch", "3"), 2, "takes batches of 1, 3 was asked for."),
        (("in", "--overlay", "none", "--mask", "none"), 2, "Neither overlays nor masks were asked for."),
        (("in", "--provider", "cuda"), 3, "CUDAExecutionProvider"),
        (("in", "--mode", "whole", "--scale", "2"), 2, "scales were asked for (2)."),
        (("in", "--every", "2"), 2, "no video was named."),
        (("in", "--max-frames", "2"), 2, "An end of a camera was given, and no camera."),
        (("in", "-o", "in"), 2, "is both source and output"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    ccdeploy, exports, tmp_path: Path, pictures: Path, monkeypatch, arguments: tuple, code: int, what: str
):
    monkeypatch.chdir(tmp_path)
    target = () if "-o" in arguments else ("-o", "out")
    ended = ccdeploy("segment", exports.file(), *arguments, *target)
    assert ended.code == code
    assert what in ended.err
    assert not (tmp_path / "out").exists()
    assert len(list(pictures.iterdir())) == 4


def test_ctrl_c_ends_at_once_and_leaves_whole_files(exports, tmp_path: Path):
    """The real command, interrupted as a terminal does it while it is at work."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    picture = noise_pictures(exports.model().card, 1, 120, 150, seed=0)[0]
    Image.fromarray(picture).save(folder / "0000.png")
    content = (folder / "0000.png").read_bytes()
    for index in range(1, 3000):
        (folder / f"{index:04d}.png").write_bytes(content)
    command = [sys.executable, "-m", "ccdeploy", "segment", str(exports.file()), str(folder), "-o", str(out)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.mask.png"))) < 5:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    record = json.loads((out / "segments.json").read_text())
    assert record["outcome"] == "interrupted"
    assert 5 <= len(record["results"]) < 3000
    written = {file for result in record["results"] for file in result["files"].values()}
    assert {path.name for path in out.iterdir()} == written | {"legend.png", "segments.json", "segments.journal.jsonl"}
    for name in sorted(written)[-6:]:
        with Image.open(out / name) as image:
            image.load()


def test_progress_is_a_line_every_few_seconds():
    now, lines = [0.0], []
    told = Lines(lines.append, lambda: now[0])
    told.begin("pictures", 20)
    for _ in range(20):
        now[0] += 2
        told.advance()
    assert lines == ["pictures: 20"] + [
        f"{done} of 20, 0.5/s, about {2 * (20 - done)} s left" for done in (3, 6, 9, 12, 15, 18)
    ]
    lines.clear()
    told.begin("camera 0", None)
    for _ in range(3):
        now[0] += 2
        told.advance()
    told.skipped(Skipped("a.png", "a.png is damaged.", ""))
    assert lines == ["camera 0", "3, 0.5/s", "skipped: a.png is damaged."]
    lines.clear()
    told.begin("pictures", 100)
    now[0] += 600
    told.advance()
    assert lines[1] == "1 of 100, 0.0/s, about 990 min left"


def test_a_terminal_shows_a_bar():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    with Progress(*segment_view.columns(), console=console) as progress:
        bar = Bar(progress)
        bar.begin("pictures", 3)
        bar.advance()
        bar.skipped(Skipped("[x].png", "in/[x].png is damaged.", ""))
        bar.advance()
    shown = stream.getvalue()
    assert "2/3" in shown
    assert "in/[x].png is damaged." in shown, "brackets are no markup"
