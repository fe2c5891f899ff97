"""Going on where a run ended: in the end each source has one result, and it is that of a run in one piece."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ccdeploy.ccnet.preprocessing import noise_pictures
from ccdeploy.errors import CcdeployError, UsageError
from ccdeploy.segment import journal, loop, network
from ccdeploy.segment.journal import JOURNAL, Journal, facts_of
from ccdeploy.segment.loop import segment
from ccdeploy.segment.options import Options
from ccdeploy.segment.results import Report
from ccdeploy.segment.sinks import Outputs
from ccdeploy.segment.sources import find_sources
from ccdeploy.segmenters import Passing


def run(artefact: Path, paths: list[Path], folder: Path, resume: bool = True, **options: Any) -> Report:
    camera = options.pop("camera", None)
    return segment(artefact, find_sources(paths, folder, camera=camera), folder, Options(resume=resume, **options))


def outputs(folder: Path) -> dict[str, bytes]:
    """All that lies there, but for the records, which state times."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith("segments.")}


def names(report: Report, resumed: bool) -> list[str]:
    return [Path(result.source).stem for result in report.results if result.resumed is resumed]


@pytest.fixture
def photos(tmp_path: Path, write_picture) -> Path:
    for index in range(6):
        write_picture(tmp_path / "in" / f"{index}.png", 31 + 7 * index, 57 - index, seed=index)
    return tmp_path / "in"


