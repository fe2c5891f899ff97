"""The zoo agrees with itself, and whatever is wrong with a card ends in a CardError that names it."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ccdeploy.ccnet import cards
from ccdeploy.ccnet.cards import card_for_module, card_from_dict, card_names, find_card, load_card
from ccdeploy.errors import CardError
from ccdeploy.files import data_folder

ZOO = sorted(path.stem for path in data_folder("models").glob("*.toml"))
PUBLISHED_NAME = re.compile(r"ccnet_r(?P<depth>\d+)-d8_(?P<h>\d+)x(?P<w>\d+)_(?P<schedule>\d+k)_(?P<dataset>\w+)")
FROM_MMSEGMENTATION = [name for name in ZOO if PUBLISHED_NAME.fullmatch(name)]

CARD: dict[str, Any] = {
    "description": "A card that uses every field.",
    "network": {
        "architecture": "ccnet",
        "variant": "official",
        "depth": 18,
        "width": 16,
        "channels": 32,
        "query_channels": 4,
        "recurrence": 3,
        "head_activation": "relu",
    },
    "input": {"size": [65, 97], "channels": 3, "channel_order": "bgr", "mean": [1, 2.5, 3], "std": [1, 1, 0.5]},
    "output": {
        "classes": [{"name": "road", "color": [128, 64, 128]}, {"name": "sky", "color": [0, 0, 255]}],
        "align_corners": True,
        "reduce_zero_label": True,
    },
    "evaluation": {
        "mode": "slide",
        "crop": [65, 97],
        "stride": [32, 97],
        "resize": [97, 200],
        "scales": [0.5, 1],
        "flip": True,
    },
    "published": {"miou": 50.5, "miou_flip": 51, "source": "a paper"},
    "weights": {
        "file": "mine_20200616_145125-76d11884.pth",
        "stamp": "20200616_145125-76d11884",
        "layout": "ccdeploy",
        "source": "a shelf",
    },
}
"""Valid; the cases below each break one thing."""


def changed(path: str, value: Any) -> dict[str, Any]:
    """CARD with the field at `path` set, or removed where the value is ... ."""
    data = copy.deepcopy(CARD)
    *parents, key = path.split(".")
    table = data
    for parent in parents:
        table = table[parent]
    if value is ...:
        del table[key]
    else:
        table[key] = value
    return data


def refusal(data: Any) -> str:
    """The first line of the error that the data ends in."""
    with pytest.raises(CardError) as caught:
        card_from_dict("mine", data)
    return caught.value.what


@pytest.fixture(autouse=True)
def only_the_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cards.FOLDERS_VARIABLE, raising=False)


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cards.FOLDERS_VARIABLE, str(tmp_path))
    return tmp_path


# The zoo.


def test_the_zoo_has_the_published_networks_and_ours() -> None:
    assert len(FROM_MMSEGMENTATION) == 16
    others = {"ccnet_r101-d8_official_cityscapes", "ccnet_r18-d8_edge", "criss_cross_c512"}
    assert others <= set(card_names())


@pytest.mark.parametrize("name", ZOO)
def test_every_shipped_card_loads_and_survives_json(name: str) -> None:
    card = find_card(name)
    assert card.name == name
    assert card_from_dict(name, json.loads(json.dumps(card.to_dict()))) == card


@pytest.mark.parametrize("name", FROM_MMSEGMENTATION)
def test_a_published_card_agrees_with_its_name(name: str) -> None:
    card, match = find_card(name), PUBLISHED_NAME.fullmatch(name)
    assert match
    assert card.weights
    assert card.published
    size = (int(match["h"]), int(match["w"]))
    slides = size == (769, 769)

    assert (card.network.variant, card.network.depth) == ("mmsegmentation", int(match["depth"]))
    assert (card.input.size, card.output_stride) == (size, 8)
    assert card.output.dataset == {"voc12aug": "voc2012"}.get(match["dataset"], match["dataset"])
    assert card.output.align_corners == slides
    resize = {(769, 769): (1025, 2049), (512, 1024): (1024, 2048), (512, 512): (512, 2048)}[size]
    windows = ("slide", size, (513, 513)) if slides else ("whole", None, None)
    assert card.evaluation == cards.Evaluation(*windows, resize, scales=(1.0,), flip=False)
    assert card.weights.file == f"{name}_{card.weights.stamp}.pth"
    assert card.weights.layout == "mmsegmentation"
    assert card.weights.source.endswith(f"/mmsegmentation/v0.5/ccnet/{name}/{card.weights.file}")
    assert card.published.miou < (card.published.miou_flip or 0)


def test_no_two_published_cards_share_weights() -> None:
    prefixes = [card.weights.sha256_prefix for card in map(find_card, FROM_MMSEGMENTATION) if card.weights]
    assert all(re.fullmatch("[0-9a-f]{8}", prefix) for prefix in prefixes)
    assert len(set(prefixes)) == 16


@pytest.mark.parametrize(
    ("dataset", "count", "first", "last"),
    [
        ("cityscapes", 19, cards.ClassInfo("road", (128, 64, 128)), cards.ClassInfo("bicycle", (119, 11, 32))),
        ("ade20k", 150, cards.ClassInfo("wall", (120, 120, 120)), cards.ClassInfo("flag", (92, 0, 255))),
        ("voc2012", 21, cards.ClassInfo("background", (0, 0, 0)), cards.ClassInfo("tvmonitor", (0, 64, 128))),
    ],
)
def test_datasets(dataset: str, count: int, first: cards.ClassInfo, last: cards.ClassInfo) -> None:
    data = changed("output", {"dataset": dataset, "align_corners": False})
    card = card_from_dict("mine", data)
    assert card.num_classes == count
    assert (card.classes[0], card.classes[-1]) == (first, last)
    assert card.output.reduce_zero_label == (dataset == "ade20k")


def test_the_official_card_eats_what_the_authors_trained_on() -> None:
    card = find_card("ccnet_r101-d8_official_cityscapes")
    assert card.input.channel_order == "bgr"
    assert card.input.std == (1.0, 1.0, 1.0)
    assert card.network.head_activation == "leaky_relu"
    assert card.weights
    assert card.weights.sha256_prefix == ""


def test_the_bare_module_has_no_pictures_and_no_classes() -> None:
    card = find_card("criss_cross_c512")
    assert (card.input.channels, card.input.mean, card.num_classes, card.output_stride) == (512, (), 0, 1)
    assert set(card.to_dict()["network"]) == {"architecture", "channels", "query_channels", "recurrence"}


# What a card may say.


def test_a_card_with_every_field_round_trips() -> None:
    assert card_from_dict("mine", CARD).to_dict() == CARD


@pytest.mark.parametrize(
    ("path", "value", "field", "expected"),
    [
        ("network.width", ..., "width", 64),
        ("network.query_channels", ..., "query_channels", 4),
        ("network.recurrence", ..., "recurrence", 2),
        ("network.recurrence", 0, "recurrence", 0),
        ("network.head_activation", ..., "head_activation", "leaky_relu"),
    ],
)
def test_defaults(path: str, value: Any, field: str, expected: Any) -> None:
    card = card_from_dict("mine", changed(path, value))
    assert getattr(card.network, field) == expected
    assert card_from_dict("mine", card.to_dict()) == card


def test_query_channels_are_never_none() -> None:
    assert cards.Network("criss-cross", channels=4).query_channels == 1


def test_a_network_of_the_users_own() -> None:
    card = card_for_module("package.module:Class")
    assert card.name == card.network.architecture == "package.module:Class"
    assert (card.classes, card.input.mean, card.input.std, card.input.size) == ((), (), (), (0, 0))
    assert (card.network.depth, card.network.recurrence, card.output_stride) == (0, 0, 0)
    assert card_from_dict(card.name, card.to_dict()) == card


@pytest.mark.parametrize("module", ["", "module", ":Class", "module:", "a/b:Class", "a..b:Class", "a:b:c", "a b:C"])
def test_no_network_of_anyones(module: str) -> None:
    with pytest.raises(CardError):
        card_for_module(module)


# What a card may not say.

BAD_FIELDS = [
    ("network.depth", 34, "network.depth is 34, expected 18, 50 or 101."),
    ("network.depth", True, "network.depth is true, expected 18, 50 or 101."),
    ("network.depth", 50.0, "network.depth is 50.0, expected 18, 50 or 101."),
    ("network.depth", ..., "network.depth is missing; the architecture ccnet needs it."),
    ("network.depht", 50, "network.depht is an unknown key, did you mean depth?"),
    ("network.variant", "mmseg", "network.variant is 'mmseg', expected 'official' or 'mmsegmentation'."),
    ("network.architecture", "unet", "network.architecture is 'unet', expected 'ccnet', 'criss-cross' or"),
    ("network.architecture", ["ccnet"], "network.architecture is a list of 1, expected"),
    ("network.architecture", "a.b:C", "network.variant does not apply to the architecture a.b:C"),
    ("network.architecture", ..., "network.architecture is missing."),
    ("network.channels", 0, "network.channels is 0, expected a whole number from 1 to 65536."),
    ("network.channels", 2**200, "network.channels is an integer of more than 38 digits, expected"),
    ("network.query_channels", 33, "network.query_channels is 33, expected 1 to channels (32)."),
    ("network.recurrence", -1, "network.recurrence is -1, expected a whole number from 0 to 100."),
    ("network.recurrence", True, "network.recurrence is true, expected a whole number from 0 to 100."),
    ("network.head_activation", "gelu", "network.head_activation is 'gelu', expected 'relu' or 'leaky_relu'."),
    ("network", [], "network is a list of 0, expected a table."),
    ("network", ..., "network is missing."),
    ("input.size", [65], "input.size is a list of 1, expected a list of 2."),
    ("input.size", [65, 16385], "input.size[1] is 16385, expected a whole number from 1 to 16384."),
    ("input.size", ..., "input.size is missing; the architecture ccnet needs it."),
    ("input.mean", [1, 2], "input.mean is a list of 2, expected input.channels (3)."),
    ("input.mean", [1, 2, math.nan], "input.mean[2] is nan, expected a number from 0 to 255."),
    ("input.mean", [1, 2, "3"], "input.mean[2] is '3', expected a number from 0 to 255."),
    ("input.mean", [1, 2, False], "input.mean[2] is false, expected a number from 0 to 255."),
    ("input.mean", ..., "input.mean is missing; the architecture ccnet needs it."),
    ("input.std", [1, 0, 1], "input.std[1] is 0, expected a number above 0, up to 1e+06."),
    ("input.std", [1, math.inf, 1], "input.std[1] is inf, expected a number above 0, up to 1e+06."),
    ("input.std", ..., "input.std is missing; the architecture ccnet needs it."),
    ("input.channels", 4, "input.channel_order is 'bgr', expected 'rgb' where input.channels is 4, not 3."),
    ("output.classes", ..., "output.dataset and output.classes are missing, expected one of them."),
    ("output.classes", [], "output.classes is a list of 0, expected a list of 1 to 65535."),
    ("output.classes", [{"name": "road"}], "output.classes[0].color is missing."),
    ("output.classes", [{"name": "a", "color": [0, 0, 256]}], "output.classes[0].color[2] is 256, expected"),
    ("output.classes", [{"name": "a\nb", "color": [0, 0, 0]}], "output.classes[0].name is 'a\\nb', expected a text"),
    (
        "output.classes",
        [{"name": "a", "color": [0, 0, 0]}] * 2,
        "output.classes[1].name is 'a', as in output.classes[0]",
    ),
    ("output.align_corners", 1, "output.align_corners is 1, expected true or false."),
    ("output.align_corners", ..., "output.align_corners is missing."),
    ("evaluation", ..., "evaluation.mode is missing; the architecture ccnet needs it."),
    ("evaluation.mode", "whole", "evaluation.crop is given, expected only with mode 'slide' (it is 'whole')."),
    ("evaluation.stride", ..., "evaluation.stride is missing, expected with mode 'slide' (it is 'slide')."),
    ("evaluation.stride", [66, 1], "evaluation.stride is [66, 1], expected at most the crop [65, 97]"),
    ("evaluation.resize", [98, 97], "evaluation.resize is [98, 97], expected the short side first."),
    ("evaluation.resize", [97], "evaluation.resize is a list of 1, expected a list of 2."),
    ("evaluation.scales", [], "evaluation.scales is a list of 0, expected a list of 1 to 20."),
    ("evaluation.scales", [1, 0], "evaluation.scales[1] is 0, expected a number from 0.1 to 10."),
    ("evaluation.flip", 1, "evaluation.flip is 1, expected true or false."),
    ("published.miou", 101, "published.miou is 101, expected a number from 0 to 100."),
    ("published.source", ..., "published.source is missing."),
    ("weights.file", "../w.pth", "weights.file is '../w.pth', expected a plain file name."),
    ("weights.stamp", "76d11884", "weights.stamp is '76d11884', expected a stamp such as"),
    ("weights.stamp", "20200616_145125-00000000", "weights.stamp is '20200616_145125-00000000', expected the one in"),
    ("weights.layout", "keras", "weights.layout is 'keras', expected 'official', 'pure-pytorch', 'mmsegmentation' or"),
    ("description", "", "description is '', expected a text of 1 to 1000 printable characters."),
    ("description", None, "description is of type NoneType, expected a text"),
    ("description", "x" * 2000, "description is 'xxxxx"),
    ("name", "mine", "name is an unknown key."),
    ("wights", {}, "wights is an unknown key, did you mean weights?"),
]


@pytest.mark.parametrize(("path", "value", "expected"), BAD_FIELDS)
def test_a_wrong_field_is_named_with_what_it_is_and_should_be(path: str, value: Any, expected: str) -> None:
    message = refusal(changed(path, value))
    assert message.startswith(f"card 'mine': {expected}")
    assert len(message) < 300
    assert message.isprintable()


def test_an_unknown_dataset_is_answered_with_the_nearest() -> None:
    message = refusal(changed("output", {"dataset": "cityscape", "align_corners": False}))
    assert message == "card 'mine': output.dataset is 'cityscape', did you mean cityscapes?"


def test_a_dataset_says_itself_how_its_labels_count() -> None:
    data = changed("output", {"dataset": "ade20k", "align_corners": False, "reduce_zero_label": False})
    assert "output.reduce_zero_label is given, expected only with output.classes" in refusal(data)


def test_a_bare_module_reads_as_many_channels_as_it_has() -> None:
    data = find_card("criss_cross_c512").to_dict()
    data["input"]["channels"] = 3
    assert refusal(data) == "card 'mine': input.channels is 3, expected network.channels (512)."
    data["network"]["depth"] = 50
    assert "network.depth does not apply to the architecture criss-cross" in refusal(data)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b", "x" * 300, "a\nb", 3, None])
def test_a_card_is_named_like_a_file(name: Any) -> None:
    with pytest.raises(CardError, match="expected a plain file name"):
        card_from_dict(name, CARD)


# Files.

BAD_FILES = [
    (b"description = 'caf\xe9'", "is not UTF-8 text: byte 18 is wrong."),
    (b"a = 1\nb = \n", "is not valid TOML: Invalid value (at line 2, column 5)."),
    (b"a = 1\na = 2\n", "is not valid TOML: Cannot overwrite a value (at line 2, column 6)."),
    (b"a = " + b"[" * 100_000, "is nested too deep"),
    (b"a = " + b"9" * 10_000, "holds a number of thousands of digits"),
    (b"#" * 1_000_001, "has more than 1000000 bytes"),
    (b"", "description is missing."),
]


@pytest.mark.parametrize(("content", "expected"), BAD_FILES)
def test_a_file_that_is_no_card(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(CardError) as caught:
        load_card(path)
    assert caught.value.what.startswith(str(path))
    assert expected in caught.value.what


def test_hexadecimal_digits_have_no_limit_but_the_field_has(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'description = "x"\n[network]\narchitecture = "ccnet"\ndepth = 0x{"f" * 9000}\n')
    with pytest.raises(CardError, match=r"network\.depth is an integer of more than 38 digits"):
        load_card(path)


@pytest.mark.parametrize("path", ["nowhere/mine.toml", ".", "/dev/null", "x" * 5000 + ".toml", "a\0.toml"])
def test_a_path_without_a_card(path: str) -> None:
    with pytest.raises(CardError, match=r"is not a file|cannot be read"):
        load_card(path)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(CardError, match="did you mean criss_cross_c512"):
        find_card("criss_cross_512")
    with pytest.raises(CardError, match="did you mean ccnet_r50-d8_769x769_40k_cityscapes or"):
        find_card("ccnet_r50-d8_769x769_40k_cityscapes_20200616_145125-76d11884.pth")
    with pytest.raises(CardError, match=r"There is no model 'zzzz'\."):
        find_card("zzzz")


# The user's folders.

MINE = """
description = "Mine"
[network]
architecture = "ccnet"
variant = "mmsegmentation"
depth = 18
[input]
size = [64, 64]
mean = [0, 0, 0]
std = [255, 255, 255]
[output]
dataset = "farm"
align_corners = false
[evaluation]
mode = "whole"
"""
FARM = 'description = "A farm"\nsource = "me"\nclasses = [{ name = "barn", color = [1, 2, 3] }]\n'


def test_a_users_cards_and_datasets_join_the_zoo(user_folder: Path) -> None:
    (user_folder / "datasets").mkdir()
    (user_folder / "datasets" / "farm.toml").write_text(FARM)
    (user_folder / "mine.toml").write_text("\ufeff" + MINE, encoding="utf-8")  # as some editors save UTF-8
    (user_folder / ".mine.toml").write_text("an editor's backup")
    assert card_names() == sorted([*ZOO, "mine"])
    assert find_card("mine").classes == (cards.ClassInfo("barn", (1, 2, 3)),)
    assert find_card("mine") == find_card(str(user_folder / "mine.toml"))


def test_a_broken_dataset_is_the_file_that_is_named(user_folder: Path) -> None:
    (user_folder / "datasets").mkdir()
    (user_folder / "datasets" / "farm.toml").write_text(FARM.replace("classes", "klasses"))
    (user_folder / "mine.toml").write_text(MINE)
    with pytest.raises(CardError, match=r"farm\.toml: klasses is an unknown key, did you mean classes\?"):
        find_card("mine")


def test_two_files_of_one_name_are_both_named(user_folder: Path) -> None:
    clash = user_folder / f"{ZOO[0]}.toml"
    clash.write_text(MINE)
    with pytest.raises(CardError) as caught:
        find_card("criss_cross_c512")
    assert str(clash.resolve()) in caught.value.what
    assert str(data_folder("models") / clash.name) in caught.value.what


def test_a_folder_named_twice_is_no_clash(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user_folder / "mine.toml").write_text(MINE)
    monkeypatch.setenv(
        cards.FOLDERS_VARIABLE, os.pathsep.join([str(user_folder), "", str(user_folder), str(data_folder("models"))])
    )
    assert card_names() == sorted([*ZOO, "mine"])


def test_a_folder_that_is_none_is_said(user_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cards.FOLDERS_VARIABLE, str(user_folder / "nowhere"))
    with pytest.raises(CardError, match=r"CCDEPLOY_MODELS names .*nowhere, which is not a folder"):
        card_names()
