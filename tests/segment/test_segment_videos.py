"""Videos and cameras: frames in their order and colours, damage told, files whole. The files are OpenCV's own."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import samples
from PIL import Image

from ccdeploy.ccnet.preprocessing import noise_pictures
from ccdeploy.errors import InputError, MissingError, UsageError
from ccdeploy.pictures import overlaid
from ccdeploy.segment import frame_sinks, opencv
from ccdeploy.segment.loop import segment
from ccdeploy.segment.opencv import Capture, open_camera, open_video, writable, writing
from ccdeploy.segment.options import Options
from ccdeploy.segment.results import Report
from ccdeploy.segment.sinks import Outputs
from ccdeploy.segment.sources import find_sources

COUNT, RATE = 11, 12.5


def run(exports, paths: list[Path], folder: Path, camera: int | None = None, export=None, **options: Any) -> Report:
    artefact = exports.file(**(export or {}))
    return segment(artefact, find_sources(paths, folder, camera=camera), folder, Options(**options))


def film(card: Any, size: tuple[int, int] = samples.SIZE, count: int = COUNT) -> list[np.ndarray]:
    """A large, coarse picture that moves: codecs keep it well. Red is its strongest colour, blue its weakest."""
    coarse = noise_pictures(card, 1, 12, 12, seed=3)[0]
    picture = np.asarray(Image.fromarray(coarse).resize((size[1] + 40, size[0]), Image.Resampling.BICUBIC)).copy()
    picture[..., 2] //= 4
    picture[..., 0] = 128 + picture[..., 0] // 2
    return [np.ascontiguousarray(picture[:, 2 * index : 2 * index + size[1]]) for index in range(count)]


def write_film(path: Path, frames: list[np.ndarray], codec: str = "MJPG", rate: float = RATE) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return path


def read_film(path: Path) -> tuple[list[np.ndarray], float]:
    opened = cv2.VideoCapture(str(path))
    frames = []
    while (read := opened.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, opened.get(cv2.CAP_PROP_FPS)


def masks(folder: Path, key: str = "clip") -> dict[int, np.ndarray]:
    return {int(path.name[:6]): np.asarray(Image.open(path)) for path in (folder / f"{key}.frames").glob("*.mask.png")}


@pytest.fixture
def clip(exports, tmp_path: Path) -> Path:
    return write_film(tmp_path / "clip.avi", film(exports.model().card, (66, 98)))


def test_an_overlay_video_shows_each_frame_in_its_colours(exports, tmp_path: Path, clip: Path):
    report = run(exports, [clip], tmp_path / "out")
    run(exports, [clip], tmp_path / "frames", frames=True)
    found, rate = read_film(tmp_path / "out" / "clip.overlay.mp4")
    labels, originals = masks(tmp_path / "frames"), read_film(clip)[0]
    assert (len(found), rate) == (COUNT, RATE)
    for index, frame in enumerate(found):
        expected = overlaid(np.ascontiguousarray(originals[index]), labels[index], exports.model().card, 0.5)
        distance = [np.abs(frame.astype(int) - expected[..., order]).mean() for order in ([0, 1, 2], [2, 1, 0])]
        assert distance[0] < 8, "as far as the codec keeps it"
        assert distance[1] > 2 * distance[0], "red and blue are not swapped"
    (result,) = report.results
    assert result.files == {"overlay": "clip.overlay.mp4"}
    assert (result.kind, result.height, result.width, result.passing) == (
        *("video", 66, 98, "windows of 65x97 every 44x65"),
    )
    assert (result.frames.segmented, result.frames.read, result.frames.announced) == (COUNT, COUNT, COUNT)
    assert (result.frames.rate, report.exit_code, result.notes) == (RATE, 0, ())
    assert sum(result.shares.values()) == pytest.approx(1, abs=1e-4)


def test_frames_are_segmented_as_pictures_are(exports, tmp_path: Path, clip: Path):
    """In their order, also in batches and one in so many; named after their places in the video."""
    report = run(exports, [clip], tmp_path / "out", frames=True, every=4)
    assert sorted(masks(tmp_path / "out")) == [0, 4, 8]
    assert report.results[0].files == {"frames": "clip.frames"}
    frames = report.results[0].frames
    assert (frames.segmented, frames.read, frames.every, report.exit_code) == (3, COUNT, 4, 0)
    originals = tmp_path / "originals"
    originals.mkdir()
    for index, frame in enumerate(read_film(clip)[0]):
        Image.fromarray(frame).save(originals / f"{index}.png")
    segment(exports.file(), find_sources([originals], tmp_path / "pictures"), tmp_path / "pictures")
    for index, labels in masks(tmp_path / "out").items():
        np.testing.assert_array_equal(labels, np.asarray(Image.open(tmp_path / "pictures" / f"{index}.mask.png")))
    run(exports, [clip], tmp_path / "batch", export={"dynamic": "all"}, batch=4, frames=True)
    run(exports, [clip], tmp_path / "alone", export={"dynamic": "all"}, frames=True)
    batched, alone = masks(tmp_path / "batch"), masks(tmp_path / "alone")
    assert sorted(batched) == list(range(COUNT))
    assert all((batched[index] == alone[index]).mean() > 0.999 for index in batched)
    again = run(exports, [clip], tmp_path / "out", frames=True, every=5)
    assert "held files before" in again.results[0].notes[0]


def test_frames_never_replace_a_picture_that_is_segmented_too(exports, tmp_path: Path, clip: Path):
    picture = tmp_path / "clip.frames" / "000000.mask.png"
    picture.parent.mkdir()
    Image.new("RGB", (20, 20)).save(picture)
    with pytest.raises(UsageError, match=r"Results of .*clip\.avi would replace .*000000\.mask\.png"):
        run(exports, [picture, clip], tmp_path, frames=True)


def test_one_frame_in_so_many_makes_a_slower_video(exports, tmp_path: Path, clip: Path):
    report = run(exports, [clip], tmp_path / "out", every=5)
    found, rate = read_film(tmp_path / "out" / "clip.overlay.mp4")
    assert (len(found), rate) == (3, RATE / 5)
    assert report.results[0].frames.segmented == 3


def test_odd_sizes_are_filled_up_and_said(exports, tmp_path: Path, clip: Path, monkeypatch):
    following = Capture.next
    monkeypatch.setattr(Capture, "next", lambda self, every: cropped(following(self, every)))
    report = run(exports, [clip], tmp_path / "out")
    assert read_film(tmp_path / "out" / "clip.overlay.mp4")[0][0].shape == (66, 98, 3)
    assert report.results[0].notes == ("codecs take even sizes: 65x97 was filled up by its edge",)
    assert (report.results[0].height, report.results[0].width) == (65, 97)


def cropped(frame: np.ndarray | None) -> np.ndarray | None:
    """This OpenCV writes even sizes only: odd ones are made here."""
    return None if frame is None else np.ascontiguousarray(frame[:65, :97])


def test_odd_frames_keep_their_last_row_and_column(tmp_path: Path):
    frame = np.zeros((33, 47, 3), np.uint8)
    frame[-1], frame[:, -1] = (255, 0, 0), (255, 0, 0)
    with writing(tmp_path / "v.mp4", 10, 33, 47) as writer:
        for _ in range(3):
            writer.write(frame)
    (found, *_), _ = read_film(tmp_path / "v.mp4")
    assert found.shape == (34, 48, 3)
    assert found[10, -1, 0] > 150
    assert found[10, 10, 0] < 60


# Damage.


def test_a_cut_video_keeps_what_could_be_read(exports, tmp_path: Path, clip: Path):
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    report = run(exports, [clip], tmp_path / "out")
    (result,) = report.results
    assert 0 < result.frames.read < result.frames.announced == COUNT
    assert not result.frames.complete
    assert (report.outcome, report.exit_code, report.cut) == ("some skipped", 2, [result])
    assert len(read_film(tmp_path / "out" / "clip.overlay.mp4")[0]) == result.frames.read


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_what_is_no_video_is_named_and_the_rest_is_done(exports, tmp_path: Path, clip: Path, content: bytes):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(content)
    report = run(exports, [bad, clip], tmp_path / "out")
    assert [skipped.source for skipped in report.skipped] == [str(bad)]
    assert "bad.mp4" in report.skipped[0].reason
    assert [result.source for result in report.results] == [str(clip)]
    assert report.exit_code == 2
    assert not list((tmp_path / "out").glob("*bad*"))


def test_a_video_without_a_frame_is_named(exports, tmp_path: Path, clip: Path, monkeypatch):
    monkeypatch.setattr(Capture, "next", lambda self, every: None)
    report = run(exports, [clip], tmp_path / "out")
    assert "gives no frame that can be read" in report.skipped[0].reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["legend.png", "segments.json"]


def test_frames_whose_size_changes_end_a_video(exports, tmp_path: Path, monkeypatch):
    """Also where the rest has been read ahead by then."""
    clip = write_film(tmp_path / "clip.avi", film(exports.model().card, (66, 98), count=7))
    following = Capture.next

    def growing(self: Capture, every: int = 1) -> Any:
        frame = following(self, every)
        return frame if frame is None or self.read <= 5 else np.pad(frame, ((0, 2), (0, 0), (0, 0)))

    monkeypatch.setattr(Capture, "next", growing)
    report = run(exports, [clip], tmp_path / "out")
    frames = report.results[0].frames
    assert (frames.segmented, frames.read, frames.complete) == (5, 5, False), "whatever was read ahead"
    assert "frame 5 is 68x98, those before are 66x98" in report.results[0].notes[0]
    assert report.exit_code == 2
    with (
        pytest.raises(InputError, match="Frame 0 is 4x8, those before are 8x8"),
        writing(tmp_path / "v.mp4", 10, 8, 8) as writer,
    ):
        writer.write(np.zeros((4, 8, 3), np.uint8))
    assert not (tmp_path / "v.mp4").exists()


@pytest.mark.parametrize("rate", [0.0, float("nan"), 1e9, -5.0])
def test_a_rate_that_no_video_has_is_not_believed(exports, tmp_path: Path, clip: Path, monkeypatch, rate: float):
    real = cv2.VideoCapture

    class Capturing:
        def __init__(self, *arguments: Any) -> None:
            self.real = real(*arguments)

        def get(self, key: int) -> float:
            return rate if key == cv2.CAP_PROP_FPS else self.real.get(key)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    monkeypatch.setattr(cv2, "VideoCapture", Capturing)
    report = run(exports, [clip], tmp_path / "out")
    assert report.results[0].notes == ("no frame rate is stated: written at 25 frames/s",)
    assert report.results[0].frames.rate == 25


# Writing.


def test_a_writer_that_does_not_open_is_an_error(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(opencv, "CODEC", "????")
    with pytest.raises(MissingError, match="cannot write 8x8 at 10 frames/s"), writing(tmp_path / "v.mp4", 10, 8, 8):
        pytest.fail("it opened")
    assert list(tmp_path.iterdir()) == []


def test_frames_that_do_not_arrive_on_the_disk_are_an_error(tmp_path: Path):
    def losing() -> None:
        with writing(tmp_path / "v.mp4", 10, 16, 16) as writer:
            for _ in range(2):
                writer.write(np.zeros((16, 16, 3), np.uint8))
            writer.frames += 1

    with pytest.raises(UsageError, match="holds 2 of 3 frames after writing"):
        losing()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_no_half_of_a_video(exports, tmp_path: Path, clip: Path, monkeypatch):
    original, calls = frame_sinks.overlaid, []

    def interrupting(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(frame_sinks, "overlaid", interrupting)
    with pytest.raises(KeyboardInterrupt):
        run(exports, [clip], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["legend.png"]


def test_overlays_that_are_left_out(exports, tmp_path: Path, clip: Path):
    with pytest.raises(UsageError, match="its overlay left out"):
        run(exports, [clip], tmp_path / "out", outputs=Outputs("none"))
    run(exports, [clip], tmp_path / "out", outputs=Outputs("none"), frames=True)
    assert len(masks(tmp_path / "out")) == COUNT


def test_without_opencv_videos_are_refused_and_pictures_are_not(exports, tmp_path: Path, clip: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    with pytest.raises(MissingError, match="Videos and cameras need OpenCV") as error:
        run(exports, [tmp_path / "a.png", clip], tmp_path / "out")
    assert 'pip install "ccdeploy[video]"' in error.value.remedy
    assert not (tmp_path / "out").exists(), "before any work"
    assert run(exports, [tmp_path / "a.png"], tmp_path / "out").exit_code == 0


# Cameras.


class FakeCamera:
    """OpenCV's view of a camera that never ends; says whether it was given back."""

    def __init__(self, frames: list[np.ndarray], delay: float = 0.002, opens: bool = True) -> None:
        self.frames, self.delay, self.opens = frames, delay, opens
        self.count, self.released, self.interrupts_at = 0, False, 0

    def isOpened(self) -> bool:
        return self.opens

    def get(self, key: int) -> float:
        return 30.0 if key == cv2.CAP_PROP_FPS else -1.0

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(self.delay)
        self.count += 1
        if self.count == self.interrupts_at:  # as somebody at the terminal does, while the camera runs
            os.kill(os.getpid(), signal.SIGINT)
        return True, self.frames[self.count % len(self.frames)][..., ::-1]

    def grab(self) -> bool:
        self.count += 1
        return True

    def release(self) -> None:
        self.released = True


