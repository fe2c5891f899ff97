"""`segment --server` where things go wrong, or are slow: a client without a server, which tests break on purpose."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from segment_fakes import SegmentFake
from serving_parts import picture

import ccdeploy.serving.client
from ccdeploy.errors import ServerError, UsageError
from ccdeploy.segment import options as segment_options
from ccdeploy.segment import served
from ccdeploy.segment.loop import segment
from ccdeploy.segment.results import Report
from ccdeploy.segment.sinks import Outputs
from ccdeploy.segment.sources import find_sources
from ccdeploy.segmenters import Passing
from ccdeploy.serving.client.failures import refused, unreachable

SHAPES = [(65, 97), (31, 57), (66, 97), (65, 141), (131, 203), (1, 1), (2, 131), (97, 64)]


@pytest.fixture
def pictures(artefact: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for index, shape in enumerate(SHAPES):
        suffix, kind = [("png", "PNG"), ("jpg", "JPEG"), ("bmp", "BMP")][index % 3]
        (folder / f"{index}.{suffix}").write_bytes(picture(artefact, *shape, index, kind))
    return folder


@pytest.fixture
def fake(exports, monkeypatch) -> Callable[..., SegmentFake]:
    def make(most_pixels: int = 1 << 26, **export: Any) -> SegmentFake:
        made = SegmentFake(exports.file("ccnet", **export), most_pixels)
        monkeypatch.setattr(ccdeploy.serving.client, "connect", made.connect)
        return made

    return make


def run(paths: list[Path], folder: Path, server: dict[str, Any] | None = None, **options: Any) -> Report:
    camera = options.pop("camera", None)
    asked = segment_options.Server("http://fake:8000", **(server or {}))
    return segment(asked, find_sources(paths, folder, camera=camera), folder, segment_options.Options(**options))


def local(artefact: Path, paths: list[Path], folder: Path, **options: Any) -> Report:
    return segment(artefact, find_sources(paths, folder), folder, segment_options.Options(**options))


def written(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("segments."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def stems(entries: list[Any]) -> list[str]:
    return [Path(entry.source).stem for entry in entries]


# The same labels, whatever the artefact.


@pytest.mark.parametrize(
    ("export", "passing", "files"),
    [
        ({}, Passing("auto"), 3),
        ({}, Passing("whole"), 8),
        ({}, Passing("slide", (0.5, 1.0), True), 0),
        ({"io": "image"}, Passing("auto"), 8),
        ({"dynamic": "all"}, Passing("card"), 8),
        ({"dynamic": "all"}, Passing("whole", (1.0,), True), 0),
        ({"dynamic": "all"}, Passing("whole", (0.5,)), 0),
    ],
    ids=["fixed-auto", "fixed-whole", "fixed-slide", "labels-auto", "open-card", "open-flip", "open-scale"],
)
def test_labels_are_those_of_this_machine(exports, tmp_path: Path, pictures: Path, fake, export, passing, files: int):
    """Of a fixed size, what is larger goes in windows: never squeezed in silence, here or there."""
    client = fake(**export)
    report = run([pictures], tmp_path / "out", passing=passing)
    here = local(exports.file("ccnet", **export), [pictures], tmp_path / "here", passing=passing)
    assert written(tmp_path / "out") == written(tmp_path / "here")
    assert (report.server.files, report.server.tensors, client.pictures) == (files, 8 - files, files)
    assert [
        result.passing.removesuffix(", sent as files").removesuffix(", sent as tensors") for result in report.results
    ] == [result.passing for result in here.results]
    assert sum("sent as files" in result.passing for result in report.results) == files
    assert (report.outcome, report.exit_code) == ("done", 0)


def test_what_a_server_does_not_decode_is_prepared_here(exports, tmp_path: Path, pictures: Path, fake, monkeypatch):
    """Files too large for it, pictures with too many pixels, and file types that it does not read."""
    client = fake(most_pixels=7000, dynamic="all")
    monkeypatch.setattr(served, "LARGEST_FILE", 18_000)
    sent = []
    client.before = sent.append
    report = run([pictures], tmp_path / "out")
    local(exports.file("ccnet", dynamic="all"), [pictures], tmp_path / "here")
    assert written(tmp_path / "out") == written(tmp_path / "here")
    assert 0 < report.server.tensors < 8
    assert all(content.startswith(served.PICTURE_FILES) and len(content) <= 18_000 for content in sent)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_turned_pictures_are_upright(exports, tmp_path: Path, artefact, fake, suffix: str):
    """Of a fixed size it decides how a picture passes: 90x60 is too high, 60x90 is not."""
    stored = Image.open(io.BytesIO(picture(artefact, 90, 60, 3)))
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "in").mkdir()
    stored.save(tmp_path / "in" / f"a.{suffix}", exif=exif)
    for name, export in (("fixed", {}), ("open", {"dynamic": "all"})):
        fake(**export)
        for overlay in ("jpg", "none"):
            folders = [tmp_path / f"{name}-{overlay}-{where}" for where in ("there", "here")]
            report = run([tmp_path / "in"], folders[0], outputs=Outputs(overlay))
            local(exports.file("ccnet", **export), [tmp_path / "in"], folders[1], outputs=Outputs(overlay))
            assert written(folders[0]) == written(folders[1])
            assert (report.results[0].height, report.results[0].width) == (60, 90)
            assert report.server.files == 1


def test_the_record_says_where_it_was_done(tmp_path: Path, pictures: Path, fake):
    client = fake(dynamic="all")
    report = run([pictures], tmp_path / "out", {"model": "tiny", "in_flight": 5, "deadline_s": 7.5, "retries": 2})
    record = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert record["artefact"] == "tiny at http://fake:8000"
    assert record["runtime"] == "Triton 2.51.0 at http://fake:8000, backend python, tiny version 1"
    assert record["sha256"] == client.served.manifest["sha256"] != ""
    assert record["server"] == {
        **{"url": "http://fake:8000", "model": "tiny", "version": 1, "in_flight": 5},
        **{"files": 8, "tensors": 0, "attempts": 11, "retries": 3, "failed": 0},
    }
    assert report.passing == {"whole pictures, sent as files": 8}
    assert {key: client.options[key] for key in ("url", "model", "deadline_s", "retries", "connections")} == {
        **{"url": "http://fake:8000", "model": "tiny", "deadline_s": 7.5, "retries": 2, "connections": 5}
    }


# In flight.


def test_so_many_are_in_flight_and_their_order_is_kept(exports, tmp_path: Path, pictures: Path, fake):
    """Four must be under way together for any to be answered, and the first of them is answered last."""
    client = fake(dynamic="all")
    together, first = threading.Barrier(4), (pictures / "0.png").read_bytes()
    others = threading.Semaphore(0)

    def wait(content: bytes) -> None:
        together.wait(30)
        if content == first:
            for _ in range(3):
                assert others.acquire(timeout=30)
        else:
            others.release()

    client.before = wait
    report = run([pictures], tmp_path / "out", {"in_flight": 4})
    assert (client.most, stems(report.results)) == (4, [str(index) for index in range(8)])
    local(exports.file("ccnet", dynamic="all"), [pictures], tmp_path / "here")
    assert written(tmp_path / "out") == written(tmp_path / "here")


def test_logits_are_held_of_so_many_pictures_as_fit(tmp_path: Path, pictures: Path, fake, monkeypatch):
    monkeypatch.setattr(served, "BUDGET", 1)
    client = fake(dynamic="all")
    report = run([pictures], tmp_path / "out", passing=Passing("slide"))
    assert (len(report.results), client.tensors >= 8) == (8, True), "one at a time, and none waits for ever"


# Failures.


def test_failures_are_named_and_the_rest_is_done(exports, tmp_path: Path, pictures: Path, fake):
    client = fake(dynamic="all")
    gone = (pictures / "3.png").read_bytes()
    refusal = (pictures / "4.jpg").read_bytes()
    (pictures / "6.png").write_bytes(b"no picture")

    def fail(content: bytes) -> None:
        if content == gone:
            raise unreachable("http://fake:8000", "connection refused")
        if content == refusal:
            raise refused("http://fake:8000", "it is too large")

    client.before = fail
    report = run([pictures], tmp_path / "out")
    assert stems(report.results) == ["0", "1", "2", "5", "7"]
    assert stems(report.skipped) == ["3", "4", "6"]
    assert report.skipped[0].reason == (
        f"{pictures / '3.png'}: http://fake:8000: no answer from the server (connection refused)."
    )
    assert "it is too large" in report.skipped[1].reason
    assert report.skipped[2].reason == f"{pictures / '6.png'} is not a picture that can be read."
    assert all(skipped.source in skipped.reason and skipped.remedy for skipped in report.skipped)
    assert (report.outcome, report.server.failed, report.exit_code) == ("some skipped", 1, 3)
    client.before = lambda content: None
    client.pictures = 0
    report = run([pictures], tmp_path / "out", resume=True)
    assert (stems(report.skipped), report.exit_code) == (["6"], 2), "the server was the reason of none"
    assert client.pictures == 2, "the two that are left, and not the damaged one"
    assert report.resumed == 5


def test_a_model_that_is_no_longer_there_is_the_servers_failure(tmp_path: Path, pictures: Path, fake):
    client = fake(dynamic="all")

    def unloaded(content: bytes) -> None:
        raise UsageError("http://fake:8000 serves no model tiny (unknown model)", "Give the name.")

    client.before = unloaded
    report = run([pictures], tmp_path / "out")
    assert (len(report.skipped), report.server.failed, report.exit_code) == (8, 8, 3)


@pytest.mark.parametrize("overlay", ["jpg", "none"])
def test_labels_of_another_picture_are_not_believed(tmp_path: Path, pictures: Path, fake, monkeypatch, overlay: str):
    client = fake(dynamic="all")
    original = client.segment
    monkeypatch.setattr(
        client, "segment", lambda content: original(content)[:, :-1] if len(content) > 9000 else original(content)
    )
    report = run([pictures], tmp_path / "out", outputs=Outputs(overlay))
    assert report.skipped
    assert all("was expected" in skipped.reason for skipped in report.skipped)
    assert report.exit_code == 3


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(tmp_path: Path, pictures: Path, fake):
    """Closing the client is what ends requests that are under way."""
    client = fake(dynamic="all")
    asked, ended = threading.Semaphore(0), []

    def hang(content: bytes) -> None:
        asked.release()
        ended.append(client.closed.wait(30))
        raise UsageError("The client is closed.", "")

    client.before = hang

    def interrupt() -> None:
        for _ in range(4):
            asked.acquire()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run([pictures], tmp_path / "out", {"in_flight": 4})
    assert ended == [True] * 4, "each was ended"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ccdeploy-")]


# Videos and cameras.


def film(path: Path, count: int = 11) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (98, 66))
    for frame in np.random.default_rng(0).integers(0, 256, (count, 6, 9, 3), np.uint8):
        writer.write(cv2.resize(frame, (98, 66)))
    writer.release()
    return path


@pytest.mark.parametrize("export", [{}, {"dynamic": "all"}], ids=["windows", "files"])
@pytest.mark.parametrize("frames", [True, False], ids=["pictures", "video"])
def test_videos_are_those_of_this_machine(exports, tmp_path: Path, fake, export: dict, frames: bool):
    clip, client = film(tmp_path / "clip.avi"), fake(**export)
    report = run([clip], tmp_path / "out", {"in_flight": 3}, frames=frames)
    local(exports.file("ccnet", **export), [clip], tmp_path / "here", frames=frames)
    assert written(tmp_path / "out") == written(tmp_path / "here")
    assert (report.results[0].frames.segmented, report.exit_code) == (11, 0)
    assert (report.server.files, report.server.tensors) == ((11, 0) if export else (0, 11))
    assert client.most <= 3


def test_a_video_in_which_the_server_dies_is_cut_and_the_next_one_named(tmp_path: Path, fake):
    clips, client = [film(tmp_path / "a.avi"), film(tmp_path / "b.avi")], fake(dynamic="all")
    asked = []

    def die(content: bytes) -> None:
        asked.append(1)
        if len(asked) > 6:
            raise unreachable("http://fake:8000", "connection refused")

    client.before = die
    report = run(clips, tmp_path / "out", {"in_flight": 1})
    assert [(result.frames.segmented, result.frames.complete) for result in report.results] == [(6, False)]
    assert report.results[0].notes == (
        f"{clips[0]}, frame 6: http://fake:8000: no answer from the server (connection refused).",
    )
    assert [skipped.source for skipped in report.skipped] == [str(clips[1])]
    assert (report.server.failed, report.exit_code) == (2, 3)
    client.before = lambda content: None
    report = run(clips, tmp_path / "out", resume=True)
    assert (report.resumed, report.exit_code) == (0, 0), "videos are whole or done again"


def test_a_camera_is_seen_by_the_server(tmp_path: Path, artefact, fake, monkeypatch):
    class Camera:
        """A frame of one more colour each time."""

        count = 0

        def isOpened(self) -> bool:
            return True

        def get(self, key: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.count += 1
            return True, np.full((66, 98, 3), 10 * self.count, np.uint8)

        def release(self) -> None:
            pass

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda which: Camera() if which == 3 else real(which))
    client = fake(dynamic="all")
    late = threading.Event()

    def first_is_last(content: bytes) -> None:
        if int(np.asarray(Image.open(io.BytesIO(content)))[0, 0, 0]) == 10:
            assert late.wait(30)
        else:
            late.set()

    client.before = first_is_last
    report = run(
        [], tmp_path / "out", {"in_flight": 4}, camera=3, most_frames=12, frames=True, outputs=Outputs("png", opacity=0)
    )
    assert report.results[0].frames.segmented == 12
    shades = []
    for index in range(12):
        with Image.open(tmp_path / "out" / "camera-3.frames" / f"{index:06d}.overlay.png") as image:
            shades.append(int(np.asarray(image)[0, 0, 0]))
    assert shades == [10 * (index + 1) for index in range(12)]


# The command.


def test_words_of_the_command(ccdeploy, tmp_path: Path, pictures: Path, fake):
    client = fake(dynamic="all")
    gone = (pictures / "3.png").read_bytes()

    def fail(content: bytes) -> None:
        if content == gone:
            raise ServerError("http://fake:8000: the server failed: oh.", "See its log.")

    client.before = fail
    command = ("segment", "--server", "http://fake:8000", "--model", "tiny", pictures, "-o", tmp_path / "out")
    ended = ccdeploy(*command)
    assert ended.code == 3
    lines = ended.out.splitlines()
    assert lines[0].startswith("segmented  7 of 8 pictures in ")
    assert lines[0].endswith(" ms each from request to labels")
    assert lines[2:5] == [
        "runtime    Triton 2.51.0 at http://fake:8000, backend python, tiny version 1",
        "requests   11, 8 in flight, 3 retries; sent as 7 files",
        "passing    whole pictures, sent as files (7)",
    ]
    assert lines[6:] == [
        f"skipped    {pictures / '3.png'}: http://fake:8000: the server failed: oh. See its log.",
        "failed     1 source at the server: the same command with --resume does what is left",
    ]
    assert f"skipped: {pictures / '3.png'}" in ended.err
    client.before = lambda content: None
    ended = ccdeploy(*command, "--resume", "--json")
    assert (ended.code, json.loads(ended.out)["resumed"]) == (0, 7)


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("in", "--model", "tiny"), 2, "--model was given, and no --server."),
        (("in", "--in-flight", "8"), 2, "--in-flight was given, and no --server."),
        (("in", "--deadline", "30"), 2, "--deadline was given, and no --server."),
        (("in", "--retries", "0"), 2, "--retries was given, and no --server."),
        ((), 2, "No ARTEFACT was named."),
        (("m.onnx", "in", "--server", "http://fake:1"), 2, "the server has its own artefact"),
        (("--server", "http://fake:1"), 2, "Nothing to segment was named."),
        (("in", "--server", "http://fake:1", "--provider", "cpu"), 2, "--provider cpu was given, and a server"),
        (("in", "--server", "http://fake:1", "--in-flight", "0"), 2, "--in-flight"),
        (("in", "--server", "http://fake:1", "--deadline", "0"), 2, "--deadline"),
        (("in", "--server", "http://fake:1", "--mode", "slide", "--batch", "0"), 2, "--batch"),
        (("in", "--server", "ftp://fake:1"), 2, "ftp://fake:1"),
        (("in", "--server", "http://127.0.0.1:1", "--model", "tiny", "--deadline", "1"), 3, "http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_written(
    ccdeploy, tmp_path: Path, pictures: Path, monkeypatch, arguments: tuple, code: int, what: str
):
    monkeypatch.chdir(tmp_path)
    ended = ccdeploy("segment", *arguments, "-o", "out")
    assert (ended.code, what in ended.err) == (code, True), ended.err
    assert not (tmp_path / "out").exists()


def test_what_the_network_cannot_do_is_told_before_anything_is_written(tmp_path: Path, pictures: Path, fake):
    fake()
    with pytest.raises(UsageError, match="takes 65x97 and nothing else, scales were asked for"):
        run([pictures], tmp_path / "out", passing=Passing("whole", (2.0,)))
    with pytest.raises(UsageError, match="takes batches of 1, 3 was asked for"):
        run([pictures], tmp_path / "out", batch=3)
    assert not (tmp_path / "out").exists()


def test_room_is_for_as_much_as_fits_and_always_for_one():
    room, inside, most = served._Room(100), [], []
    lock = threading.Lock()

    def work(size: int) -> None:
        with room.taken(size):
            with lock:
                inside.append(size)
                most.append(list(inside))
            with lock:
                inside.remove(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in [60, 60, 30, 500, 10, 100] * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 120
    assert all(sum(held) <= 100 or held == [500] for held in most)
