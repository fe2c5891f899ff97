"""`segment --server` with the real server: files byte for byte those of the artefact on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from serving_parts import SIZES, ServedNetwork, picture

from ccdeploy.segment.loop import segment
from ccdeploy.segment.options import Options, Server
from ccdeploy.segment.sources import find_sources
from ccdeploy.segmenters import Passing

COUNT = 24


@pytest.fixture(scope="module")
def photos(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of mixed sizes and file types, and one that is cut."""
    folder = tmp_path_factory.mktemp("photos")
    for index in range(COUNT):
        suffix, kind = [("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP")][index % 3]
        content = picture(artefact, *SIZES[index % len(SIZES)], 500 + index, kind)
        (folder / f"{index:02d}.{suffix}").write_bytes(content)
    content = picture(artefact, 65, 97, 1)
    (folder / "cut.png").write_bytes(content[: len(content) // 2])
    return folder


def written(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("segments."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def both(server: ServedNetwork, protocol: str, path: Path, tmp_path: Path, **options: Any) -> list[Any]:
    """The records of a run through the server, and of one on this machine, whose files are the same."""
    url = getattr(server.running, protocol)
    records = []
    for subject, folder in ((Server(url, "tiny"), tmp_path / "there"), (server.artefact, tmp_path / "here")):
        records.append(segment(subject, find_sources([path], folder), folder, Options(**options)))
    assert written(tmp_path / "there") == written(tmp_path / "here")
    assert [result.source for result in records[0].results] == [result.source for result in records[1].results]
    assert [skipped.source for skipped in records[0].skipped] == [skipped.source for skipped in records[1].skipped]
    return records


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(
    ("passing", "sent"),
    [
        (Passing("auto"), "files"),
        (Passing("slide"), "tensors"),
        (Passing("whole", (0.5, 1.0), True), "tensors"),
    ],
    ids=["auto", "slide", "flip"],
)
def test_labels_are_those_of_this_machine(
    server: ServedNetwork, photos: Path, tmp_path: Path, protocol: str, passing: Passing, sent: str
):
    there, _ = both(server, protocol, photos, tmp_path, passing=passing)
    assert len(there.results) == COUNT
    assert [Path(skipped.source).name for skipped in there.skipped] == ["cut.png"]
    assert (there.server.failed, there.exit_code) == (0, 2), "the picture is damaged, the server is not"
    assert (there.server.files, there.server.tensors)[sent == "tensors"] == COUNT
    assert "Triton" in there.subject.runtime


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_videos_are_those_of_this_machine(server: ServedNetwork, tmp_path: Path, protocol: str):
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (98, 66))
    for frame in np.random.default_rng(0).integers(0, 256, (20, 6, 9, 3), np.uint8):
        writer.write(cv2.resize(frame, (98, 66)))
    writer.release()
    there, _ = both(server, protocol, clip, tmp_path, frames=True)
    assert (there.results[0].frames.segmented, there.server.files) == (20, 20)


def test_the_command(ccdeploy, server: ServedNetwork, photos: Path, tmp_path: Path):
    command = ("segment", "--server", server.running.http, "--model", "tiny", photos, "-o", tmp_path / "out", "--json")
    ended = ccdeploy(*command, "--in-flight", 3, "--overlay", "none")
    assert ended.code == 2, ended.err
    record = json.loads(ended.out)
    assert (record["server"]["files"], record["server"]["in_flight"], len(record["skipped"])) == (COUNT, 3, 1)
    ended = ccdeploy(*command, "--overlay", "none", "--resume")
    assert (json.loads(ended.out)["resumed"], json.loads(ended.out)["server"]["files"]) == (COUNT, 0)
    ended = ccdeploy("segment", "--server", server.running.http, photos, "-o", tmp_path / "other")
    assert (ended.code, "--model NAME" in ended.err) == (2, True), "the list of models is behind the token"
    ended = ccdeploy("segment", "--server", server.running.http, "--model", "big", photos, "-o", tmp_path / "other")
    assert (ended.code, "big" in ended.err, (tmp_path / "other").exists()) == (2, True, False)
