"""Data sets on disk: Cityscapes, ADE20K and PASCAL VOC as their archives unpack, and a plain layout.

A folder is searched for pairs of a picture and its label map when it is opened, and all that is wrong with its names is
told then; files are read one at a time, and what is wrong inside one is told when it is its turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ccdeploy.ccnet.cards import Card
from ccdeploy.datasets import LabelledDataset, Sample
from ccdeploy.datasets.labels import classes_of, read_values, train_ids_of, write_labels
from ccdeploy.errors import InputError, UsageError
from ccdeploy.files import written_whole
from ccdeploy.pictures import SUFFIXES, read_full_size

LABEL_SUFFIX = ".png"
CITYSCAPES, ADE20K, VOC, PLAIN = "cityscapes", "ade20k", "voc", "plain"


@dataclass(frozen=True)
class Pair:
    """A picture and its label map; `ids` where it holds Cityscapes' label ids instead of classes."""

    picture: Path
    labels: Path
    ids: bool = False


@dataclass(frozen=True)
class Layout:
    """How a data set lies in its folder.

    Attributes:
        marks: what is in such a folder.
        homes: where it may lie in the folder that the data set's archive was unpacked to.
        split: which part is taken unless another is named; empty where there are no parts.
        parts: the names of the splits that are there.
        pairs: the pairs of a split, sorted by name.
    """

    marks: tuple[str, ...]
    homes: tuple[str, ...]
    split: str
    parts: Callable[[Path], Iterable[str]]
    pairs: Callable[[Path, str], list[Pair]]

    def root(self, folder: Path) -> Path | None:
        """The folder that holds the marks: this one, or the one inside it that the archive unpacks to."""
        places = (folder, *(folder / home for home in self.homes))
        return next((place for place in places if all((place / mark).is_dir() for mark in self.marks)), None)


class FolderDataset(LabelledDataset):
    """Pairs of files.

    Args:
        title: as reports name it.
        pairs: picture and label map of each sample.
        card: of the network; its classes are what label maps may hold, and it says whether they count from 1.
    """

    def __init__(self, title: str, pairs: list[Pair], card: Card) -> None:
        self.title = title
        self._pairs, self._card = pairs, card

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """See the class's base.

        Raises:
            InputError: a file that cannot be read, sizes that differ, a label that the card has no class for.
        """
        pair = self._pairs[index]
        picture, labels = read_full_size(pair.picture), read_values(pair.labels)
        if picture.shape[:2] != labels.shape:
            sizes = [f"{height}x{width}" for height, width in (labels.shape, picture.shape[:2])]
            raise InputError(
                f"{pair.labels} is {sizes[0]}, its picture {pair.picture.name} is {sizes[1]}; one size was expected.",
                "Give each picture the label map that belongs to it.",
            )
        if pair.ids:
            labels = train_ids_of(labels, pair.labels)
        reduce_zero_label = self._card.output.reduce_zero_label and not pair.ids
        labels = classes_of(labels, pair.labels, self._card.num_classes, reduce_zero_label)
        return Sample(pair.picture.stem, picture, labels)


def open_folder(
    folder: Path, card: Card, layout: str | None = None, split: str | None = None, limit: int | None = None
) -> FolderDataset:
    """The data set in a folder.

    Args:
        folder: what the data set's archive unpacked to, or the folder with its marks.
        card: of the network that is evaluated.
        layout: one of LAYOUTS; recognised by the folder's content unless given.
        split: the part of it; "val" or what the layout calls so unless given.
        limit: how many pictures at most, the first by name.

    Raises:
        InputError: no such layout or split in the folder, no pictures, pictures without labels.
        UsageError: a layout that there is not.
    """
    name, root = _recognised(folder, layout)
    kind = LAYOUTS[name]
    part = split if split is not None else kind.split
    known = sorted(kind.parts(root))
    if part and part not in known:
        what = f"{root} has no split {part!r}; it has {', '.join(known) or 'none'}."
        raise InputError(what, "Choose one with --split." if known else "Leave --split out, or check the folder.")
    pairs = kind.pairs(root, part)
    if not pairs:
        place = f"the split {part} of {root}" if part else root
        raise InputError(f"There is no picture in {place} (layout {name}).", f"Pictures end in {', '.join(SUFFIXES)}.")
    _check_labels(pairs)
    count = f"{len(pairs)} pictures"
    if limit is not None and limit < len(pairs):
        pairs, count = pairs[:limit], f"the first {limit} of {count}"
    return FolderDataset(f"{folder} ({name}{f', {part}' if part else ''}), {count}", pairs, card)


def write_plain(dataset: LabelledDataset, folder: Path, reduce_zero_label: bool = False) -> None:
    """Writes a data set in the plain layout, each file all or nothing.

    Args:
        dataset: any.
        folder: where `images` and `labels` are made.
        reduce_zero_label: of the card that will read it, so that the same classes come back.
    """
    from PIL import Image

    for sample in dataset:
        with written_whole(folder / "images" / f"{sample.name}.png") as temporary:
            Image.fromarray(sample.picture).save(temporary, format="PNG")
        write_labels(sample.labels, folder / "labels" / f"{sample.name}.png", reduce_zero_label)


