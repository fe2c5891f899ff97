"""The steps inside the server give, bit by bit, what the same artefact gives locally; and refuse what no picture is."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from repository_parts import a_card, a_changed, a_engine, a_profile

from ccdeploy.artefacts import manifest_of
from ccdeploy.ccnet.cards import card_from_dict
from ccdeploy.datasets.streets import Streets
from ccdeploy.engine.manifest import read_manifest
from ccdeploy.errors import ArtefactError, InputError
from ccdeploy.runners import open_runner
from ccdeploy.segmenters import ArtefactSegmenter, Passing, plan_for
from ccdeploy.serving.backend.deployment import Deployment, deployment_of
from ccdeploy.serving.backend.steps import labels_of_output, network_input
from ccdeploy.serving.repository import Packaging
from ccdeploy.serving.repository.subject import subject_of

SIZES = [(65, 97), (31, 57), (97, 64), (120, 41), (16, 131)]
KINDS: dict[str, dict[str, Any]] = {
    "open": {"dynamic": "all"},
    "fixed": {},
    "batch": {"dynamic": "batch"},
    "labels": {"io": "image"},
    "open labels": {"io": "image", "dynamic": "all"},
}


def a_picture(height: int, width: int, format: str = "PNG") -> tuple[np.ndarray, bytes]:
    """Pixels, and the bytes of a file that holds them."""
    file = io.BytesIO()
    Image.fromarray(Streets(1, (max(height, 16), max(width, 16)))[0].picture[:height, :width]).save(file, format=format)
    return np.asarray(Image.open(file).convert("RGB")), file.getvalue()


def a_deployment(artefact: Path, **changes: Any) -> Deployment:
    return deployment_of(dataclasses.replace(subject_of(artefact, Packaging()).served, **changes))


def a_served(artefact: Path, pictures: list[bytes]) -> list[np.ndarray]:
    deployment = a_deployment(artefact)
    found = []
    with open_runner(artefact) as runner:
        for content in pictures:
            batch, size = network_input(content, deployment)
            output = runner.infer({deployment.source.name: batch})[deployment.output.name]
            found.append(labels_of_output(output, size, deployment))
    return found


@pytest.mark.parametrize(
    ("network", "kind"),
    [*(("ccnet", kind) for kind in KINDS), *(("official", kind) for kind in ("open", "labels"))],
)
def test_labels_are_those_of_the_local_segmenter(exports, network: str, kind: str) -> None:
    artefact = exports.file(network, **KINDS[kind])
    manifest = manifest_of(artefact)
    card = card_from_dict(manifest.model, manifest.card)
    plan = plan_for(artefact, manifest, card, Passing("whole"))
    pictures = [a_picture(*size, format) for size in SIZES for format in ("PNG", "JPEG")]
    with ArtefactSegmenter(artefact, manifest, card, plan) as segmenter:
        expected = [segmenter.labels(pixels, pixels.shape[:2]) for pixels, _ in pictures]
    found = a_served(artefact, [content for _, content in pictures])
    for (pixels, _), labels, wanted in zip(pictures, found, expected, strict=True):
        assert labels.dtype == np.uint8
        assert labels.shape == pixels.shape[:2]
        np.testing.assert_array_equal(labels, wanted)
    assert len(np.unique(np.concatenate([labels.ravel() for labels in found]))) > 3


def test_the_resize_of_a_card(exports, tmp_path: Path) -> None:
    source = exports.file("ccnet", dynamic="all")
    artefact = a_changed(source, tmp_path, card=a_card(read_manifest(source), evaluation={"resize": [48, 80]}))
    manifest = manifest_of(artefact)
    card = card_from_dict(manifest.model, manifest.card)
    plan = plan_for(artefact, manifest, card, Passing("whole"))
    pixels, content = a_picture(61, 83)
    batch, size = network_input(content, a_deployment(artefact))
    assert batch.shape[2:] == (48, 65)
    assert size.tolist() == [61, 83]
    with ArtefactSegmenter(artefact, manifest, card, plan) as segmenter:
        np.testing.assert_array_equal(a_served(artefact, [content])[0], segmenter.labels(pixels, (61, 83)))


def a_bytes(format: str, size: tuple[int, int] = (20, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, format=format)
    return file.getvalue()


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"hello", "neither a JPEG nor a PNG"),
    "bmp": (a_bytes("BMP"), "neither a JPEG nor a PNG"),
    "tiff": (a_bytes("TIFF"), "neither a JPEG nor a PNG"),
    "jpeg cut": (a_bytes("JPEG")[:200], "cannot be read|not a picture"),
    "png cut": (a_bytes("PNG")[:40], "cannot be read|not a picture"),
    "jpeg head": (b"\xff\xd8\xff", "not a picture"),
    "png head": (b"\x89PNG\r\n\x1a\n" + bytes(50), "not a picture|cannot be read"),
    "large": (a_bytes("PNG", (4000, 4000)), "4000x4000"),
}


@pytest.mark.parametrize("bad", list(BAD))
def test_what_is_no_picture(exports, bad: str) -> None:
    content, reason = BAD[bad]
    with pytest.raises(InputError, match=reason):
        network_input(content, a_deployment(exports.file("ccnet", dynamic="all")))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_pictures_are_segmented_or_refused(exports, data: st.DataObject) -> None:
    content = bytearray(a_bytes(data.draw(st.sampled_from(["JPEG", "PNG"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        batch, size = network_input(bytes(content), a_deployment(exports.file("ccnet", dynamic="all")))
    except InputError:
        return
    assert batch.shape[2:] == tuple(size)


def test_sizes_outside_an_engines_profile(exports, tmp_path: Path) -> None:
    profile = a_profile((1, 3, 33, 33), (1, 3, 65, 97), (1, 3, 129, 129))
    deployment = a_deployment(a_engine(tmp_path, exports.file("ccnet", dynamic="all"), profiles=(profile,)))
    network_input(a_picture(33, 129)[1], deployment)
    for size in ((32, 129), (33, 130)):
        with pytest.raises(InputError, match="--mode slide"):
            network_input(a_picture(*size)[1], deployment)


def test_outputs_that_are_not_the_networks(exports) -> None:
    deployment = a_deployment(exports.file("ccnet"))
    size = np.array([65, 97], np.int32)
    logits = np.zeros((1, 21, 65, 97), np.float32)
    assert labels_of_output(logits, size, deployment).shape == (65, 97)
    with pytest.raises(ArtefactError, match="20 classes"):
        labels_of_output(logits[:, 1:], size, deployment)
    for value in (np.nan, np.inf, -np.inf):
        spoilt = logits.copy()
        spoilt[0, 3, 4, 5] = value
        with pytest.raises(ArtefactError, match="infinite or NaN"):
            labels_of_output(spoilt, size, deployment)
    labels_of_output(np.full_like(logits, 3e38), size, deployment)  # their sum is not finite, they are
    for sides in ((0, 97), (-1, 97), (65, 2**31 - 1)):
        with pytest.raises(InputError, match="The size is"):
            labels_of_output(logits, np.array(sides, np.int32), deployment)


def test_labels_beyond_the_cards_classes(exports) -> None:
    deployment = a_deployment(exports.file("ccnet", io="image"))
    with pytest.raises(ArtefactError, match="up to 21"):
        labels_of_output(np.full((1, 65, 97), 21, np.uint8), np.array([65, 97]), deployment)
