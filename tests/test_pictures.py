"""Picture files in: upright, RGB or grey, resized, and whatever is no picture told; label maps out, in colours."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ccdeploy.ccnet.cards import Card, ClassInfo, find_card
from ccdeploy.errors import CcdeployError, InputError, UsageError
from ccdeploy.pictures import (
    class_name,
    decoded,
    legend,
    overlaid,
    painted,
    palette,
    picture_files,
    read_full_size,
    read_picture,
    read_pictures,
    side_by_side,
)

CARD = find_card("ccnet_r18-d8_edge")
ORIENTATION = 0x0112


@pytest.fixture
def quarters() -> np.ndarray:
    """Four colours, one a corner, 40 x 60."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:20, :30], picture[:20, 30:] = (200, 0, 0), (0, 200, 0)
    picture[20:, :30], picture[20:, 30:] = (0, 0, 200), (200, 200, 200)
    return picture


def test_png_is_read_as_it_is(tmp_path: Path, quarters):
    Image.fromarray(quarters).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "p.png", 40, 60), quarters)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(tmp_path: Path, quarters, orientation: int):
    """Cameras store a turned picture and say so in EXIF; the picture that comes out is the one that was seen."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposition that stores it so
    image = Image.fromarray(quarters)
    stored = image if orientation == 1 else image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored.save(tmp_path / "p.jpg", exif=exif, quality=95)
    got = read_picture(tmp_path / "p.jpg", 40, 60).astype(int)
    assert np.abs(got - quarters)[8:12, 12:18].max() < 40
    assert np.abs(got - quarters)[28:32, 42:48].max() < 40
    assert np.abs(got - quarters)[8:12, 42:48].max() < 40


def test_pictures_are_resized_to_height_and_width(tmp_path: Path, quarters):
    Image.fromarray(quarters).save(tmp_path / "p.png")
    batch = read_pictures([tmp_path / "p.png"] * 2, 20, 90)
    assert (batch.shape, batch.dtype) == ((2, 20, 90, 3), np.uint8)
    assert tuple(batch[0, 4, 20]) == (200, 0, 0)
    assert tuple(batch[1, 4, 70]) == (0, 200, 0)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_kind_of_picture_becomes_rgb(tmp_path: Path, quarters, mode: str):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(quarters).convert(mode).save(tmp_path / f"p.{suffix}")
    assert read_picture(tmp_path / f"p.{suffix}", 10, 10).shape == (10, 10, 3)


def test_grey_networks_get_grey_pictures(tmp_path: Path, quarters):
    Image.fromarray(quarters).save(tmp_path / "p.png")
    grey = read_picture(tmp_path / "p.png", 40, 60, channels=1)
    assert grey.shape == (40, 60, 1)
    assert grey[5, 5, 0] == round(200 * 0.299)
    with pytest.raises(InputError, match="takes 4 channels, picture files have 1 or 3"):
        read_picture(tmp_path / "p.png", 40, 60, channels=4)


def test_pictures_of_more_than_8_bits_are_refused_rather_than_cut(tmp_path: Path):
    Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)).save(tmp_path / "p.png")
    with pytest.raises(InputError, match="I;16 pixels, 8 bits"):
        read_picture(tmp_path / "p.png", 8, 8)


def test_an_empty_file_is_told(tmp_path: Path):
    (tmp_path / "p.jpg").touch()
    with pytest.raises(InputError, match=r"p\.jpg is empty"):
        read_picture(tmp_path / "p.jpg", 8, 8)


@pytest.mark.parametrize("content", [b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\x00\x10JFIF"])
def test_what_is_no_picture_is_told(tmp_path: Path, content: bytes):
    (tmp_path / "p.jpg").write_bytes(content)
    with pytest.raises(InputError, match=r"p\.jpg (is not a picture|cannot be read)"):
        read_picture(tmp_path / "p.jpg", 8, 8)


def test_missing_and_cut_pictures_are_told(tmp_path: Path, quarters):
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path / "absent.png", 8, 8)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for name in ("p.jpg", "p.png"):
        Image.fromarray(noise).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(InputError, match="cannot be read"):
            read_picture(tmp_path / name, 8, 8)


@pytest.mark.parametrize(
    "error", [struct.error("unpack"), EOFError(), IndexError("x"), KeyError(1), ZeroDivisionError()]
)
def test_whatever_a_decoder_raises_is_told(tmp_path: Path, monkeypatch, quarters, error: Exception):
    def fail(*arguments: object) -> None:
        raise error

    Image.fromarray(quarters).save(tmp_path / "p.png")
    monkeypatch.setattr("PIL.ImageOps.exif_transpose", fail)
    with pytest.raises(InputError, match=r"p\.png cannot be read"):
        read_picture(tmp_path / "p.png", 8, 8)


def test_picture_of_absurd_size_is_refused(tmp_path: Path, monkeypatch, quarters):
    Image.fromarray(quarters).save(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="cannot be read"):
        read_picture(tmp_path / "p.png", 8, 8)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on what it makes of the damage
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damaged_pictures_are_read_or_told(tmp_path_factory: pytest.TempPathFactory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    suffix = data.draw(st.sampled_from(["jpg", "png", "bmp", "tif", "webp"]))
    whole = folder / f"whole.{suffix}"
    if not whole.exists():
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(whole, exif=exif)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / f"p.{suffix}").write_bytes(content)
    with contextlib.suppress(CcdeployError):
        assert read_picture(folder / f"p.{suffix}", 6, 5).shape == (6, 5, 3)


def test_folders_are_searched_in_the_order_of_names(tmp_path: Path, quarters):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in picture_files([tmp_path, tmp_path / "notes.txt"])] == ["a.JPG", "b.png", "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        picture_files([tmp_path / "empty"])
    with pytest.raises(InputError, match="does not exist"):
        picture_files([tmp_path / "absent"])
    assert picture_files([]) == ()


def test_label_maps_are_painted_in_the_card_s_colours():
    labels = np.array([[0, 1], [18, 2]], np.uint8)
    picture = painted(labels, CARD)
    assert (picture.dtype, picture.shape) == (np.uint8, (2, 2, 3))
    assert [tuple(picture[0, 0]), tuple(picture[1, 0])] == [CARD.classes[0].color, CARD.classes[18].color]


def without_classes() -> Card:
    return dataclasses.replace(CARD, output=dataclasses.replace(CARD.output, classes=()))


def test_classes_without_colours_get_those_of_pascal_voc():
    """The first as VOC's own card has them, which somebody wrote down from the data set."""
    voc = find_card("ccnet_r50-d8_512x512_20k_voc12aug")
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = painted(labels, without_classes())
    assert [tuple(colour) for colour in picture.reshape(-1, 3)[:21]] == [info.color for info in voc.classes]
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 256
    assert painted(np.zeros((0, 4), np.uint8), CARD).shape == (0, 4, 3)


