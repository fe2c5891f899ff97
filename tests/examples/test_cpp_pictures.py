"""The C++ example reads PNG and JPEG files as Pillow does, upright, and refuses what is damaged."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import samples
from cpp_build import compiled
from cpp_example import Deployment
from PIL import Image, ImageOps

from ccdeploy.ccnet.cards import Card, load_card


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    compiled()
    return load_card(samples.ccnet_card(tmp_path_factory.mktemp("cards")))


@pytest.fixture
def subject(tmp_path: Path, card: Card) -> Deployment:
    """An engine of 13 x 21 that takes pictures as they are."""
    return Deployment(tmp_path, card, io="image")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_png_files_are_read_as_pillow_reads_them(subject: Deployment, mode: str) -> None:
    pixels = subject.generator.integers(0, 256, (13, 21, 4), np.uint8)
    pixels[:3, :, 3] = 0  # transparent pixels keep their colours
    Image.fromarray(pixels).convert("RGB" if mode in ("P", "1", "L") else "RGBA").convert(mode).save(subject.picture)
    done = subject.run()
    assert done.returncode == 0, done.stderr
    assert np.array_equal(subject.inputs()[0], np.asarray(Image.open(subject.picture).convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_files_are_read_upright(tmp_path: Path, card: Card, orientation: int) -> None:
    subject = Deployment(tmp_path, card, io="image", size=(13, 21) if orientation < 5 else (21, 13))
    subject.picture = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    pixels = subject.generator.integers(0, 256, (13, 21, 3), np.uint8)
    Image.fromarray(pixels).save(subject.picture, quality=95, subsampling=0, exif=exif)
    done = subject.run()
    assert done.returncode == 0, done.stderr
    expected = ImageOps.exif_transpose(Image.open(subject.picture)).convert("RGB")
    assert np.abs(subject.inputs()[0].astype(int) - np.asarray(expected)).max() <= 2
    assert subject.classes().shape == subject.size


def test_grey_jpeg_files_are_read(subject: Deployment) -> None:
    subject.picture = subject.folder / "photo.jpg"
    Image.fromarray(subject.generator.integers(0, 256, (13, 21), np.uint8)).save(subject.picture)
    assert subject.run().returncode == 0
    grey = np.asarray(Image.open(subject.picture)).astype(int)
    assert np.abs(subject.inputs()[0] - grey[..., None]).max() <= 1


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "png")
    return content.getvalue()


def jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "jpeg", quality=95)
    return content.getvalue()


def test_pictures_that_cannot_be_read(subject: Deployment) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (29, 43, 3), np.uint8))
    deep = Image.fromarray(np.zeros((4, 4), np.uint16))
    wide = bytearray(png(noise))
    wide[16:24] = (2**31 - 1).to_bytes(4, "big") * 2  # width and height; the checksum is wrong then as well
    for content, seen in (
        (b"", " is neither a PNG nor a JPEG file."),
        (b"GIF89a", " is neither a PNG nor a JPEG file."),
        (png(noise)[:8], " cannot be read: "),
        (png(noise)[:-200], " cannot be read: "),
        (bytes(wide), " cannot be read: "),
        (png(deep), " has 16 bits a channel, 8 were expected."),
        (jpeg(noise)[:4], " cannot be read: "),
        (jpeg(noise)[:-200], " cannot be read: "),
        (jpeg(noise)[:200], " cannot be read: "),
        (jpeg(noise)[:-200] + b"\xff\xd9", " cannot be read: "),  # an end, but not that of the picture
        (jpeg(noise.convert("CMYK")), " cannot be read: "),
    ):
        subject.picture.write_bytes(content)
        done = subject.run()
        assert done.returncode == 2, (seen, done.stderr)
        assert done.stderr.startswith(f"error: {subject.picture}{seen}")
        assert len(done.stderr.splitlines()) == 2
        assert not subject.out.exists()
        assert subject.calls() == []


def test_a_picture_too_large_is_refused_before_memory_is_taken(subject: Deployment) -> None:
    head = b"IHDR" + (20000).to_bytes(4, "big") + (10000).to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    whole = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    body = b"IDAT" + zlib.compress(b"\0")
    whole += (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    subject.picture.write_bytes(whole)
    what = f"{subject.picture} has 20000x10000 pixels, 1 to 134217728 were expected."
    subject.refused(2, what, "Scale it down.")


def test_damaged_exif_data_turns_nothing(subject: Deployment) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (29, 43, 3), np.uint8))
    plain = jpeg(noise)
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    for tiff in (
        b"",
        b"MM\0*",
        b"MM\0*\0\0\0\x08",
        b"MM\0*\0\0\0\x08\0\x01",
        b"MM\0*\0\0\0\x08\0\x01" + tag[:-1],
        b"MM\0*\xff\xff\xff\xff\0\x01" + tag,
        b"MM\0*\0\0\0\x08\xff\xff" + tag[:8] + b"\x00\x09\x00\x00",
        b"MM\0*\0\0\0\x08\0\0" + tag,
        b"MM\0*\0\0\0\x08\0\x01" + b"\x01\x13" + tag[2:],
        b"MM\0*\0\0\0\x08\0\x01" + tag[:3] + b"\x04" + tag[4:],
    ):
        marker = b"Exif\0\0" + tiff
        app1 = b"\xff\xe1" + (len(marker) + 2).to_bytes(2, "big") + marker
        subject.picture.write_bytes(plain[:2] + app1 + plain[2:])
        done = subject.run()
        assert done.returncode == 0, (tiff, done.stderr)
        assert ": 43x29, " in done.stdout
    marker = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + tag
    app1 = b"\xff\xe1" + (len(marker) + 2).to_bytes(2, "big") + marker
    subject.picture.write_bytes(plain[:2] + app1 + plain[2:])
    assert ": 29x43, " in subject.run().stdout
