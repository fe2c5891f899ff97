"""Folders of every layout give the classes that their files mean, and say what is wrong with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import trees
from PIL import Image

from ccdeploy.datasets import LabelledDataset
from ccdeploy.datasets.folders import LAYOUTS, open_folder, write_plain
from ccdeploy.datasets.opening import STREET_SCENES, open_dataset
from ccdeploy.errors import InputError, UsageError

CARD = trees.card(19)
EVALUATED = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
"""The label ids of Cityscapes' 19 classes in the order of their train ids, from the paper's table of classes."""


def maps(dataset: LabelledDataset) -> list[np.ndarray]:
    return [sample.labels for sample in dataset]


def assert_equal(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(got) == len(expected)
    for mine, other in zip(got, expected, strict=True):
        assert mine.dtype == np.uint8
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("palette", [False, True])
def test_plain_layout(tmp_path: Path, palette: bool):
    expected = trees.plain(tmp_path, palette=palette)
    dataset = open_folder(tmp_path, CARD)
    assert_equal(maps(dataset), expected)
    assert dataset.title == f"{tmp_path} (plain), 3 pictures"
    sample = dataset[1]
    assert sample.name == "p1"
    np.testing.assert_array_equal(sample.picture, trees.random_pair(1, 19, trees.SIZES[1])[0])


def test_plain_layout_with_splits(tmp_path: Path):
    trees.plain(tmp_path / "work")
    for kind in ("images", "labels"):
        shutil.copytree(tmp_path / "work" / kind, tmp_path / kind / "test")
    assert len(open_folder(tmp_path, CARD, split="test")) == 3
    with pytest.raises(InputError, match=r"There is no picture in .* \(layout plain\)"):
        open_folder(tmp_path, CARD)


def test_cityscapes_train_ids(tmp_path: Path):
    expected = trees.cityscapes(tmp_path)
    dataset = open_folder(tmp_path, CARD)
    assert_equal(maps(dataset), expected)
    assert [sample.name.split("_")[0] for sample in dataset] == ["aachen", "bonn", "bonn"]


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path):
    stored = trees.cityscapes(tmp_path / "cityscapes", ids=True)
    expected = []
    for labels in stored:
        classes = np.full(labels.shape, 255, np.uint8)
        for train_id, label_id in enumerate(EVALUATED):
            classes[labels == label_id] = train_id
        expected.append(classes)
    assert_equal(maps(open_folder(tmp_path, CARD)), expected)


def test_train_ids_are_preferred_to_label_ids(tmp_path: Path):
    expected = trees.cityscapes(tmp_path)
    for path in tmp_path.glob("gtFine/*/*/*_labelTrainIds.png"):
        trees.save(np.full((3, 3), 7, np.uint8), path.with_name(path.name.replace("labelTrainIds", "labelIds")))
    assert_equal(maps(open_folder(tmp_path, CARD)), expected)


def test_cityscapes_label_ids_do_not_count_from_one(tmp_path: Path):
    trees.cityscapes(tmp_path, ids=True)
    plain, reduced = (maps(open_folder(tmp_path, trees.card(19, reduce))) for reduce in (False, True))
    assert_equal(plain, reduced)


@pytest.mark.parametrize("inside", ["", "ADEChallengeData2016"])
def test_ade20k_counts_from_one(tmp_path: Path, inside: str):
    stored = trees.ade20k(tmp_path / inside)
    expected = [np.where((labels == 0) | (labels == 255), 255, labels - 1) for labels in map(np.int64, stored)]
    dataset = open_folder(tmp_path, trees.card(150, reduce_zero_label=True))
    assert_equal(maps(dataset), [labels.astype(np.uint8) for labels in expected])


def test_ade20k_as_it_stands_for_a_card_that_counts_from_zero(tmp_path: Path):
    stored = trees.ade20k(tmp_path, split="training")
    assert_equal(maps(open_folder(tmp_path, trees.card(151), split="training")), stored)


@pytest.mark.parametrize("inside", ["", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_takes_the_listed_pictures(tmp_path: Path, inside: str):
    expected = trees.voc(tmp_path / inside)
    assert_equal(maps(open_folder(tmp_path, trees.card(21))), expected)


def test_limit_takes_the_first(tmp_path: Path):
    expected = trees.plain(tmp_path)
    dataset = open_folder(tmp_path, CARD, limit=2)
    assert_equal(maps(dataset), expected[:2])
    assert dataset.title.endswith("the first 2 of 3 pictures")
    assert len(open_folder(tmp_path, CARD, limit=9)) == 3


def test_pictures_are_upright_as_everywhere(tmp_path: Path):
    trees.plain(tmp_path)
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "images" / "p0.png", exif=exif)
    trees.save(np.zeros((2, 3), np.uint8), tmp_path / "labels" / "p0.png")
    np.testing.assert_array_equal(open_folder(tmp_path, CARD)[0].picture[..., 0], [[5, 4, 3], [2, 1, 0]])


@pytest.mark.parametrize("reduce_zero_label", [False, True])
def test_what_is_written_is_read_back(tmp_path: Path, reduce_zero_label: bool):
    card = trees.card(19, reduce_zero_label)
    expected = trees.plain(tmp_path / "a")
    source = open_folder(tmp_path / "a", trees.card(19))
    write_plain(source, tmp_path / "b", reduce_zero_label)
    copy = open_folder(tmp_path / "b", card)
    assert_equal(maps(copy), expected)
    for mine, other in zip(copy, source, strict=True):
        np.testing.assert_array_equal(mine.picture, other.picture)
    assert not list(tmp_path.rglob("*.part"))


# What is wrong with names.


def test_folder_that_is_not_there(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist, a folder of pictures"):
        open_folder(tmp_path / "absent", CARD)
    with pytest.raises(InputError, match="is a file, a folder"):
        open_folder(trees.save(np.zeros((2, 2), np.uint8), tmp_path / "a.png"), CARD)


def test_folder_of_no_layout(tmp_path: Path):
    with pytest.raises(InputError, match="not of any layout that ccdeploy knows: it has no folders") as caught:
        open_folder(tmp_path, CARD)
    assert "leftImg8bit/ and gtFine/ (cityscapes)" in caught.value.remedy
    assert "images/ and labels/ (plain)" in caught.value.remedy
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="not of the layout voc: it has the folders pictures") as caught:
        open_folder(tmp_path, CARD, layout="voc")
    assert caught.value.remedy == "Expected: JPEGImages/ and SegmentationClass/ (voc)."
    with pytest.raises(UsageError, match="There is no layout 'coco'"):
        open_folder(tmp_path, CARD, layout="coco")


def test_folder_of_two_layouts(tmp_path: Path):
    trees.plain(tmp_path)
    trees.ade20k(tmp_path)
    with pytest.raises(InputError, match="could be of the layouts ade20k and plain"):
        open_folder(tmp_path, CARD)
    assert len(open_folder(tmp_path, CARD, layout="plain")) == 3


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_split_that_is_not_there(tmp_path: Path, layout: str):
    {"plain": trees.plain, "cityscapes": trees.cityscapes, "ade20k": trees.ade20k, "voc": trees.voc}[layout](tmp_path)
    there = {"plain": "none", "cityscapes": "val", "ade20k": "validation", "voc": "val"}[layout]
    with pytest.raises(InputError, match=rf"has no split '\.\.'; it has {there}\."):
        open_folder(tmp_path, CARD, split="..")


def test_empty_folders(tmp_path: Path):
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    with pytest.raises(InputError, match="There is no picture in"):
        open_folder(tmp_path, CARD)


def test_picture_without_labels(tmp_path: Path):
    trees.plain(tmp_path)
    (tmp_path / "labels" / "p1.png").unlink()
    with pytest.raises(InputError, match=r"p1\.png has no labels: .*labels/p1\.png was expected\."):
        open_folder(tmp_path, CARD)
    (tmp_path / "labels" / "p2.png").unlink()
    with pytest.raises(InputError, match=r"p1\.png has no labels: .* \(1 more has none\)"):
        open_folder(tmp_path, CARD)


def test_two_pictures_of_one_name(tmp_path: Path):
    trees.plain(tmp_path)
    shutil.copy(tmp_path / "images" / "p0.png", tmp_path / "images" / "p0.jpeg")
    with pytest.raises(InputError, match=r"two pictures of one name, p0\.jpeg and p0\.png"):
        open_folder(tmp_path, CARD)


def test_voc_list_of_absent_pictures(tmp_path: Path):
    trees.voc(tmp_path)
    listing = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    listing.write_text("../../etc/passwd\n2007_000000\nnobody\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lists '\.\./\.\./etc/passwd', which is no picture .* \(and 1 more\)"):
        open_folder(tmp_path, trees.card(21))
    listing.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        open_folder(tmp_path, trees.card(21))


# What is wrong inside a file.


def test_sizes_that_differ(tmp_path: Path):
    trees.plain(tmp_path)
    trees.save(np.zeros((23, 36), np.uint8), tmp_path / "labels" / "p0.png")
    with pytest.raises(InputError, match=r"labels/p0\.png is 23x36, its picture p0\.png is 23x37"):
        open_folder(tmp_path, CARD)[0]


@pytest.mark.parametrize(("reduce_zero_label", "value", "expected"), [(False, 19, "0 to 18"), (True, 20, "1 to 19")])
def test_label_of_no_class(tmp_path: Path, reduce_zero_label: bool, value: int, expected: str):
    trees.plain(tmp_path)
    labels = np.ones((23, 37), np.uint8)
    labels[4, 7] = value
    trees.save(labels, tmp_path / "labels" / "p0.png")
    dataset = open_folder(tmp_path, trees.card(19, reduce_zero_label))
    what = rf"p0\.png: the label of row 4, column 7 is {value}; the card has 19 classes, {expected}"
    with pytest.raises(InputError, match=what):
        dataset[0]
    labels[4, 7] = value - 1
    trees.save(labels, tmp_path / "labels" / "p0.png")
    assert dataset[0].labels.max() == 18


def test_label_id_that_cityscapes_does_not_have(tmp_path: Path):
    trees.cityscapes(tmp_path, ids=True)
    path = next(tmp_path.glob("gtFine/val/aachen/*_labelIds.png"))
    trees.save(np.full(trees.SIZES[0], 34, np.uint8), path)
    with pytest.raises(InputError, match="34 is no label id of Cityscapes, 0 to 33 were expected"):
        open_folder(tmp_path, CARD)[0]


def wrong_map(kind: str, path: Path) -> None:
    labels = np.ones((23, 37), np.uint8)
    if kind == "16-bit grey":
        Image.fromarray(labels.astype(np.uint16)).save(path)
    elif kind == "8-bit RGB":
        Image.fromarray(np.repeat(labels[..., None], 3, axis=2)).save(path)
    elif kind == "1-bit grey":
        Image.fromarray(labels > 0).save(path)
    else:
        Image.fromarray(labels).save(path, bits=int(kind[0]))


@pytest.mark.parametrize("kind", ["16-bit grey", "8-bit RGB", "1-bit grey", "4-bit grey", "2-bit grey"])
def test_label_maps_whose_values_would_change(tmp_path: Path, kind: str):
    trees.plain(tmp_path)
    wrong_map(kind, tmp_path / "labels" / "p0.png")
    with pytest.raises(InputError, match=rf"p0\.png holds {kind} pixels, 8-bit grey or a palette was expected"):
        open_folder(tmp_path, CARD)[0]


def test_label_map_that_is_a_jpeg(tmp_path: Path):
    trees.plain(tmp_path)
    Image.fromarray(np.ones((23, 37), np.uint8)).save(tmp_path / "labels" / "p0.png", format="JPEG")
    with pytest.raises(InputError, match="is a JPEG file, a PNG file was expected"):
        open_folder(tmp_path, CARD)[0]


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_damaged_files_end_in_errors_that_name_them(tmp_path: Path, kind: str):
    expected = trees.plain(tmp_path)[0]
    dataset = open_folder(tmp_path, CARD)
    path = tmp_path / kind / "p0.png"
    whole = path.read_bytes()
    for length in [0, 1, 8, 20, 24, 25, 30, *range(40, len(whole) - 12, max(1, len(whole) // 15))]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"{kind}/p0\.png"):
            dataset[0]
    generator = np.random.default_rng(5)
    refused = []
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, len(whole), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            sample = dataset[0]
        except InputError as error:
            refused.append(error.what)
        else:
            assert sample.picture.shape[:2] == sample.labels.shape == expected.shape
    assert all("p0.png" in what for what in refused)
    assert len(refused) > 30, "checksums find nearly all of them"
    path.unlink()
    with pytest.raises(InputError, match=r"p0\.png cannot be read"):
        dataset[0]


# From a name to a data set.


def test_folders_and_scenes_by_name(tmp_path: Path, monkeypatch):
    expected = trees.plain(tmp_path / "streets")
    monkeypatch.chdir(tmp_path)
    assert_equal(maps(open_dataset("./streets", CARD)), expected)
    card = trees.card(0, output={"dataset": "streets", "align_corners": False})
    scenes = open_dataset("streets", card, limit=2)
    assert [sample.picture.shape for sample in scenes] == [(33, 49, 3)] * 2
    assert scenes.title.endswith("seed 2"), "held out: training has seed 1"
    assert len(open_dataset("streets", card)) == STREET_SCENES


@pytest.mark.parametrize("classes", [0, 256])
def test_cards_that_no_label_map_is_for(tmp_path: Path, classes: int):
    with pytest.raises(UsageError, match=rf"tiny has {classes or 'no'} classes, 1 to 255 were expected"):
        open_dataset(str(tmp_path), trees.card(classes))


def test_scenes_for_another_card_or_with_a_layout():
    with pytest.raises(UsageError, match="tiny was not made for the street scenes: its classes are of its own"):
        open_dataset("streets", CARD)
    for options in ({"layout": "plain"}, {"split": "val"}):
        with pytest.raises(UsageError, match="have no layout and no split"):
            open_dataset("streets", CARD, **options)
