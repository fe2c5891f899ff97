"""The pictures side by side: each as a file within the page, scaled and compressed for it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ccdeploy.errors import InputError
from ccdeploy.pictures import Labels, class_name, palette
from ccdeploy.report import words
from ccdeploy.report.folder import REFERENCE, Picture
from ccdeploy.report.gathering import Deployed

WIDEST = 1024
"""Pixels. Larger pictures are scaled down for the page."""
QUALITY = 82
"""Of WebP, for photographs; label maps are PNG, which changes no class."""
DIFFERENT_COLOUR = (255, 40, 150)
PHOTO, LABELS, DIFFERENCE = "photo", "labels", "difference"


@dataclass(frozen=True)
class View:
    """One layer of a picture. A difference is mostly transparent: it lies over the photograph."""

    key: str
    label: str
    kind: str
    uri: str
    caption: str = ""


@dataclass(frozen=True)
class Shown:
    """A picture and all that was made of it."""

    name: str
    width: int
    height: int
    views: tuple[View, ...]


@dataclass(frozen=True)
class PicturesSection:
    """What the section shows; `why` says why there is nothing, `problems` what is missing of it."""

    why: str
    pictures: tuple[Shown, ...]
    legend: tuple[tuple[str, str], ...]
    """Names of the classes that occur, and their colours as CSS has them."""
    note: str
    problems: tuple[str, ...]


def pictures_section(deployed: Deployed) -> PicturesSection:
    """Reads the folder's pictures."""
    if not deployed.index.pictures:
        inputs = deployed.index.inputs
        why = f"the artefacts were verified on {inputs}" if inputs else "the folder holds no pictures"
        return PicturesSection(f"{why}; `--images` of `ccdeploy deploy` shows photographs here", (), (), "", ())
    shown, problems, seen = [], [], set()
    for picture in deployed.index.pictures:
        try:
            one, classes = _shown(deployed, picture)
        except InputError as error:
            problems.append(f"{picture.name}: {error.what}")
            continue
        shown.append(one)
        seen |= classes
    note = (
        f"Photographs are WebP (quality {QUALITY}), at most {WIDEST} pixels wide; label maps are PNG as the network "
        "gave them, stretched over the photograph without smoothing."
    )
    why = "" if shown else "no picture of the folder can be read"
    return PicturesSection(why, tuple(shown), tuple(_legend(deployed, seen)), note, tuple(problems))


def _legend(deployed: Deployed, classes: set[int]) -> list[tuple[str, str]]:
    colours = _palette(deployed, max(classes, default=0) + 1)
    legend = []
    for index in sorted(classes):
        name = class_name(deployed.card, index) if deployed.card else f"class {index}"
        legend.append((name, "#{:02x}{:02x}{:02x}".format(*map(int, colours[index]))))
    return legend


def _palette(deployed: Deployed, classes: int) -> npt.NDArray[np.uint8]:
    if deployed.card is not None:
        return palette(deployed.card, classes)
    return np.repeat(np.linspace(0, 255, max(classes, 2)).astype(np.uint8)[:, None], 3, axis=1)


def _shown(deployed: Deployed, picture: Picture) -> tuple[Shown, set[int]]:
    """A picture with its layers, and the classes in them."""
    with _opened(deployed.folder, picture.file) as image:
        photo = image.convert("RGB")
    if photo.width > WIDEST:
        photo = photo.resize((WIDEST, max(1, round(photo.height * WIDEST / photo.width))), Image.Resampling.LANCZOS)
    views = [View(PHOTO, "Picture", PHOTO, _uri(photo, "webp", quality=QUALITY, method=6))]
    maps = {who: _labels(deployed.folder, file) for who, file in picture.labels.items()}
    truth = _labels(deployed.folder, picture.truth) if picture.truth else None
    everything = [*maps.values(), *([truth] if truth is not None else [])]
    classes = {int(value) for one in everything for value in np.unique(one)}
    colours = _palette(deployed, max(classes, default=0) + 1)
    if truth is not None:
        views.append(View("truth", "True labels", LABELS, _painted(truth, colours)))
    names = {artefact.entry.file: artefact.series.name for artefact in deployed.artefacts}
    expected = maps.get(REFERENCE)
    if expected is not None:
        views.append(View(REFERENCE, REFERENCE, LABELS, _painted(expected, colours)))
    for who, got in maps.items():
        if who == REFERENCE:
            continue
        name = names.get(who, who)
        same = ""
        if expected is not None and expected.shape == got.shape:
            same = f"{words.percent(float((got == expected).mean()), 3)} % of the labels equal PyTorch's"
        views.append(View(who, name, LABELS, _painted(got, colours), same))
        if same and expected is not None:
            label = f"{name}: difference"
            caption = "marked where it differs from PyTorch" if (got != expected).any() else "no label differs"
            views.append(View(f"{who}#difference", label, DIFFERENCE, _difference(got != expected), caption))
    return Shown(picture.name, photo.width, photo.height, tuple(views)), classes


def _opened(folder: Path, file: str) -> Image.Image:
    """A picture of the folder.

    Raises:
        InputError: it lies elsewhere, or cannot be read.
    """
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{file!r} lies outside of the folder: it is not read.", "Deploy again.")
    try:
        image = Image.open(path)
        image.load()
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        raise InputError(f"{file} cannot be read as a picture ({type(error).__name__}).", "Deploy again.") from error
    return image


def _labels(folder: Path, file: str) -> Labels:
    with _opened(folder, file) as image:
        if image.mode not in ("L", "P", "I;16", "I"):
            what = f"{file} has {image.mode} pixels, a label map of one channel was expected."
            raise InputError(what, "Deploy again.")
        return np.asarray(image).astype(np.int64)


def _painted(labels: Labels, colours: npt.NDArray[np.uint8]) -> str:
    if len(colours) > 256:
        return _uri(Image.fromarray(colours[labels]), "png", optimize=True)
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(colours.astype(np.uint8).tobytes())
    return _uri(image, "png", optimize=True)


def _difference(differs: npt.NDArray[np.bool_]) -> str:
    """A veil over what is equal, a strong colour where it is not: each such pixel with a margin, so that it is seen."""
    wide = differs.copy()
    wide[1:] |= differs[:-1]
    wide[:-1] |= differs[1:]
    wide[:, 1:] |= differs[:, :-1]
    wide[:, :-1] |= differs[:, 1:]
    image = Image.fromarray(wide.astype(np.uint8))
    image.putpalette(bytes((12, 14, 20, *DIFFERENT_COLOUR)))
    return _uri(image, "png", optimize=True, transparency=bytes((190, 255)))


def _uri(image: Image.Image, form: str, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=form.upper(), **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"
