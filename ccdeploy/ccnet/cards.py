"""Model cards: what a deployable network is, in one TOML file each.

A card states the network, what it eats, what its output means, how it is evaluated, and where published weights and
numbers come from. The zoo (`models/*.toml`) ships with ccdeploy; folders named in CCDEPLOY_MODELS add to it. A card is
untrusted input: whatever is wrong with one ends in a CardError that names the file, the field, the value seen and what
was expected.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from itertools import chain
from operator import gt
from pathlib import Path
from typing import Any

from ccdeploy.ccnet._card_types import (
    LARGEST_SIDE,
    Card,
    ClassInfo,
    Dataset,
    Evaluation,
    Input,
    Network,
    Output,
    Published,
    Training,
    WeightsFile,
    is_module,
)
from ccdeploy.ccnet._fields import FieldError, file_name, nearest, read, shown
from ccdeploy.errors import CardError
from ccdeploy.files import data_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "LARGEST_SIDE",
    "Card",
    "ClassInfo",
    "Evaluation",
    "Input",
    "Network",
    "Output",
    "Published",
    "Training",
    "WeightsFile",
    "card_for_module",
    "card_from_dict",
    "card_names",
    "find_card",
    "is_module",
    "load_card",
    "weights_beside",
]

FOLDERS_VARIABLE = "CCDEPLOY_MODELS"
"""Environment variable: further folders of cards, separated as in PATH."""
LARGEST_FILE = 1_000_000
"""Bytes. The largest file of the zoo, a data set of 150 classes, has 8 thousand."""

_REMEDY = "Correct it; the cards in ccdeploy's folder `models` show the format."


def card_names() -> list[str]:
    """Names of the cards in the zoo and in the folders of CCDEPLOY_MODELS, sorted.

    Raises:
        CardError: two files claim one name, or CCDEPLOY_MODELS names what is not a folder.
    """
    return sorted(_files("."))


def find_card(name_or_path: str) -> Card:
    """The card of this name, or the card in the file at this path.

    Raises:
        CardError: there is none, or it is not valid.
    """
    if name_or_path.endswith(".toml") or Path(name_or_path).name != name_or_path:
        return load_card(name_or_path)
    files = _files(".")
    if name_or_path not in files:
        raise CardError(
            f"There is no model {shown(name_or_path)}{nearest(name_or_path, files) or '.'}",
            "`ccdeploy models` lists the names. A card file ends in .toml; a network of your own is module:Class.",
        )
    return load_card(files[name_or_path])


def load_card(path: str | Path) -> Card:
    """The card in a file.

    Raises:
        CardError: the file cannot be read, or is not a valid card.
    """
    path = Path(path)
    return _card(str(path), path.stem, _read_toml(path))


def card_from_dict(name: str, data: dict[str, Any]) -> Card:
    """The card that `Card.to_dict` wrote, checked as a file is.

    Raises:
        CardError: the data is not a valid card.
    """
    return _card(f"card {shown(name)}", name, data)


def card_for_module(module: str) -> Card:
    """A card for a network of the user's own, "package.module:Class": no more is known than that it takes pictures.

    Raises:
        CardError: the text is not of that form.
    """
    description = "A network of the user's own; its code says what it is."
    return card_from_dict(module, {"description": description, "network": {"architecture": module}})


def weights_beside(card: Card, name_or_path: str = "") -> Path | None:
    """The weights file that a card names, where it lies among the cards: with ccdeploy, or beside a card file.

    Args:
        card: names the file.
        name_or_path: what `find_card` found the card by; a card file's own folder is looked into first.

    Raises:
        CardError: CCDEPLOY_MODELS names what is not a folder.
    """
    if card.weights is None:
        return None
    own = [Path(name_or_path).parent] if name_or_path.endswith(".toml") else []
    files = (folder / card.weights.file for folder in [*own, *_folders()])
    return next((file for file in files if file.is_file()), None)


def _folders() -> list[Path]:
    """The zoo and the folders in CCDEPLOY_MODELS; one that is named twice, or the zoo itself, is no clash."""
    named = [Path(part) for part in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if part]
    for folder in named:
        if not folder.is_dir():
            raise CardError(f"{FOLDERS_VARIABLE} names {folder}, which is not a folder.", "Correct or unset it.")
    return list(dict.fromkeys(folder.resolve() for folder in [data_folder("models"), *named]))


def _files(subfolder: str) -> dict[str, Path]:
    """The TOML files of a subfolder of the zoo and of each folder in CCDEPLOY_MODELS, by stem."""
    found: dict[str, Path] = {}
    try:
        for folder in _folders():
            for path in sorted(folder.joinpath(subfolder).glob("[!.]*.toml")):
                if path.stem in found:
                    what = f"Two files claim the name {path.stem}: {found[path.stem]} and {path}."
                    raise CardError(what, "Rename one of them.")
                found[path.stem] = path
    except OSError as error:
        what = f"{error.filename} cannot be read: {error.strerror}."
        raise CardError(what, f"Make it readable, or take it out of {FOLDERS_VARIABLE}.") from error
    return found


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if not path.is_file():
            raise CardError(f"{path} is not a file.", "Name a card file, or a model that `ccdeploy models` lists.")
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
        if len(raw) > LARGEST_FILE:
            raise CardError(f"{path} has more than {LARGEST_FILE} bytes, more than any card.", "Name a card file.")
        return tomllib.loads(raw.decode("utf-8-sig"))
    except OSError as error:
        raise CardError(f"{path} cannot be read: {error.strerror}.", "Choose a file that you may read.") from error
    except UnicodeDecodeError as error:
        raise CardError(f"{path} is not UTF-8 text: byte {error.start} is wrong.", "Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise CardError(f"{path} is not valid TOML: {error}.", _REMEDY) from error
    except (RecursionError, ValueError) as error:  # Python's limits, on nesting and on the digits of a number
        raise CardError(f"{path} is nested too deep, or holds a number of thousands of digits.", _REMEDY) from error


def _card(where: str, name: str, data: Any) -> Card:
    try:
        file_name()(name, "the name")
        card = read(Card, data, name=name)
        card = dataclasses.replace(card, output=_with_dataset(card.output))
        problem = next(chain(_left_out(card, data), _contradictions(card)), None)
        if problem:
            raise FieldError(problem)
    except FieldError as error:
        raise _refused(where, error) from error
    return card


def _refused(where: str | Path, error: FieldError) -> CardError:
    sentence = str(error)
    return CardError(f"{where}: {sentence}{'' if sentence.endswith('?') else '.'}", _REMEDY)


def _with_dataset(output: Output) -> Output:
    if output.classes or not output.dataset:
        return output
    files = _files("datasets")
    if output.dataset not in files:
        expected = nearest(output.dataset, files) or f", expected one of {', '.join(sorted(files))}"
        raise FieldError(f"output.dataset is {shown(output.dataset)}{expected}")
    path = files[output.dataset]
    try:
        dataset = read(Dataset, _read_toml(path))
    except FieldError as error:
        raise _refused(path, error) from error
    return dataclasses.replace(output, classes=dataset.classes, reduce_zero_label=dataset.reduce_zero_label)


_NEEDS = {
    "ccnet": ["network.variant", "network.depth", "input.size", "input.mean", "input.std", "evaluation.mode"],
    "criss-cross": ["input.size", "input.channels"],
}
"""Fields that have a default for other architectures' sake only."""