@pytest.fixture
def broken_off(exports, tmp_path: Path, photos: Path, monkeypatch) -> Path:
    """The folder of a run that Ctrl-C ended when three of six pictures were done."""
    original, calls = loop.write_picture, []

    def write(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_picture", write)
        patch.setattr(loop, "WRITERS", 1)
        with pytest.raises(KeyboardInterrupt):
            run(exports.file(), [photos], tmp_path / "out", resume=False)
    return tmp_path / "out"


def test_a_killed_process_is_resumed_and_its_results_are_those_of_one_run(exports, tmp_path: Path):
    """SIGKILL in the midst, twice, and a resumed run: byte for byte what one run gives."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for index in range(300):
        picture = noise_pictures(exports.model().card, 1, 40 + index % 50, 50 + index % 60, seed=index)[0]
        Image.fromarray(picture).save(folder / f"{index:03d}.png")
    (folder / "bad.png").write_bytes(b"no picture")
    command = [sys.executable, "-m", "ccdeploy", "segment", str(exports.file()), str(folder), "-o", str(out)]
    for more, count in (([], 10), (["--resume"], 30)):
        running = subprocess.Popen([*command, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (out / JOURNAL).exists() or len((out / JOURNAL).read_bytes().splitlines()) < count:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait(60)
        assert not (out / "segments.json").exists()
    written = (out / JOURNAL).read_bytes()
    done = [json.loads(line)["key"] for line in written[: written.rindex(b"\n")].splitlines()[1:]]
    assert len(done) == len(set(done)) >= 29
    (out / ".000.mask.png.abcd1234.part").write_bytes(b"half")
    times = {key: (out / f"{key}.mask.png").stat().st_mtime_ns for key in done}
    report = run(exports.file(), [folder], out)
    assert [Path(result.source).name for result in report.results] == [f"{index:03d}.png" for index in range(300)]
    assert names(report, resumed=True) == done == sorted(done)
    assert times == {key: (out / f"{key}.mask.png").stat().st_mtime_ns for key in done}, "these were not done again"
    assert ([Path(skipped.source).name for skipped in report.skipped], report.exit_code) == (["bad.png"], 2)
    run(exports.file(), [folder], tmp_path / "whole", resume=False)
    assert outputs(out) == outputs(tmp_path / "whole")
    record = json.loads((out / "segments.json").read_text())
    assert (record["resumed"], record["sources"], len(record["results"])) == (len(done), 301, 300)


def test_what_was_interrupted_is_resumed(exports, tmp_path: Path, photos: Path, broken_off: Path):
    report = run(exports.file(), [photos], broken_off)
    assert names(report, True) == ["0", "1", "2"]
    assert names(report, False) == ["3", "4", "5"]
    assert (report.outcome, report.resumed, report.exit_code) == ("done", 3, 0)
    run(exports.file(), [photos], tmp_path / "whole", resume=False)
    assert outputs(broken_off) == outputs(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["source changed", "source of the same size changed", "file lost", "file cut"])
def test_what_is_not_as_it_was_is_done_again(exports, tmp_path: Path, photos: Path, broken_off: Path, harm: str):
    source, mask = photos / "1.png", broken_off / "1.mask.png"
    if harm == "source changed":
        Image.new("RGB", (20, 20)).save(source)
    elif harm == "source of the same size changed":
        content, times = bytearray(source.read_bytes()), source.stat()
        content[-5] ^= 1  # in the last chunk's checksum, which nobody reads
        source.write_bytes(content)
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif harm == "file lost":
        mask.unlink()
    else:
        mask.write_bytes(mask.read_bytes()[:-1])
    report = run(exports.file(), [photos], broken_off)
    assert names(report, True) == ["0", "2"]
    run(exports.file(), [photos], tmp_path / "whole", resume=False)
    assert outputs(broken_off) == outputs(tmp_path / "whole")


def test_only_what_was_skipped_is_tried_again(exports, tmp_path: Path, photos: Path):
    whole = (photos / "4.png").read_bytes()
    (photos / "4.png").write_bytes(whole[:100])
    report = run(exports.file(), [photos], tmp_path / "out", resume=False)
    assert (len(report.results), len(report.skipped)) == (5, 1)
    assert (tmp_path / "out" / JOURNAL).exists(), "something is left"
    again = run(exports.file(), [photos], tmp_path / "out")
    assert (names(again, False), len(again.skipped)) == ([], 1), "still damaged: named again"
    (photos / "4.png").write_bytes(whole)
    report = run(exports.file(), [photos], tmp_path / "out")
    assert (names(report, False), report.exit_code) == (["4"], 0)
    assert [Path(result.source).stem for result in report.results] == list("012345"), "in the sources' order"


def test_a_journal_stays_for_those_who_resume_and_goes_for_others(exports, tmp_path: Path, photos: Path, monkeypatch):
    run(exports.file(), [photos], tmp_path / "out", resume=False)
    assert not (tmp_path / "out" / JOURNAL).exists()
    assert run(exports.file(), [photos], tmp_path / "out").resumed == 0
    Image.new("RGB", (20, 20)).save(photos / "new.png")
    with monkeypatch.context() as patch:
        read = []
        original = network.read_full_size
        patch.setattr(network, "read_full_size", lambda path: read.append(path.name) or original(path))
        report = run(exports.file(), [photos], tmp_path / "out")
    assert (report.resumed, len(report.results), read) == (6, 7, ["new.png"])
    run(exports.file(), [photos], tmp_path / "out", resume=False, outputs=Outputs("none"))
    assert not (tmp_path / "out" / JOURNAL).exists(), "another run's journal is no more"


def test_what_is_not_named_this_time_is_not_forgotten(exports, photos: Path, broken_off: Path):
    assert run(exports.file(), [photos / "5.png"], broken_off).resumed == 0
    report = run(exports.file(), [photos], broken_off)
    assert (names(report, True), names(report, False)) == (["0", "1", "2", "5"], ["3", "4"])


def test_sources_may_be_named_by_another_path(exports, tmp_path: Path, photos: Path, broken_off: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run(exports.file(), [Path("in")], broken_off)
    assert [result.source for result in report.results] == [f"in/{index}.png" for index in range(6)]
    assert report.resumed == 3


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"outputs": Outputs("png")}, "--overlay was jpg, now png"),
        ({"outputs": Outputs(opacity=0.25)}, "--opacity was 0.5, now 0.25"),
        ({"passing": Passing("slide")}, "--mode was auto, now slide"),
        (
            {"passing": Passing("auto", (0.5,), True)},
            "--scale was not given, now [0.5]; --flip was not given, now true",
        ),
        ({"export": {"dynamic": "all"}}, "artefact was "),
    ],
    ids=["overlay", "opacity", "mode", "scale", "artefact"],
)
def test_other_results_are_not_mixed(exports, photos: Path, broken_off: Path, options: dict, difference: str):
    export, before = options.pop("export", {}), outputs(broken_off)
    written = (broken_off / JOURNAL).read_bytes()
    with pytest.raises(UsageError, match="is of another run") as error:
        run(exports.file(**export), [photos], broken_off, **options)
    assert difference in error.value.what
    assert "--resume" in error.value.remedy
    assert (outputs(broken_off), (broken_off / JOURNAL).read_bytes()) == (before, written)


def test_every_option_is_a_fact_or_changes_no_result():
    """An option that is added must be thought of here."""
    changes_nothing = {"seconds", "most_frames", "resume"}  # of cameras, which are never resumed
    in_the_runtime = {"provider"}
    base = Options()
    other = {
        "outputs": [Outputs("png"), Outputs(mask="none"), Outputs(opacity=0.1)],
        "passing": [Passing("whole"), Passing("auto", (2.0,)), Passing("auto", None, True)],
        "batch": [3],
        "frames": [True],
        "every": [2],
    }
    fields = {field.name for field in dataclasses.fields(Options)}
    assert fields == changes_nothing | in_the_runtime | set(other)
    for name, values in other.items():
        for value in values:
            assert facts_of({}, dataclasses.replace(base, **{name: value})) != facts_of({}, base), (name, value)


def test_a_last_line_that_is_torn_is_no_result(exports, photos: Path, broken_off: Path):
    path = broken_off / JOURNAL
    path.write_bytes(path.read_bytes()[:-20])
    report = run(exports.file(), [photos], broken_off)
    assert (names(report, True), report.notes) == (["0", "1"], [])
    assert len(path.read_bytes().splitlines()) == 7, "the torn line is gone, all six are there"


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b'{"key": "0"}', b"[" * 9000, b'{"key": 1e999}'], ids=range(5))
def test_lines_that_are_damaged_are_told_and_done_again(exports, photos: Path, broken_off: Path, line: bytes):
    lines = (broken_off / JOURNAL).read_bytes().splitlines()
    lines[2] = line
    (broken_off / JOURNAL).write_bytes(b"\n".join(lines) + b"\n")
    report = run(exports.file(), [photos], broken_off)
    assert names(report, True) == ["0", "2"]
    assert report.notes == [f"1 lines of {JOURNAL} are damaged: what they were of is done again"]


@pytest.mark.parametrize(
    "content", [b"", b"{}\n", b"no JSON\n", b'{"format": 1, "facts": 3}\n', b"\xff\n"], ids=range(5)
)
def test_what_is_no_journal_is_refused(exports, photos: Path, broken_off: Path, content: bytes):
    (broken_off / JOURNAL).write_bytes(content)
    with pytest.raises(UsageError, match="its first line is no header"):
        run(exports.file(), [photos], broken_off)
    (broken_off / JOURNAL).write_bytes(b'{"format": 9, "facts": {}}\n')
    with pytest.raises(UsageError, match="has format 9, this ccdeploy resumes format 1"):
        run(exports.file(), [photos], broken_off)


def test_a_journal_never_replaces_a_source(exports, tmp_path: Path, write_picture):
    write_picture(tmp_path / "a.png", 20, 20)
    source = (tmp_path / "a.png").rename(tmp_path / JOURNAL)
    with pytest.raises(UsageError, match=r"would replace .*segments\.journal\.jsonl"):
        run(exports.file(), [source], tmp_path)


def test_half_files_of_a_killed_run_are_removed_and_those_of_others_are_not(tmp_path: Path, photos: Path):
    out = tmp_path / "out"
    (out / "clip.frames").mkdir(parents=True)
    clip = tmp_path / "clip.avi"
    clip.write_bytes(b"x")
    ours = [".1.overlay.jpg.ab12cd_4.part", ".segments.json.ab12cd_4.part", ".clip.overlay.mp4.ab12cd_4.part.mp4"]
    ours.append("clip.frames/.000001.mask.png.ab12cd_4.part")
    others = [".other.overlay.jpg.ab12cd_4.part", ".1.part", "1.ab12cd_4.part", ".1.mask.png.swp"]
    for name in ours + others:
        (out / name).write_bytes(b"half")
    with Journal(out, {}, resume=True) as opened:
        assert list(opened.kept(find_sources([photos, clip], out).sources)) == [None] * 7
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {*others, JOURNAL}


def test_files_that_are_taken_away_meanwhile_are_not_written_down(exports, tmp_path: Path, photos: Path, monkeypatch):
    original = journal._size

    def size(path: Path) -> int:
        if path.name == "2.mask.png":
            path.unlink()
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "_size", size)
        run(exports.file(), [photos], tmp_path / "out")
    report = run(exports.file(), [photos], tmp_path / "out")
    assert names(report, False) == ["2"]


# Videos and cameras.


def write_film(path: Path, count: int = 9) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (98, 66))
    for frame in np.random.default_rng(0).integers(0, 256, (count, 6, 9, 3), np.uint8):
        writer.write(cv2.resize(frame, (98, 66)))
    writer.release()
    return path


@pytest.mark.parametrize("frames", [False, True])
def test_videos_are_whole_or_done_again(exports, tmp_path: Path, frames: bool):
    whole, cut = write_film(tmp_path / "whole.avi"), write_film(tmp_path / "cut.avi")
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    out = tmp_path / "out"
    report = run(exports.file(), [cut, whole], out, resume=False, frames=frames)
    assert (len(report.results), report.exit_code) == (2, 2)
    report = run(exports.file(), [cut, whole], out, frames=frames)
    assert [(Path(result.source).stem, result.resumed) for result in report.results] == [
        ("cut", False),
        ("whole", True),
    ]
    assert report.results[1].frames.segmented == 9
    if frames:
        (out / "whole.frames" / "000003.mask.png").unlink()
    else:
        (out / "whole.overlay.mp4").unlink()
    write_film(cut)
    report = run(exports.file(), [cut, whole], out, frames=frames)
    assert (report.resumed, report.outcome) == (0, "done")
    if frames:
        assert (out / "whole.frames" / "000003.mask.png").exists()


def test_a_camera_is_never_resumed(exports, tmp_path: Path, photos: Path, monkeypatch):
    class Camera:
        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            return True, np.full((66, 98, 3), 90, np.uint8)

        def release(self) -> None:
            pass

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda which: Camera() if which == 3 else real(which))
    for resumed in (0, 6):
        report = run(exports.file(), [photos], tmp_path / "out", camera=3, most_frames=4)
        assert (report.resumed, len(report.results), report.results[-1].kind) == (resumed, 7, "camera")


# The command.


def test_the_command_resumes_and_says_so(ccdeploy, exports, tmp_path: Path, photos: Path, broken_off: Path):
    ended = ccdeploy("segment", exports.file(), photos, "-o", broken_off, "--resume")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[0].startswith("segmented  6 of 6 pictures in ")
    assert "resumed    3 of these were done before, 3 now" in ended.out
    assert "looking at what was done before: 6" in ended.err
    ended = ccdeploy("segment", exports.file(), photos, "-o", broken_off, "--resume", "--json")
    assert json.loads(ended.out)["resumed"] == 6
    ended = ccdeploy("segment", exports.file(), photos, "-o", broken_off, "--resume", "--flip")
    assert (ended.code, "--flip was not given, now true" in ended.err) == (2, True)


def test_an_artefact_that_does_not_open_leaves_the_journal(exports, tmp_path: Path, photos: Path, broken_off: Path):
    before = (broken_off / JOURNAL).read_bytes()
    with pytest.raises(CcdeployError):
        run(tmp_path / "absent.onnx", [photos], broken_off, resume=False)
    assert (broken_off / JOURNAL).read_bytes() == before