def test_classes_beyond_the_card_s_have_colours_and_names_too():
    colours = palette(CARD, 21)
    assert len(colours) == 21
    assert [tuple(colour) for colour in colours[:19]] == [info.color for info in CARD.classes]
    assert len(palette(CARD)) == len(palette(CARD, 3)) == 19
    assert len(palette(without_classes())) == 0
    assert (class_name(CARD, 0), class_name(CARD, 19)) == ("road", "class 19")


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
def test_overlay_mixes_picture_and_colours(opacity: float):
    generator = np.random.default_rng(4)
    picture = generator.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    labels = generator.integers(0, 19, (13, 17), dtype=np.uint8)
    got = overlaid(picture, labels, CARD, opacity)
    expected = (1 - opacity) * picture.astype(float) + opacity * painted(labels, CARD).astype(float)
    assert (got.dtype, got.shape) == (np.uint8, (13, 17, 3))
    assert np.abs(got - expected).max() <= 1
    if opacity in (0.0, 1.0):
        np.testing.assert_array_equal(got, expected)


def test_overlay_of_a_grey_picture_and_of_a_view():
    grey = np.random.default_rng(5).integers(0, 256, (6, 9, 1), dtype=np.uint8)
    labels = np.zeros((6, 9), np.uint8)
    np.testing.assert_array_equal(overlaid(grey, labels, CARD, 0.0), np.repeat(grey, 3, axis=2))
    mirrored = np.repeat(grey, 3, axis=2)[:, ::-1]
    np.testing.assert_array_equal(overlaid(mirrored, labels, CARD, 0.0), mirrored)


def test_legend_shows_each_class_in_its_colour():
    picture = legend(CARD)
    assert picture.dtype == np.uint8
    seen = {tuple(colour) for colour in picture.reshape(-1, 3)}
    assert {info.color for info in CARD.classes} <= seen
    assert (0, 0, 0) in seen, "the names, in black"


def test_legend_of_many_classes_has_columns_and_names_may_be_of_any_script():
    ade = find_card("ccnet_r50-d8_512x512_80k_ade20k")
    picture = legend(ade)
    assert picture.shape[0] == 12 + 26 * 25
    assert {info.color for info in ade.classes} <= {tuple(colour) for colour in picture.reshape(-1, 3)}
    names = tuple(ClassInfo(name, (9, 9, 9)) for name in ("Straße", "дорога", "道路"))
    assert legend(dataclasses.replace(CARD, output=dataclasses.replace(CARD.output, classes=names))).shape[0] == 90
    assert legend(without_classes(), 3).shape[0] == 90
    with pytest.raises(InputError, match="states no classes"):
        legend(without_classes())


def test_panels_lie_side_by_side(tmp_path: Path):
    panels = [np.full((4, 6, 3), shade, np.uint8) for shade in (0, 100, 200)]
    side_by_side(panels, tmp_path / "new" / "p.png")
    with Image.open(tmp_path / "new" / "p.png") as image:
        row = np.asarray(image)[0, :, 0].tolist()
    assert row == [0] * 6 + [255] * 8 + [100] * 6 + [255] * 8 + [200] * 6
    (tmp_path / "p.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        side_by_side(panels, tmp_path / "p.png")


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_bytes_are_decoded_as_their_file_is_read(tmp_path: Path, quarters, format: str):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.fromarray(quarters).save(tmp_path / "p", format=format, exif=exif)
    got = decoded((tmp_path / "p").read_bytes(), "p", most_pixels=2400)
    np.testing.assert_array_equal(got, read_full_size(tmp_path / "p"))
    assert got.shape == (60, 40, 3)


def test_pixels_are_counted_before_they_are_decoded(quarters, monkeypatch: pytest.MonkeyPatch):
    file = io.BytesIO()
    Image.fromarray(quarters).save(file, format="PNG")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError) as error:
        decoded(file.getvalue(), "a request's picture", most_pixels=2399)
    assert error.value.what == "a request's picture has 60x40 pixels, 2399 were expected at most."


@pytest.mark.parametrize(("content", "what"), [(b"", "p is empty."), (b"GIF", "p is not a picture that can be read.")])
def test_bytes_that_are_no_picture_are_told(content: bytes, what: str):
    with pytest.raises(InputError) as error:
        decoded(content, "p", most_pixels=100)
    assert error.value.what == what