def _left_out(card: Card, data: dict[str, Any]) -> Iterator[str]:
    """What the card's text lacks, or says in vain, given its architecture."""
    architecture = card.network.architecture
    for path in _NEEDS.get(architecture, []):
        section, key = path.split(".")
        if key not in data.get(section, {}):
            yield f"{path} is missing; the architecture {architecture} needs it"
    for key in data["network"]:
        if not card.network.has(key):
            yield f"network.{key} does not apply to the architecture {architecture}: expected no such key"
    output = data.get("output", {})
    if "dataset" in output and "reduce_zero_label" in output and "classes" not in output:
        yield "output.reduce_zero_label is given, expected only with output.classes: the data set's file says it"
    if architecture == "ccnet" and not card.classes:
        yield "output.dataset and output.classes are missing, expected one of them"


def _contradictions(card: Card) -> Iterator[str]:
    """What no single field shows: values that do not go together."""
    network, source, evaluation, weights = card.network, card.input, card.evaluation, card.weights
    if network.query_channels > network.channels:
        yield f"network.query_channels is {network.query_channels}, expected 1 to channels ({network.channels})"
    if network.architecture == "criss-cross" and source.channels != network.channels:
        yield f"input.channels is {source.channels}, expected network.channels ({network.channels})"
    if source.channel_order == "bgr" and source.channels != 3:
        yield f"input.channel_order is 'bgr', expected 'rgb' where input.channels is {source.channels}, not 3"
    if source.mean or source.std:
        for name, values in (("mean", source.mean), ("std", source.std)):
            if len(values) != source.channels:
                yield f"input.{name} is a list of {len(values)}, expected input.channels ({source.channels})"
    for name, pair in (("crop", evaluation.crop), ("stride", evaluation.stride)):
        if (pair is not None) != (evaluation.mode == "slide"):
            problem = "is missing, expected" if pair is None else "is given, expected only"
            yield f"evaluation.{name} {problem} with mode 'slide' (it is {evaluation.mode!r})"
    if evaluation.crop and evaluation.stride and any(map(gt, evaluation.stride, evaluation.crop)):
        yield (
            f"evaluation.stride is {list(evaluation.stride)}, expected at most the crop {list(evaluation.crop)}: "
            "a larger one skips pixels"
        )
    if evaluation.resize and evaluation.resize[0] > evaluation.resize[1]:
        yield f"evaluation.resize is {list(evaluation.resize)}, expected the short side first"
    if weights and weights.stamp not in weights.file:
        yield f"weights.stamp is {weights.stamp!r}, expected the one in weights.file ({shown(weights.file)})"