@pytest.fixture
def camera(exports, monkeypatch) -> FakeCamera:
    fake = FakeCamera(film(exports.model().card, (66, 98)))
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda which: fake if which == 3 else real(which))
    return fake


def test_a_camera_ends_after_so_many_frames(exports, tmp_path: Path, camera: FakeCamera):
    count = frame_sinks.CAMERA_FRAMES + 5
    report = run(exports, [], tmp_path / "out", camera=3, most_frames=count)
    found, rate = read_film(tmp_path / "out" / "camera-3.overlay.mp4")
    (result,) = report.results
    assert (len(found), result.frames.segmented, result.frames.announced) == (count, count, None)
    assert (result.source, result.kind, report.exit_code) == ("camera 3", "camera", 0)
    assert rate == pytest.approx(result.frames.rate, rel=0.01), "as fast as frames passed, not as the camera states"
    assert result.notes[0].endswith("as fast as frames passed")
    assert camera.released


@pytest.mark.parametrize("count", [1, 3])
def test_a_camera_that_ends_before_its_rate_is_known(exports, tmp_path: Path, camera: FakeCamera, count: int):
    report = run(exports, [], tmp_path / "out", camera=3, most_frames=count)
    assert len(read_film(tmp_path / "out" / "camera-3.overlay.mp4")[0]) == count
    assert (report.results[0].frames.rate == 30) == (count == 1)