def _recognised(folder: Path, layout: str | None) -> tuple[str, Path]:
    """The layout of a folder, and where in it the data set's marks are."""
    if not folder.is_dir():
        seen = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {seen}, a folder of pictures and label maps was expected.", "Check the path.")
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"There is no layout {layout!r}.", f"Choose one of {', '.join(LAYOUTS)}.")
    roots = {name: LAYOUTS[name].root(folder) for name in ([layout] if layout else LAYOUTS)}
    found = {name: root for name, root in roots.items() if root is not None}
    if not found:
        inside = sorted(_folders(folder))[:8]
        seen = f"it has the folders {', '.join(inside)}" if inside else "it has no folders"
        raise InputError(
            f"{folder} is not of {f'the layout {layout}' if layout else 'any layout that ccdeploy knows'}: {seen}.",
            f"Expected: {'; '.join(f'{_tree(name)} ({name})' for name in roots)}.",
        )
    if len(found) > 1:
        raise InputError(f"{folder} could be of the layouts {' and '.join(found)}.", "Say which with --layout.")
    return next(iter(found.items()))


def _tree(layout: str) -> str:
    return " and ".join(f"{mark}/" for mark in LAYOUTS[layout].marks)


def _check_labels(pairs: list[Pair]) -> None:
    missing = [pair for pair in pairs if not pair.labels.is_file()]
    if missing:
        first, others = missing[0], len(missing) - 1
        raise InputError(
            f"{first.picture} has no labels: {first.labels} was expected"
            + (f" ({others} more {'has' if others == 1 else 'have'} none)." if others else "."),
            "Add them, choose another split, or take the pictures out.",
        )


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name; two of one stem would share their labels."""
    if not folder.is_dir():
        return []
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    seen: dict[str, Path] = {}
    for path in files:
        if path.stem in seen:
            what = f"{folder} has two pictures of one name, {seen[path.stem].name} and {path.name}."
            raise InputError(what, "Rename or remove one of them: a label map belongs to one picture.")
        seen[path.stem] = path
    return files


def _folders(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.is_dir()]


def _cityscapes_pairs(root: Path, split: str) -> list[Pair]:
    ending = "_leftImg8bit"
    pairs = []
    for picture in sorted((root / "leftImg8bit" / split).glob(f"*/*{ending}.png")):
        stem = root / "gtFine" / split / picture.parent.name / picture.stem.removesuffix(ending)
        train, ids = (stem.with_name(f"{stem.name}_gtFine_{kind}.png") for kind in ("labelTrainIds", "labelIds"))
        pairs.append(Pair(picture, ids, ids=True) if ids.is_file() and not train.is_file() else Pair(picture, train))
    return pairs


def _side_by_side(pictures: str, labels: str) -> Callable[[Path, str], list[Pair]]:
    """Pairs of equal stems in two folders, of which a split is a subfolder."""

    def pairs(root: Path, split: str) -> list[Pair]:
        home = root / labels / split
        return [Pair(path, home / f"{path.stem}{LABEL_SUFFIX}") for path in _pictures(root / pictures / split)]

    return pairs


def _voc_pairs(root: Path, split: str) -> list[Pair]:
    listing = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    try:
        names = listing.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{listing} cannot be read ({error}).", "It lists a picture's name a line.") from error
    pictures = {path.stem: path for path in _pictures(root / "JPEGImages")}
    absent = [name for name in names if name not in pictures]
    if absent:
        what = f"{listing} lists {absent[0]!r}, which is no picture of {root / 'JPEGImages'}"
        raise InputError(f"{what} (and {len(absent) - 1} more)." if absent[1:] else f"{what}.", "Unpack it again.")
    home = root / "SegmentationClass"
    return [Pair(pictures[name], home / f"{name}{LABEL_SUFFIX}") for name in sorted(set(names))]


def _voc_splits(root: Path) -> list[str]:
    return [path.stem for path in (root / "ImageSets" / "Segmentation").glob("*.txt")]


LAYOUTS = {
    CITYSCAPES: Layout(
        ("leftImg8bit", "gtFine"),
        ("cityscapes",),
        "val",
        lambda root: _folders(root / "leftImg8bit"),
        _cityscapes_pairs,
    ),
    ADE20K: Layout(
        ("images", "annotations"),
        ("ADEChallengeData2016",),
        "validation",
        lambda root: _folders(root / "images"),
        _side_by_side("images", "annotations"),
    ),
    VOC: Layout(("JPEGImages", "SegmentationClass"), ("VOCdevkit/VOC2012", "VOC2012"), "val", _voc_splits, _voc_pairs),
    PLAIN: Layout(
        ("images", "labels"), (), "", lambda root: _folders(root / "images"), _side_by_side("images", "labels")
    ),
}
"""By name."""
