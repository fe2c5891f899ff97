"""What is segmented and under which names: nothing twice, nothing over another, results never become sources."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccdeploy.errors import InputError, UsageError
from ccdeploy.segment.sources import CAMERA, PICTURE, VIDEO, find_sources, result_keys

OUT = Path("somewhere/else")


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def keys(*arguments: object, **options: object) -> list[str]:
    return [source.key for source in find_sources(*arguments, **options).sources]  # type: ignore[arg-type]


def test_files_and_the_pictures_of_folders_in_order(tmp_path: Path):
    folder = tree(tmp_path / "in", "b.PNG", "a.jpg", "notes.txt", "deeper/c.webp")
    extra = tree(tmp_path, "z.raw")
    found = find_sources([extra / "z.raw", folder], OUT)
    assert [(source.path, source.key, source.kind) for source in found.sources] == [
        (extra / "z.raw", "z", PICTURE),
        (folder / "a.jpg", "a", PICTURE),
        (folder / "b.PNG", "b", PICTURE),
    ]
    assert found.notes == ()


def test_folders_in_folders_keep_their_structure(tmp_path: Path):
    folder = tree(tmp_path, "a.jpg", "x/a.jpg", "x/y/a.jpg", "x/y/a.png")
    assert keys([folder], OUT, recursive=True) == ["a", "x/a", "x/y/a.jpg", "x/y/a.png"]
    assert keys([folder], OUT) == ["a"]


def test_videos_are_named_by_their_files_and_cameras_by_their_numbers(tmp_path: Path):
    folder = tree(tmp_path, "a.jpg", "clip.MP4", "other.avi")
    found = find_sources([folder / "clip.MP4", folder], OUT, camera=2)
    assert [(source.key, source.kind) for source in found.sources] == [
        ("clip", VIDEO),
        ("a", PICTURE),
        ("camera-2", CAMERA),
    ]
    assert found.sources[2].name == "camera 2"
    assert found.notes == (f"{folder} holds 2 videos too: to segment videos, name the files",)


def test_a_file_that_is_named_twice_is_done_once(tmp_path: Path):
    folder = tree(tmp_path / "in", "a.jpg")
    (tmp_path / "link.jpg").symlink_to(folder / "a.jpg")
    assert keys([folder / "a.jpg", folder, folder / ".." / "in" / "a.jpg", tmp_path / "link.jpg"], OUT) == ["a"]


def test_suffixes_stay_where_two_share_a_name(tmp_path: Path):
    folder = tree(tmp_path, "a.jpg", "a.png", "b.jpg", "a.jpg.png")
    assert keys([folder], OUT) == ["a.jpg", "a.jpg.png", "a.png", "b"]


@pytest.mark.parametrize("names", [("x/a.jpg", "y/a.jpg"), ("x/a.jpg", "y/A.JPG"), ("x/é.jpg", "y/e\u0301.jpg")])
def test_results_of_one_name_are_refused_before_any_work(tmp_path: Path, names: tuple[str, str]):
    tree(tmp_path, *names)
    with pytest.raises(UsageError, match=r"would have one name, .*\.(jpg|JPG)\.") as error:
        find_sources([tmp_path / name for name in names], OUT)
    assert all(str(tmp_path / name) in error.value.what for name in names)
    assert len(keys([tmp_path], OUT, recursive=True)) == 2, "the folder above both keeps them apart"


def test_pictures_do_not_lie_among_the_frames_of_a_video(tmp_path: Path):
    folder = tree(tmp_path, "in/clip.frames/000000.jpg", "clip.mp4")
    with pytest.raises(UsageError, match="among the frames of"):
        find_sources([folder / "in", folder / "clip.mp4"], OUT, recursive=True)


def test_results_of_an_earlier_run_are_no_sources(tmp_path: Path):
    folder = tree(tmp_path, "a.jpg", "out/a.overlay.jpg", "out/deep/b.mask.png", "b/out/c.jpg")
    assert keys([folder], folder / "out", recursive=True) == ["a", "b/out/c"]
    with pytest.raises(UsageError, match="both source and output"):
        find_sources([folder], folder / "b" / "..")


def test_what_cannot_be_found_is_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"absent\.jpg does not exist"):
        find_sources([tmp_path / "absent.jpg"], OUT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no pictures \(\.bmp, .*webp\)\.\n"):
        find_sources([tmp_path / "empty"], OUT)
    tree(tmp_path, "videos/a.mp4", "nested/in/a.jpg")
    with pytest.raises(InputError, match="but 1 video") as error:
        find_sources([tmp_path / "videos"], OUT)
    assert "a.mp4" in error.value.remedy
    with pytest.raises(InputError, match="but folders") as error:
        find_sources([tmp_path / "nested"], OUT)
    assert "--recursive" in error.value.remedy
    with pytest.raises(UsageError, match="Nothing to segment"):
        find_sources([], OUT)


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch):
    def walk(folder: Path, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return iter(())

    monkeypatch.setattr("os.walk", walk)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"):
        find_sources([tmp_path], OUT)


PART = st.text(st.sampled_from("aAbé.\u0301-"), min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))
NAME = st.builds(
    lambda folders, stem, suffix: PurePosixPath(*folders, stem + suffix),
    st.lists(PART, max_size=2),
    PART,
    st.sampled_from(["", ".jpg", ".png", ".JPG", ".jpg.png"]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(NAME, min_size=1, max_size=12))
def test_names_of_results_are_as_different_as_those_of_the_sources(names: list[PurePosixPath]):
    """Also after a file system has folded upper case and composed accents; equal only where the sources' names are."""

    def folded(text: object) -> str:
        return unicodedata.normalize("NFC", str(text)).casefold()

    found = result_keys(names)
    assert len(found) == len(names)
    for key, name in zip(found, names, strict=True):
        assert key in (str(name), str(name.with_suffix("")))
    for index, (key, name) in enumerate(zip(found, names, strict=True)):
        for other, others_name in zip(found[:index], names[:index], strict=True):
            if folded(key) == folded(other):
                assert folded(name) == folded(others_name)