def test_a_camera_ends_after_so_many_seconds(exports, tmp_path: Path, camera: FakeCamera):
    report = run(exports, [], tmp_path / "out", camera=3, seconds=0.3, frames=True)
    assert report.results[0].frames.segmented == len(masks(tmp_path / "out", "camera-3")) > 0


def test_ctrl_c_ends_a_camera_in_the_ordinary_way(exports, tmp_path: Path, camera: FakeCamera):
    camera.interrupts_at = frame_sinks.CAMERA_FRAMES + 4
    before = signal.getsignal(signal.SIGINT)
    report = run(exports, [], tmp_path / "out", camera=3)
    assert signal.getsignal(signal.SIGINT) is before
    (result,) = report.results
    assert (report.outcome, report.exit_code) == ("done", 0)
    assert len(read_film(tmp_path / "out" / "camera-3.overlay.mp4")[0]) == result.frames.segmented
    assert result.frames.segmented >= frame_sinks.CAMERA_FRAMES + 3


def test_a_camera_that_does_not_open(exports, tmp_path: Path, camera: FakeCamera):
    camera.opens = False
    with pytest.raises(MissingError, match="Camera 3 does not open"):
        open_camera(3)
    with pytest.raises(InputError, match="is not a video that can be read"):
        open_video(tmp_path / "absent.mp4")


@pytest.mark.parametrize(
    ("rate", "expected"), [(23.976, 23.976), (59.94, 59.94), (111.913, 111.91), (143.85614, 143.86), (999.99, 1000.0)]
)
def test_any_rate_can_be_written(tmp_path: Path, rate: float, expected: float):
    """MPEG-4 takes 16-bit fractions only: 111.913 as 111913/1000 would be refused."""
    assert writable(rate) == expected
    target = tmp_path / "video.mp4"
    with writing(target, writable(rate), 32, 48) as writer:
        for _ in range(3):
            writer.write(np.zeros((32, 48, 3), np.uint8))
    assert cv2.VideoCapture(str(target)).get(cv2.CAP_PROP_FPS) == pytest.approx(expected, rel=1e-3)
